//! Signals by name or number, as Docker accepts them: `SIGTERM`, `term`, `15`, `RTMIN+3`.

use std::fmt;
use std::str::FromStr;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(i32);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a signal: expected a name such as `SIGTERM` or a number from 1 to 64")]
pub struct InvalidSignal {
    text: String,
}

/// Names of the signals 1 to 31 on Linux, for every architecture that setpoint is built for.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
    "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    pub const INT: Self = Self(2);
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);

    pub const fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = if let Ok(number) = upper.parse::<i32>() {
            number
        } else if let Some(at) = NAMES.iter().position(|known| *known == name) {
            at as i32 + 1
        } else {
            match (name, name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                ("POLL", ..) => 29,
                ("IOT", ..) => 6,
                ("RTMIN", ..) => RTMIN,
                ("RTMAX", ..) => RTMAX,
                (_, Some(up), _) => RTMIN + up.parse::<i32>().ok().filter(|n| (0..=30).contains(n)).unwrap_or(100),
                (_, _, Some(down)) => RTMAX - down.parse::<i32>().ok().filter(|n| (0..=30).contains(n)).unwrap_or(100),
                _ => 0,
            }
        };
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidSignal { text: text.chars().take(40).collect() })
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.0 as usize - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

super::serde_as_text!(Signal, "^[A-Za-z0-9+-]+$", "A signal, such as SIGTERM");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_number() {
        for (text, number, printed) in [
            ("SIGTERM", 15, "SIGTERM"),
            ("kill", 9, "SIGKILL"),
            ("1", 1, "SIGHUP"),
            ("RTMIN+3", 37, "SIGRTMIN+3"),
            ("RTMAX-1", 63, "SIGRTMIN+29"),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, printed));
            assert_eq!(printed.parse::<Signal>().unwrap(), signal);
        }
        for bad in ["", "0", "65", "SIGNOPE", "RTMIN+31", "-1"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
