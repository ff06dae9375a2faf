//! Arguments of `build`: the names that `docker build` and `docker buildx build` have for what is asked of a build.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use crate::cli::select::Filter;
use crate::model::spec::{CgroupParent, IdList, SwapLimit};
use crate::model::{ByteSize, Cpus, ImageRef, Platform};

#[derive(Clone, Debug, Args)]
#[command(override_usage = "setpoint build [OPTIONS] PATH|URL|-")]
pub struct BuildArgs {
    /// The context: a folder, a Git repository as URL[#REF[:FOLDER]], the address of a tar or of a Dockerfile, or `-` for a tar
    /// or a Dockerfile on standard input
    #[arg(value_name = "PATH|URL|-")]
    pub context: String,
    /// The Dockerfile, `-` for standard input [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// A name of the image
    #[arg(short, long, value_name = "IMAGE")]
    pub tag: Vec<ImageRef>,
    /// Give an ARG a value; without one, what it is in the environment here
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// A further context: a folder, a Git repository, an address, docker-image://IMAGE or oci-layout://FOLDER
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub build_context: Vec<String>,
    /// Build this stage, by its name or number, instead of the last
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Label the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Annotate the image's manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// What the image is for, os/architecture[/variant], instead of this host; several make an index
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,

    /// Do every step, though the cache has it
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub no_cache: bool,
    /// Do every step of this stage
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Ask registries for newer bases
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub pull: bool,
    /// Take steps from this cache too: an image, type=registry,ref=IMAGE or type=local,src=FOLDER
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Keep the cache there too: type=registry,ref=IMAGE, type=local,dest=FOLDER or type=inline; mode=max for all stages
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,

    /// The network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default", hide_default_value = true)]
    pub network: String,
    /// A secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// An agent for RUN --mount=type=ssh: default for the one of SSH_AUTH_SOCK, or NAME=SOCKET
    #[arg(long, value_name = "AGENT")]
    pub ssh: Vec<String>,
    /// Allow what not every Dockerfile may: network.host, security.insecure
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Where the control group of each RUN is made: a path such as /batch
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<CgroupParent>,
    /// A line of /etc/hosts for RUN: NAME:ADDRESS
    #[arg(long, value_name = "HOST")]
    pub add_host: Vec<String>,
    #[command(flatten)]
    pub limits: BuildLimitArgs,

    /// Where the result goes: a folder for its files, `-` for a tar of them, or
    /// type=image|registry|tar|local|oci|docker[,dest=PATH][,name=IMAGE][,push=true][,compression=gzip|zstd|uncompressed]
    /// [default: the images here]
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Push the image to the registries of its names
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub push: bool,
    /// Keep the image among those here. This is so unless --output says otherwise
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub load: bool,
    /// Attest how the image was built: mode=min, or mode=max with arguments and the Dockerfile. Nothing is attested unless asked
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Attest which software is in the image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// The same: type=provenance[,mode=min|max][,version=v0.2] or type=sbom
    #[arg(long, value_name = "WHAT")]
    pub attest: Vec<String>,
    /// Write the image's digest to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Print nothing but the image's digest
    #[arg(short, long)]
    pub quiet: bool,
    /// How the build is shown: auto, plain (a line at a time), tty, quiet, or json (an event a line, on standard output)
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value = "auto",
        env = "BUILDKIT_PROGRESS",
        hide_env = true,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub progress: ProgressWhen,
    /// Build nothing: check the Dockerfile
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub check: bool,

    #[command(flatten)]
    pub refused: RefusedBuildArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressWhen {
    #[default]
    Auto,
    Plain,
    Tty,
    #[value(alias = "none")]
    Quiet,
    #[value(alias = "rawjson")]
    Json,
}

/// What each RUN may use.
#[derive(Clone, Debug, Default, Args)]
pub struct BuildLimitArgs {
    /// The size of /dev/shm for RUN [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<ByteSize>,
    /// A resource limit of RUN's processes: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// At most so much memory for each RUN, such as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<SwapLimit>,
    /// At most so many processors for each RUN, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,
    /// Microseconds of a processor in each period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<u64>,
    /// The period of --cpu-quota [default: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// The weight of RUN when processors are scarce, 1024 being usual
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,
    /// The processors that RUN may use, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<IdList>,
    /// The memory nodes that RUN may use, such as 0
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<IdList>,
}

/// What Docker has and setpoint has not. Where Docker's word for "without it" is given, that is as it is here.
#[derive(Clone, Debug, Default, Args)]
pub struct RefusedBuildArgs {
    #[arg(long, hide = true)]
    squash: bool,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    call: Option<String>,
    #[arg(long, hide = true)]
    policy: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<String>,
}

impl RefusedBuildArgs {
    /// The first that was given, and what to do instead.
    pub fn first(&self) -> Option<(&'static str, &'static str)> {
        let unless = |given: &Option<String>, usual: &str| given.as_deref().is_some_and(|value| value != usual);
        [
            (self.squash, "--squash", "leave it out, or copy the files into a last stage: `FROM scratch` and `COPY --from`"),
            (unless(&self.isolation, "default"), "--isolation", "leave it out: it is for Windows"),
            (
                !self.security_opt.is_empty(),
                "--security-opt",
                "use `RUN --security=insecure` in the Dockerfile, with --allow security.insecure",
            ),
            (self.compress, "--compress", "leave it out: a folder of this host is read where it is"),
            (
                unless(&self.builder, "default"),
                "--builder",
                "leave it out: setpoint is the builder; --socket names another engine",
            ),
            (unless(&self.call, "build"), "--call", "use --check to check the Dockerfile"),
            (!self.policy.is_empty(), "--policy", "leave it out"),
            (
                unless(&self.disable_content_trust, "true"),
                "--disable-content-trust",
                "leave it out: who must have signed what is said in /etc/setpoint/registries.yaml",
            ),
            (unless(&self.rm, "true"), "--rm", "leave it out: nothing is left of a RUN but its layer"),
            (unless(&self.force_rm, "true"), "--force-rm", "leave it out: nothing is left of a RUN, however it ends"),
        ]
        .into_iter()
        .find_map(|(given, flag, advice)| given.then_some((flag, advice)))
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum BuilderCommand {
    /// Build an image of a Dockerfile
    Build(Box<BuildArgs>),
    /// Show what is kept of steps, so that they need not be done again
    Du(CacheUsageArgs),
    /// Forget steps, and remove what only they need
    Prune(CachePruneArgs),
}

#[derive(Clone, Debug, Args)]
pub struct CacheUsageArgs {
    /// Do not shorten instructions
    #[arg(long, visible_alias = "verbose")]
    pub no_trunc: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct CachePruneArgs {
    /// Those too whose layers an image has; that frees nothing by itself
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only these: until=TIME (last used before a time, or so long ago as `24h`)
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<Filter>,
    /// Forget only as many as it takes to stay within so many bytes, those first that were used longest ago
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES")]
    pub max_used_space: Option<ByteSize>,
}
