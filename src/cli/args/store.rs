//! Arguments of the commands about the image store, and Docker's group of all commands about images.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::build::BuildArgs;
use super::image::{ImagesArgs, ImportArgs, PullArgs, PushArgs, RmiArgs};
use crate::cli::format::Format;
use crate::cli::select::Filter;
use crate::model::{ImageRef, Platform};

#[derive(Clone, Debug, Args)]
pub struct SaveArgs {
    /// Names, digests or beginnings of digests
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The archive's form
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "docker-archive")]
    pub format: SaveFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SaveFormat {
    DockerArchive,
    #[value(alias = "oci-archive")]
    Oci,
}

#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Of several platforms, this os/architecture[/variant] instead of this host's
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct CommitArgs {
    /// The container, running or not
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The new image's name
    #[arg(value_name = "IMAGE")]
    pub reference: Option<ImageRef>,
    /// Who made it
    #[arg(short, long)]
    pub author: Option<String>,
    /// What was done
    #[arg(short, long)]
    pub message: Option<String>,
    /// An instruction of a Dockerfile that changes what its containers do by default
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Let the container stand still while it is read
    #[arg(
        short, long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true"
    )]
    pub pause: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The container, running or not
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Print only digests
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// `table`, `table TEMPLATE`, `json`, or a template of Go for each, such as `{{.CreatedBy}}`
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    pub format: Option<Format>,
    /// Times as so long ago and sizes in units; `--human=false` has times and bytes
    #[arg(
        short = 'H', long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true"
    )]
    pub human: bool,
    /// Do not shorten
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct TagArgs {
    /// A name, a digest or the beginning of one
    #[arg(value_name = "SOURCE")]
    pub image: String,
    /// One more name for it
    #[arg(value_name = "TARGET")]
    pub reference: ImageRef,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Bring what is damaged again
    #[arg(long)]
    pub repair: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    /// All images that no container was made from, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only these: until=TIME (a time, or so long ago as `24h`), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<Filter>,
}

#[derive(Clone, Debug, Args)]
pub struct DfArgs {
    /// One line for each image, container and volume
    #[arg(short, long)]
    pub verbose: bool,
    /// `table`, `table TEMPLATE`, `json`, or a template of Go for each kind, such as `{{.Type}} {{.Size}}`
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["verbose", "json"])]
    pub format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ImageInspectArgs {
    /// Names, digests or beginnings of digests
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// `json`, or a template of Go for each, such as `{{.Config.Env}}`
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image of a Dockerfile
    Build(Box<BuildArgs>),
    /// Show how an image came about
    History(HistoryArgs),
    /// Make an image from a root file system
    Import(ImportArgs),
    /// Show all that is known of images, as JSON
    Inspect(ImageInspectArgs),
    /// Make images of an archive
    Load(LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove images that nobody needs
    Prune(PruneArgs),
    /// Get an image from its registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Give an image one more name
    Tag(TagArgs),
}
