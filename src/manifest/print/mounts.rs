//! What a container mounts, in the shortest form that says it.

use crate::model::spec::{Mount, OnChange};

use super::yaml::Yaml;
use super::{Fields, PrintError, Printer};

/// Where secrets are that say nothing else.
const SECRETS: &str = "/run/secrets/";

impl Printer<'_> {
    pub(super) fn mounts(&self, fields: &mut Fields, mounts: &[Mount]) -> Result<(), PrintError> {
        let (mut volumes, mut configs, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
        for mount in mounts {
            match mount {
                Mount::Config { secret: true, .. } => secrets.push(content(mount)),
                Mount::Config { .. } => configs.push(content(mount)),
                Mount::Volume { .. } | Mount::Anonymous { .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } => {
                    volumes.push(self.volume_mount(mount)?);
                }
            }
        }
        for (name, all) in [("volumes", volumes), ("configs", configs), ("secrets", secrets)] {
            fields.map(name, Yaml::List(all));
        }
        Ok(())
    }

    fn volume_mount(&self, mount: &Mount) -> Result<Yaml, PrintError> {
        let mut long = Fields::default();
        let mut words: Vec<&str> = Vec::new();
        let source = match mount {
            Mount::Volume { source, read_only, nocopy, options, subpath, .. } => {
                long.put("type", Yaml::text("volume"));
                let name = self.volume_name(source).to_string();
                long.put("source", Yaml::text(&name));
                say(&mut words, *read_only, *nocopy, options);
                settings(&mut long, mount, *read_only, "volume", *nocopy, options);
                if subpath.is_some() {
                    return Ok(Yaml::Map(long.0));
                }
                Some(name)
            }
            Mount::Anonymous { read_only, nocopy, .. } => {
                long.put("type", Yaml::text("volume"));
                say(&mut words, *read_only, *nocopy, &[]);
                settings(&mut long, mount, *read_only, "volume", *nocopy, &[]);
                None
            }
            Mount::Bind { source, read_only, create_host_path, options, watched, .. } => {
                long.put("type", Yaml::text("bind"));
                let path = self.path(source)?;
                long.put("source", Yaml::text(&path));
                say(&mut words, *read_only, false, options);
                long.put("target", Yaml::text(mount.target()));
                long.when("read_only", *read_only);
                let mut bind = Fields::default();
                if !create_host_path {
                    bind.put("create_host_path", Yaml::Bool(false));
                }
                bind.texts("options", options);
                long.map("bind", Yaml::Map(bind.0));
                long.some("on_change", watched.map(|watched| watched.on_change));
                if !create_host_path || watched.is_some() {
                    return Ok(Yaml::Map(long.0));
                }
                // What stands alone would be a volume's name.
                Some(if path == "." { "./".to_owned() } else { path })
            }
            Mount::Tmpfs { target, size, mode, options } => {
                long.put("type", Yaml::text("tmpfs"));
                long.put("target", Yaml::text(target));
                let mut tmpfs = Fields::default();
                tmpfs.some("size", *size);
                tmpfs.some("mode", mode.map(octal));
                tmpfs.texts("options", options);
                long.map("tmpfs", Yaml::Map(tmpfs.0));
                return Ok(Yaml::Map(long.0));
            }
            Mount::Config { .. } => None,
        };
        let target = mount.target();
        let awkward = |text: &str| text.contains(':');
        if awkward(target) || source.as_deref().is_some_and(awkward) {
            return Ok(Yaml::Map(long.0));
        }
        let mut short = source.map(|source| format!("{source}:")).unwrap_or_default();
        short.push_str(target);
        if !words.is_empty() {
            short.push(':');
            short.push_str(&words.join(","));
        }
        Ok(Yaml::text(short))
    }
}

fn say<'w>(words: &mut Vec<&'w str>, read_only: bool, nocopy: bool, options: &'w [String]) {
    words.extend(read_only.then_some("ro"));
    words.extend(nocopy.then_some("nocopy"));
    words.extend(options.iter().map(String::as_str));
}

fn settings(long: &mut Fields, mount: &Mount, read_only: bool, kind: &str, nocopy: bool, options: &[String]) {
    long.put("target", Yaml::text(mount.target()));
    long.when("read_only", read_only);
    let mut inner = Fields::default();
    inner.when("nocopy", nocopy);
    inner.texts("options", options);
    if let Mount::Volume { subpath, .. } = mount {
        inner.some("subpath", subpath.as_ref());
    }
    long.map(kind, Yaml::Map(inner.0));
}

/// A config or a secret.
fn content(mount: &Mount) -> Yaml {
    let Mount::Config { source, target, mode, uid, gid, secret, on_change, .. } = mount else { return Yaml::Map(Vec::new()) };
    let usual = if *secret { format!("{SECRETS}{source}") } else { format!("/{source}") };
    let mut fields = Fields::default();
    fields.put("source", Yaml::text(source));
    fields.some("target", Some(target).filter(|target| **target != usual));
    fields.some("uid", Some(uid).filter(|uid| **uid != 0));
    fields.some("gid", Some(gid).filter(|gid| **gid != 0));
    fields.some("mode", Some(*mode).filter(|mode| *mode != 0o444).map(octal));
    fields.some("on_change", Some(*on_change).filter(|on_change| *on_change != OnChange::default()));
    match fields.0.as_slice() {
        [(_, name)] => name.clone(),
        _ => Yaml::Map(fields.0),
    }
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}
