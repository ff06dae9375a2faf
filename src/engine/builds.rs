//! Builds, as they are asked of the engine, and what is kept of them.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::build::{self, Built, Upload};
use super::images::{Freed, Given, StepUsage};
use super::{Engine, EngineError};
use crate::model::Digest;
use crate::model::build::{BuildRequest, BuildSink};

/// Which steps of builds are forgotten. A step that is forgotten is done again by the next build that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepFilter {
    /// Those too whose layers an image has, which frees nothing by itself.
    pub all: bool,
    /// Last used before this.
    pub until: Option<OffsetDateTime>,
    /// As few of those that were used longest ago as it takes to stay within so many bytes.
    pub keep_bytes: Option<u64>,
}

impl Engine {
    /// Builds an image of a Dockerfile. Dropping the future gives the build up. `given` are credentials of whoever asks.
    ///
    /// # Errors
    /// What is wrong with the Dockerfile, with its place; what a command ended with, and its last words; what the host refuses.
    pub async fn build(
        &self,
        request: BuildRequest,
        given: Vec<Given>,
        upload: Option<Upload>,
        sink: BuildSink,
    ) -> Result<Built, EngineError> {
        let parts = build::Parts {
            images: self.0.images.clone(),
            networks: self.0.networks.clone(),
            containers: self.0.containers.clone(),
            state_dir: self.0.instance.state_dir().to_owned(),
            given,
        };
        Ok(build::build(parts, request, upload, sink).await?)
    }

    /// What is kept of steps of builds, that which was needed last at the end.
    pub fn build_steps(&self) -> Result<Vec<StepUsage>, EngineError> {
        Ok(self.0.images.steps()?)
    }

    /// Forgets steps of builds, and removes the layers that nobody needs then. How many steps, and what was freed.
    pub async fn prune_build_steps(&self, filter: StepFilter) -> Result<(usize, Freed), EngineError> {
        let images = self.0.images.clone();
        let work = move || {
            let steps = images.steps()?;
            // Several steps may have come to the same layer, which takes its room once.
            let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
            let mut kept = 0;
            for step in steps.iter().filter(|step| !step.shared) {
                let count = users.entry(step.diff_id).or_default();
                kept += if *count == 0 { step.size } else { 0 };
                *count += 1;
            }
            let mut doomed = BTreeSet::new();
            for step in &steps {
                let old = filter.until.is_none_or(|until| step.used < until.unix_timestamp());
                let wanted = filter.all || !step.shared;
                let over = filter.keep_bytes.is_none_or(|most| kept > most);
                if old && wanted && over {
                    doomed.insert(step.key);
                    if let Some(count) = users.get_mut(&step.diff_id) {
                        *count -= 1;
                        kept -= if *count == 0 { step.size } else { 0 };
                    }
                }
            }
            let freed = images.forget_steps(&doomed)?;
            Ok::<_, EngineError>((doomed.len(), freed))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }
}
