//! `commit --change`: instructions of a Dockerfile that change what an image's containers do by default, applied to a
//! configuration as JSON, so that what no standard names stays.
//!
//! Source: the Dockerfile reference of the moby project.

use serde_json::{Map, Value, json};

use crate::model::Signal;
use crate::model::duration::Span;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("change {text:?}: {why}")]
pub struct InvalidChange {
    text: String,
    why: String,
}

/// Applies all instructions, in their order.
pub fn apply_changes(run: &mut Map<String, Value>, changes: &[String]) -> Result<(), InvalidChange> {
    let mut commands = (false, false);
    for text in changes {
        let keyword = apply(run, text).map_err(|why| InvalidChange { text: text.clone(), why })?;
        commands.0 |= keyword == "ENTRYPOINT";
        commands.1 |= keyword == "CMD";
    }
    // A command was made for the entry point that it stood with.
    if commands == (true, false) {
        run.remove("Cmd");
    }
    Ok(())
}

fn apply(run: &mut Map<String, Value>, text: &str) -> Result<String, String> {
    let (keyword, rest) = text.trim().split_once(char::is_whitespace).ok_or("an instruction needs an argument")?;
    let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim());
    match keyword.as_str() {
        "CMD" => put(run, "Cmd", command(rest)?.into()),
        "ENTRYPOINT" => put(run, "Entrypoint", command(rest)?.into()),
        "USER" => put(run, "User", rest.into()),
        "STOPSIGNAL" => {
            let signal: Signal = rest.parse().map_err(|_| "there is no such signal")?;
            put(run, "StopSignal", signal.to_string().into());
        }
        "WORKDIR" => {
            let before = run.get("WorkingDir").and_then(Value::as_str).filter(|dir| !dir.is_empty()).unwrap_or("/");
            let joined = std::path::Path::new(before).join(rest).to_string_lossy().into_owned();
            put(run, "WorkingDir", joined.into());
        }
        "ENV" => {
            let mut all = strings(run.get("Env"));
            for (name, value) in pairs(rest)? {
                let line = format!("{name}={value}");
                match all.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
                    Some(known) => *known = line,
                    None => all.push(line),
                }
            }
            put(run, "Env", all.into());
        }
        "LABEL" => {
            for (name, value) in pairs(rest)? {
                object(run, "Labels").insert(name, value.into());
            }
        }
        "EXPOSE" => {
            for port in words(rest)? {
                object(run, "ExposedPorts").insert(exposed(&port)?, json!({}));
            }
        }
        "VOLUME" => {
            for path in list(rest)? {
                if !path.starts_with('/') {
                    return Err("the folder is not an absolute path".into());
                }
                object(run, "Volumes").insert(path, json!({}));
            }
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(format!("{trigger} cannot be triggered"));
            }
            let mut all = strings(run.get("OnBuild"));
            all.push(rest.to_owned());
            put(run, "OnBuild", all.into());
        }
        "HEALTHCHECK" => put(run, "Healthcheck", healthcheck(rest)?),
        _ => {
            return Err(
                "there are CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR"
                    .into(),
            );
        }
    }
    Ok(keyword)
}

fn put(run: &mut Map<String, Value>, key: &str, value: Value) {
    run.insert(key.to_owned(), value);
}

fn object<'a>(run: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = run.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        // It was made one just now.
        _ => unreachable!(),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An array of JSON as it is, or a line for the shell.
fn command(text: &str) -> Result<Vec<String>, String> {
    if text.starts_with('[') {
        let wanted = "expected an array of strings, such as [\"serve\", \"--port\", \"80\"]";
        return serde_json::from_str(text).map_err(|_| wanted.to_owned());
    }
    Ok(vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn list(text: &str) -> Result<Vec<String>, String> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|_| "expected an array of strings".to_owned());
    }
    words(text)
}

/// `KEY=VALUE …`, or the old form `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("expected KEY=VALUE")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| -> Result<(String, String), String> {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not KEY=VALUE"))?;
        if name.is_empty() { Err("a name is empty".into()) } else { Ok((name.to_owned(), value.to_owned())) }
    };
    words(text)?.into_iter().map(pair).collect()
}

/// Words as a shell tells them apart: quotes hold together, a backslash takes the next sign as it is.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, sign) if sign.is_whitespace() => all.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(signs.next()),
            (_, sign) => word.get_or_insert_default().push(sign),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    all.extend(word);
    Ok(all)
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn exposed(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a port such as 80, 53/udp or 8000-8010");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let protocol = protocol.to_ascii_lowercase();
    if number(first)? > number(last)? || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    Ok(format!("{ports}/{protocol}"))
}

/// `NONE`, or `[--interval=…] [--timeout=…] [--start-period=…] [--start-interval=…] [--retries=…] CMD …`.
fn healthcheck(text: &str) -> Result<Value, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(json!({"Test": ["NONE"]}));
    }
    let mut check = Map::new();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("there is no CMD")?;
        let (name, value) = option.split_once('=').ok_or_else(|| format!("--{option} needs a value"))?;
        let span = || {
            let span: Span = value.parse().map_err(|_| format!("{value:?} is not a duration"))?;
            Ok::<_, String>(Value::from(u64::try_from(span.0.as_nanos()).map_err(|_| "the duration is too long")?))
        };
        let (key, value) = match name {
            "interval" => ("Interval", span()?),
            "timeout" => ("Timeout", span()?),
            "start-period" => ("StartPeriod", span()?),
            "start-interval" => ("StartInterval", span()?),
            "retries" => ("Retries", value.parse::<u32>().map_err(|_| format!("{value:?} is not a number"))?.into()),
            other => return Err(format!("there is no option --{other}")),
        };
        check.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    let command = rest.split_once(char::is_whitespace).filter(|(word, _)| word.eq_ignore_ascii_case("cmd"));
    let command = command.ok_or("expected NONE, or options and then CMD")?.1.trim();
    let test: Vec<String> = if command.starts_with('[') {
        let words: Vec<String> = serde_json::from_str(command).map_err(|_| "expected an array of strings")?;
        std::iter::once("CMD".to_owned()).chain(words).collect()
    } else {
        vec!["CMD-SHELL".to_owned(), command.to_owned()]
    };
    check.insert("Test".to_owned(), test.into());
    Ok(check.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction() {
        let Value::Object(mut run) = json!({"Env": ["A=0", "Z=z"], "Cmd": ["old"], "WorkingDir": "/srv", "Odd": 1}) else {
            panic!()
        };
        let changes = [
            r#"ENTRYPOINT ["/init", "x"]"#,
            r#"env A=1 B="two words" C=a\ b"#,
            "ENV D an old form",
            "EXPOSE 80 53/UDP 8000-8010",
            r#"LABEL one=1 two="a b""#,
            "USER app:app",
            "WORKDIR sub",
            r#"VOLUME ["/data", "/more"]"#,
            "STOPSIGNAL INT",
            "HEALTHCHECK --interval=5s --retries=3 CMD curl -f http://localhost/",
            "ONBUILD RUN make",
        ];
        apply_changes(&mut run, &changes.map(str::to_owned)).unwrap();
        assert_eq!(
            Value::Object(run),
            json!({
                "Env": ["A=1", "Z=z", "B=two words", "C=a b", "D=an old form"], "WorkingDir": "/srv/sub", "Odd": 1,
                "Entrypoint": ["/init", "x"],
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000-8010/tcp": {}},
                "Labels": {"one": "1", "two": "a b"}, "User": "app:app", "Volumes": {"/data": {}, "/more": {}},
                "StopSignal": "SIGINT",
                "Healthcheck": {"Interval": 5_000_000_000u64, "Retries": 3, "Test": ["CMD-SHELL", "curl -f http://localhost/"]},
                "OnBuild": ["RUN make"],
            })
        );
    }

    #[test]
    fn what_is_wrong_says_so() {
        for bad in [
            "CMD",
            "RUN x",
            "CMD [1]",
            "ENV X",
            "ENV A=\"open",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 80/x",
            "VOLUME rel",
            "STOPSIGNAL NOPE",
            "HEALTHCHECK curl",
            "HEALTHCHECK --bad=1 CMD x",
            "HEALTHCHECK --interval=x CMD y",
            "ONBUILD FROM x",
            "LABEL a=1 b",
        ] {
            assert!(apply_changes(&mut Map::new(), &[bad.into()]).is_err(), "{bad}");
        }
    }
}
