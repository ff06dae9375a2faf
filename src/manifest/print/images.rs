//! Images as manifests, and which need none because a container that names them is enough.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::desired::Desired;
use crate::manifest::resolve::pulled_name;
use crate::model::spec::{Commit, ImageSource, ImageSpec, Pull};
use crate::model::{ImageRef, Name, PullPolicy};

use super::yaml::Yaml;
use super::{Fields, PrintError, Printer};

/// Those that are pulled in the usual way and called as they would be if nobody declared them.
pub(super) fn implicit(desired: &Desired) -> BTreeSet<Name> {
    let named: BTreeSet<&ImageRef> = desired.containers.values().map(|placed| &placed.spec.image).collect();
    let usual = |image: &ImageSpec| {
        *image == ImageSpec::new(image.reference.clone(), ImageSource::Pull(Pull::default())) && named.contains(&image.reference)
    };
    let mut found: BTreeMap<&ImageRef, &Name> =
        desired.images.iter().filter(|(_, image)| usual(image)).map(|(name, image)| (&image.reference, name)).collect();
    loop {
        // Those that are declared have their names first, as when they are loaded.
        let mut taken: BTreeSet<Name> = desired
            .images
            .iter()
            .filter(|(_, image)| !found.contains_key(&image.reference))
            .map(|(name, _)| name.clone())
            .collect();
        let other = found.iter().find_map(|(reference, name)| {
            let given = pulled_name(reference, |name| taken.contains(name));
            let same = given.as_ref() == Some(*name);
            taken.extend(given);
            (!same).then_some(*reference)
        });
        match other {
            Some(reference) => drop(found.remove(reference)),
            None => return found.into_values().cloned().collect(),
        }
    }
}

impl Printer<'_> {
    pub(super) fn image(&self, name: &Name, image: &ImageSpec) -> Result<Vec<(String, Yaml)>, PrintError> {
        let mut fields = Fields::default();
        // Where a policy says which tag it is, the reference must not name one.
        let tagless = matches!(&image.source, ImageSource::Pull(Pull { tag_policy: Some(_), .. }));
        let reference = match tagless {
            true => repository(&image.reference),
            false => image.reference.to_string(),
        };
        if name.as_str().parse::<ImageRef>().ok().as_ref() != Some(&image.reference) {
            fields.put("reference", Yaml::text(reference));
        }
        let way = match &image.source {
            ImageSource::Pull(pull) => ("pull", pulled(pull)),
            ImageSource::Build(build) => ("build", self.build(build)?),
            ImageSource::Load { archive, reference, .. } => {
                let mut load = Fields::default();
                load.put("archive", Yaml::text(self.path(archive)?));
                load.some("reference", reference.as_ref());
                ("load", Yaml::Map(load.0))
            }
            ImageSource::Commit(Commit { container, changes, author, message }) => {
                let mut commit = Fields::default();
                commit.put("container", Yaml::text(container));
                commit.texts("changes", changes);
                commit.some("author", author.as_ref());
                commit.some("message", message.as_ref());
                ("commit", Yaml::Map(commit.0))
            }
            ImageSource::Import { path, entrypoint, command, environment, working_dir, user, .. } => {
                let mut import = Fields::default();
                import.put("source", Yaml::text(self.path(path)?));
                for (name, words) in [("entrypoint", entrypoint), ("command", command)] {
                    if let Some(words) = words {
                        import.put(name, Yaml::texts(words));
                    }
                }
                import.pairs("environment", environment);
                import.some("working_dir", working_dir.as_ref());
                import.some("user", user.as_ref());
                ("import", Yaml::Map(import.0))
            }
        };
        fields.put(way.0, way.1);
        if !image.push.is_empty() {
            fields.put("push", Yaml::Map(vec![("to".to_owned(), Yaml::texts(&image.push))]));
        }
        if let Some(verify) = &image.verify {
            fields.put("verify", Yaml::Map(vec![("keys".to_owned(), Yaml::texts(&verify.keys))]));
        }
        Ok(fields.0)
    }
}

/// A reference without its tag.
fn repository(reference: &ImageRef) -> String {
    let text = reference.to_string();
    let path = text.rfind('/').map_or(0, |at| at + 1);
    text[path..].find(':').map_or(text.clone(), |at| text[..path + at].to_owned())
}

fn pulled(pull: &Pull) -> Yaml {
    let mut fields = Fields::default();
    fields.some("policy", Some(pull.policy).filter(|policy| *policy != PullPolicy::default()));
    fields.some("platform", pull.platform.as_ref());
    if let Some(policy) = &pull.tag_policy {
        fields.put("tag_policy", Yaml::Map(vec![("semver".to_owned(), Yaml::text(&policy.semver))]));
    }
    if let Some(keep) = pull.keep_blobs {
        fields.put("keep_blobs", Yaml::Bool(keep));
    }
    Yaml::Map(fields.0)
}
