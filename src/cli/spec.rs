//! From the flags of `run` and `create` to what a container is to be. Pure: what it needs of the surroundings is handed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::args::SpecArgs;
use super::mounts;
use crate::files;
use crate::model::spec::{Attachment, ContainerSpec, InvalidLogging, Logging, NetworkMode, ResourceLimits, Ulimit};
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
    #[error("containers have no standard input or terminal of their own yet")]
    Interactive,
    #[error("published ports need a network: with `--network {mode}` there is none")]
    PortsWithoutNetwork { mode: &'static str },
    #[error("{flag} needs one `--network NAME`")]
    NeedsOneNetwork { flag: &'static str },
    #[error("`--network {mode}` excludes other networks")]
    ExclusiveNetwork { mode: &'static str },
    #[error("two mounts have the target {target}")]
    SameTarget { target: String },
}

impl SpecError {
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Interactive => Some("start it with `setpoint run -d`, then use `setpoint exec -i NAME COMMAND`"),
            _ => None,
        }
    }
}

fn flag<T, E: ToString>(flag: &'static str, value: &str, result: Result<T, E>) -> Result<T, SpecError> {
    result.map_err(|why| SpecError::Flag { flag, value: value.to_owned(), why: why.to_string() })
}

/// What the flags ask for.
pub fn container(args: &SpecArgs, around: &Surroundings) -> Result<ContainerSpec, SpecError> {
    if args.interactive || args.tty {
        return Err(SpecError::Interactive);
    }
    let (image, command) = args.rest.split_first().map_or(("", &[][..]), |(image, command)| (image.as_str(), command));
    let mut spec = ContainerSpec::new(image.parse::<ImageRef>()?);
    spec.command = (!command.is_empty()).then(|| command.to_vec());
    // An empty entrypoint takes the image's away, and with it the image's command.
    spec.entrypoint = args.entrypoint.as_ref().map(|text| if text.is_empty() { vec![] } else { vec![text.clone()] });
    for path in &args.env_file {
        let text = files::read_to_string(&around.cwd.join(path))?;
        spec.environment.extend(env_file(&text, around).map_err(|why| SpecError::Flag {
            flag: "--env-file",
            value: path.display().to_string(),
            why,
        })?);
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
    spec.labels = labels(&args.label)?;
    mount_all(args, around, &mut spec)?;
    networks(args, &mut spec)?;
    for text in &args.publish {
        spec.ports.extend(flag("--publish", text, PortMapping::parse_all(text))?);
    }
    if !spec.ports.is_empty() && spec.network_mode != NetworkMode::Bridge {
        return Err(SpecError::PortsWithoutNetwork { mode: mode_name(spec.network_mode) });
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
    spec.limits =
        ResourceLimits { memory: args.memory.filter(|size| size.0 != 0), cpus: args.cpus, pids: pids(args.pids_limit)? };
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
            "none" => spec.network_mode = NetworkMode::None,
            "host" => spec.network_mode = NetworkMode::Host,
            // Docker's word for the default network.
            "bridge" | "default" => {}
            name => {
                let name = flag::<Name, _>("--network", name, name.parse())?;
                spec.networks.insert(name, Attachment::default());
            }
        }
    }
    if spec.network_mode != NetworkMode::Bridge && args.networks.len() > 1 {
        return Err(SpecError::ExclusiveNetwork { mode: mode_name(spec.network_mode) });
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

const fn mode_name(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
    }
}

/// `KEY=VALUE`, or `KEY` for what it is here; where it is not set here, it is not set there either.
pub fn variable(text: &str, around: &Surroundings) -> Result<Option<(String, String)>, &'static str> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, around.environment.get(text).cloned()),
    };
    if key.is_empty() { Err("a variable needs a name") } else { Ok(value.map(|value| (key.to_owned(), value))) }
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

fn host(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once([':', '=']).ok_or("expected NAME:ADDRESS")?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    match address.parse() {
        Ok(address) if !name.is_empty() => Ok((name.to_owned(), address)),
        _ => Err(format!("{address:?} is not an address")),
    }
}

fn pids(limit: Option<i64>) -> Result<Option<u32>, SpecError> {
    match limit {
        None => Ok(None),
        Some(-1 | 0) => Ok(Some(ResourceLimits::ANY_PIDS)),
        Some(n) => flag("--pids-limit", &n.to_string(), u32::try_from(n).map(Some)),
    }
}

fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
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

#[cfg(test)]
mod tests;
