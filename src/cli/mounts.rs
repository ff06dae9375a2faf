//! `--volume`, `--mount` and `--tmpfs`: Docker's short and long forms of mounts. Knows nothing of the host but the folder that
//! relative paths begin at.

use std::path::{Component, Path, PathBuf};

use crate::model::spec::Mount;
use crate::model::spec::mount_options::{self, MountWord};
use crate::model::{ByteSize, Name};

/// `[SOURCE:]TARGET[:OPTIONS]`: a path (`/…`, `./…`, `~/…`) is a bind mount, a name is a volume, and without a source it is
/// a volume of the container's own.
pub fn volume(text: &str, cwd: &Path, home: Option<&str>) -> Result<Mount, String> {
    let (source, target, words) = mount_options::parts(text).ok_or("expected [SOURCE:]TARGET[:ro]")?;
    let (mut read_only, mut nocopy, mut options) = (false, false, Vec::new());
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match mount_options::of_bind(word)? {
            MountWord::ReadOnly(value) => read_only = value,
            MountWord::NoCopy => nocopy = true,
            // Labels for SELinux change nothing on a host without it, and hints nothing on Linux.
            MountWord::Relabel | MountWord::Hint => {}
            MountWord::Option(option) => options.push(option),
        }
    }
    let target = absolute_target(target)?;
    match source {
        None if options.is_empty() => Ok(Mount::Anonymous { target, read_only, nocopy }),
        None => Err(format!("the option {:?} is for volumes with a name and paths of the host", options[0])),
        Some(source) if is_path(source) => {
            if nocopy {
                return Err("the option \"nocopy\" is for volumes".into());
            }
            let source = host_path(source, cwd, home)?;
            Ok(Mount::Bind { source, target, read_only, create_host_path: true, options, watched: None })
        }
        Some(source) => Ok(Mount::Volume { source: volume_name(source)?, target, read_only, nocopy, options, subpath: None }),
    }
}

/// `type=bind,source=…,target=…[,readonly]`, and the same for `volume` and `tmpfs`. A bind's source must be there.
pub fn mount(text: &str, cwd: &Path, home: Option<&str>) -> Result<Mount, String> {
    let mut long = Long { kind: "volume", ..Long::default() };
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        long.take(key, value)?;
    }
    long.finish(cwd, home)
}

/// What `--mount` has said so far.
#[derive(Default)]
struct Long<'a> {
    kind: &'a str,
    source: Option<&'a str>,
    target: Option<String>,
    read_only: bool,
    create: bool,
    nocopy: bool,
    subpath: Option<String>,
    size: Option<ByteSize>,
    mode: Option<u32>,
    options: Vec<String>,
    /// Keys that belong to one type of mount, with that type.
    typed: Vec<(&'a str, &'static str)>,
}

impl<'a> Long<'a> {
    fn take(&mut self, key: &'a str, value: Option<&'a str>) -> Result<(), String> {
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{key}: {other:?} is neither true nor false")),
        };
        match (key, value) {
            ("type", Some(value)) => self.kind = value,
            ("source" | "src", Some(value)) => self.source = Some(value),
            ("target" | "dst" | "destination", Some(value)) => self.target = Some(absolute_target(value)?),
            ("readonly" | "ro", _) => self.read_only = flag()?,
            ("consistency", Some("consistent" | "cached" | "delegated" | "default")) => {}
            ("bind-propagation", Some(value)) => {
                self.options.push(mount_options::propagation(value)?);
                self.typed.push((key, "bind"));
            }
            ("bind-nonrecursive", _) => {
                if flag()? {
                    self.options.push("bind".to_owned());
                }
                self.typed.push((key, "bind"));
            }
            ("bind-recursive", Some(value)) => {
                self.typed.push((key, "bind"));
                match value {
                    "enabled" => {}
                    "disabled" => self.options.push("bind".to_owned()),
                    // A read-only mount is one with all that is below it, or an error says that it cannot be.
                    "readonly" if self.read_only => {}
                    "readonly" => return Err("bind-recursive=readonly needs readonly before it".into()),
                    "writable" => {
                        return Err(
                            "bind-recursive=writable is not supported: what is below a read-only mount is read-only".into()
                        );
                    }
                    other => return Err(format!("bind-recursive: {other:?} is not enabled, disabled or readonly")),
                }
            }
            ("bind-create-src" | "create-host-path", _) => {
                self.create = flag()?;
                self.typed.push((key, "bind"));
            }
            ("volume-nocopy", _) => {
                self.nocopy = flag()?;
                self.typed.push((key, "volume"));
            }
            ("volume-subpath", _) => {
                self.subpath = Some(mount_options::subpath(value.unwrap_or_default())?);
                self.typed.push((key, "volume"));
            }
            ("volume-driver", Some("local")) => self.typed.push((key, "volume")),
            ("volume-driver" | "volume-opt" | "volume-label", _) => {
                return Err(format!("{key:?} is not supported: make the volume first (`setpoint volume create`)"));
            }
            ("tmpfs-size", Some(value)) => {
                self.size = Some(value.parse().map_err(|e| format!("tmpfs-size: {e}"))?);
                self.typed.push((key, "tmpfs"));
            }
            ("tmpfs-mode", Some(value)) => {
                self.mode = Some(octal(value)?);
                self.typed.push((key, "tmpfs"));
            }
            ("tmpfs-options", Some(value)) => {
                self.options.extend(mount_options::of_tmpfs(value)?);
                self.typed.push((key, "tmpfs"));
            }
            (key, _) => return Err(format!("{key:?} is not supported, or lacks its value")),
        }
        Ok(())
    }

    fn finish(self, cwd: &Path, home: Option<&str>) -> Result<Mount, String> {
        let Self { kind, source, target, read_only, create, nocopy, subpath, size, mode, options, typed } = self;
        let target = target.ok_or("it lacks target=…")?;
        if let Some((key, _)) = typed.iter().find(|(_, belongs)| *belongs != kind) {
            return Err(format!("{key:?} does not belong to a mount of the type {kind:?}"));
        }
        match (kind, source) {
            ("bind", Some(source)) => {
                let source = host_path(source, cwd, home)?;
                Ok(Mount::Bind { source, target, read_only, create_host_path: create, options, watched: None })
            }
            ("volume", Some(source)) => {
                Ok(Mount::Volume { source: volume_name(source)?, target, read_only, nocopy, options, subpath })
            }
            ("volume", None) if subpath.is_some() => Err("volume-subpath needs source=…, the volume's name".into()),
            ("volume", None) => Ok(Mount::Anonymous { target, read_only, nocopy }),
            ("tmpfs", None) if read_only => Err("a tmpfs that is read-only would stay empty".into()),
            ("tmpfs", None) => Ok(Mount::Tmpfs { target, size, mode, options }),
            ("tmpfs", Some(_)) => Err("a tmpfs has no source".into()),
            ("bind", None) => Err("it lacks source=…".into()),
            ("image", _) => {
                Err("images cannot be mounted: copy what is needed out of one (`setpoint cp`), or mount a volume".into())
            }
            (other, _) => Err(format!("the type {other:?} is not supported: there are bind, volume and tmpfs")),
        }
    }
}

/// `TARGET[:size=64m,mode=1777,…]`.
pub fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut options) = (None, None, Vec::new());
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("size", value)) => size = Some(value.parse().map_err(|e| format!("size: {e}"))?),
            Some(("mode", value)) => mode = Some(octal(value)?),
            _ => options.extend(mount_options::of_tmpfs(word)?),
        }
    }
    Ok(Mount::Tmpfs { target: absolute_target(target)?, size, mode, options })
}

fn is_path(source: &str) -> bool {
    source.contains('/') || matches!(source, "." | ".." | "~")
}

fn host_path(source: &str, cwd: &Path, home: Option<&str>) -> Result<PathBuf, String> {
    let path = match source.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = home.ok_or("`~` means nothing, because HOME is not set")?;
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => cwd.join(source),
    };
    // Without `.` and with `..` taken away as text: the path need not be there yet.
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn absolute_target(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("{target:?} is not an absolute path in the container"));
    }
    if target.bytes().all(|b| b == b'/') {
        return Err("nothing can be mounted over the container's root".into());
    }
    Ok(target.to_owned())
}

fn volume_name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|_| format!("{text:?} is neither a volume's name nor a path: a path begins with `/`, `./` or `~/`"))
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is not an octal mode, such as 1777"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CWD: &str = "/srv/app";

    fn bind(source: &str, target: &str, read_only: bool, create_host_path: bool) -> Mount {
        Mount::Bind { source: source.into(), target: target.into(), read_only, create_host_path, options: vec![], watched: None }
    }

    fn named(source: &str, target: &str, read_only: bool) -> Mount {
        let source = source.parse().unwrap();
        Mount::Volume { source, target: target.into(), read_only, nocopy: false, options: vec![], subpath: None }
    }

    #[test]
    fn short_form() {
        for (text, expected) in [
            ("data:/data", named("data", "/data", false)),
            ("data:/data:ro", named("data", "/data", true)),
            ("/etc/hosts:/h:ro,z,cached", bind("/etc/hosts", "/h", true, true)),
            ("./conf:/etc/app", bind("/srv/app/conf", "/etc/app", false, true)),
            ("../x/./y:/z", bind("/srv/x/y", "/z", false, true)),
            (".:/src", bind("/srv/app", "/src", false, true)),
            ("~/k:/k", bind("/root/k", "/k", false, true)),
        ] {
            assert_eq!(volume(text, Path::new(CWD), Some("/root")).unwrap(), expected, "{text}");
        }
        let own = |read_only| Mount::Anonymous { target: "/data".into(), read_only, nocopy: false };
        assert_eq!(volume("/data", Path::new(CWD), None).unwrap(), own(false));
        assert_eq!(volume("/data:ro", Path::new(CWD), None).unwrap(), own(true));
        let slave = volume("/a:/b:ro,rslave,noexec", Path::new(CWD), None).unwrap();
        assert!(matches!(slave, Mount::Bind { options, read_only: true, .. } if options == ["rslave", "noexec"]));
        for bad in ["data", "/data:shared", "/a:/b:nocopy", "a:b", "a:/b:c", "a:/b:ro:x", ":/x", "a b:/x", "a:/", "~/a:/b"] {
            assert!(volume(bad, Path::new(CWD), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_form() {
        for (text, expected) in [
            ("type=bind,src=conf,dst=/c,readonly", bind("/srv/app/conf", "/c", true, false)),
            ("source=data,target=/d", named("data", "/d", false)),
            (
                "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700",
                Mount::Tmpfs { target: "/t".into(), size: "1m".parse().ok(), mode: Some(0o700), options: vec![] },
            ),
        ] {
            assert_eq!(mount(text, Path::new(CWD), None).unwrap(), expected, "{text}");
        }
        let deep = mount("source=data,target=/d,volume-nocopy", Path::new(CWD), None).unwrap();
        assert!(matches!(deep, Mount::Volume { nocopy: true, .. }));
        let part = mount("source=data,target=/d,volume-subpath=a/./b", Path::new(CWD), None).unwrap();
        assert!(matches!(part, Mount::Volume { subpath: Some(part), .. } if part == "a/b"));
        for bad in [
            "target=/x,volume-subpath=b",
            "type=bind,source=a,target=/x,volume-subpath=b",
            "type=image,source=a,target=/x",
            "source=a,target=/x,volume-subpath=../b",
            "type=bind,source=a,target=/x,volume-nocopy",
            "target=/x,volume-opt=type=nfs",
        ] {
            assert!(mount(bad, Path::new(CWD), None).is_err(), "{bad}");
        }
        for bad in ["type=bind,target=/x", "type=npipe,source=a,target=/x", "source=a", "type=tmpfs,source=a,target=/t", "x=y"] {
            assert!(mount(bad, Path::new(CWD), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn in_memory() {
        assert_eq!(tmpfs("/t").unwrap(), Mount::Tmpfs { target: "/t".into(), size: None, mode: None, options: vec![] });
        assert_eq!(
            tmpfs("/t:size=64m,mode=1777,rw").unwrap(),
            Mount::Tmpfs { target: "/t".into(), size: "64m".parse().ok(), mode: Some(0o1777), options: vec![] }
        );
        for bad in ["t", "/t:size=x", "/t:uid=x", "/t:huge=1", "/t:mode=9"] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }
}
