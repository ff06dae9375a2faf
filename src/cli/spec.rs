//! From the flags of `run` and `create` to what a container is to be. Pure: what it needs of the surroundings is handed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::args::SpecArgs;
use super::mounts;
use crate::files;
use crate::model::spec::{Attachment, ContainerSpec, HostAddress, InvalidLogging, Logging, NetworkMode, ResourceLimits, Ulimit};
use crate::model::{ImageRef, Name, PortMapping, Span};

/// What flags refer to without saying it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where relative paths begin.
    pub cwd: PathBuf,
    /// The environment of the command line.
    pub environment: BTreeMap<String, String>,
}

impl Surroundings {
    pub fn of_this_process() -> std::io::Result<Self> {
        let text = |s: std::ffi::OsString| s.into_string().ok();
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((text(k)?, text(v)?))).collect();
        Ok(Self { cwd: std::env::current_dir()?, environment })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("{flag} {value:?}: {why}")]
    Flag { flag: &'static str, value: String, why: String },
    #[error("{0}")]
    Image(#[from] crate::model::reference::InvalidReference),
    #[error("{0}")]
    EnvFile(#[from] files::FileError),
    #[error("published ports need a network of its own: with `--network {mode}` there is none")]
    PortsWithoutNetwork { mode: NetworkMode },
    #[error("{flag} is not supported")]
    Refused { flag: &'static str, advice: &'static str },
    #[error("{flag} cannot stand beside `{beside}`: {why}")]
    Excludes { flag: &'static str, beside: String, why: &'static str },
    #[error("the limit {which}: {why}")]
    Limit { which: &'static str, why: &'static str },
    #[error("{flag} needs one `--network NAME`")]
    NeedsOneNetwork { flag: &'static str },
    #[error("`--network {mode}` excludes other networks")]
    ExclusiveNetwork { mode: NetworkMode },
    #[error("two mounts have the target {target}")]
    SameTarget { target: String },
}

impl SpecError {
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { advice, .. } => Some(advice),
            _ => None,
        }
    }
}

pub(super) fn flag<T, E: ToString>(flag: &'static str, value: &str, result: Result<T, E>) -> Result<T, SpecError> {
    result.map_err(|why| SpecError::Flag { flag, value: value.to_owned(), why: why.to_string() })
}

/// What the flags ask for.
pub fn container(args: &SpecArgs, around: &Surroundings) -> Result<ContainerSpec, SpecError> {
    if let Some((flag, advice)) = args.refused.first() {
        return Err(SpecError::Refused { flag, advice });
    }
    let (image, command) = args.rest.split_first().map_or(("", &[][..]), |(image, command)| (image.as_str(), command));
    let mut spec = ContainerSpec::new(image.parse::<ImageRef>()?);
    spec.command = (!command.is_empty()).then(|| command.to_vec());
    // An empty entrypoint takes the image's away, and with it the image's command.
    spec.entrypoint = args.entrypoint.as_ref().map(|text| if text.is_empty() { vec![] } else { vec![text.clone()] });
    for path in &args.env_file {
        spec.environment.extend(read_env_file(path, around)?);
    }
    for text in &args.env {
        spec.environment.extend(flag("--env", text, variable(text, around))?);
    }
    spec.working_dir = args.workdir.clone();
    if let Some(dir) = &spec.working_dir
        && !dir.starts_with('/')
    {
        return flag("--workdir", dir, Err("it is not an absolute path in the container"));
    }
    spec.user = args.user.clone();
    spec.hostname = args.hostname.clone();
    spec.tty = args.tty;
    spec.stdin_open = args.interactive;
    confine::label_files(args, around, &mut spec)?;
    spec.labels.extend(labels(&args.label)?);
    mount_all(args, around, &mut spec)?;
    networks(args, &mut spec)?;
    confine::apply(args, around, &mut spec)?;
    confine::reach(args, &mut spec)?;
    for text in &args.publish {
        spec.ports.extend(flag("--publish", text, PortMapping::parse_all(text))?);
    }
    if !spec.ports.is_empty() && spec.network_mode != NetworkMode::Bridge {
        return Err(SpecError::PortsWithoutNetwork { mode: spec.network_mode });
    }
    for text in &args.add_host {
        let (name, address) = flag("--add-host", text, host(text))?;
        spec.extra_hosts.insert(name, address);
    }
    spec.restart = args.restart;
    spec.logging = logging(args)?;
    spec.stop_signal = args.stop_signal;
    if let Some(seconds) = args.stop_timeout {
        spec.stop_grace_period = Span::seconds(seconds);
    }
    spec.limits = confine::limits(args, pids(args.pids_limit)?)?;
    for text in &args.ulimit {
        let (name, limit) = flag("--ulimit", text, ulimit(text))?;
        spec.ulimits.insert(name, limit);
    }
    for text in &args.sysctl {
        let (key, value) = flag("--sysctl", text, text.split_once('=').ok_or("expected KEY=VALUE"))?;
        spec.sysctls.insert(key.into(), value.into());
    }
    spec.cap_add = capabilities(&args.cap_add);
    spec.cap_drop = capabilities(&args.cap_drop);
    spec.read_only = args.read_only;
    spec.healthcheck = super::health::healthcheck(&args.health);
    Ok(spec)
}

fn mount_all(args: &SpecArgs, around: &Surroundings, spec: &mut ContainerSpec) -> Result<(), SpecError> {
    let home = around.environment.get("HOME").map(String::as_str);
    for text in &args.volume {
        spec.mounts.push(flag("--volume", text, mounts::volume(text, &around.cwd, home))?);
    }
    for text in &args.mount {
        spec.mounts.push(flag("--mount", text, mounts::mount(text, &around.cwd, home))?);
    }
    for text in &args.tmpfs {
        spec.mounts.push(flag("--tmpfs", text, mounts::tmpfs(text))?);
    }
    let mut seen = BTreeSet::new();
    for mount in &spec.mounts {
        if !seen.insert(mount.target().trim_end_matches('/')) {
            return Err(SpecError::SameTarget { target: mount.target().to_owned() });
        }
    }
    // What is mounted below another mount comes after it.
    spec.mounts.sort_by_key(|mount| mount.target().trim_end_matches('/').matches('/').count());
    Ok(())
}

fn networks(args: &SpecArgs, spec: &mut ContainerSpec) -> Result<(), SpecError> {
    for text in &args.networks {
        match text.as_str() {
            // Docker's word for the default network.
            "bridge" | "default" => {}
            mode if matches!(mode, "none" | "host") || mode.starts_with("container:") => {
                spec.network_mode = flag("--network", mode, mode.parse())?;
            }
            name => {
                let name = flag::<Name, _>("--network", name, name.parse())?;
                spec.networks.insert(name, Attachment::default());
            }
        }
    }
    if spec.network_mode != NetworkMode::Bridge && args.networks.len() > 1 {
        return Err(SpecError::ExclusiveNetwork { mode: spec.network_mode.clone() });
    }
    if !args.network_alias.is_empty() {
        if spec.networks.is_empty() {
            return Err(SpecError::NeedsOneNetwork { flag: "--network-alias" });
        }
        for attachment in spec.networks.values_mut() {
            attachment.aliases = args.network_alias.iter().cloned().collect();
        }
    }
    if let Some(address) = args.ip {
        let mut attachments = spec.networks.values_mut();
        match (attachments.next(), attachments.next()) {
            (Some(attachment), None) => attachment.ipv4_address = Some(address),
            _ => return Err(SpecError::NeedsOneNetwork { flag: "--ip" }),
        }
    }
    if let Some(address) = args.ip6 {
        let mut attachments = spec.networks.values_mut();
        match (attachments.next(), attachments.next()) {
            (Some(attachment), None) => attachment.ipv6_address = Some(address),
            _ => return Err(SpecError::NeedsOneNetwork { flag: "--ip6" }),
        }
    }
    Ok(())
}

fn logging(args: &SpecArgs) -> Result<Logging, SpecError> {
    let refused = |flag: &'static str, value: &str, error: InvalidLogging| SpecError::Flag {
        flag,
        value: value.to_owned(),
        why: format!("{error}; {}", error.hint()),
    };
    let driver = args.log_driver.parse().map_err(|error| refused("--log-driver", &args.log_driver, error))?;
    let mut options = Vec::new();
    for text in &args.log_opt {
        options.push(flag("--log-opt", text, text.split_once('=').ok_or("expected KEY=VALUE"))?);
    }
    Logging::new(driver, options).map_err(|error| refused("--log-opt", &args.log_opt.join(" "), error))
}

/// `KEY=VALUE`, or `KEY` for what it is here; where it is not set here, it is not set there either.
pub fn variable(text: &str, around: &Surroundings) -> Result<Option<(String, String)>, &'static str> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, around.environment.get(text).cloned()),
    };
    if key.is_empty() { Err("a variable needs a name") } else { Ok(value.map(|value| (key.to_owned(), value))) }
}

/// The variables of a file.
pub fn read_env_file(path: &Path, around: &Surroundings) -> Result<BTreeMap<String, String>, SpecError> {
    let text = files::read_to_string(&around.cwd.join(path))?;
    env_file(&text, around).map_err(|why| SpecError::Flag { flag: "--env-file", value: path.display().to_string(), why })
}

/// Lines of `KEY=VALUE` or `KEY`, and comments. Values are taken as they are, quotes and all, as Docker does.
fn env_file(text: &str, around: &Surroundings) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        variables.extend(variable(line, around).map_err(|why| format!("line {}: {why}", number + 1))?);
    }
    Ok(variables)
}

/// `KEY=VALUE`, or `KEY` for an empty value.
pub fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, SpecError> {
    texts
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if key.is_empty() { flag("--label", text, Err("a label needs a name")) } else { Ok((key.into(), value.into())) }
        })
        .collect()
}

pub(super) fn host(text: &str) -> Result<(String, HostAddress), String> {
    let (name, address) = text.split_once([':', '=']).ok_or("expected NAME:ADDRESS")?;
    let address = address.parse::<HostAddress>().map_err(|e| e.to_string())?;
    if name.is_empty() { Err("expected NAME:ADDRESS".to_owned()) } else { Ok((name.to_owned(), address)) }
}

fn pids(limit: Option<i64>) -> Result<Option<u32>, SpecError> {
    match limit {
        None => Ok(None),
        Some(-1 | 0) => Ok(Some(ResourceLimits::ANY_PIDS)),
        Some(n) => flag("--pids-limit", &n.to_string(), u32::try_from(n).map(Some)),
    }
}

pub(super) fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
    let (name, values) = text.split_once('=').ok_or("expected NAME=SOFT[:HARD]")?;
    let number = |text: &str| match text {
        "unlimited" | "-1" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| format!("{text:?} is not a number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err("the soft limit is above the hard one".into());
    }
    Ok((name.to_owned(), Ulimit { soft, hard }))
}

/// Capabilities in one spelling, without `CAP_`.
fn capabilities(texts: &[String]) -> BTreeSet<String> {
    texts
        .iter()
        .map(|text| {
            let upper = text.to_ascii_uppercase();
            upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
        })
        .collect()
}

mod confine;
#[cfg(test)]
mod tests;
