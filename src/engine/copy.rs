//! Copies out of containers and into them. Of one that runs, what its first process sees is copied, by way of that process's
//! root; the file system of one that does not is mounted where only the copying thread sees it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::containers::{ContainersError, Held, Record};
use super::outgoing::Outgoing;
use super::runtime::spec::HostMount;
use super::runtime::view;
use super::{Engine, EngineError, mounts};
use crate::files::tree::{self, Devices, Found, FoundKind, Owner, Shift, Unpack};
use crate::files::{self, Beneath, FileError};
use crate::model::ContainerId;
use crate::model::spec::{UserRange, UsersMode};
use crate::observed::ContainerState;
use crate::sys;

/// A file system that a copy can reach.
enum Reach {
    /// The root of a process, and what the owners of its files are to the host, where they are others.
    Live(OwnedFd, Option<Shift>),
    /// To be mounted by the thread that copies, while nobody else can start the container.
    Still { _held: Held, layers: Vec<PathBuf>, folder: PathBuf, mounts: Vec<HostMount>, read_only: bool },
}

impl Engine {
    /// What is at a path of a container.
    pub async fn look_in(&self, id: &ContainerId, path: &Path, follow: bool) -> Result<Option<Found>, EngineError> {
        let (reach, path) = (self.reach(id).await?, path.to_owned());
        blocking(move || reach.with(|root, _| Ok(tree::look(root, &path, follow)?))).await
    }

    /// A tar of what is at a path of a container, under its own name, and what it is.
    pub async fn copy_out(&self, id: &ContainerId, path: &Path, follow: bool) -> Result<(Found, Outgoing), EngineError> {
        let found = self.look_in(id, path, follow).await?;
        let found = found.ok_or_else(|| EngineError::NoSuchPath { path: path.to_owned() })?;
        let (reach, path) = (self.reach(id).await?, path.to_owned());
        let name = if found.name == "/" { OsString::from(".") } else { OsString::from(&found.name) };
        let outgoing = Outgoing::new(move |output| {
            reach.with(|root, shift| {
                tree::pack(root, &path, &name, follow, shift, output)?;
                Ok(())
            })
        });
        Ok((found, outgoing))
    }

    /// Unpacks a tar into a folder of a container.
    pub async fn copy_in(
        &self,
        id: &ContainerId,
        path: &Path,
        owners: bool,
        tar: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<(), EngineError> {
        let (tar, feeding) = Incoming::of(tar);
        let unpacked = self.unpack_in(id, path, owners, tar).await;
        // Whoever sends it hears the answer only when all is sent.
        feeding.await.map_err(|_| EngineError::Interrupted)?;
        unpacked
    }

    async fn unpack_in(&self, id: &ContainerId, path: &Path, owners: bool, tar: Incoming) -> Result<(), EngineError> {
        match self.look_in(id, path, true).await? {
            Some(Found { kind: FoundKind::Folder, .. }) => {}
            Some(_) => return Err(EngineError::NoFolder { path: path.to_owned() }),
            None => return Err(EngineError::NoSuchPath { path: path.to_owned() }),
        }
        let (reach, path) = (self.reach(id).await?, path.to_owned());
        blocking(move || {
            reach.with(|root, shift| {
                let owner = if owners { Owner::AsArchived } else { Owner::Trusting { uid: 0, gid: 0 } };
                let how = Unpack { devices: Devices::Made, shift, ..Unpack::new(&path, owner) };
                tree::unpack(tar, root, &how)?;
                Ok(())
            })
        })
        .await
    }

    async fn reach(&self, id: &ContainerId) -> Result<Reach, EngineError> {
        let containers = &self.0.containers;
        let status = containers.status(id)?;
        if let ContainerState::Running { pid, .. } = status.state
            && let Some(root) = live_root(pid, status.started_ticks)?
        {
            let users = containers.get(id)?.spec.userns != UsersMode::Host;
            let users = if users { containers.users_of(id)? } else { None };
            return Ok(Reach::Live(root, users.map(|UserRange { uid, gid, size }| Shift { uid, gid, size })));
        }
        let held = containers.hold(id).await?;
        if containers.runs(&held).await? {
            // Started, or started again, between the two looks.
            let name = containers.get(id)?.name.to_string();
            return Err(ContainersError::Busy { name }.into());
        }
        let record: Record = containers.get(id)?;
        let rootfs = self.0.images.rootfs(record.image_digest)?;
        let layers = rootfs.layers;
        let effective = mounts::effective(&self.0, &record, &rootfs.config)?;
        let mounts = mounts::prepare(&self.0, &record, &effective, &layers).await?;
        let folder = self.0.instance.container_dir(id);
        Ok(Reach::Still { _held: held, layers, folder, mounts, read_only: record.spec.read_only })
    }
}

/// In a thread of its own, which takes what it has become with it.
fn apart<T: Send>(work: impl FnOnce() -> Result<T, EngineError> + Send) -> Result<T, EngineError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("copy".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(|e| FileError::new("start a thread for", "a copy", e))?;
        thread.join().map_err(|_| EngineError::Interrupted)?
    })
}

/// The root of exactly this process; `None` when it has ended.
fn live_root(pid: i32, started_ticks: u64) -> Result<Option<OwnedFd>, EngineError> {
    let path = format!("/proc/{pid}/root");
    let root = match openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(root) => root,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => return Err(FileError::new("open", path, e).into()),
    };
    // Looked at after the opening: with the same start the number has meant the same process all the time.
    Ok(sys::process_start_ticks(pid).is_ok_and(|ticks| ticks == started_ticks).then_some(root))
}

impl Reach {
    fn with<T: Send>(
        self,
        work: impl FnOnce(&mut Beneath, Option<Shift>) -> Result<T, EngineError> + Send,
    ) -> Result<T, EngineError> {
        match self {
            Self::Live(root, None) => work(&mut Beneath::over(root, PathBuf::from("/")), None),
            Self::Live(root, Some(shift)) => apart(|| {
                // In there the host's root is nobody, whom no file can belong to.
                sys::process::set_file_ids(shift.uid, shift.gid).map_err(|e| FileError::new("act as root in", "/", e))?;
                work(&mut Beneath::over(root, PathBuf::from("/")), Some(shift))
            }),
            Self::Still { _held, layers, folder, mounts, read_only } => {
                // A mount namespace lives as long as its thread.
                apart(|| {
                    let place = folder.join(".copy");
                    files::create_dirs(&place, 0o700)?;
                    let (upper, work_folder) = (folder.join("upper"), folder.join("work"));
                    let root = view::writable(&layers, &upper, &work_folder, &place, read_only)
                        .map_err(|e| FileError::new("mount at", &place, e))?;
                    let mut root = Beneath::over(root, PathBuf::from("/"));
                    for mount in &mounts {
                        if let HostMount::Bind { source, target, read_only, .. } = mount {
                            place_bind(&mut root, source, target, *read_only)?;
                        }
                        if let HostMount::Part { root: volume, inside, target, read_only } = mount {
                            let part = Beneath::open(volume)?;
                            let fd = part.resolve(Path::new(inside), OFlags::PATH);
                            let fd = fd.map_err(|e| part.error("open", Path::new(inside), e))?;
                            let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                            place_bind(&mut root, &source, target, *read_only)?;
                        }
                    }
                    // What was opened before lies below what is mounted now.
                    root.forget();
                    work(&mut root, None)
                })
            }
        }
    }
}

/// A volume or a path of the host, where the container has it.
fn place_bind(root: &mut Beneath, source: &Path, target: &str, read_only: bool) -> Result<(), EngineError> {
    let target = Path::new(target);
    let is_folder = source.is_dir();
    if is_folder {
        root.make_folder(target.strip_prefix("/").unwrap_or(target))?;
    }
    match root.resolve(target, OFlags::PATH) {
        Ok(place) => Ok(view::bind(source, &place, read_only).map_err(|e| FileError::new("mount", source, e))?),
        // The file that it is mounted over is made by the first start; there is nothing to be seen yet.
        Err(rustix::io::Errno::NOENT) if !is_folder => Ok(()),
        Err(e) => Err(root.error("open", target, e).into()),
    }
}

/// What comes in, for a thread that may block.
struct Incoming {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

/// Parts that may wait for the thread.
const WAITING: usize = 4;
const PART: usize = 128 << 10;
/// What nobody wants any more is read as far as this.
const LEFT: usize = 1 << 30;

impl Incoming {
    /// With the task that reads to the end, also where nobody wants it any more.
    fn of(mut reader: impl AsyncRead + Send + Unpin + 'static) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, parts) = mpsc::channel(WAITING);
        let feeding = tokio::spawn(async move {
            let mut left = LEFT;
            loop {
                let mut part = bytes::BytesMut::with_capacity(PART);
                let read = reader.read_buf(&mut part).await;
                let ends = !matches!(read, Ok(1..));
                if matches!(read, Ok(0)) {
                    return;
                }
                if sender.send(read.map(|_| part.freeze())).await.is_err() {
                    left = left.saturating_sub(PART);
                }
                if ends || left == 0 {
                    return;
                }
            }
        });
        (Self { parts, now: Bytes::new() }, feeding)
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.now = part?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.now.len());
        buffer[..count].copy_from_slice(&self.now.split_to(count));
        Ok(count)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, EngineError> + Send + 'static) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
}
