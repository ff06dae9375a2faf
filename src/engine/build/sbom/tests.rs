//! Small file systems with each kind of package, and with what only looks like one.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::Value;
use time::OffsetDateTime;

use super::*;

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn found(root: &Path) -> Vec<Package> {
    let scratch = tempfile::tempdir().unwrap();
    scan(&Tree::open(root, "the tree").unwrap(), scratch.path()).unwrap()
}

fn urls(root: &Path) -> Vec<String> {
    found(root).into_iter().map(|package| package.url).collect()
}

#[test]
fn packages_of_distributions() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    let status = "Package: login\nStatus: install ok installed\nMaintainer: A <a@b>\nArchitecture: amd64\nVersion: 1:4.13+dfsg1-1\n\
        Description: x\n Package: not one\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    write(root, "var/lib/dpkg/status", status);
    write(root, "var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\nArchitecture: all\n");
    write(root, "var/lib/dpkg/status.d/base.md5sums", "Package: no\nVersion: 1\n");
    assert_eq!(
        urls(root),
        [
            "pkg:deb/debian/base-files@12.4?arch=all&distro=debian-12",
            "pkg:deb/debian/login@1%3A4.13%2Bdfsg1-1?arch=amd64&distro=debian-12",
        ]
    );

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "usr/lib/os-release", "ID=alpine\nVERSION_ID=3.19.1\n");
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    write(root, "usr/lib/apk/db/installed", "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\nP:busybox\nV:1.36\nA:x86_64\n");
    assert_eq!(
        urls(root),
        [
            "pkg:apk/alpine/busybox@1.36?arch=x86_64&distro=alpine-3.19.1",
            "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1"
        ]
    );

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let database = root.join("rpmdb.sqlite");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)", []).unwrap();
    let header = rpm::tests::header(&[(1000, "bash"), (1001, "5.2"), (1002, "1"), (1022, "x86_64")]);
    connection.execute("INSERT INTO Packages (blob) VALUES (?1)", [header]).unwrap();
    drop(connection);
    fs::create_dir_all(root.join("usr/lib/sysimage/rpm")).unwrap();
    fs::rename(&database, root.join("usr/lib/sysimage/rpm/rpmdb.sqlite")).unwrap();
    assert_eq!(urls(root), ["pkg:rpm/bash@5.2-1?arch=x86_64"]);
    write(root, "usr/lib/sysimage/rpm/rpmdb.sqlite", "no database");
    assert_eq!(urls(root), Vec::<String>::new());
}

#[test]
fn packages_of_languages() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let metadata = "Metadata-Version: 2.1\nName: Flask_Cors\nVersion: 4.0\nLicense: MIT\n\nVersion: of the text\n";
    write(root, "usr/lib/python3/dist-packages/Flask_Cors-4.0.dist-info/METADATA", metadata);
    write(root, "app/node_modules/left-pad/package.json", r#"{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}"#);
    write(root, "app/node_modules/@types/node/package.json", r#"{"name": "@types/node", "version": "20.1.0"}"#);
    write(root, "app/package.json", r#"{"name": "app", "version": "1.0.0"}"#);
    write(root, "app/node_modules/broken/package.json", "{");
    let packages = found(root);
    let urls: Vec<&str> = packages.iter().map(|package| package.url.as_str()).collect();
    assert_eq!(urls, ["pkg:npm/%40types/node@20.1.0", "pkg:pypi/flask-cors@4.0", "pkg:npm/left-pad@1.3.0"]);
    assert_eq!(packages[1].license.as_deref(), Some("MIT"));
}

/// An ELF file of 64 bits with these sections.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut body, mut table, mut names) = (Vec::new(), vec![0u8; 64], vec![0u8]);
    let mut put = |name: &str, content: &[u8], names: &mut Vec<u8>| {
        let mut header = [0u8; 64];
        header[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
        header[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
        body.extend(content);
        table.extend(header);
    };
    sections.iter().for_each(|(name, content)| put(name, content, &mut names));
    let all = [names.clone(), b".shstrtab\0".to_vec()].concat();
    put(".shstrtab", &all, &mut names);
    let mut head = vec![0u8; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    head[58..60].copy_from_slice(&64u16.to_le_bytes());
    head[60..62].copy_from_slice(&(sections.len() as u16 + 2).to_le_bytes());
    head[62..64].copy_from_slice(&(sections.len() as u16 + 1).to_le_bytes());
    [head, body, table].concat()
}

#[test]
fn modules_of_programs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let modules = format!(
        "{0}path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgolang.org/x/Net\tv0.1.0\th1:x=\ndep\told.example/x\tv1.0.0\n=>\tnew.example/y\tv2.0.0\th1:y=\n{0}",
        "0123456789abcdef"
    );
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    for text in ["go1.22.1", modules.as_str()] {
        let mut length = text.len();
        while length > 0x7f {
            section.push(length as u8 | 0x80);
            length >>= 7;
        }
        section.push(length as u8);
        section.extend(text.as_bytes());
    }
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    let said = r#"{"packages": [{"name": "serde", "version": "1.0.1"}, {"name": "cc", "version": "1.1", "kind": "build"}]}"#;
    zlib.write_all(said.as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();
    for (name, content) in [
        ("bin/go", elf(&[(".text", b"x"), (".go.buildinfo", &section)])),
        ("bin/rust", elf(&[(".dep-v0", &zlib)])),
        ("bin/none", elf(&[(".text", b"x")])),
        ("bin/short", b"\x7fELF".to_vec()),
        ("bin/script", b"#!/bin/sh\n".to_vec()),
    ] {
        write(root, name, content);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.join(name), mode).unwrap();
    }
    assert_eq!(
        urls(root),
        [
            "pkg:golang/example.com/app",
            "pkg:golang/golang.org/x/net@v0.1.0",
            "pkg:golang/new.example/y@v2.0.0",
            "pkg:cargo/serde@1.0.1",
            "pkg:golang/stdlib@1.22.1",
        ]
    );
}

#[test]
fn nothing_outside_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    write(&outside, "status", "Package: host\nStatus: install ok installed\nVersion: 1\n");
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    std::os::unix::fs::symlink(outside.join("status"), root.join("var/lib/dpkg/status")).unwrap();
    std::os::unix::fs::symlink("../../../../outside", root.join("var/lib/dpkg/status.d")).unwrap();
    assert_eq!(found(&root), Vec::new());
}

/// What SPDX 2.3 demands of a document and of each package.
#[test]
fn a_document_has_what_it_must_have() {
    let package = |license: &str| Package {
        name: "@types/node".into(),
        version: "1".into(),
        url: "pkg:npm/%40types/node@1".into(),
        license: Some(license.into()),
        supplier: Some("Somebody".into()),
        from: format!("app/{license}/package.json"),
    };
    let said = document("app:1", "sha256:x", &[package("MIT"), package("see the file")], OffsetDateTime::UNIX_EPOCH);
    assert_eq!(said, document("app:1", "sha256:x", &[package("MIT"), package("see the file")], OffsetDateTime::UNIX_EPOCH));
    for (key, value) in
        [("spdxVersion", "SPDX-2.3"), ("dataLicense", "CC0-1.0"), ("SPDXID", "SPDXRef-DOCUMENT"), ("name", "app:1")]
    {
        assert_eq!(said[key], value);
    }
    assert_eq!(said["creationInfo"]["created"], "1970-01-01T00:00:00Z");
    assert!(said["documentNamespace"].as_str().unwrap().starts_with("urn:uuid:"));
    let packages = said["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 3);
    let mut ids: Vec<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    for id in &ids {
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')), "{id}");
    }
    for relation in said["relationships"].as_array().unwrap() {
        assert!(ids.contains(&relation["relatedSpdxElement"].as_str().unwrap()));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for package in packages {
        for key in ["name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"] {
            assert!(package[key].is_string(), "{key} of {package}");
        }
        assert_eq!(package["filesAnalyzed"], Value::Bool(false));
    }
    assert_eq!((&packages[1]["licenseDeclared"], &packages[2]["licenseDeclared"]), (&"MIT".into(), &"NOASSERTION".into()));
}
