//! What a pull cannot do without, and nothing else: all layers at once are downloaded, hashed, decompressed, hashed again and
//! unpacked. Nothing is checked, recorded or made to last.
//!
//! usage: floor HOST:PORT NAME TAG FOLDER

use std::error::Error;
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};

type Anything = Box<dyn Error + Send + Sync>;

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

fn hashing<R>(inner: R) -> Hashing<R> {
    Hashing { inner, hash: Sha256::new() }
}

/// The body of an answer, which says its length.
fn get(address: &str, path: &str) -> Result<impl BufRead + use<>, Anything> {
    let mut stream = TcpStream::connect(address)?;
    let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(128 << 10, stream);
    let (mut line, mut length) = (String::new(), None);
    reader.read_line(&mut line)?;
    if !line.contains(" 200 ") {
        return Err(format!("GET {path}: {line}").into());
    }
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse()?);
        }
    }
    Ok(reader.take(length.ok_or("the answer says no length")?))
}

/// The bench's layers have folders and files only, and nothing hostile.
fn unpack(mut entry: tar::Entry<'_, impl Read>, folder: &Path, buffer: &mut [u8]) -> Result<(), Anything> {
    let path = folder.join(entry.path()?);
    let header = entry.header();
    let (mode, time) = (header.mode()?, SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime()?));
    let (user, group) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
    if header.entry_type().is_dir() {
        std::fs::create_dir_all(&path)?;
        return Ok(std::fs::set_permissions(&path, Permissions::from_mode(mode))?);
    }
    if !header.entry_type().is_file() {
        return Err(format!("{}: neither a file nor a folder", path.display()).into());
    }
    let mut file = File::create(&path)?;
    loop {
        let n = entry.read(buffer)?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n])?;
    }
    std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file.set_modified(time)?)
}

fn layer(address: &str, name: &str, digest: &str, folder: &Path) -> Result<(), Anything> {
    let body = hashing(get(address, &format!("/v2/{name}/blobs/{digest}"))?);
    let mut plain = hashing(GzDecoder::new(BufReader::with_capacity(128 << 10, body)));
    let mut archive = tar::Archive::new(BufReader::with_capacity(128 << 10, &mut plain));
    std::fs::create_dir_all(folder)?;
    let mut buffer = vec![0; 128 << 10];
    for entry in archive.entries()? {
        unpack(entry?, folder, &mut buffer)?;
    }
    io::copy(&mut plain, &mut io::sink())?;
    let diff_id = plain.hash.finalize();
    let found = plain.inner.into_inner().into_inner().hash.finalize();
    let hex: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != format!("sha256:{hex}") || diff_id.iter().all(|byte| *byte == 0) {
        return Err(format!("{digest} has the digest {hex}").into());
    }
    Ok(())
}

fn main() -> Result<(), Anything> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, tag, folder] = args.as_slice() else {
        return Err("usage: floor HOST:PORT NAME TAG FOLDER".into());
    };
    let mut manifest = String::new();
    get(address, &format!("/v2/{name}/manifests/{tag}"))?.read_to_string(&mut manifest)?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let layers = manifest["layers"].as_array().ok_or("the manifest has no layers")?;
    let digests: Vec<&str> = layers.iter().filter_map(|layer| layer["digest"].as_str()).collect();
    std::thread::scope(|scope| {
        let working: Vec<_> = digests
            .iter()
            .enumerate()
            .map(|(index, digest)| {
                let folder: PathBuf = Path::new(folder).join(index.to_string());
                scope.spawn(move || layer(address, name, digest, &folder))
            })
            .collect();
        working.into_iter().try_for_each(|thread| thread.join().map_err(|_| Anything::from("a thread has panicked"))?)
    })
}
