//! The permissions of `--chmod`: octal as `0755`, or symbolic as `u=rwX,go=rX`.
//! Source: Dockerfile reference, "COPY --chown --chmod"; POSIX, chmod, for the symbolic form.

use std::str::FromStr;

/// What becomes of a file's permissions. Without a user, a symbolic part is for all of them, and no mask is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// All of them, whatever they were.
    Octal(u32),
    Symbolic(Vec<Part>),
}

/// `ug+rX`: whose, what is done, and with which bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    who: u32,
    how: char,
    what: Vec<char>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} are no permissions: expected an octal number up to 7777, or the like of `u=rwX,go=rX`")]
pub struct InvalidPermissions {
    text: String,
}

const USER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;

impl Permissions {
    /// The permissions of a file or folder that had `mode`. Only the lower twelve bits are looked at and returned.
    pub fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Octal(octal) => *octal,
            Self::Symbolic(parts) => parts.iter().fold(mode & 0o7777, |mode, part| part.apply(mode, is_folder)),
        }
    }
}

impl Part {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        // Three bits for each whose, and the bits that belong to some only.
        let spread = |bits: u32| (bits * 0o111) & self.who;
        let bits = self.what.iter().fold(0, |bits, what| {
            bits | match what {
                'r' => spread(4),
                'w' => spread(2),
                'x' => spread(1),
                'X' if is_folder || mode & 0o111 != 0 => spread(1),
                's' => (if self.who & USER != 0 { 0o4000 } else { 0 }) | (if self.who & GROUP != 0 { 0o2000 } else { 0 }),
                't' => 0o1000,
                'u' => spread((mode >> 6) & 7),
                'g' => spread((mode >> 3) & 7),
                'o' => spread(mode & 7),
                _ => 0,
            }
        });
        match self.how {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => {
                let special = (if self.who & USER != 0 { 0o4000 } else { 0 }) | (if self.who & GROUP != 0 { 0o2000 } else { 0 });
                let sticky = if self.who == USER | GROUP | OTHERS { 0o1000 } else { 0 };
                mode & !(self.who | special | sticky) | bits
            }
        }
    }
}

impl FromStr for Permissions {
    type Err = InvalidPermissions;

    fn from_str(text: &str) -> Result<Self, InvalidPermissions> {
        let wrong = || InvalidPermissions { text: text.chars().take(60).collect() };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|octal| *octal <= 0o7777);
            return octal.map(Self::Octal).ok_or_else(wrong);
        }
        let mut parts = Vec::new();
        for clause in text.split(',') {
            let start = clause.find(['+', '-', '=']).ok_or_else(wrong)?;
            let mut who = 0;
            for c in clause[..start].chars() {
                who |= match c {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHERS,
                    'a' => USER | GROUP | OTHERS,
                    _ => return Err(wrong()),
                };
            }
            let who = if start == 0 { USER | GROUP | OTHERS } else { who };
            let mut how = None;
            for c in clause[start..].chars() {
                match c {
                    '+' | '-' | '=' => {
                        parts.extend(how.take());
                        how = Some(Part { who, how: c, what: Vec::new() });
                    }
                    'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => how.iter_mut().for_each(|part| part.what.push(c)),
                    _ => return Err(wrong()),
                }
            }
            parts.extend(how);
        }
        Ok(Self::Symbolic(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        for (text, mode, is_folder, expected) in [
            ("0755", 0o600, false, 0o755),
            ("7777", 0, false, 0o7777),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("u=rwx", 0o4644, false, 0o744),
            ("+t", 0o777, true, 0o1777),
            ("=r", 0o7777, false, 0o444),
            ("g=u,o=", 0o750, false, 0o770),
            ("g+w-x", 0o655, false, 0o665),
            ("go=", 0o777, false, 0o700),
        ] {
            assert_eq!(text.parse::<Permissions>().unwrap().apply(mode, is_folder), expected, "{text} {mode:o}");
        }
        for bad in ["", "8", "17777", "0o7", "rwx", "z+x", "u", "u=rwx,", "u+q", "-1x9"] {
            assert!(bad.parse::<Permissions>().is_err(), "{bad}");
        }
    }
}
