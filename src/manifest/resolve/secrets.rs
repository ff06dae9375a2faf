//! Who has which secret. Only of those that a container has is the content read now: what is for builds alone is read when
//! something is built.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::manifest::builds::NamedSecret;
use crate::manifest::declared::Secret;
use crate::manifest::desired::Desired;
use crate::manifest::problem::{Problems, did_you_mean};
use crate::manifest::resources::read_content;
use crate::model::Name;
use crate::model::spec::{Build, Mount, SecretSpec};

use super::{Broken, is_broken};

/// A stack's secrets.
pub(super) struct Secrets<'a> {
    pub(super) all: BTreeMap<Name, Secret>,
    pub(super) broken: &'a Broken,
}

impl Secrets<'_> {
    pub(super) fn has(&self, name: &Name) -> bool {
        self.all.contains_key(name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.all.keys().map(Name::as_str).collect()
    }

    /// Gives a build the files of its secrets.
    pub(super) fn give(&self, named: Vec<NamedSecret>, build: &mut Build, problems: &mut Problems) {
        for NamedSecret { id, source, at } in named {
            match self.all.get(&source) {
                Some(Secret::File(file, _)) => drop(build.secrets.insert(id, file.clone())),
                Some(Secret::Variable(..)) => {
                    let hint = "give the secret a `file`";
                    problems.error_hint(at, format!("the secret `{source}` is in a variable, and a build's is in a file"), hint);
                }
                Some(Secret::External(external)) => {
                    let hint = "give the secret a `file`";
                    let message = format!("the secret `{source}` is that of {external}, and a build's is in a file");
                    problems.error_hint(at, message, hint);
                }
                None if is_broken(self.broken, "secret", &source) => {}
                None => {
                    let hint = did_you_mean(source.as_str(), self.names())
                        .unwrap_or_else(|| "declare it, or name its file: `{id: …, file: …}`".to_owned());
                    problems.error_hint(at, format!("there is no secret `{source}`"), hint);
                }
            }
        }
    }

    /// Reads the secrets that a container mounts. One that cannot be read is told once.
    pub(super) fn bring(&self, mounts: &[Mount], desired: &mut Desired, problems: &mut Problems, watched: &mut Vec<PathBuf>) {
        for mount in mounts {
            let Mount::Config { source, secret: true, .. } = mount else { continue };
            if desired.secrets.contains_key(source) {
                continue;
            }
            let mut external = None;
            let content = match self.all.get(source) {
                Some(Secret::Variable(_, content)) => content.clone(),
                Some(Secret::External(other)) => {
                    external = Some(other.clone());
                    Vec::new()
                }
                Some(Secret::File(path, at)) => {
                    watched.push(path.clone());
                    let Some(content) = read_content(path, *at, problems) else { continue };
                    content
                }
                None => continue,
            };
            desired.secrets.insert(source.clone(), SecretSpec { content, external });
        }
    }
}
