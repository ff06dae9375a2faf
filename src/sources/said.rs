//! Whether the files of a source are those that they were, whatever variables they are read with: who reads them next may have others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::manifest::Desired;
use crate::model::Digest;
use crate::model::spec::{ImageSource, Mount};

/// The digest of all files that were read for `desired`: of those in `watched`, by their content, and of what was only looked through,
/// by what was found then. Blocks the thread.
///
/// Assumption: the files are still those that were read. Whoever must know reads them once more afterwards.
pub fn digest(desired: &Desired, watched: &[PathBuf]) -> Result<Digest, FileError> {
    let mut all = String::new();
    let mut add = |what: &str, name: &str, digest: Option<Digest>| {
        // What is told in one line cannot be taken for two, because of the lengths.
        let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
        all.push_str(&format!("{what} {} {name} {digest}\n", name.len()));
    };
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    for (name, image) in &desired.images {
        let found = match &image.source {
            ImageSource::Build(build) => build.fingerprint,
            ImageSource::Load { archive, fingerprint, .. } => {
                seen.insert(archive);
                *fingerprint
            }
            ImageSource::Import { path, fingerprint, .. } => {
                seen.insert(path);
                Some(*fingerprint)
            }
            ImageSource::Pull(_) | ImageSource::Commit(_) => None,
        };
        add("image", name.as_str(), found);
    }
    for (name, placed) in &desired.containers {
        for mount in &placed.spec.mounts {
            if let Mount::Bind { source, watched: Some(watched), .. } = mount {
                seen.insert(source.as_ref());
                add("mount", name.as_str(), Some(watched.digest));
            }
        }
    }
    for path in watched.iter().filter(|path| !seen.contains(path.as_path())) {
        // Of a folder it is known by now which files of it count.
        let content = if path.is_file() { Some(Digest::of(&files::read(path)?)) } else { None };
        add("file", &path.to_string_lossy(), content);
    }
    Ok(Digest::of(all.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Folder;

    #[test]
    fn what_the_files_say_is_the_same_with_other_variables() {
        let host = tempfile::tempdir().unwrap();
        let folder = host.path().join("s");
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let manifests = "services:\n  app: {build: ./app, env_file: [app.env], environment: {A: \"${A:-none}\"}}\n";
        write("compose.yaml", manifests);
        write("app.env", "B=1");
        write("app/Dockerfile", "FROM scratch\nCOPY . /\n");
        let read = |value: &str| {
            let environment = [("A".to_owned(), value.to_owned())].into();
            let loaded = Folder::new(folder.clone(), None).load(environment).unwrap();
            (loaded.desired.containers.values().next().unwrap().spec.clone(), digest(&loaded.desired, &loaded.watched).unwrap())
        };
        let (first, was) = read("1");
        let (second, is) = read("2");
        assert_ne!(first, second);
        assert_eq!(was, is);
        for (path, text) in [
            ("compose.yaml", format!("{manifests}# another\n")),
            ("app.env", "B=2".to_owned()),
            ("app/Dockerfile", "FROM scratch\n".to_owned()),
            ("app/more", "1".to_owned()),
            (".env", "C=1".to_owned()),
        ] {
            let before = read("1").1;
            write(path, &text);
            assert_ne!(read("1").1, before, "{path}");
        }
    }
}
