//! `import --change`: the few instructions of a Dockerfile that say what an image's containers do by default.

use crate::wire::native::Defaults;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--change {text:?}: {why}")]
pub struct InvalidChange {
    text: String,
    why: String,
}

/// What all instructions together say; of the same thing, the last word counts.
pub(super) fn defaults(changes: &[String]) -> Result<Defaults, InvalidChange> {
    let mut defaults = Defaults::default();
    for text in changes {
        apply(&mut defaults, text).map_err(|why| InvalidChange { text: text.clone(), why: why.into() })?;
    }
    Ok(defaults)
}

fn apply(defaults: &mut Defaults, text: &str) -> Result<(), &'static str> {
    let (instruction, rest) = text.trim().split_once(char::is_whitespace).ok_or("an instruction needs an argument")?;
    let rest = rest.trim();
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => defaults.command = Some(command(rest)?),
        "ENTRYPOINT" => defaults.entrypoint = Some(command(rest)?),
        "USER" => defaults.user = Some(rest.to_owned()),
        "WORKDIR" if rest.starts_with('/') => defaults.working_dir = Some(rest.to_owned()),
        "WORKDIR" => return Err("the folder is not an absolute path"),
        "ENV" => {
            // `KEY=VALUE`, or the old form `KEY VALUE`.
            let (key, value) = rest.split_once('=').or_else(|| rest.split_once(' ')).ok_or("expected KEY=VALUE")?;
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            defaults.environment.insert(key.to_owned(), value.to_owned());
        }
        _ => return Err("there are CMD, ENTRYPOINT, ENV, USER and WORKDIR"),
    }
    Ok(())
}

/// An array of JSON as it is, or a line for the shell.
fn command(text: &str) -> Result<Vec<String>, &'static str> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|_| "expected an array of strings, such as [\"serve\", \"--port\", \"80\"]");
    }
    Ok(vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions() {
        let changes = [
            r#"CMD ["serve", "-p", "80"]"#,
            "entrypoint exec /init",
            "ENV A=1",
            "ENV B=\"two words\"",
            "WORKDIR /srv",
            "USER app:app",
        ];
        let made = defaults(&changes.map(String::from)).unwrap();
        assert_eq!(made.command.unwrap(), ["serve", "-p", "80"]);
        assert_eq!(made.entrypoint.unwrap(), ["/bin/sh", "-c", "exec /init"]);
        assert_eq!(made.environment.values().collect::<Vec<_>>(), ["1", "two words"]);
        assert_eq!((made.working_dir.as_deref(), made.user.as_deref()), (Some("/srv"), Some("app:app")));
        for bad in ["CMD", "RUN x", "WORKDIR rel", "ENV X", "CMD [1]"] {
            assert!(defaults(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
