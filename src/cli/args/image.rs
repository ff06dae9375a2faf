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
pub struct PushArgs {
    /// An image of this host, named as it is to be called at its registry
    #[arg(value_name = "IMAGE")]
    pub reference: ImageRef,
    /// Publish an index of this image and these, one for each platform; may be given several times
    #[arg(long, value_name = "IMAGE")]
    pub with: Vec<String>,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// The registry
    #[arg(value_name = "SERVER", default_value = "docker.io")]
    pub server: String,
    /// The user; asked for when absent
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// The password; others on this host may see it here
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub password_stdin: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LogoutArgs {
    /// The registry
    #[arg(value_name = "SERVER", default_value = "docker.io")]
    pub server: String,
}

#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// What to search for: `TERM` at Docker's registry, `HOST[:PORT][/TERM]` at another one
    #[arg(value_name = "TERM")]
    pub term: String,
    /// At most so many results
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub limit: usize,
    /// TERM is a repository: list its tags
    #[arg(long)]
    pub list_tags: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Do not shorten descriptions
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A root file system: a tar (plain, gzip or zstd), a folder, an http(s) URL of a tar, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// The new image's name
    #[arg(value_name = "IMAGE")]
    pub reference: ImageRef,
    /// An instruction of a Dockerfile that says what its containers do by default, such as CMD, ENV or EXPOSE
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
