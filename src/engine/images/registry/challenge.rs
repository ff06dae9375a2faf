//! What a registry asks for when it answers 401: the `WWW-Authenticate` header, parsed.
//! Source: RFC 9110, 11.6.1; the distribution project's token authentication specification.

/// One way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenges that we can answer, in the header's order.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split(header) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = name.trim();
        // `Bearer realm="…"` starts a challenge, `service="…"` goes on with it.
        let (scheme, name) = match name.split_once(char::is_whitespace) {
            Some((scheme, name)) => (Some(scheme), name.trim()),
            None if !part.contains('=') => (Some(name), ""),
            None => (None, name),
        };
        if let Some(scheme) = scheme {
            found.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let Some((_, parameters)) = found.last_mut()
            && !name.is_empty()
        {
            parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    found
        .into_iter()
        .filter_map(|(scheme, parameters)| {
            let get = |key: &str| parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            match scheme.as_str() {
                "basic" => Some(Challenge::Basic),
                "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
                _ => None,
            }
        })
        .collect()
}

/// Splits at commas outside of quotes.
fn split(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(header[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(header[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else { return value.to_owned() };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        };
        for (header, expected) in [
            ("", vec![]),
            ("Basic", vec![Challenge::Basic]),
            ("basic realm=\"a, b\"", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:x/y:pull,push""#,
                vec![bearer("https://a/t", Some("s"), Some("repository:x/y:pull,push"))],
            ),
            (
                r#"Negotiate, Bearer realm="https://a/\"t\"" , service=s, Basic realm="x""#,
                vec![bearer("https://a/\"t\"", Some("s"), None), Challenge::Basic],
            ),
            ("Bearer service=\"no realm\"", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
