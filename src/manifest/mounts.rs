//! Reads what a container mounts: `volumes`, `tmpfs` and `configs`, in their short and long forms.

use crate::model::spec::Mount;
use crate::model::{ByteSize, Digest, Name};

use super::fields;
use super::problem::Place;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

#[derive(Clone, Copy)]
enum Kind {
    Volume,
    Bind,
    Tmpfs,
}

const ANONYMOUS: &str = "declare a volume and name it: `name:/path`";

/// Puts a container's mounts into `mounts`, parents before what is mounted within them, and gives the place of each.
pub(super) fn read(reader: &mut Reader, f: &Fields, mounts: &mut Vec<Mount>) -> Vec<Place> {
    let mut found: Vec<(Mount, Place)> = Vec::new();
    if let Some(node) = f.get("volumes") {
        for item in reader.list(node) {
            let mount = match &item.value {
                Value::Map(_) => long(reader, item),
                _ => reader.text(item).and_then(|text| short(reader, item.at, text)),
            };
            found.extend(mount.map(|mount| (mount, item.at)));
        }
    }
    if let Some(node) = f.get("tmpfs") {
        for (text, at) in reader.texts(node) {
            found.extend(tmpfs(reader, at, &text).map(|mount| (mount, at)));
        }
    }
    if let Some(node) = f.get("configs") {
        for item in reader.list(node) {
            found.extend(config(reader, item).map(|mount| (mount, item.at)));
        }
    }
    found.sort_by_key(|(mount, _)| mount.target().matches('/').count());
    let mut places: Vec<Place> = Vec::new();
    for (mount, at) in found {
        if let Some(other) = mounts.iter().position(|known| known.target() == mount.target()) {
            let hint = format!("the other is at line {}", places[other].line);
            reader.error_hint(at, format!("two things are mounted at `{}`", mount.target()), hint);
            continue;
        }
        mounts.push(mount);
        places.push(at);
    }
    places
}

/// `source:target[:options]`.
fn short(reader: &mut Reader, at: Place, text: &str) -> Option<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [_] => {
            reader.error_hint(at, "volumes without a name are not supported yet", ANONYMOUS);
            return None;
        }
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => {
            reader.error_hint(at, format!("`{text}` is not a volume"), "write source:target or source:target:ro");
            return None;
        }
    };
    let target = reader.container_path(at, target);
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "z" | "Z" => {
                reader.error_hint(at, format!("the option `{option}` (SELinux) is not supported yet"), "remove it");
            }
            "cached" | "delegated" | "consistent" => {
                reader.error_hint(at, format!("the option `{option}` has no meaning on Linux"), "remove it");
            }
            _ => reader.error_hint(at, format!("there is no option `{option}` of a volume"), "the options are ro and rw"),
        }
    }
    if source.starts_with(['/', '.', '~']) {
        let source = reader.host_path(at, source)?;
        return Some(Mount::Bind { source, target: target?, read_only, create_host_path: true });
    }
    let Ok(name) = source.parse::<Name>() else {
        let hint = "a path of the host begins with `/`, `./`, `../` or `~/`";
        reader.error_hint(at, format!("`{source}` is not a volume's name"), hint);
        return None;
    };
    Some(Mount::Volume { source: name, target: target?, read_only })
}

fn long(reader: &mut Reader, node: &Node) -> Option<Mount> {
    let f = reader.fields(node, &fields::MOUNT)?;
    let kinds = [("volume", Kind::Volume), ("bind", Kind::Bind), ("tmpfs", Kind::Tmpfs)];
    let kind = f.get("type").and_then(|node| reader.choice(node, &kinds));
    let target = f.get("target").and_then(|node| {
        let text = reader.text(node)?;
        reader.container_path(node.at, text)
    });
    let read_only = f.get("read_only").and_then(|node| reader.boolean(node));
    let bind = f.get("bind").map(|node| reader.fields(node, &fields::BIND));
    let tmpfs = f.get("tmpfs").map(|node| reader.fields(node, &fields::TMPFS));
    let kind = kind?;
    for (name, belongs) in [
        ("bind", matches!(kind, Kind::Bind)),
        ("tmpfs", matches!(kind, Kind::Tmpfs)),
        ("source", !matches!(kind, Kind::Tmpfs)),
        ("read_only", !matches!(kind, Kind::Tmpfs)),
    ] {
        if !belongs && f.get(name).is_some() {
            let at = f.place(name);
            reader.error(at, format!("`{name}` does not belong to a mount of this type"));
        }
    }
    let source = f.get("source");
    match kind {
        Kind::Volume => {
            let Some(source) = source else {
                reader.error_hint(f.at, "volumes without a name are not supported yet", ANONYMOUS);
                return None;
            };
            let source = reader.parse(source)?;
            Some(Mount::Volume { source, target: target?, read_only: read_only.unwrap_or_default() })
        }
        Kind::Bind => {
            let Some(source) = source else {
                reader.error(f.at, "a mount of type `bind` needs a `source`");
                return None;
            };
            let text = reader.text(source)?;
            let create = bind.flatten().and_then(|f| f.get("create_host_path")).map(|node| reader.boolean(node));
            Some(Mount::Bind {
                source: reader.host_path(source.at, text)?,
                target: target?,
                read_only: read_only.unwrap_or_default(),
                create_host_path: create.flatten().unwrap_or(true),
            })
        }
        Kind::Tmpfs => {
            let settings = tmpfs.flatten();
            let get = |name| settings.as_ref().and_then(|f| f.get(name));
            let size = get("size").and_then(|node| reader.parse::<ByteSize>(node));
            let mode = get("mode").and_then(|node| reader.mode(node));
            Some(Mount::Tmpfs { target: target?, size, mode })
        }
    }
}

/// `target[:option,…]`.
fn tmpfs(reader: &mut Reader, at: Place, text: &str) -> Option<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = reader.container_path(at, target);
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(reader.parse_text::<ByteSize>(at, value)?),
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(value) if value <= 0o7777 => mode = Some(value),
                _ => reader.error_hint(at, format!("`{value}` is not a file mode"), "write it in octal, such as 1777"),
            },
            _ => reader.error_hint(
                at,
                format!("the option `{option}` of a tmpfs is not supported yet"),
                "the options are size and mode",
            ),
        }
    }
    Some(Mount::Tmpfs { target: target?, size, mode })
}

fn config(reader: &mut Reader, node: &Node) -> Option<Mount> {
    // The digest of the content takes its place once the config is known.
    let digest = Digest::of(b"");
    let Value::Map(_) = &node.value else {
        let source: Name = reader.parse(node)?;
        return Some(Mount::Config { target: format!("/{source}"), source, digest, mode: 0o444, uid: 0, gid: 0 });
    };
    let f = reader.fields(node, &fields::CONFIG_MOUNT)?;
    let source = f.get("source").and_then(|node| reader.parse::<Name>(node));
    let target = f.get("target").map(|node| {
        let text = reader.text(node)?;
        reader.container_path(node.at, text)
    });
    let mut id = |name: &str| match f.get(name) {
        None => Some(0),
        Some(node) => {
            let text = reader.word(node)?;
            let id = text.parse::<u32>().ok();
            if id.is_none() {
                reader.error(node.at, format!("`{text}` is not the number of a user or group"));
            }
            id
        }
    };
    let (uid, gid) = (id("uid"), id("gid"));
    let mode = match f.get("mode") {
        None => Some(0o444),
        Some(node) => reader.mode(node),
    };
    let source = source?;
    let target = match target {
        None => format!("/{source}"),
        Some(target) => target?,
    };
    Some(Mount::Config { source, digest, target, mode: mode?, uid: uid?, gid: gid? })
}
