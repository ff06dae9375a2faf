//! How the layers of what leaves the store are packed, and the words for it: those of BuildKit's exporters.

use serde::{Deserialize, Serialize};

/// What a layer's tar is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    Uncompressed,
    Gzip,
    Zstd,
}

impl Compression {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The highest level that it has.
    pub const fn highest(self) -> u32 {
        match self {
            Self::Uncompressed => 0,
            Self::Gzip => 9,
            Self::Zstd => 22,
        }
    }
}

/// How layers are packed. Without a compression it is left to the place where they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packing {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Also those that are there in another form already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Why words are no packing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPacking {
    #[error("there is no compression {given:?}: use gzip, zstd or uncompressed")]
    Compression { given: String },
    #[error("`compression-level` is a number, and not {given:?}")]
    Level { given: String },
    #[error("the levels of {} are 0 to {}", compression.word(), compression.highest())]
    TooHigh { compression: Compression },
    #[error("what is not compressed has no `compression-level`")]
    NoLevel,
    #[error("`{key}` is `true` or `false`, and not {given:?}")]
    Switch { key: &'static str, given: String },
}

impl Packing {
    /// The fields that it is written with.
    pub const KEYS: [&'static str; 3] = ["compression", "compression-level", "force-compression"];

    pub const fn is_default(&self) -> bool {
        self.compression.is_none() && self.level.is_none() && !self.force
    }

    /// Takes in one field; false where it is none of a packing.
    pub fn field(&mut self, key: &str, value: Option<&str>) -> Result<bool, InvalidPacking> {
        let given = value.unwrap_or_default();
        match key {
            "compression" => {
                self.compression = Some(match given {
                    "gzip" => Compression::Gzip,
                    "zstd" => Compression::Zstd,
                    "uncompressed" => Compression::Uncompressed,
                    _ => return Err(InvalidPacking::Compression { given: given.to_owned() }),
                });
            }
            "compression-level" => {
                self.level = Some(given.parse().map_err(|_| InvalidPacking::Level { given: given.to_owned() })?);
            }
            "force-compression" => self.force = switch("force-compression", value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether its parts fit together. To be asked when all fields have been read.
    pub fn check(&self) -> Result<(), InvalidPacking> {
        match (self.level, self.compression.unwrap_or(Compression::Gzip)) {
            (Some(_), Compression::Uncompressed) => Err(InvalidPacking::NoLevel),
            (Some(level), compression) if level > compression.highest() => Err(InvalidPacking::TooHigh { compression }),
            _ => Ok(()),
        }
    }
}

/// `true`, `false`, or nothing for `true`.
pub fn switch(key: &'static str, value: Option<&str>) -> Result<bool, InvalidPacking> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(given) => Err(InvalidPacking::Switch { key, given: given.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Packing, String> {
        let mut packing = Packing::default();
        for (key, value) in fields {
            assert!(packing.field(key, Some(value)).map_err(|error| error.to_string())?, "{key}");
        }
        packing.check().map_err(|error| error.to_string())?;
        Ok(packing)
    }

    #[test]
    fn words_of_packings() {
        let zstd = Packing { compression: Some(Compression::Zstd), level: Some(19), force: true };
        assert_eq!(read(&[("compression", "zstd"), ("compression-level", "19"), ("force-compression", "true")]), Ok(zstd));
        assert_eq!(Packing::default().field("type", None), Ok(false));
        for (fields, why) in [
            (&[("compression", "estargz")][..], "there is no compression \"estargz\": use gzip, zstd or uncompressed"),
            (&[("compression-level", "high")], "`compression-level` is a number, and not \"high\""),
            (&[("compression-level", "10")], "the levels of gzip are 0 to 9"),
            (&[("compression", "uncompressed"), ("compression-level", "1")], "what is not compressed has no `compression-level`"),
            (&[("force-compression", "x")], "`force-compression` is `true` or `false`, and not \"x\""),
        ] {
            assert_eq!(read(fields).unwrap_err(), why);
        }
    }
}
