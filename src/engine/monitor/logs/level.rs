//! How grave a line of a log is, guessed from the forms that programs commonly write: JSON, `level=…`, a word at the
//! beginning, the priority of syslog and the letter of klog. What is none of them has no level.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
}

/// As far into a line as a level is looked for.
const LOOKED_AT: usize = 512;
/// So many words of a line are looked at, for a level in between dates and names.
const WORDS: usize = 8;

pub(super) fn of(text: &[u8]) -> Option<Level> {
    let text = &text[..text.len().min(LOOKED_AT)];
    // A character that is cut off is no part of a level.
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(e) => std::str::from_utf8(&text[..e.valid_up_to()]).ok()?,
    };
    let text = text.trim_start();
    if text.starts_with('{') {
        return ["\"level\"", "\"severity\"", "\"lvl\"", "\"log.level\"", "\"loglevel\""]
            .iter()
            .find_map(|key| in_json(text, key));
    }
    syslog(text).or_else(|| assigned(text)).or_else(|| klog(text)).or_else(|| spoken(text))
}

/// The value of a key at the beginning of a JSON object, which may be cut off.
fn in_json(text: &str, key: &str) -> Option<Level> {
    let (_, after) = text.split_once(key)?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    match value.strip_prefix('"') {
        Some(value) => word(value.split('"').next()?),
        // Bunyan and pino count in tens.
        None => match value.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()? {
            10 => Some(Level::Trace),
            20 => Some(Level::Debug),
            30 => Some(Level::Info),
            40 => Some(Level::Warning),
            50 => Some(Level::Error),
            60 => Some(Level::Critical),
            _ => None,
        },
    }
}

/// `<3>…`: only the last three bits are the severity.
fn syslog(text: &str) -> Option<Level> {
    let (number, _) = text.strip_prefix('<')?.split_once('>')?;
    Some(match number.parse::<u8>().ok()? % 8 {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 => Level::Notice,
        6 => Level::Info,
        _ => Level::Debug,
    })
}

/// `… level=warn …`, as logfmt has it.
fn assigned(text: &str) -> Option<Level> {
    ["level=", "lvl=", "severity="].iter().find_map(|key| {
        let at = text.find(key)?;
        // `sublevel=3` is another word.
        if text[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        let value = text[at + key.len()..].trim_start_matches('"');
        word(value.split(|c: char| !c.is_ascii_alphabetic()).next()?)
    })
}

/// `E0312 10:00:00.000000 …`.
fn klog(text: &str) -> Option<Level> {
    let (letter, digits) = (text.as_bytes().first()?, text.as_bytes().get(1..5)?);
    if !digits.iter().all(u8::is_ascii_digit) || text.as_bytes().get(5) != Some(&b' ') {
        return None;
    }
    match letter {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warning),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Critical),
        _ => None,
    }
}

/// A level as one of the first words, set off: in capitals, in brackets or before a colon. Plain words are prose.
fn spoken(text: &str) -> Option<Level> {
    text.split_whitespace().take(WORDS).find_map(|token| {
        let bare = token.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let set_off =
            bare.bytes().all(|b| b.is_ascii_uppercase()) || token.starts_with(['[', '(', '<', '|']) || token.ends_with(':');
        if set_off { word(bare) } else { None }
    })
}

fn word(text: &str) -> Option<Level> {
    let lower = text.trim().to_ascii_lowercase();
    Some(match lower.as_str() {
        "trace" | "trc" | "finest" => Level::Trace,
        "debug" | "dbg" | "debug1" | "fine" => Level::Debug,
        "info" | "inf" | "information" | "informational" | "log" => Level::Info,
        "notice" => Level::Notice,
        "warn" | "warning" | "wrn" => Level::Warning,
        "error" | "err" | "severe" => Level::Error,
        "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" | "ftl" => Level::Critical,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_programs_write() {
        for (line, level) in [
            (r#"{"time":"x","level":"warn","msg":"y"}"#, Some(Level::Warning)),
            (r#"{"severity": "ERROR"}"#, Some(Level::Error)),
            (r#"{"level":50,"msg":"pino"}"#, Some(Level::Error)),
            (r#"{"msg":"no level"}"#, None),
            ("time=x level=info msg=\"level=error is what it was\"", Some(Level::Info)),
            ("<11>app: broken", Some(Level::Error)),
            ("E0312 10:00:00.000000 1 main.go:1] broken", Some(Level::Error)),
            ("2026-11-26 10:00:00.000 UTC [1] LOG:  database system is ready", Some(Level::Info)),
            ("2026-11-26 10:00:00.000 UTC [1] FATAL:  no", Some(Level::Critical)),
            ("2026/11/26 10:00:00 [error] 7#7: *1 open() failed", Some(Level::Error)),
            ("1:M 26 Nov 2026 10:00:00.000 # Warning: no config", Some(Level::Warning)),
            ("INFO starting", Some(Level::Info)),
            ("2026-11-26T10:00:00Z  WARN app: slow", Some(Level::Warning)),
            ("error handling is a topic", None),
            ("sublevel=error", None),
            ("an information was given", None),
            ("", None),
        ] {
            assert_eq!(of(line.as_bytes()), level, "{line}");
        }
        assert_eq!(of(b"ERROR \xff\xfe"), Some(Level::Error));
        assert_eq!(of(&[b'x'; 10_000]), None);
    }
}
