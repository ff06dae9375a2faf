//! Sections of an ELF file by their names. Source: the ELF specification, "Sections".

use std::fs::File;
use std::os::unix::fs::FileExt;

/// A section that is longer is not read, in bytes.
const LONGEST: u64 = 32 << 20;
/// More sections than these no program has.
const MOST: u64 = 4096;

/// The contents of the sections with these names. `None`: it is no ELF file, or a broken one.
pub(super) fn sections<const N: usize>(file: &File, names: [&str; N]) -> Option<[Option<Vec<u8>>; N]> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    if &head[..4] != b"\x7fELF" {
        return None;
    }
    let elf = Elf { is_64: head[4] == 2, is_big: head[5] == 2 };
    let (offset, entry, count, of_names) = match elf.is_64 {
        true => (elf.number(&head, 40, 8)?, elf.number(&head, 58, 2)?, elf.number(&head, 60, 2)?, elf.number(&head, 62, 2)?),
        false => (elf.number(&head, 32, 4)?, elf.number(&head, 46, 2)?, elf.number(&head, 48, 2)?, elf.number(&head, 50, 2)?),
    };
    if count > MOST || entry > 256 {
        return None;
    }
    let table = read(file, offset, entry * count)?;
    let section = |number: u64| {
        let at = usize::try_from(number * entry).ok()?;
        let header = table.get(at..at + usize::try_from(entry).ok()?)?;
        let (from, size) = match elf.is_64 {
            true => (elf.number(header, 24, 8)?, elf.number(header, 32, 8)?),
            false => (elf.number(header, 16, 4)?, elf.number(header, 20, 4)?),
        };
        Some((elf.number(header, 0, 4)?, from, size))
    };
    let (_, from, size) = section(of_names)?;
    let texts = read(file, from, size)?;
    let mut found = [const { None }; N];
    for number in 0..count {
        let (name, from, size) = section(number)?;
        let name = texts.get(usize::try_from(name).ok()?..)?;
        let name = &name[..name.iter().position(|byte| *byte == 0)?];
        if let Some(place) = names.iter().position(|wanted| wanted.as_bytes() == name) {
            found[place] = read(file, from, size);
        }
    }
    Some(found)
}

struct Elf {
    is_64: bool,
    is_big: bool,
}

impl Elf {
    fn number(&self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + length)?;
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    }
}

fn read(file: &File, from: u64, size: u64) -> Option<Vec<u8>> {
    let mut content = vec![0; usize::try_from(Some(size).filter(|size| *size <= LONGEST)?).ok()?];
    file.read_exact_at(&mut content, from).ok()?;
    Some(content)
}
