//! A finished filter as it is kept: with the orders of a container, so that neither its start nor a further process in it
//! takes the time to make it from the rules (half a millisecond, and a specification of ten times the length).

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::runtime::Capabilities;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Program, SeccompError, Sockets, compile, default_for};
use crate::sys::seccomp::Instruction;

/// What the kernel runs at each system call of a container; empty allows everything.
///
/// Written as the instructions' bytes (`struct sock_filter`, least significant byte first) in base 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Program);

impl Filter {
    pub(in crate::engine::runtime) fn program(&self) -> &Program {
        &self.0
    }
}

impl From<Program> for Filter {
    fn from(program: Program) -> Self {
        Self(program)
    }
}

/// How many default filters a process remembers: one for each set of capabilities that is in use.
const REMEMBERED: usize = 16;

/// The filter of the default profile, made once for each set of capabilities.
pub(in crate::engine::runtime) fn of_default(capabilities: &Capabilities, sockets: Sockets) -> Result<Filter, SeccompError> {
    static KNOWN: Mutex<Vec<(Capabilities, Sockets, Filter)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., filter)) = known.iter().find(|(of, with, _)| of == capabilities && *with == sockets) {
        return Ok(filter.clone());
    }
    let profile = default_for(capabilities, sockets).map_err(|e| SeccompError::Assemble { why: e.to_string() })?;
    let filter = Filter(compile(Some(&profile))?);
    if known.len() == REMEMBERED {
        known.remove(0);
    }
    known.push((capabilities.clone(), sockets, filter.clone()));
    Ok(filter)
}

/// Bytes of an instruction.
const SIZE: usize = 8;

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.0.len() * SIZE);
        for Instruction { code, jump_true, jump_false, value } in &self.0 {
            bytes.extend(code.to_le_bytes());
            bytes.extend([*jump_true, *jump_false]);
            bytes.extend(value.to_le_bytes());
        }
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(&*text).map_err(D::Error::custom)?;
        let (whole, rest) = bytes.as_chunks::<SIZE>();
        if !rest.is_empty() {
            return Err(D::Error::custom("a system call filter that ends within an instruction"));
        }
        let program = whole.iter().map(|&[c0, c1, jump_true, jump_false, v0, v1, v2, v3]| Instruction {
            code: u16::from_le_bytes([c0, c1]),
            jump_true,
            jump_false,
            value: u32::from_le_bytes([v0, v1, v2, v3]),
        });
        Ok(Self(program.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_same_after_it_was_written() {
        let capabilities = Capabilities::new();
        let filter = of_default(&capabilities, Sockets::FourFamilies).unwrap();
        assert!(filter.program().len() > 100);
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        assert_eq!(of_default(&capabilities, Sockets::FourFamilies).unwrap(), filter);
        assert_ne!(of_default(&capabilities, Sockets::All).unwrap(), filter);
    }

    #[test]
    fn a_filter_that_was_cut_is_refused() {
        for bad in ["\"AAAA\"", "\"!\"", "7"] {
            assert!(serde_json::from_str::<Filter>(bad).is_err(), "{bad}");
        }
    }
}
