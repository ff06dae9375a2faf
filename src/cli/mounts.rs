//! `--volume`, `--mount` and `--tmpfs`: Docker's short and long forms of mounts. Knows nothing of the host but the folder that
//! relative paths begin at.

use std::path::{Component, Path, PathBuf};

use crate::model::Name;
use crate::model::spec::Mount;

/// `SOURCE:TARGET[:OPTIONS]`: a path (`/…`, `./…`, `~/…`) is a bind mount, a name is a volume.
pub fn volume(text: &str, cwd: &Path, home: Option<&str>) -> Result<Mount, String> {
    let mut parts = text.split(':');
    let (source, target, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(target), options, None) => (source, target, options.unwrap_or("")),
        (Some(_), None, ..) => {
            return Err("volumes without a name are not supported: write NAME:TARGET, or --tmpfs TARGET for scratch space".into());
        }
        _ => return Err("expected SOURCE:TARGET[:ro]".into()),
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "rw" => read_only = false,
            // Labels for SELinux and hints for other systems' file sharing change nothing on a host without them.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            other => return Err(format!("the option {other:?} is not supported: there are `ro` and `rw`")),
        }
    }
    let target = absolute_target(target)?;
    if is_path(source) {
        let source = host_path(source, cwd, home)?;
        Ok(Mount::Bind { source, target, read_only, create_host_path: true })
    } else {
        Ok(Mount::Volume { source: volume_name(source)?, target, read_only })
    }
}

/// `type=bind,source=…,target=…[,readonly]`, and the same for `volume` and `tmpfs`. A bind's source must be there.
pub fn mount(text: &str, cwd: &Path, home: Option<&str>) -> Result<Mount, String> {
    let (mut kind, mut source, mut target, mut read_only) = ("volume", None, None, false);
    let (mut size, mut mode) = (None, None);
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        match (key, value) {
            ("type", Some(value)) => kind = value,
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "dst" | "destination", Some(value)) => target = Some(absolute_target(value)?),
            ("readonly" | "ro", None | Some("true" | "1")) => read_only = true,
            ("readonly" | "ro", Some("false" | "0")) => read_only = false,
            ("tmpfs-size", Some(value)) => size = Some(value.parse().map_err(|e| format!("tmpfs-size: {e}"))?),
            ("tmpfs-mode", Some(value)) => mode = Some(octal(value)?),
            (key, _) => return Err(format!("{key:?} is not supported, or lacks its value")),
        }
    }
    let target = target.ok_or("it lacks target=…")?;
    match (kind, source) {
        ("bind", Some(source)) => {
            Ok(Mount::Bind { source: host_path(source, cwd, home)?, target, read_only, create_host_path: false })
        }
        ("volume", Some(source)) => Ok(Mount::Volume { source: volume_name(source)?, target, read_only }),
        ("tmpfs", None) if read_only => Err("a tmpfs that is read-only would stay empty".into()),
        ("tmpfs", None) => Ok(Mount::Tmpfs { target, size, mode }),
        ("tmpfs", Some(_)) => Err("a tmpfs has no source".into()),
        ("bind" | "volume", None) => Err("it lacks source=…".into()),
        (other, _) => Err(format!("the type {other:?} is not supported: there are bind, volume and tmpfs")),
    }
}

/// `TARGET[:size=64m,mode=1777]`.
pub fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(value.parse().map_err(|e| format!("size: {e}"))?),
            Some(("mode", value)) => mode = Some(octal(value)?),
            // What the engine does anyway.
            None if matches!(option, "rw" | "nosuid" | "nodev") => {}
            _ => return Err(format!("the option {option:?} is not supported: there are `size=` and `mode=`")),
        }
    }
    Ok(Mount::Tmpfs { target: absolute_target(target)?, size, mode })
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
        Mount::Bind { source: source.into(), target: target.into(), read_only, create_host_path }
    }

    fn named(source: &str, target: &str, read_only: bool) -> Mount {
        Mount::Volume { source: source.parse().unwrap(), target: target.into(), read_only }
    }

    #[test]
    fn short_form() {
        for (text, expected) in [
            ("data:/data", named("data", "/data", false)),
            ("data:/data:ro", named("data", "/data", true)),
            ("/etc/hosts:/h:ro,z", bind("/etc/hosts", "/h", true, true)),
            ("./conf:/etc/app", bind("/srv/app/conf", "/etc/app", false, true)),
            ("../x/./y:/z", bind("/srv/x/y", "/z", false, true)),
            (".:/src", bind("/srv/app", "/src", false, true)),
            ("~/k:/k", bind("/root/k", "/k", false, true)),
        ] {
            assert_eq!(volume(text, Path::new(CWD), Some("/root")).unwrap(), expected, "{text}");
        }
        for bad in ["/data", "a:b", "a:/b:c", "a:/b:ro:x", ":/x", "a b:/x", "a:/", "~/a:/b"] {
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
                Mount::Tmpfs { target: "/t".into(), size: "1m".parse().ok(), mode: Some(0o700) },
            ),
        ] {
            assert_eq!(mount(text, Path::new(CWD), None).unwrap(), expected, "{text}");
        }
        for bad in ["type=bind,target=/x", "type=npipe,source=a,target=/x", "source=a", "type=tmpfs,source=a,target=/t", "x=y"] {
            assert!(mount(bad, Path::new(CWD), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn in_memory() {
        assert_eq!(tmpfs("/t").unwrap(), Mount::Tmpfs { target: "/t".into(), size: None, mode: None });
        assert_eq!(
            tmpfs("/t:size=64m,mode=1777,rw").unwrap(),
            Mount::Tmpfs { target: "/t".into(), size: "64m".parse().ok(), mode: Some(0o1777) }
        );
        for bad in ["t", "/t:size=x", "/t:uid=1", "/t:mode=9"] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }
}
