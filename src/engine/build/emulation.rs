//! Whether this host runs programs that were made for another platform: by its own processor, or by an emulator that the kernel
//! starts for them. That must be one that the kernel holds open (flag `F`), because a container does not see the host's files.
//!
//! Source: binfmt_misc(5) as the kernel's `Documentation/admin-guide/binfmt-misc.rst` describes it; the ELF specification.

use std::fs;
use std::io;
use std::path::Path;

use super::stages::normal;
use crate::files::FileError;
use crate::model::Platform;

/// Where the kernel tells of its handlers, one file each.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// How programs for a platform are run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// By the processor itself.
    Natively,
    /// By an emulator.
    Emulated,
    /// There is an emulator that is looked for in the container, where it is not.
    Outside {
        handler: String,
        interpreter: String,
    },
    No,
}

/// How this host runs programs for `platform`.
pub(super) fn of(platform: &Platform) -> Result<Runs, FileError> {
    if is_native(platform, &Platform::host()) {
        return Ok(Runs::Natively);
    }
    let Some(header) = header(platform) else { return Ok(Runs::No) };
    found_in(Path::new(HANDLERS), &header)
}

/// A processor also runs what was made for its older, smaller self. Which variant of it this one is, is for the program to find out.
pub(super) fn is_native(platform: &Platform, host: &Platform) -> bool {
    let (platform, host) = (normal(platform.clone()), normal(host.clone()));
    let smaller = matches!((platform.architecture.as_str(), host.architecture.as_str()), ("386", "amd64") | ("arm", "arm64"));
    platform.os == host.os && (platform.architecture == host.architecture || smaller)
}

/// What the kernel calls an emulator for this architecture's programs in packages of distributions.
pub(super) fn emulator(platform: &Platform) -> String {
    let name = match platform.architecture.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        "mips64le" => "mips64el",
        "loong64" => "loongarch64",
        other => other,
    };
    format!("qemu-{name}")
}

fn found_in(folder: &Path, header: &[u8]) -> Result<Runs, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Runs::No),
        Err(e) => return Err(FileError::new("list", folder, e)),
    };
    let mut outside = Runs::No;
    for entry in entries {
        let entry = entry.map_err(|e| FileError::new("list", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "register" || name == "status" {
            continue;
        }
        // One that is taken away meanwhile is none.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let Some(handler) = Handler::read(&text) else { continue };
        if handler.takes(header) {
            if handler.is_held_open {
                return Ok(Runs::Emulated);
            }
            outside = Runs::Outside { handler: name, interpreter: handler.interpreter };
        }
    }
    Ok(outside)
}

/// The first bytes of a program for a platform.
fn header(platform: &Platform) -> Option<Vec<u8>> {
    const BITS_32: u8 = 1;
    const BITS_64: u8 = 2;
    let platform = normal(platform.clone());
    let (bits, is_big, machine): (u8, bool, u16) = match platform.architecture.as_str() {
        "386" => (BITS_32, false, 3),
        "amd64" => (BITS_64, false, 62),
        "arm" => (BITS_32, false, 40),
        "arm64" => (BITS_64, false, 183),
        "riscv64" => (BITS_64, false, 243),
        "ppc64le" => (BITS_64, false, 21),
        "s390x" => (BITS_64, true, 22),
        "mips64le" => (BITS_64, false, 8),
        "loong64" => (BITS_64, false, 258),
        _ => return None,
    };
    let number = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut header = vec![0x7f, b'E', b'L', b'F', bits, if is_big { 2 } else { 1 }, 1];
    header.resize(16, 0);
    // A program that is loaded at a fixed place.
    header.extend(number(2));
    header.extend(number(machine));
    header.extend(number(1));
    header.resize(64, 0);
    Some(header)
}

/// One of the kernel's handlers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Handler {
    interpreter: String,
    is_held_open: bool,
    offset: usize,
    magic: Vec<u8>,
    /// As long as the magic; nothing is all of it.
    mask: Vec<u8>,
}

impl Handler {
    /// `None` for one that is off, and for one that looks at names.
    fn read(text: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "interpreter" => value.clone_into(&mut found.interpreter),
                "flags:" => found.is_held_open = value.contains('F'),
                "offset" => found.offset = value.parse().ok()?,
                "magic" => found.magic = bytes(value)?,
                "mask" => found.mask = bytes(value)?,
                _ => {}
            }
        }
        (!found.magic.is_empty()).then_some(found)
    }

    fn takes(&self, header: &[u8]) -> bool {
        let Some(seen) = header.get(self.offset..self.offset + self.magic.len()) else { return false };
        let mask = |at: usize| self.mask.get(at).copied().unwrap_or(0xff);
        seen.iter().zip(&self.magic).enumerate().all(|(at, (seen, wanted))| (seen ^ wanted) & mask(at) == 0)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn processors_run_what_is_theirs() {
        for (of, host, expected) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/386", "linux/amd64", true),
            ("linux/arm/v7", "linux/arm64/v8", true),
            ("linux/arm64", "linux/amd64", false),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(is_native(&platform(of), &platform(host)), expected, "{of} on {host}");
        }
    }

    #[test]
    fn handlers_are_told_by_the_first_bytes_of_programs() {
        let handler = Handler::read(ARM64).unwrap();
        assert!(handler.is_held_open && handler.interpreter == "/usr/bin/qemu-aarch64-static");
        assert!(handler.takes(&header(&platform("linux/arm64")).unwrap()));
        for other in ["linux/arm/v7", "linux/riscv64", "linux/amd64", "linux/s390x"] {
            assert!(!handler.takes(&header(&platform(other)).unwrap()), "{other}");
        }
        assert_eq!(Handler::read(&ARM64.replace("enabled", "disabled")), None);
        assert_eq!(Handler::read("enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n"), None);
        assert_eq!(header(&platform("linux/wasm")), None);
    }

    #[test]
    fn one_that_is_not_held_open_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let arm64 = header(&platform("linux/arm64")).unwrap();
        let found = || found_in(folder.path(), &arm64).unwrap();
        assert_eq!(found(), Runs::No);
        fs::write(folder.path().join("status"), "enabled\n").unwrap();
        fs::write(folder.path().join("qemu"), ARM64.replace("OCF", "OC")).unwrap();
        let outside = Runs::Outside { handler: "qemu".into(), interpreter: "/usr/bin/qemu-aarch64-static".into() };
        assert_eq!(found(), outside);
        fs::write(folder.path().join("other"), ARM64).unwrap();
        assert_eq!(found(), Runs::Emulated);
        assert_eq!(found_in(&folder.path().join("none"), &arm64).unwrap(), Runs::No);
    }
}
