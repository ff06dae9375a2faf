//! Arguments of the commands about images.

use std::path::PathBuf;

use clap::Args;

use crate::model::{ImageRef, Platform};

#[derive(Clone, Debug, Args)]
pub struct ImagesArgs {
    /// Print only digests
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Do not shorten digests
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// The image, such as `nginx:1.27` or `registry.local:5000/app@sha256:…`
    #[arg(value_name = "IMAGE")]
    pub reference: ImageRef,
    /// The variant for this os/architecture[/variant] instead of this host's
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A root file system: a tar (plain, gzip or zstd), a folder, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// The new image's name
    #[arg(value_name = "IMAGE")]
    pub reference: ImageRef,
    /// What its containers do by default: CMD, ENTRYPOINT, ENV, USER or WORKDIR, as in a Dockerfile
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Print nothing but the image's digest
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct RmiArgs {
    /// Names, digests or beginnings of digests
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Remove it even where containers that are not running were made from it, and with all its names
    #[arg(short, long)]
    pub force: bool,
}
