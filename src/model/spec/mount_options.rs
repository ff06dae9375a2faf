//! The options of mounts, as mount(8) and Docker spell them: which there are for what kind of mount.

/// What the attributes of any mount can be.
const ATTRIBUTES: [&str; 12] =
    ["exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "diratime", "nodiratime", "relatime", "strictatime"];

/// How mounts that are made later on one side show on the other.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// In messages, instead of all of those.
const FURTHER: &str = "attributes such as noexec, and propagations such as rslave";

/// Options that say nothing on this system: hints for file sharing with virtual machines.
const HINTS: [&str; 3] = ["cached", "delegated", "consistent"];

/// What one word among the options of a mount says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountWord {
    ReadOnly(bool),
    /// A volume does not get the image's content.
    NoCopy,
    /// SELinux is to label the content anew.
    Relabel,
    /// Nothing.
    Hint,
    /// An option that the mount is made with.
    Option(String),
}

/// `[SOURCE:]TARGET[:OPTIONS]` in its parts (the options are empty where there are none), or nothing where it has more.
pub fn parts(text: &str) -> Option<(Option<&str>, &str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [target] => Some((None, target, "")),
        // The second part is a path, unless it can only be options.
        [target, words] if target.starts_with('/') && !words.starts_with('/') => Some((None, target, words)),
        [source, target] => Some((Some(source), target, "")),
        [source, target, words] => Some((Some(source), target, words)),
        _ => None,
    }
}

/// A word among the options of a bind mount or a volume.
///
/// # Errors
/// What is wrong with it, in words.
pub fn of_bind(word: &str) -> Result<MountWord, String> {
    Ok(match word {
        "ro" | "readonly" => MountWord::ReadOnly(true),
        "rw" => MountWord::ReadOnly(false),
        "nocopy" => MountWord::NoCopy,
        "copy" => MountWord::Hint,
        "z" | "Z" => MountWord::Relabel,
        "rbind" => MountWord::Hint,
        "bind" => MountWord::Option("bind".to_owned()),
        word if HINTS.contains(&word) => MountWord::Hint,
        word if ATTRIBUTES.contains(&word) || PROPAGATIONS.contains(&word) => MountWord::Option(word.to_owned()),
        "U" | "idmap" | "O" | "upperdir" | "workdir" => {
            return Err(format!("the option {word:?} is not supported; leave it out"));
        }
        word => return Err(format!("the option {word:?} is not known: there are ro, rw, nocopy, {FURTHER}")),
    })
}

/// A word among the options of a tmpfs, but `size` and `mode`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn of_tmpfs(word: &str) -> Result<Option<String>, String> {
    let number = |value: &str| value.parse::<u64>().is_ok();
    match word.split_once('=') {
        Some(("uid" | "gid", value)) if value.parse::<u32>().is_ok() => Ok(Some(word.to_owned())),
        Some(("nr_inodes" | "nr_blocks", value)) if number(value.trim_end_matches(['k', 'm', 'g', 'K', 'M', 'G'])) => {
            Ok(Some(word.to_owned()))
        }
        Some(("mpol", value)) if !value.is_empty() => Ok(Some(word.to_owned())),
        Some((key, _)) => Err(format!("{key:?} is not an option of a tmpfs, or its value is not one")),
        None if matches!(word, "rw" | "defaults" | "async" | "tmpcopyup") => Ok(None),
        None if word == "ro" || ATTRIBUTES.contains(&word) || PROPAGATIONS.contains(&word) => Ok(Some(word.to_owned())),
        None => Err(format!("the option {word:?} is not known: there are size=, mode=, uid=, gid=, nr_inodes=, ro, {FURTHER}")),
    }
}

/// A path within a volume, of which only that is mounted.
///
/// # Errors
/// What is wrong with it, in words.
pub fn subpath(text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split('/').filter(|word| !matches!(*word, "" | ".")).collect();
    if text.starts_with('/') || words.is_empty() || words.contains(&"..") || text.contains('\0') {
        return Err(format!("{text:?} is not a path within a volume: it is relative, and has no `..`"));
    }
    Ok(words.join("/"))
}

/// The propagation of `bind-propagation=`.
pub fn propagation(word: &str) -> Result<String, String> {
    if PROPAGATIONS.contains(&word) {
        Ok(word.to_owned())
    } else {
        Err(format!("{word:?} is not a propagation: there are {}", PROPAGATIONS.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_short_form() {
        assert_eq!(parts("/data"), Some((None, "/data", "")));
        assert_eq!(parts("/data:ro"), Some((None, "/data", "ro")));
        assert_eq!(parts("/srv:/data"), Some((Some("/srv"), "/data", "")));
        assert_eq!(parts("data:/data:ro,z"), Some((Some("data"), "/data", "ro,z")));
        assert_eq!(parts("a:/b:c:d"), None);
    }

    #[test]
    fn paths_within_volumes() {
        assert_eq!(subpath("a//./b/"), Ok("a/b".into()));
        for bad in ["", ".", "/", "/a", "..", "a/../b", "a\0"] {
            assert!(subpath(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(of_bind("ro"), Ok(MountWord::ReadOnly(true)));
        assert_eq!(of_bind("Z"), Ok(MountWord::Relabel));
        assert_eq!(of_bind("rslave"), Ok(MountWord::Option("rslave".into())));
        assert_eq!(of_bind("noexec"), Ok(MountWord::Option("noexec".into())));
        assert!(of_bind("sharedd").is_err() && of_bind("U").is_err());
        assert_eq!(of_tmpfs("uid=7"), Ok(Some("uid=7".into())));
        assert_eq!(of_tmpfs("rw"), Ok(None));
        assert_eq!(of_tmpfs("exec"), Ok(Some("exec".into())));
        assert!(of_tmpfs("uid=x").is_err() && of_tmpfs("huge=always").is_err() && of_tmpfs("nope").is_err());
        assert!(propagation("rprivate").is_ok() && propagation("public").is_err());
    }
}
