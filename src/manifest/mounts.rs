//! Reads what a container mounts: `volumes`, `tmpfs`, `configs` and `secrets`, in their short and long forms.

use crate::model::spec::mount_options::{self, MountWord};
use crate::model::spec::{Mount, OnChange, Watched};
use crate::model::{ByteSize, Digest, Name};

use super::problem::Place;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};
use super::{contents, fields};

#[derive(Clone, Copy)]
enum Kind {
    Volume,
    Bind,
    Tmpfs,
}

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
            found.extend(config(reader, item, false).map(|mount| (mount, item.at)));
        }
    }
    if let Some(node) = f.get("secrets") {
        for item in reader.list(node) {
            found.extend(config(reader, item, true).map(|mount| (mount, item.at)));
        }
    }
    // In one order, whatever the order of the fields and in them.
    found.sort_by(|(a, _), (b, _)| {
        let key = |mount: &Mount| (mount.target().matches('/').count(), mount.target().to_owned());
        key(a).cmp(&key(b))
    });
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

/// `[source:]target[:options]`.
fn short(reader: &mut Reader, at: Place, text: &str) -> Option<Mount> {
    let Some((source, target, words)) = mount_options::parts(text) else {
        reader.error_hint(at, format!("`{text}` is not a volume"), "write source:target or source:target:ro");
        return None;
    };
    let target = reader.container_path(at, target);
    let (mut read_only, mut nocopy, mut options) = (false, false, Vec::new());
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match mount_options::of_bind(word) {
            Ok(MountWord::ReadOnly(value)) => read_only = value,
            Ok(MountWord::NoCopy) => nocopy = true,
            Ok(MountWord::Relabel) => {
                reader.error_hint(at, format!("the option `{word}` (SELinux) is not supported yet"), "remove it");
            }
            Ok(MountWord::Hint) => {
                reader.error_hint(at, format!("the option `{word}` has no meaning on Linux"), "remove it");
            }
            Ok(MountWord::Option(option)) => options.push(option),
            Err(why) => reader.error(at, why),
        }
    }
    let Some(source) = source else {
        if !options.is_empty() {
            reader.error_hint(at, "these options are for volumes with a name and paths of the host", "name the volume");
        }
        return Some(Mount::Anonymous { target: target?, read_only, nocopy });
    };
    if source.starts_with(['/', '.', '~']) {
        if nocopy {
            reader.error_hint(at, "the option `nocopy` is for volumes", "remove it");
        }
        let source = reader.host_path(at, source)?;
        return Some(Mount::Bind { source, target: target?, read_only, create_host_path: true, options, watched: None });
    }
    let Ok(name) = source.parse::<Name>() else {
        let hint = "a path of the host begins with `/`, `./`, `../` or `~/`";
        reader.error_hint(at, format!("`{source}` is not a volume's name"), hint);
        return None;
    };
    Some(Mount::Volume { source: name, target: target?, read_only, nocopy, options, subpath: None })
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
    let volume = f.get("volume").and_then(|node| reader.fields(node, &fields::VOLUME_MOUNT));
    let kind = kind?;
    for (name, belongs) in [
        ("bind", matches!(kind, Kind::Bind)),
        ("tmpfs", matches!(kind, Kind::Tmpfs)),
        ("volume", matches!(kind, Kind::Volume)),
        ("source", !matches!(kind, Kind::Tmpfs)),
        ("read_only", !matches!(kind, Kind::Tmpfs)),
        ("on_change", matches!(kind, Kind::Bind)),
    ] {
        if !belongs && f.get(name).is_some() {
            let at = f.place(name);
            reader.error(at, format!("`{name}` does not belong to a mount of this type"));
        }
    }
    let source = f.get("source");
    match kind {
        Kind::Volume => {
            let get = |name| volume.as_ref().and_then(|f| f.get(name));
            let nocopy = get("nocopy").and_then(|node| reader.boolean(node)).unwrap_or_default();
            let read_only = read_only.unwrap_or_default();
            let options = get("options").map(|node| options(reader, node, of_bind)).unwrap_or_default();
            let subpath = match get("subpath") {
                None => None,
                Some(node) => match mount_options::subpath(reader.text(node)?) {
                    Ok(subpath) => Some(subpath),
                    Err(why) => {
                        reader.error(node.at, why);
                        return None;
                    }
                },
            };
            let Some(source) = source else {
                if !options.is_empty() || subpath.is_some() {
                    reader.error(f.at, "these options are for volumes with a name and paths of the host");
                }
                return Some(Mount::Anonymous { target: target?, read_only, nocopy });
            };
            let source = reader.parse(source)?;
            Some(Mount::Volume { source, target: target?, read_only, nocopy, options, subpath })
        }
        Kind::Bind => {
            let Some(source) = source else {
                reader.error(f.at, "a mount of type `bind` needs a `source`");
                return None;
            };
            let text = reader.text(source)?;
            let bind = bind.flatten();
            let get = |name| bind.as_ref().and_then(|f| f.get(name));
            let create = get("create_host_path").map(|node| reader.boolean(node));
            let mut options = Vec::new();
            if let Some(node) = get("propagation")
                && let Some(text) = reader.text(node)
            {
                match mount_options::propagation(text) {
                    Ok(option) => options.push(option),
                    Err(why) => reader.error(node.at, why),
                }
            }
            if let Some(node) = get("recursive") {
                let ways = [("enabled", false), ("disabled", true), ("readonly", false)];
                if reader.choice(node, &ways) == Some(true) {
                    options.push("bind".to_owned());
                }
            }
            let path = reader.host_path(source.at, text)?;
            let watched = match on_change(reader, &f) {
                Some(on_change) => {
                    let digest = contents::digest(reader, source.at, &path)?;
                    Some(Watched { digest, on_change })
                }
                None => None,
            };
            options.extend(get("options").map(|node| self::options(reader, node, of_bind)).unwrap_or_default());
            Some(Mount::Bind {
                source: path,
                target: target?,
                read_only: read_only.unwrap_or_default(),
                create_host_path: create.flatten().unwrap_or(true),
                options,
                watched,
            })
        }
        Kind::Tmpfs => {
            let settings = tmpfs.flatten();
            let get = |name| settings.as_ref().and_then(|f| f.get(name));
            let size = get("size").and_then(|node| reader.parse::<ByteSize>(node));
            let mode = get("mode").and_then(|node| reader.mode(node));
            let options = get("options").map(|node| options(reader, node, mount_options::of_tmpfs)).unwrap_or_default();
            Some(Mount::Tmpfs { target: target?, size, mode, options })
        }
    }
}

/// Options with which something is mounted.
fn options(reader: &mut Reader, node: &Node, read: impl Fn(&str) -> Result<Option<String>, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (word, at) in reader.texts(node) {
        match read(&word) {
            Ok(option) => found.extend(option),
            Err(why) => reader.error(at, why),
        }
    }
    found
}

/// A word that is an option of a mount, and not a field of its own.
fn of_bind(word: &str) -> Result<Option<String>, String> {
    match mount_options::of_bind(word)? {
        MountWord::Option(option) => Ok(Some(option)),
        MountWord::Hint => Ok(None),
        MountWord::ReadOnly(_) | MountWord::NoCopy | MountWord::Relabel => {
            Err(format!("{word:?} is no option here: it has a field of its own, or is not supported"))
        }
    }
}

/// `target[:option,…]`.
fn tmpfs(reader: &mut Reader, at: Place, text: &str) -> Option<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = reader.container_path(at, target);
    let (mut size, mut mode, mut further) = (None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(reader.parse_text::<ByteSize>(at, value)?),
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(value) if value <= 0o7777 => mode = Some(value),
                _ => reader.error_hint(at, format!("`{value}` is not a file mode"), "write it in octal, such as 1777"),
            },
            _ => match mount_options::of_tmpfs(option) {
                Ok(word) => further.extend(word),
                Err(why) => reader.error(at, why),
            },
        }
    }
    Some(Mount::Tmpfs { target: target?, size, mode, options: further })
}

/// Where secrets are in a container that says nothing else.
const SECRETS: &str = "/run/secrets";

/// What is done when a content changes, where a mount says it; in a compose file it stands in a field that Compose leaves to others.
fn on_change(reader: &mut Reader, f: &Fields) -> Option<OnChange> {
    let extension = f.get("x-setpoint").and_then(|node| reader.fields(node, &fields::MOUNT_EXTENSION));
    let node = f.get("on_change").or_else(|| extension.as_ref().and_then(|f| f.get("on_change")))?;
    reader.parse(node)
}

/// A config, or a secret.
fn config(reader: &mut Reader, node: &Node, secret: bool) -> Option<Mount> {
    // The digest of the content takes its place once the config is known.
    let digest = Digest::of(b"");
    let usual = |source: &Name| if secret { format!("{SECRETS}/{source}") } else { format!("/{source}") };
    let Value::Map(_) = &node.value else {
        let source: Name = reader.parse(node)?;
        let (target, on_change) = (usual(&source), OnChange::default());
        return Some(Mount::Config { target, source, digest, mode: 0o444, uid: 0, gid: 0, secret, on_change });
    };
    let f = reader.fields(node, if secret { &fields::SECRET_MOUNT } else { &fields::CONFIG_MOUNT })?;
    let source = f.get("source").and_then(|node| reader.parse::<Name>(node));
    let target = f.get("target").map(|node| {
        let text = reader.text(node)?;
        match secret && !text.starts_with('/') {
            true => reader.container_path(node.at, &format!("{SECRETS}/{text}")),
            false => reader.container_path(node.at, text),
        }
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
        None => usual(&source),
        Some(target) => target?,
    };
    let on_change = on_change(reader, &f).unwrap_or_default();
    Some(Mount::Config { source, digest, target, mode: mode?, uid: uid?, gid: gid?, secret, on_change })
}
