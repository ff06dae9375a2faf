//! Waiting for containers of other stacks. Nobody here makes them what they are waited for to be.

use std::time::{Duration, Instant};

use super::effects::{EffectError, LOOK};
use crate::engine::{Engine, EngineError};
use crate::model::Owner;
use crate::model::spec::Elsewhere;
use crate::observed::ContainerState;
use crate::plan::WaitFor;
use crate::plan::beyond::{self, Standing};

/// How long a container of another stack may be far from what it is waited for to be.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a container of another stack, whichever that is: it may be made anew meanwhile. One that is on its way has all the
/// time that it takes; for another one to come on its way there is [`PATIENCE`].
pub(super) async fn wait(engine: &Engine, other: Elsewhere, condition: WaitFor) -> Result<(), EffectError> {
    let mut since = Instant::now();
    loop {
        let standing = beyond::standing(condition, state(engine, &other)?.as_ref());
        match ended(&mut since, Instant::now(), standing) {
            None => tokio::time::sleep(LOOK * 10).await,
            Some(Ok(())) => return Ok(()),
            Some(Err(why)) => {
                let wanted = match condition {
                    WaitFor::Started => "started",
                    WaitFor::Healthy => "healthy",
                    WaitFor::Completed => "completed",
                };
                return Err(EffectError::Beyond { other, wanted, why });
            }
        }
    }
}

/// Whether the wait is over, and what it lacks then. `since` is when it was on its way last.
fn ended(since: &mut Instant, now: Instant, standing: Standing) -> Option<Result<(), String>> {
    match standing {
        Standing::Holds => Some(Ok(())),
        Standing::Lacking(why) if now.duration_since(*since) >= PATIENCE => Some(Err(why)),
        Standing::Lacking(_) => None,
        Standing::Coming => {
            *since = now;
            None
        }
    }
}

fn state(engine: &Engine, other: &Elsewhere) -> Result<Option<ContainerState>, EffectError> {
    let is_meant = |owner: &Owner| owner.stack == other.stack && owner.resource == other.name;
    let all = engine.containers().list().map_err(EngineError::from)?.into_iter();
    let found = all.filter(|one| one.owner.as_ref().is_some_and(is_meant)).min_by_key(|one| one.name.is_aside());
    let state = found.map(|one| engine.containers().state(&one.id)).transpose();
    Ok(state.map_err(EngineError::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_on_its_way_is_waited_for_a_minute_and_who_is_for_as_long_as_it_takes() {
        let begun = Instant::now();
        let lacking = |why: &str| Standing::Lacking(why.to_owned());
        // When it is looked at, in seconds; how it is then; and what comes of it.
        let looks = [
            (0, lacking("there is no such container"), None),
            (59, lacking("it was never started"), None),
            (59, Standing::Coming, None),
            (600, Standing::Coming, None),
            (659, lacking("it exited with 1"), None),
            (660, lacking("it is unhealthy"), Some(Err("it is unhealthy".to_owned()))),
            (900, Standing::Holds, Some(Ok(()))),
        ];
        let mut since = begun;
        for (seconds, standing, expected) in looks {
            let told = ended(&mut since, begun + Duration::from_secs(seconds), standing.clone());
            assert_eq!(told, expected, "{standing:?} after {seconds} s");
        }
        let error =
            EffectError::Beyond { other: "shop/db".parse().unwrap(), wanted: "healthy", why: "it is unhealthy".to_owned() };
        assert_eq!(error.to_string(), "shop/db is not healthy after 60s: it is unhealthy");
        assert!(error.hint().unwrap().contains("setpoint why shop/db"));
    }
}
