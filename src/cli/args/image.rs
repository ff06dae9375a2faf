//! Arguments of the commands about images.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::format::Format;
use crate::cli::select::Filter;
use crate::model::reference::InvalidReference;
use crate::model::{ImageRef, Platform};

#[derive(Clone, Debug, Args)]
pub struct ImagesArgs {
    /// Only images of this name; `*`, `?` and `[…]` stand for others, but not for `/`
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
    /// All images. There are no intermediate ones that would not be shown otherwise
    #[arg(short, long)]
    pub all: bool,
    /// Show digests too
    #[arg(long)]
    pub digests: bool,
    /// Only these: dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME, reference=PATTERN
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<Filter>,
    /// `table`, `table TEMPLATE`, `json`, or a template of Go for each, such as `{{.Repository}}:{{.Tag}}`
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    pub format: Option<Format>,
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
    pub image: Named,
    /// All images of the repository, whatever their tags
    #[arg(short, long)]
    pub all_tags: bool,
    /// The variant for this os/architecture[/variant] instead of this host's
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub trust: ContentTrust,
}

#[derive(Clone, Debug, Args)]
pub struct PushArgs {
    /// An image of this host, named as it is to be called at its registry
    #[arg(value_name = "IMAGE")]
    pub image: Named,
    /// All images that this host has of the repository, whatever their tags
    #[arg(short, long, conflicts_with = "with")]
    pub all_tags: bool,
    /// Publish an index of this image and these, one for each platform; may be given several times
    #[arg(long, value_name = "IMAGE")]
    pub with: Vec<String>,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub trust: ContentTrust,
}

/// A reference, and whether its tag was written: with all tags, none may be.
#[derive(Clone, Debug)]
pub struct Named {
    pub reference: ImageRef,
    pub bare: bool,
}

impl FromStr for Named {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        // What already has a tag or a digest cannot have another tag.
        Ok(Self { reference: text.parse()?, bare: format!("{text}:latest").parse::<ImageRef>().is_ok() })
    }
}

/// What Docker would ask of a Notary server.
#[derive(Clone, Debug, Args)]
pub struct ContentTrust {
    /// Not supported: signatures are those of cosign, and are checked where manifests or registries.yaml say so
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = no_content_trust
    )]
    pub disable_content_trust: Option<bool>,
}

fn no_content_trust(_: &str) -> Result<bool, &'static str> {
    Err("Docker's content trust (Notary) is not supported; leave the option out: nothing is checked unless \
         `verify` in /etc/setpoint/registries.yaml or in a manifest asks for a cosign signature")
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
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = limit)]
    pub limit: usize,
    /// Only these: stars=N (so many at least), is-official=BOOL, is-automated=BOOL
    #[arg(short, long, value_name = "FILTER", conflicts_with = "list_tags")]
    pub filter: Vec<Filter>,
    /// `table`, `table TEMPLATE`, `json`, or a template of Go for each, such as `{{.Name}}`
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["json", "list_tags"])]
    pub format: Option<Format>,
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
    /// A root file system: a tar (plain, gzip, bzip2, xz or zstd), a folder, an http(s) URL of a tar, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// The new image's name
    #[arg(value_name = "IMAGE")]
    pub reference: Option<ImageRef>,
    /// An instruction of a Dockerfile that says what its containers do by default, such as CMD, ENV or EXPOSE
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// What its history says of it
    #[arg(short, long, value_name = "MESSAGE")]
    pub message: Option<String>,
    /// What the programs in it are made for, os/architecture[/variant], instead of this host
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
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
    /// Keep parents without a name. There are none: an image here is whole by itself
    #[arg(long)]
    pub no_prune: bool,
}

/// As many as Docker's registry gives at once.
fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..=100) => Ok(limit),
        _ => Err("expected a number from 1 to 100".to_owned()),
    }
}
