//! Contexts and files that come as streams and over the network.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use super::*;
use crate::engine::images::Images;
use crate::engine::state::Db;
use crate::files::archive::Limits;
use crate::model::{Digest, Instance};

/// A tar of files, folders (`a/`) and links (`a -> b`), all of user 7.
pub(super) fn tar_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let (name, link) = name.split_once(" -> ").map_or((*name, None), |(name, link)| (name, Some(link)));
        let mut header = tar::Header::new_gnu();
        header.set_mode(if name.ends_with('/') { 0o755 } else { 0o640 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        match link {
            Some(link) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, name, link).unwrap();
            }
            None if name.ends_with('/') => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, name, &b""[..]).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, content.as_bytes()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

/// The same bytes in every compression.
pub(super) fn compressed(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(content).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(content).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(content).unwrap();
    vec![
        ("tar", content.to_vec()),
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd::encode_all(content, 3).unwrap()),
    ]
}

/// Answers every request on a port of the loopback with these headers and this body, as often as it is asked.
pub(super) fn serve(answers: Vec<(&'static str, String, Vec<u8>)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match answers.iter().find(|(known, ..)| *known == path) {
                Some((_, headers, body)) => {
                    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
                    [head.as_bytes(), body].concat()
                }
                None => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
            };
            // Whoever has seen enough hangs up.
            drop(stream.write_all(&answer));
        }
    });
    port
}

pub(super) fn images(root: &TempDir) -> Images {
    let state = root.path().join("state");
    fs::create_dir_all(&state).unwrap();
    let instance = Instance::new(state.clone(), root.path().join("run"), None);
    Images::open(&instance, Arc::new(Db::open(&state).unwrap())).unwrap()
}

#[test]
fn a_tar_in_every_compression_and_a_text() {
    let tar = tar_of(&[("Dockerfile", "FROM scratch"), ("src/", ""), ("src/a", "x"), ("l -> src/a", ""), ("deep/er/b", "y")]);
    for (form, bytes) in compressed(&tar) {
        let scratch = folder(&[]);
        let into = scratch.path().join("context");
        assert_eq!(receive_now(bytes.as_slice(), &into, "the upload").unwrap(), Received::Tree, "{form}");
        assert_eq!(
            listing(&into),
            ["Dockerfile=FROM scratch", "deep/", "deep/er/", "deep/er/b=y", "l -> src/a", "src/", "src/a=x"],
            "{form}"
        );
        let meta = fs::metadata(into.join("src/a")).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid(), meta.mtime()), (0o640, 0, 1_000_000_000), "{form}");
        assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o700);
        if form != "tar" {
            let cut = &bytes[..bytes.len() - 3];
            assert!(receive_now(cut, &scratch.path().join("cut"), "it").is_err(), "{form}");
        }
    }
    let nowhere = Path::new("/nowhere");
    assert_eq!(receive_now(&b"FROM scratch\n"[..], nowhere, "it").unwrap(), Received::Dockerfile("FROM scratch\n".into()));
    assert!(matches!(receive_now(&b""[..], nowhere, "it"), Err(FilesError::Empty { .. })));
    assert!(matches!(receive_now(&b"\x7fELF\0\xff"[..], nowhere, "it"), Err(FilesError::NoContext { .. })));
}

#[test]
fn a_context_does_not_get_out_of_its_folder() {
    let entry = |name: &[u8], kind, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    use tar::EntryType::{Char, GNULongName, Link, Regular, Symlink};
    let outer = folder(&[("canary", "sings")]);
    let there = outer.path().join("canary").display().to_string();
    let kept = |bytes: Vec<u8>| {
        let into = outer.path().join("context");
        let received = receive_now([bytes, vec![0; 1024]].concat().as_slice(), &into, "the upload");
        assert_eq!(fs::read_to_string(outer.path().join("canary")).unwrap(), "sings");
        let found = listing(&into).join(" ");
        fs::remove_dir_all(&into).unwrap();
        received.map(|_| found).map_err(|e| e.to_string())
    };
    for name in [&b"../canary"[..], b"a/../../canary"] {
        assert!(kept(entry(name, Regular, "", b"x")).unwrap_err().contains("refused"));
    }
    assert_eq!(kept(entry(b"/etc/x", Regular, "", b"x")).unwrap(), "etc/ etc/x=x");
    let link = entry(b"l", Symlink, &there, b"");
    // Over a link to it, through a link to its folder, and as another name of it.
    assert_eq!(kept([link.clone(), entry(b"l", Regular, "", b"x")].concat()).unwrap(), "l=x");
    kept([entry(b"d", Symlink, "..", b""), entry(b"d/canary", Regular, "", b"x")].concat()).unwrap();
    assert!(kept(entry(b"h", Link, &there, b"")).is_err());
    kept(entry(b"h", Link, "../canary", b"")).unwrap_err();
    assert_eq!(kept(entry(b"null", Char, "", b"")).unwrap(), "");
    // A name of a gigabyte.
    let mut bomb = entry(b"././@LongLink", GNULongName, "", b"");
    let header = tar::Header::from_byte_slice(&bomb[..512]);
    let mut header = header.clone();
    header.set_size(1 << 30);
    header.set_cksum();
    bomb[..512].copy_from_slice(header.as_bytes());
    assert!(kept(bomb).unwrap_err().contains("bytes"));
    assert!(Limits::default().ratio < 2000);
}

#[tokio::test]
async fn contexts_of_the_web() {
    let tar = compressed(&tar_of(&[("Dockerfile", "FROM scratch")])).remove(3).1;
    let port = serve(vec![("/c.tar", String::new(), tar), ("/Dockerfile", String::new(), b"FROM scratch".to_vec())]);
    let root = folder(&[]);
    let images = images(&root);
    let into = root.path().join("context");
    assert_eq!(receive_url(&images, &format!("http://127.0.0.1:{port}/c.tar"), into.clone()).await.unwrap(), Received::Tree);
    assert_eq!(listing(&into), ["Dockerfile=FROM scratch"]);
    let text = receive_url(&images, &format!("http://127.0.0.1:{port}/Dockerfile"), root.path().join("x")).await.unwrap();
    assert_eq!(text, Received::Dockerfile("FROM scratch".to_owned()));
    let error = receive_url(&images, &format!("http://127.0.0.1:{port}/none"), into).await.unwrap_err().to_string();
    assert!(error.contains("/none") && error.contains("no such file"), "{error}");
}

#[tokio::test]
async fn files_of_the_web() {
    let headers = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let named = "Content-Disposition: attachment; filename=\"from server.txt\"\r\n";
    let port = serve(vec![
        ("/a/file.txt", headers.to_owned(), b"content".to_vec()),
        ("/named?x", named.to_owned(), b"named".to_vec()),
        ("/", String::new(), b"no name".to_vec()),
        ("/x.tgz", String::new(), compressed(&tar_of(&[("in/tar", "t")])).remove(1).1),
    ]);
    let root = folder(&[]);
    let images = images(&root);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let mut number = 0;
    let mut file = || {
        number += 1;
        root.path().join(format!("download{number}"))
    };
    let visits = Visits::in_folder(root.path().join("visits"));
    let to = folder(&[("there/", "")]);
    let target = open(to.path());
    let good = Digest::of(b"content");
    let download = Download::fetch(&images, &url("/a/file.txt"), file(), Some(&good), &visits).await.unwrap();
    download.put(target.as_fd(), &order("/d/"), false).unwrap();
    download.put(target.as_fd(), &order("/there"), false).unwrap();
    download.put(target.as_fd(), &order("/single"), false).unwrap();
    let meta = fs::metadata(to.path().join("d/file.txt")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o600, 0, 1_445_412_480));
    let how = CopyOrder { owner: Some((3, 4)), mode: Some("0751".parse().unwrap()), epoch: Some(5), ..order("/chmod") };
    download.put(target.as_fd(), &how, false).unwrap();
    let meta = fs::metadata(to.path().join("chmod")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o751, 3, 5));
    let other = Download::fetch(&images, &url("/named?x"), file(), None, &visits).await.unwrap();
    other.put(target.as_fd(), &order("/d/"), false).unwrap();
    assert_ne!(download.digest(), other.digest());
    let nameless = Download::fetch(&images, &url("/"), file(), None, &visits).await.unwrap();
    assert!(matches!(nameless.put(target.as_fd(), &order("/d/"), false), Err(FilesError::NoName { .. })));
    nameless.put(target.as_fd(), &order("/nameless"), false).unwrap();
    let archive = Download::fetch(&images, &url("/x.tgz"), file(), None, &visits).await.unwrap();
    archive.put(target.as_fd(), &order("/u"), true).unwrap();
    assert_eq!(
        listing(to.path()),
        [
            "chmod=content",
            "d/",
            "d/file.txt=content",
            "d/from server.txt=named",
            "nameless=no name",
            "single=content",
            "there/",
            "there/file.txt=content",
            "u/",
            "u/in/",
            "u/in/tar=t"
        ]
    );
    archive.put(target.as_fd(), &order("/packed"), false).unwrap();
    assert!(fs::metadata(to.path().join("packed")).unwrap().is_file());
    let wrong = Digest::of(b"other");
    let error = Download::fetch(&images, &url("/a/file.txt"), file(), Some(&wrong), &visits).await.unwrap_err().to_string();
    assert!(error.contains(&wrong.to_string()) && error.contains(&good.to_string()), "{error}");
    download.discard().unwrap();
}
