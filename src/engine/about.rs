//! What an instance is, and what its host lets it do.

use std::path::PathBuf;

use super::{Engine, rootless, runtime};

/// What there is to know of an instance before it has anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub kernel: String,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// Whether it is an ordinary user's.
    pub rootless: bool,
    /// `v1`, `v2`, or `none` where there are none for this user.
    pub cgroups: &'static str,
    /// The controllers whose limits can be kept.
    pub controllers: Vec<String>,
}

impl Engine {
    pub fn about(&self) -> About {
        let instance = self.instance();
        let (cgroups, controllers) = runtime::cgroups::about();
        About {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            state_dir: instance.state_dir().to_owned(),
            run_dir: instance.run_dir().to_owned(),
            rootless: rootless::is_inside(instance.run_dir()),
            cgroups,
            controllers,
        }
    }
}
