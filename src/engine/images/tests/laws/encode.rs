//! Writes entries as tars in the three formats. A header that has no room for something gets what its format has for that.

use super::Random;
use super::generate::{Entry, Kind};
use crate::engine::images::layer::pax;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Ustar,
    Gnu,
    Pax,
}

pub(super) const FORMATS: [Format; 3] = [Format::Ustar, Format::Gnu, Format::Pax];

pub(super) fn tar(entries: &[Entry], format: Format, random: &mut Random) -> Vec<u8> {
    let mut output = Vec::new();
    for entry in entries {
        one(entry, format, random, &mut output);
    }
    // Some writers leave the end out, others fill it up.
    let end = random.pick(&[0, 1024, 10_240]);
    output.resize(output.len() + end, 0);
    output
}

fn one(entry: &Entry, format: Format, random: &mut Random, output: &mut Vec<u8>) {
    // GNU's long names and extension headers do not go together.
    let extended_too = !entry.xattrs.is_empty() || entry.mtime.1 != 0;
    let format = if format == Format::Gnu && extended_too { Format::Pax } else { format };
    let mut records = Vec::new();
    let mut header = [0u8; 512];
    let dots = if random.once_in(3) { "./" } else { "" };
    let slash = if entry.kind == Kind::Folder && !entry.name.is_empty() && random.once_in(2) { "/" } else { "" };
    let name = if entry.name.is_empty() { "./".to_owned() } else { format!("{dots}{}{slash}", entry.name) };
    let mut content: Vec<u8> = entry.pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut kind = match entry.kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Folder => b'5',
        Kind::Fifo => b'6',
    };
    for (name, value) in &entry.xattrs {
        records.extend(pax::record(format!("SCHILY.xattr.{name}").as_bytes(), value));
    }
    let mut stored_name = name.clone();
    let mut extended = Vec::new();
    if entry.sparse && format == Format::Gnu {
        kind = b'S';
        extended = gnu_map(entry, &mut header);
    } else if entry.sparse && format == Format::Pax {
        let pieces = entry.pieces.iter().map(|(at, bytes)| format!("{at}\n{}\n", bytes.len()));
        // GNU tar says where the file ends, and does not look elsewhere for it.
        let map: Vec<String> = pieces.chain([format!("{}\n0\n", entry.size)]).collect();
        let mut map = format!("{}\n{}", map.len(), map.concat()).into_bytes();
        map.resize(map.len().next_multiple_of(512), 0);
        content.splice(0..0, map);
        for (key, value) in
            [("major", "1".to_owned()), ("minor", "0".to_owned()), ("realsize", entry.size.to_string()), ("name", name)]
        {
            records.extend(pax::record(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes()));
        }
        stored_name = "GNUSparseFile.0/file".to_owned();
    } else {
        content = entry.content();
    }
    place_name(&stored_name, format, &mut header, &mut records, output);
    if !field(&mut header[157..257], entry.link.as_bytes()) {
        match format {
            Format::Gnu => long(b'K', &entry.link, output),
            Format::Ustar | Format::Pax => records.extend(pax::record(b"linkpath", entry.link.as_bytes())),
        }
    }
    header[100..108].copy_from_slice(format!("{:07o}\0", entry.mode).as_bytes());
    number(&mut header[108..116], "uid", entry.uid.into(), format, &mut records);
    number(&mut header[116..124], "gid", entry.gid.into(), format, &mut records);
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    time(&mut header[136..148], entry.mtime, format, &mut records);
    header[156] = kind;
    header[257..265].copy_from_slice(if format == Format::Gnu { b"ustar  \0" } else { b"ustar\x0000" });
    if matches!(entry.kind, Kind::Char | Kind::Block) {
        header[329..337].copy_from_slice(format!("{:07o}\0", entry.device.0).as_bytes());
        header[337..345].copy_from_slice(format!("{:07o}\0", entry.device.1).as_bytes());
    }
    if !records.is_empty() {
        extension(b'x', &records, output);
    }
    finish(&mut header);
    output.extend(header);
    output.extend(extended);
    output.extend(&content);
    output.resize(output.len().next_multiple_of(512), 0);
}

/// Cut when it is too long; then false.
fn field(field: &mut [u8], text: &[u8]) -> bool {
    let most = text.len().min(field.len());
    field[..most].copy_from_slice(&text[..most]);
    text.len() <= field.len()
}

fn place_name(name: &str, format: Format, header: &mut [u8; 512], records: &mut Vec<u8>, output: &mut Vec<u8>) {
    if field(&mut header[0..100], name.as_bytes()) {
        return;
    }
    let split = name.match_indices('/').find(|(at, _)| *at > 0 && *at <= 155 && (1..=100).contains(&(name.len() - at - 1)));
    match (format, split) {
        (Format::Gnu, _) => long(b'L', name, output),
        (Format::Ustar, Some((at, _))) => {
            header[0..100].fill(0);
            field(&mut header[0..100], &name.as_bytes()[at + 1..]);
            field(&mut header[345..500], &name.as_bytes()[..at]);
        }
        (Format::Ustar | Format::Pax, _) => records.extend(pax::record(b"path", name.as_bytes())),
    }
}

fn number(field: &mut [u8], key: &str, value: u64, format: Format, records: &mut Vec<u8>) {
    let digits = field.len() - 1;
    if value < 1 << (3 * digits) {
        field.copy_from_slice(format!("{value:0digits$o}\0").as_bytes());
    } else if format == Format::Gnu {
        base_256(field, value.cast_signed());
    } else {
        field.copy_from_slice(format!("{:0digits$o}\0", 0).as_bytes());
        records.extend(pax::record(key.as_bytes(), value.to_string().as_bytes()));
    }
}

fn base_256(field: &mut [u8], value: i64) {
    let last = field.len() - 8;
    field.fill(if value < 0 { 0xff } else { 0 });
    field[last..].copy_from_slice(&value.to_be_bytes());
    field[0] |= 0x80;
}

fn time(field: &mut [u8], (seconds, nanoseconds): (i64, u32), format: Format, records: &mut Vec<u8>) {
    let fits = (0..1 << 33).contains(&seconds);
    match (fits, format) {
        (false, Format::Gnu) => base_256(field, seconds),
        _ => field.copy_from_slice(format!("{:011o}\0", if fits { seconds } else { 0 }).as_bytes()),
    }
    if nanoseconds != 0 || (!fits && format != Format::Gnu) {
        let fraction = if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}") };
        records.extend(pax::record(b"mtime", format!("{seconds}{fraction}").as_bytes()));
    }
}

/// The map of a sparse file: four pieces in the header, and blocks of 21 behind it.
fn gnu_map(entry: &Entry, header: &mut [u8; 512]) -> Vec<u8> {
    let mut map: Vec<(usize, usize)> = entry.pieces.iter().map(|(at, bytes)| (*at, bytes.len())).collect();
    // GNU tar says where the file ends.
    map.push((entry.size, 0));
    let piece = |(at, length): &(usize, usize)| format!("{at:011o}\0{length:011o}\0").into_bytes();
    for (i, pair) in map.iter().take(4).enumerate() {
        header[386 + 24 * i..410 + 24 * i].copy_from_slice(&piece(pair));
    }
    header[482] = u8::from(map.len() > 4);
    header[483..495].copy_from_slice(format!("{:011o}\0", entry.size).as_bytes());
    let rest: Vec<_> = map.iter().skip(4).collect();
    let blocks = rest.chunks(21).enumerate().flat_map(|(i, chunk)| {
        let mut block = vec![0u8; 512];
        for (j, pair) in chunk.iter().enumerate() {
            block[24 * j..24 * (j + 1)].copy_from_slice(&piece(pair));
        }
        block[504] = u8::from((i + 1) * 21 < rest.len());
        block
    });
    blocks.collect()
}

fn long(kind: u8, text: &str, output: &mut Vec<u8>) {
    extension(kind, &[text.as_bytes(), b"\0"].concat(), output);
}

fn extension(kind: u8, content: &[u8], output: &mut Vec<u8>) {
    let mut header = [0u8; 512];
    field(&mut header[0..100], if kind == b'x' { b"PaxHeaders/x" } else { b"././@LongLink" });
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[257..265].copy_from_slice(if kind == b'x' { b"ustar\x0000" } else { b"ustar  \0" });
    finish(&mut header);
    output.extend(header);
    output.extend(content);
    output.resize(output.len().next_multiple_of(512), 0);
}

fn finish(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
