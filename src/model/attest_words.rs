//! What is to be attested of an image, as people write it: `--provenance`, `--sbom` and `--attest`, and the same in manifests.
//! Source: the reference of `docker buildx build`.

use super::build::{Provenance, Slsa};
use super::build_words::{InvalidWords, fields};
use super::did_you_mean;

/// What is to be attested of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attest {
    pub provenance: Option<Provenance>,
    pub sbom: bool,
}

impl Attest {
    /// `true`, `false`, `mode=min`, `mode=max`, and what else there is of a provenance.
    pub fn provenance(&mut self, text: &str) -> Result<(), InvalidWords> {
        self.provenance = match truth(text) {
            Some(wanted) => wanted.then(usual),
            None => read_provenance(fields(text)?)?,
        };
        Ok(())
    }

    /// `true` or `false`.
    pub fn sbom(&mut self, text: &str) -> Result<(), InvalidWords> {
        self.sbom = match truth(text) {
            Some(wanted) => wanted,
            None => read_sbom(fields(text)?)?,
        };
        Ok(())
    }

    /// `type=provenance,…` or `type=sbom,…`.
    pub fn attest(&mut self, text: &str) -> Result<(), InvalidWords> {
        let (kinds, rest): (Vec<_>, Vec<_>) = fields(text)?.into_iter().partition(|(key, _)| key == "type");
        match kinds.as_slice() {
            [(_, Some(kind))] if kind == "provenance" => self.provenance = read_provenance(rest)?,
            [(_, Some(kind))] if kind == "sbom" => self.sbom = read_sbom(rest)?,
            _ => return Err(InvalidWords::hinted("it needs `type=provenance` or `type=sbom`", "write type=provenance,mode=max")),
        }
        Ok(())
    }
}

/// What is wanted where nothing else is said.
fn usual() -> Provenance {
    Provenance { max: true, ..Provenance::default() }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, InvalidWords> {
    truth(value.unwrap_or_default()).ok_or_else(|| InvalidWords::new(format!("`{key}` is `true` or `false`")))
}

fn read_provenance(given: Vec<(String, Option<String>)>) -> Result<Option<Provenance>, InvalidWords> {
    let mut found = usual();
    let mut wanted = true;
    for (key, value) in given {
        let value = value.as_deref();
        match key.as_str() {
            "mode" => {
                found.max = match value {
                    Some("max") => true,
                    Some("min") => false,
                    _ => return Err(InvalidWords::new("`mode` is `min` or `max`")),
                }
            }
            "version" => {
                found.version = match value {
                    Some("v1") => Slsa::V1,
                    Some("v0.2") => Slsa::V02,
                    _ => return Err(InvalidWords::new("`version` is `v1` or `v0.2`")),
                }
            }
            "builder-id" => found.builder_id = value.map(str::to_owned),
            "reproducible" => found.reproducible = switch(&key, value)?,
            "inline-only" => found.inline_only = switch(&key, value)?,
            "disabled" => wanted = !switch(&key, value)?,
            _ => {
                let known = ["mode", "version", "builder-id", "reproducible", "inline-only", "disabled"];
                let hint = did_you_mean(&key, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                return Err(InvalidWords::hinted(format!("a provenance has no `{key}`"), hint));
            }
        }
    }
    Ok(wanted.then_some(found))
}

fn read_sbom(given: Vec<(String, Option<String>)>) -> Result<bool, InvalidWords> {
    let mut wanted = true;
    for (key, value) in given {
        match key.as_str() {
            "disabled" => wanted = !switch(&key, value.as_deref())?,
            "generator" => {
                let hint = "leave it out: setpoint looks for software itself";
                return Err(InvalidWords::hinted("a generator of the list of software cannot be chosen", hint));
            }
            _ => return Err(InvalidWords::hinted(format!("a list of software has no `{key}`"), "there is `disabled`")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_are_asked_for_in_three_ways() {
        let read = |texts: &[(&str, &str)]| {
            let mut all = Attest::default();
            for (flag, text) in texts {
                match *flag {
                    "provenance" => all.provenance(text)?,
                    "sbom" => all.sbom(text)?,
                    _ => all.attest(text)?,
                }
            }
            Ok::<_, InvalidWords>((all.provenance.map(|provenance| (provenance.max, provenance.version)), all.sbom))
        };
        let (max, min) = (Some((true, Slsa::V1)), Some((false, Slsa::V1)));
        for (texts, expected) in [
            (&[][..], (None, false)),
            (&[("provenance", "true")], (max, false)),
            (&[("provenance", "false"), ("sbom", "true")], (None, true)),
            (&[("provenance", "mode=min")], (min, false)),
            (&[("provenance", "mode=min"), ("provenance", "false")], (None, false)),
            (&[("attest", "type=provenance,mode=max,version=v0.2"), ("attest", "type=sbom")], (Some((true, Slsa::V02)), true)),
            (&[("attest", "type=sbom,disabled=true")], (None, false)),
            (&[("provenance", "disabled=true")], (None, false)),
        ] {
            assert_eq!(read(texts), Ok(expected), "{texts:?}");
        }
        for (flag, bad) in [
            ("provenance", "mode=most"),
            ("provenance", "mod=max"),
            ("sbom", "generator=x"),
            ("attest", "sbom"),
            ("attest", "type=other"),
            ("attest", "type=sbom,mode=max"),
        ] {
            assert!(read(&[(flag, bad)]).is_err(), "{flag} {bad}");
        }
    }
}
