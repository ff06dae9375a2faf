//! The daemon: one a root. It answers on the socket and keeps the stacks. Stopping it, however, disturbs no container.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::engine::{Engine, EngineError};
use crate::files::{self, FileError, Lock};
use crate::model::{Instance, Name};
use crate::reconcile::Reconciler;
use crate::reconcile::keeper::{Keeper, KeeperError};
use crate::server;
use crate::sources::Folder;
use crate::sys;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("a daemon serves these roots already: process {pid}")]
    AlreadyRunning { pid: String },
    #[error("listen at {}: {source}", path.display())]
    Listen { path: PathBuf, source: std::io::Error },
    #[error("wait for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// Serves until SIGTERM or SIGINT. `stack` names the stack of the sources, where there is one source only.
pub async fn run(instance: Instance, sources: Vec<PathBuf>, stack: Option<Name>) -> Result<(), DaemonError> {
    // From here on a signal asks for the end, and does not make one in the middle of something.
    let mut term = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut int = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    files::create_dirs(instance.run_dir(), 0o700)?;
    let _lock = claim(&instance)?;
    let engine = Engine::open(instance.clone()).await?;
    engine.networks().stay();
    engine.keep_watch()?;
    engine.recover().await?;
    for (container, error) in engine.revive().await? {
        error!(%container, %error, "start again");
    }
    let stop = CancellationToken::new();
    let reconciler = Reconciler::until(engine.clone(), stop.clone());
    let folders = sources.into_iter().map(|path| Folder::new(path, stack.clone())).collect();
    let keeper = Keeper::new(reconciler.clone(), folders).await?;
    let listener = listen(instance.socket())?;

    let serving = tokio::spawn(server::serve_unix(server::router(engine, reconciler), listener, stop.clone()));
    let keeping = tokio::spawn(keeper.run(stop.clone()));
    tell_systemd(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(pet_watchdog());
    info!(socket = %instance.socket().display(), pid = std::process::id(), "ready");

    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    info!("stopping; containers go on");
    tell_systemd(&[NotifyState::Stopping]);
    watchdog.abort();
    stop.cancel();
    if let Err(crash) = serving.await {
        error!(%crash, "the server ended abnormally");
    }
    match keeping.await {
        Ok(result) => result?,
        Err(crash) => error!(%crash, "the loop ended abnormally"),
    }
    Ok(())
}

/// One daemon a root: the lock is the truth, and the pid in it is for people.
fn claim(instance: &Instance) -> Result<Lock, DaemonError> {
    let path = instance.run_dir().join("daemon.lock");
    let Some(lock) = Lock::try_take(&path)? else {
        let pid = files::read_to_string(&path)?.trim().to_owned();
        return Err(DaemonError::AlreadyRunning { pid });
    };
    let mut file = lock.file();
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(|e| FileError::new("write", &path, e))?;
    Ok(lock)
}

/// The socket that systemd passed, or a new one that only root may open.
fn listen(path: &Path) -> Result<UnixListener, DaemonError> {
    let fail = |source| DaemonError::Listen { path: path.to_owned(), source };
    let listener = match sys::listen_fd() {
        Some(fd) => std::os::unix::net::UnixListener::from(fd),
        None => {
            // Whoever left this socket is gone: this process holds the lock.
            files::remove_all(path)?;
            if let Some(folder) = path.parent() {
                files::create_dirs(folder, 0o700)?;
            }
            let listener = std::os::unix::net::UnixListener::bind(path).map_err(fail)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
            listener
        }
    };
    listener.set_nonblocking(true).map_err(fail)?;
    UnixListener::from_std(listener).map_err(fail)
}

/// Without systemd there is nobody to tell, which is no error.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        error!(%error, "tell systemd");
    }
}

/// Twice as often as systemd asks for.
async fn pet_watchdog() {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    let mut timer = tokio::time::interval(Duration::from_micros(micros / 2));
    loop {
        timer.tick().await;
        tell_systemd(&[NotifyState::Watchdog]);
    }
}
