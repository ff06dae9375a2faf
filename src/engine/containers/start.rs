//! Starting a container: what its monitor needs is written down, the monitor is spawned, and it says how the start went.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use oci_spec::image::ImageConfiguration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::exec::ORDER_PREFIX;
use super::recording::recording;
use super::recover::entries;
use super::{Containers, ContainersError, Held, Record};
use crate::engine::monitor::{self, Job, Join, MONITOR_LOG, NETNS_GIVEN, Started};
use crate::engine::runtime::cgroups::Cgroup;
use crate::engine::runtime::spec::{self, HostDevice, HostMount, SpecInput};
use crate::engine::runtime::{Launch, Network, RootFs};
use crate::files::{self, FileError};
use crate::model::spec::{Healthcheck, NetworkMode, Probe, UserRange};
use crate::model::{ContainerId, Signal};
use crate::observed::ContainerState;
use crate::sys;

/// How long a monitor may take to start its container.
const PATIENCE: Duration = Duration::from_secs(60);
/// The monitor's log begins anew when it has grown to this.
const MAX_MONITOR_LOG: u64 = 256 * 1024;

/// What others made for a container that is to start.
#[derive(Debug)]
pub struct StartWith {
    /// The folders of the image's layers, the topmost first.
    pub lower: Vec<PathBuf>,
    pub image: ImageConfiguration,
    /// The image's own health check, for a container whose spec has none.
    pub image_healthcheck: Option<Healthcheck>,
    /// Volumes, binds and tmpfs, in the order of mounting.
    pub mounts: Vec<HostMount>,
    /// The network namespace, configured. Without one the container gets an empty one, or the host's if its spec says so.
    pub netns: Option<OwnedFd>,
    /// The content of `/etc/hosts`.
    pub hosts: String,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Its output waits for [`Containers::attach`].
    pub awaits_attach: bool,
    pub further: Further,
}

/// What only some containers need.
#[derive(Debug, Default)]
pub struct Further {
    /// Namespaces of other containers.
    pub joins: Vec<Join>,
    /// Devices of the host.
    pub devices: Vec<HostDevice>,
    /// The name that it has for itself, where it is another one's.
    pub hostname: Option<String>,
    /// The host's ids of its own users, where it has any.
    pub users: Option<UserRange>,
    /// What runs a line of a health check, where the image says it.
    pub shell: Option<Vec<String>>,
}

impl Containers {
    /// Starts a container. The number of its first process.
    pub async fn start(&self, id: &ContainerId, with: StartWith) -> Result<i32, ContainersError> {
        let held = self.hold(id).await?;
        self.start_held(&held, with).await
    }

    /// Like [`Self::start`], for a caller who has prepared things under the container's lock.
    pub async fn start_held(&self, held: &Held, with: StartWith) -> Result<i32, ContainersError> {
        let record = self.get(&held.id)?;
        let state = monitor::read_state(&self.instance, &held.id)?;
        if state.is_alive() {
            return Err(ContainersError::AlreadyRunning { name: record.name.to_string() });
        }
        self.monitor_gone(&held.id).await?;
        if !matches!(state, ContainerState::Exited { .. }) {
            // A monitor that was killed leaves processes that are still dying, with the writable layer in their hands.
            let this = self.clone();
            let id = held.id.clone();
            let cleared = tokio::task::spawn_blocking(move || this.clear_cgroup(&id)).await;
            cleared.map_err(|e| ContainersError::Spawn(std::io::Error::other(e)))??;
        }
        let (netns, ticket) = self.prepare(&record, with)?;
        self.spawn(&record, netns, &ticket).await
    }

    /// Whether the container runs. When this says no, no monitor of a start that was given up comes to start it any more,
    /// so that what the next start needs can be made.
    pub async fn runs(&self, held: &Held) -> Result<bool, ContainersError> {
        let until = Instant::now() + PATIENCE;
        loop {
            if monitor::read_state(&self.instance, &held.id)?.is_alive() {
                return Ok(true);
            }
            if Job::withdraw(&self.instance.container_run_dir(&held.id))? {
                return Ok(false);
            }
            if Instant::now() >= until {
                return Err(ContainersError::Busy { name: self.called(&held.id) });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a monitor that has finished its work has left.
    pub(super) async fn monitor_gone(&self, id: &ContainerId) -> Result<(), ContainersError> {
        let until = Instant::now() + PATIENCE;
        while monitor::has_monitor(&self.instance, id)? {
            if Instant::now() >= until {
                return Err(ContainersError::Busy { name: self.called(id) });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Writes the monitor's orders and the files that are mounted into the container.
    fn prepare(&self, record: &Record, with: StartWith) -> Result<(Option<OwnedFd>, String), ContainersError> {
        let StartWith { lower, image, image_healthcheck, mut mounts, netns, hosts, resolv_conf, awaits_attach, further } = with;
        let (id, wanted) = (&record.id, &record.spec);
        let ticket = format!("{:016x}", u64::from_ne_bytes(sys::random_bytes().map_err(ContainersError::Random)?));
        let run = self.instance.container_run_dir(id);
        let durable = self.instance.container_dir(id);
        self.make_folders(id)?;
        files::create_dirs(&run, 0o700)?;
        // What killed commands left: orders that nobody fetched, files that were never published.
        // What the limits of another run came to says nothing of this one.
        let stale = |name: &String| name.starts_with('.') || name.starts_with(ORDER_PREFIX) || name == monitor::LIMITS;
        for leftover in entries(&run)?.into_iter().filter(stale) {
            files::remove_all(&run.join(leftover))?;
        }
        for leftover in entries(&durable)?.into_iter().filter(|name| name.starts_with('.')) {
            files::remove_all(&durable.join(leftover))?;
        }

        mounts.extend(self.place_configs(record)?);
        let hostname = further.hostname.or_else(|| wanted.hostname.clone()).unwrap_or_else(|| id.short().to_owned());
        for (name, content) in [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv_conf)] {
            let target = format!("/etc/{name}");
            // What the user mounts there is meant to be seen.
            if !mounts.iter().any(|mount| mount.target() == target) {
                let source = run.join(name);
                files::publish(&source, content.as_bytes(), 0o644)?;
                mounts.push(HostMount::of_engine(source, target));
            }
        }

        let config = image.config().clone().unwrap_or_default();
        let image_signal = config.stop_signal().as_deref().and_then(|signal| signal.parse().ok());
        let network = match (&wanted.network_mode, &netns) {
            (NetworkMode::Host, _) => Network::Host,
            (NetworkMode::Bridge | NetworkMode::None | NetworkMode::Container(_), Some(_)) => Network::Given,
            (NetworkMode::Bridge | NetworkMode::None, None) => Network::New,
            // Without that one's network there would be another one in its place.
            (NetworkMode::Container(other), None) => return Err(ContainersError::NotRunning { name: other.clone() }),
        };
        let user = spec::user(wanted, &image);
        let input = SpecInput {
            id,
            hostname: &hostname,
            container: wanted,
            image: &image,
            mounts,
            devices: further.devices,
            terminal: wanted.tty,
            users: further.users,
        };
        let (oci, filter) =
            spec::build(&input).map_err(|source| ContainersError::Spec { name: record.name.to_string(), source })?;
        let healthcheck = wanted.healthcheck.clone().or(image_healthcheck).filter(|check| check.test != Probe::None);
        let healthcheck = healthcheck.map(|check| check.with_shell(further.shell.as_deref()));
        let cgroup = self.cgroup_below(id, wanted.cgroup_parent.as_ref())?;
        let job = Job {
            v: monitor::JOB_VERSION,
            id: id.clone(),
            ticket: ticket.clone(),
            launch: Launch {
                id: id.clone(),
                spec: oci,
                filter,
                root: RootFs::Overlay {
                    lower,
                    upper: durable.join("upper"),
                    work: durable.join("work"),
                    volatile: record.auto_remove,
                },
                user,
                groups: wanted.group_add.iter().cloned().collect(),
                limits: Cgroup::at(&cgroup)?.with_defaults(wanted.limits.clone())?,
                cgroup,
                network,
                init: wanted.init,
                shm_of: None,
            },
            joins: further.joins,
            restart: wanted.restart,
            healthcheck,
            stop_signal: wanted.stop_signal.or(image_signal).unwrap_or(Signal::TERM),
            stop_grace: wanted.stop_grace_period,
            recording: recording(record),
            auto_remove: record.auto_remove,
            stdin_open: wanted.stdin_open,
            stdin_once: wanted.stdin_once,
            awaits_attach,
            state_dir: self.instance.state_dir().to_owned(),
            run_dir: self.instance.run_dir().to_owned(),
            socket: self.instance.socket().to_owned(),
        };
        job.write(&run)?;
        files::failpoint("start ordered")?;
        Ok((netns, ticket))
    }

    async fn spawn(&self, record: &Record, netns: Option<OwnedFd>, ticket: &str) -> Result<i32, ContainersError> {
        let name = record.name.to_string();
        let mut command = Command::new(self.program.path().map_err(ContainersError::Spawn)?);
        command.arg0("setpoint").arg(monitor::ROLE).arg(self.instance.container_run_dir(&record.id)).arg(ticket);
        // The monitor lives on for long and needs nothing of the starter's environment but where programs are.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
        match netns {
            Some(netns) => command.arg(NETNS_GIVEN).stdin(netns),
            None => command.stdin(Stdio::null()),
        };
        command.stdout(Stdio::piped()).stderr(self.monitor_log(&record.id)?);
        let mut child = command.spawn().map_err(ContainersError::Spawn)?;
        drop(command);
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            match timeout(PATIENCE, BufReader::new(stdout).take(64 * 1024).read_to_end(&mut answer)).await {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(ContainersError::Spawn(e)),
                Err(_) => return Err(ContainersError::StartSilent { name, seconds: PATIENCE.as_secs() }),
            }
        }
        // This is the process that the monitor left behind; it has ended before the pipe was closed.
        child.wait().await.map_err(ContainersError::Spawn)?;
        match monitor::decode_started(&answer) {
            Some(Started::Running { pid }) => Ok(pid),
            Some(Started::Busy) => Err(ContainersError::AlreadyRunning { name }),
            Some(Started::Failed { code, why }) => Err(ContainersError::Start { name, code, why }),
            None => {
                let log = self.instance.container_dir(&record.id).join(MONITOR_LOG);
                let said = files::read(&log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
                let said = said.lines().last().unwrap_or_default().to_owned();
                Err(ContainersError::MonitorDied { name, said })
            }
        }
    }

    fn monitor_log(&self, id: &ContainerId) -> Result<std::fs::File, ContainersError> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.instance.container_dir(id).join(MONITOR_LOG);
        let large = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_MONITOR_LOG);
        if large {
            files::remove_all(&path)?;
        }
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        Ok(file.map_err(|e| FileError::new("open", path, e))?)
    }
}
