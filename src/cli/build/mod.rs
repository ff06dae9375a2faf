//! From the flags of `build` to what is asked of a build. What it needs of the surroundings is handed to it; files that flags
//! name are read.

mod archive;
pub mod check;
mod context;
pub mod error;
pub mod logins;
mod outputs;
mod secrets;
pub mod show;
#[cfg(test)]
mod tests;
pub mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use super::args::BuildArgs;
use super::spec::{self, SpecError, Surroundings, flag};
use crate::model::attest_words::Attest;
use crate::model::build::{BuildNetwork, BuildOutput, BuildRequest, CachePlace, Entitlement};
use crate::model::build_words;
use crate::model::spec::ResourceLimits;

pub use error::BuildArgsError;
use error::words;

/// What flags refer to without saying it.
pub struct Inputs<'a> {
    pub around: &'a Surroundings,
    /// Unbuffered: what is left of it may be the upload.
    pub stdin: &'a mut dyn Read,
    pub stdin_is_terminal: bool,
    /// Where the engine puts what goes to standard output: a file that is not there yet, in a folder of its own.
    pub spool: PathBuf,
}

/// A build, and what is done here for it.
#[derive(Debug)]
pub struct Asked {
    pub request: BuildRequest,
    /// All paths in it that the engine must see as we do, once each.
    pub paths: Vec<PathBuf>,
    /// What was read of standard input, where the rest of it is the upload.
    pub upload: Option<Vec<u8>>,
    /// Whether what is written to the spool goes to standard output.
    pub to_stdout: bool,
}

/// The variable by which times in images are fixed, in the environment and as a build argument.
/// Source: reproducible-builds.org, "SOURCE_DATE_EPOCH".
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What the flags ask for.
pub fn asked(args: &BuildArgs, inputs: &mut Inputs<'_>) -> Result<Asked, BuildArgsError> {
    if let Some((flag, advice)) = args.refused.first() {
        return Err(SpecError::Refused { flag, advice }.into());
    }
    // All that can be wrong without standard input comes first: it may be long.
    let (contexts, mut paths) = context::named(&args.build_context, inputs)?;
    let outputs = outputs::read(args, inputs)?;
    let secrets = secrets::secrets(&args.secret, inputs)?;
    let ssh = secrets::agents(&args.ssh, inputs)?;
    let arguments = arguments(args, inputs.around)?;
    let epoch =
        arguments.get(EPOCH).map(|value| value.trim().parse::<i64>().map_err(|_| BuildArgsError::Epoch { value: value.clone() }));
    let epoch = epoch.transpose()?;
    outputs.check_times(epoch)?;
    let mut annotations = annotations(&args.annotation)?;
    annotations.extend(outputs.annotations.clone());
    let docker_types = outputs.docker_types();
    let labels = spec::labels(&args.label)?;
    let limits = limits(args)?;
    let mut extra_hosts = BTreeMap::new();
    for text in &args.add_host {
        let (name, address) = flag("--add-host", text, spec::host(text))?;
        extra_hosts.insert(name, address);
    }
    let mut ulimits = BTreeMap::new();
    for text in &args.limits.ulimit {
        let (name, limit) = flag("--ulimit", text, spec::ulimit(text))?;
        ulimits.insert(name, limit);
    }
    let mut absolute = |place| match place {
        CachePlace::Local { path, name } => {
            let path = inputs.around.cwd.join(path);
            paths.extend(path.ancestors().find(|folder| folder.is_dir()).map(PathBuf::from));
            CachePlace::Local { path, name }
        }
        other => other,
    };
    let mut cache_from = Vec::new();
    for text in &args.cache_from {
        cache_from.push(absolute(words("--cache-from", text, build_words::cache_from(text))?));
    }
    let mut cache_to = Vec::new();
    for text in &args.cache_to {
        let mut to = words("--cache-to", text, build_words::cache_to(text))?;
        to.place = absolute(to.place);
        cache_to.push(to);
    }
    let mut attest = Attest::default();
    for text in &args.attest {
        words("--attest", text, attest.attest(text))?;
    }
    if let Some(text) = &args.provenance {
        words("--provenance", text, attest.provenance(text))?;
    }
    if let Some(text) = &args.sbom {
        words("--sbom", text, attest.sbom(text))?;
    }
    let allow = args.allow.iter().map(|text| words("--allow", text, build_words::entitlement(text)));
    let mut allow = allow.collect::<Result<BTreeSet<_>, _>>()?;
    let network = network(&args.network)?;
    if network == BuildNetwork::Host {
        // Whoever types this has said so.
        allow.insert(Entitlement::NetworkHost);
    }
    let mut tags = args.tag.clone();
    tags.extend(outputs.names);
    for tag in &tags {
        if tag.digest().is_some() {
            flag("--tag", &tag.to_string(), Err::<(), _>("an image's digest cannot be chosen"))?;
        }
    }
    if outputs.all.iter().any(BuildOutput::is_pushed) && tags.is_empty() {
        return Err(BuildArgsError::PushWithoutName);
    }
    let context = context::read(&args.context, args.file.as_deref(), inputs)?;
    paths.extend(context.paths);
    paths.extend(outputs.paths);
    paths.sort();
    paths.dedup();
    let mut request = BuildRequest::new(context.source, context.dockerfile);
    request.contexts = contexts;
    request.target = args.target.clone();
    request.arguments = arguments;
    request.labels = labels;
    request.annotations = annotations;
    request.docker_types = docker_types;
    request.platforms = args.platform.clone();
    request.no_cache = args.no_cache;
    request.no_cache_filter = args.no_cache_filter.iter().cloned().collect();
    request.pull = args.pull;
    request.network = network;
    request.secrets = secrets;
    request.ssh = ssh;
    request.extra_hosts = extra_hosts;
    request.shm_size = args.limits.shm_size.filter(|size| size.0 != 0);
    request.ulimits = ulimits;
    request.limits = limits;
    request.cgroup_parent = args.cgroup_parent.clone();
    request.allow = allow;
    request.cache_from = cache_from;
    request.cache_to = cache_to;
    request.provenance = attest.provenance;
    request.sbom = attest.sbom;
    request.epoch = epoch;
    request.tags = tags;
    request.outputs = outputs.all;
    Ok(Asked { request, paths, upload: context.upload, to_stdout: outputs.to_stdout })
}

/// Build arguments: one without a value has that of the environment, and is left out where there is none.
fn arguments(args: &BuildArgs, around: &Surroundings) -> Result<BTreeMap<String, String>, BuildArgsError> {
    let mut arguments = BTreeMap::new();
    if let Some(epoch) = around.environment.get(EPOCH).filter(|epoch| !epoch.is_empty()) {
        arguments.insert(EPOCH.to_owned(), epoch.clone());
    }
    for text in &args.build_arg {
        arguments.extend(flag("--build-arg", text, spec::variable(text, around))?);
    }
    Ok(arguments)
}

fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, BuildArgsError> {
    let mut annotations = BTreeMap::new();
    for text in texts {
        let (key, value) = flag("--annotation", text, text.split_once('=').ok_or("expected KEY=VALUE"))?;
        let key = key.strip_prefix("manifest:").unwrap_or(key);
        for level in ["index:", "index-descriptor:", "manifest-descriptor:"] {
            if key.starts_with(level) || key.is_empty() {
                flag("--annotation", text, Err::<(), _>("annotations are of the image's manifest: KEY=VALUE"))?;
            }
        }
        annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(annotations)
}

fn network(text: &str) -> Result<BuildNetwork, BuildArgsError> {
    match text {
        "default" => Ok(BuildNetwork::Default),
        "none" => Ok(BuildNetwork::None),
        "host" => Ok(BuildNetwork::Host),
        other => Ok(flag("--network", other, Err("RUN has the network `default`, `none` or `host`"))?),
    }
}

fn limits(args: &BuildArgs) -> Result<ResourceLimits, BuildArgsError> {
    let wanted = &args.limits;
    let limits = ResourceLimits {
        memory: wanted.memory.filter(|size| size.0 != 0),
        memory_swap: wanted.memory_swap,
        cpus: wanted.cpus,
        cpu_quota: wanted.cpu_quota.filter(|quota| *quota != 0),
        cpu_period: wanted.cpu_period.filter(|period| *period != 0),
        cpu_shares: wanted.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: wanted.cpuset_cpus.clone(),
        cpuset_mems: wanted.cpuset_mems.clone(),
        ..ResourceLimits::default()
    };
    limits.check().map_err(|(which, why)| SpecError::Limit { which, why })?;
    Ok(limits)
}
