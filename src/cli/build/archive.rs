//! Whether what comes on standard input is an archive. Its beginning tells.

use std::io::{self, Read};

/// A header of a tar, which is also enough to know every compression.
const HEAD: usize = 512;

/// The first bytes, fewer where there are fewer.
pub(super) fn head(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    input.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether these are the first bytes of a tar, perhaps compressed.
pub(super) fn is_archive(head: &[u8]) -> bool {
    // gzip, bzip2, xz, zstd.
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| head.starts_with(magic)) || is_tar(head)
}

/// Whether it is a header with the right sum, or the zeros at the end of a tar that has nothing in it.
fn is_tar(head: &[u8]) -> bool {
    if head.len() < HEAD {
        return false;
    }
    if head.iter().all(|byte| *byte == 0) {
        return true;
    }
    let field = 148..156;
    let sum: u64 = head.iter().enumerate().map(|(at, byte)| u64::from(if field.contains(&at) { b' ' } else { *byte })).sum();
    let written = std::str::from_utf8(&head[field]).unwrap_or_default();
    u64::from_str_radix(written.trim_matches([' ', '\0']), 8) == Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_beginning() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_cksum();
        tar.append_data(&mut header, "Dockerfile", &b"x"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        assert!(is_archive(&tar[..HEAD]));
        // Before there was a magic in it.
        let mut old = tar[..HEAD].to_vec();
        old[257..265].fill(0);
        let mut sum = old.clone();
        sum[148..156].fill(b' ');
        let sum: u64 = sum.iter().map(|byte| u64::from(*byte)).sum();
        old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_archive(&old));
        assert!(is_archive(&[0; HEAD]) && is_archive(b"\x1f\x8b\x08") && is_archive(b"BZh9") && is_archive(b"\x28\xb5\x2f\xfdx"));
        assert!(!is_archive(b"FROM scratch\n") && !is_archive(&[b'#'; HEAD]) && !is_archive(b""));
    }

    #[test]
    fn the_head_is_read_in_parts() {
        let mut input = (&b"FRO"[..]).chain(&b"M x"[..]);
        assert_eq!(head(&mut input).unwrap(), b"FROM x");
        let long = [7; 1000];
        let mut input = &long[..];
        assert_eq!((head(&mut input).unwrap().len(), input.len()), (HEAD, 1000 - HEAD));
    }
}
