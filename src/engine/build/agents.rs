//! `RUN --mount=type=ssh`: a socket of the command's own, with the owner and the mode that were asked for, behind which an agent
//! of the host answers. The agent's own socket is not shown: whose that is, is the host's business.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::files::FileError;

/// A socket that passes on to an agent as long as this is there.
pub(super) struct Agent {
    _serving: AbortOnDropHandle<()>,
}

/// Who may use a socket.
pub(super) struct Access {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Agent {
    /// Makes the socket `path`, in a folder that is the engine's alone. The file stays when the agent goes.
    pub(super) fn serve(path: &Path, agent: PathBuf, access: &Access) -> Result<Self, FileError> {
        let fail = |action| move |e| FileError::new(action, path, e);
        let listener = UnixListener::bind(path).map_err(fail("listen at"))?;
        chown(path, Some(access.uid), Some(access.gid)).map_err(fail("set the owner of"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode)).map_err(fail("set the mode of"))?;
        Ok(Self { _serving: AbortOnDropHandle::new(tokio::spawn(pass_on(listener, agent))) })
    }
}

async fn pass_on(listener: UnixListener, agent: PathBuf) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(open.spawn(connect(stream, agent.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a command's socket of an agent has failed");
                    return;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// What is lost when either side goes away is for the other to see, which is cut off.
async fn connect(mut stream: UnixStream, agent: PathBuf) {
    match UnixStream::connect(&agent).await {
        Ok(mut there) => {
            if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut there).await {
                tracing::debug!(%error, "a connection to an agent has broken");
            }
        }
        Err(error) => tracing::warn!(%error, agent = %agent.display(), "the agent of a build does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_asked_reaches_the_agent_and_its_answer_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (own, theirs) = (folder.path().join("own"), folder.path().join("agent"));
        let there = UnixListener::bind(&theirs).unwrap();
        let serving = Agent::serve(&own, theirs.clone(), &Access { uid: 1000, gid: 1001, mode: 0o660 }).unwrap();
        let meta = fs::metadata(&own).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (1000, 1001, 0o660));
        let answering = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = there.accept().await.unwrap();
                let mut asked = [0; 4];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(b"pong").await.unwrap();
            }
        });
        for _ in 0..2 {
            let mut stream = UnixStream::connect(&own).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "pong");
        }
        answering.await.unwrap();
        // Where nobody answers, nobody is let wait.
        let mut stream = UnixStream::connect(&own).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(serving);
    }
}
