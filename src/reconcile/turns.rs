//! Whose turn it is to change a stack: one at a time, in all processes. Who waits for it with something new to say leaves a mark, and
//! who has it and only waits for something itself then gives way. Knows nothing of what is done in a turn.
//!
//! Guarantee: lock and mark are the kernel's, which releases them however their holder ends.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::execute::tell;
use super::report::Event;
use super::{ReconcileError, Reconciler};
use crate::files::{FileError, Lock};
use crate::model::Name;

/// How often whoever has the turn looks for a mark: a file is opened and locked each time.
const LOOK: Duration = Duration::from_millis(100);

/// Nobody else changes the stack as long as this is there.
#[derive(Debug)]
pub(super) struct Turn {
    /// Locked by each of those who wait with something new to say.
    mark: PathBuf,
    /// Says that whoever has the turn has something new to say itself.
    renewed: CancellationToken,
    _lock: Lock,
}

impl Turn {
    /// The same turn, which ends early also once `renewed` says so.
    pub(super) fn until(self, renewed: CancellationToken) -> Self {
        Self { renewed, ..self }
    }

    /// Ends once somebody has something new to say: who waits for the turn, or who has it.
    pub(super) async fn is_wanted(&self) {
        tokio::select! {
            () = self.renewed.cancelled() => {}
            () = self.is_waited_for() => {}
        }
    }

    async fn is_waited_for(&self) {
        loop {
            match Lock::is_used(&self.mark) {
                Ok(true) => return,
                Ok(false) => tokio::time::sleep(LOOK).await,
                Err(error) => {
                    // They wait for longer then, as they would without a mark.
                    tracing::error!(%error, "look who waits for a stack");
                    std::future::pending().await
                }
            }
        }
    }
}

impl Reconciler {
    pub(super) fn lock_path(&self, stack: &Name) -> PathBuf {
        self.engine.instance().state_dir().join("locks").join(format!("stack-{stack}.lock"))
    }

    fn mark_path(&self, stack: &Name) -> PathBuf {
        self.lock_path(stack).with_extension("wanted")
    }

    /// The turn for whoever has something new to say of a stack. It is an error to be asked to stop before it comes.
    pub(super) async fn new_turn(&self, stack: &Name, events: &mpsc::Sender<Event>) -> Result<Turn, ReconcileError> {
        if let Some(lock) = Lock::try_take(&self.lock_path(stack))? {
            return Ok(self.turn_of(stack, lock));
        }
        let _mark = Lock::share(&self.mark_path(stack))?;
        // It may be at a long build.
        tell(events, Event::Waits).await;
        let turn = self.turn(stack).await?;
        turn.ok_or_else(|| ReconcileError::Stopping(stack.clone()))
    }

    /// The turn for whoever looks again; `None` when this process has been asked to stop before it came.
    pub(super) async fn turn(&self, stack: &Name) -> Result<Option<Turn>, ReconcileError> {
        let path = self.lock_path(stack);
        if let Some(lock) = Lock::try_take(&path)? {
            return Ok(Some(self.turn_of(stack, lock)));
        }
        let waits = in_a_thread(path)?;
        let lock = tokio::select! {
            lock = waits => lock.map_err(|_| ReconcileError::Interrupted)??,
            () = self.stop.cancelled() => return Ok(None),
        };
        Ok(Some(self.turn_of(stack, lock)))
    }

    fn turn_of(&self, stack: &Name, lock: Lock) -> Turn {
        Turn { mark: self.mark_path(stack), renewed: CancellationToken::new(), _lock: lock }
    }
}

/// Waits in a thread that nobody waits for: the runtime's own would keep the process until they have ended. Where nobody wants the lock
/// any more when it comes, it is released at once.
fn in_a_thread(path: PathBuf) -> Result<oneshot::Receiver<Result<Lock, FileError>>, FileError> {
    let (sender, receiver) = oneshot::channel();
    let failed = path.clone();
    let wait = move || drop(sender.send(Lock::wait(&path)));
    let thread = std::thread::Builder::new().name("turn".to_owned()).spawn(wait);
    thread.map_err(|source| FileError::new("start a thread that waits for", &failed, source))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    async fn reconciler(stop: CancellationToken) -> (tempfile::TempDir, Reconciler, Name) {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let instance = crate::model::Instance::new(folder.path().join("s"), folder.path().join("r"), None);
        let engine = crate::engine::Engine::open(instance).await.unwrap();
        (folder, Reconciler::until(engine, stop), "shop".parse().unwrap())
    }

    #[tokio::test]
    async fn who_is_asked_to_stop_waits_for_no_other_process() {
        let stop = CancellationToken::new();
        let (_folder, reconciler, stack) = reconciler(stop.clone()).await;
        let held = reconciler.turn(&stack).await.unwrap().unwrap();
        let (events, mut inbox) = mpsc::channel(10);
        let applies = async {
            let (keeps, applies) = tokio::join!(reconciler.turn(&stack), reconciler.new_turn(&stack, &events));
            (keeps.unwrap().is_none(), applies.unwrap_err().to_string())
        };
        let stops = async {
            assert!(matches!(inbox.recv().await, Some(Event::Waits)));
            stop.cancel();
        };
        let (ended, ()) = tokio::time::timeout(LONG, async { tokio::join!(applies, stops) }).await.unwrap();
        assert_eq!(ended, (true, "the daemon stops, and something else is still at work on the stack shop".to_owned()));
        drop(held);
        // Those that wait in vain leave nothing: whoever comes next gets the turn.
        tokio::time::timeout(LONG, Reconciler::new(reconciler.engine.clone()).turn(&stack)).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_has_something_new_to_say_is_noticed() {
        let (_folder, reconciler, stack) = reconciler(CancellationToken::new()).await;
        let held = reconciler.turn(&stack).await.unwrap().unwrap();
        let mark = reconciler.mark_path(&stack);
        let (events, _inbox) = mpsc::channel(10);
        // Who only looks again is in no hurry, and neither is who has given up.
        let again = tokio::spawn({
            let (reconciler, stack) = (reconciler.clone(), stack.clone());
            async move { reconciler.turn(&stack).await.unwrap().unwrap() }
        });
        tokio::task::yield_now().await;
        assert!(tokio::time::timeout(Duration::from_millis(1), reconciler.new_turn(&stack, &events)).await.is_err());
        assert!(!Lock::is_used(&mark).unwrap());
        let mut new = Vec::new();
        for _ in 0..2 {
            let (reconciler, stack, events) = (reconciler.clone(), stack.clone(), events.clone());
            new.push(tokio::spawn(async move { reconciler.new_turn(&stack, &events).await.unwrap() }));
        }
        tokio::time::timeout(LONG, held.is_wanted()).await.unwrap();
        drop(held);
        drop(tokio::time::timeout(LONG, again).await.unwrap().unwrap());
        for new in new {
            drop(tokio::time::timeout(LONG, new).await.unwrap().unwrap());
        }
        assert!(!Lock::is_used(&mark).unwrap());
    }
}
