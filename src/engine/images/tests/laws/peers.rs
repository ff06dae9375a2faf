//! One layer: what it unpacks to is what GNU tar and the reference make of it, and its tar comes out of it again.

use std::io::Read;
use std::process::{Command, Stdio};

use super::encode::{FORMATS, tar};
use super::generate::{Habit, layer};
use super::reference::Tree;
use super::snapshot::Snapshot;
use super::{Random, seeds};
use crate::engine::images::layer::{Limits, Rebuilt, Recorder, unpack_layer};
use crate::engine::images::tests::{gzip, zstd};

#[test]
fn a_layer_unpacks_to_what_gnu_tar_makes_of_it() {
    for seed in seeds("peers", 60) {
        let mut random = Random(seed);
        let mut tree = Tree::new();
        let entries = layer(&mut random, &mut tree, Habit::Plain);
        let format = FORMATS[(seed % 3) as usize];
        let tar = tar(&entries, format, &mut random);
        let shown = || format!("SETPOINT_TEST_SEED={seed} {format:?} {entries:#?}");
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::create_dir(&ours).unwrap();
        std::fs::create_dir(&theirs).unwrap();

        let stored = match seed / 3 % 3 {
            0 => tar.clone(),
            1 => gzip(&tar),
            _ => zstd(&tar),
        };
        let recorder = Recorder::create(&folder.path().join("skeleton"), &folder.path().join("replaced")).unwrap();
        let unpacked = unpack_layer(stored.as_slice(), &ours, recorder, &Limits::default());
        unpacked.unwrap_or_else(|e| panic!("{e}: {}", shown()));
        let mut back = Vec::new();
        Rebuilt::open(&folder.path().join("skeleton"), &ours).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == tar, "another tar comes out: {}", shown());

        extract(&tar, &theirs);
        let (found, wanted) = (Snapshot::read(&ours), Snapshot::read(&theirs));
        let said = tree.snapshot().differences(&found);
        assert!(said.is_empty(), "reference: {}\n{}", said.join("\n"), shown());
        // Where nothing is said of a folder, its time is that of the extraction.
        let mut wanted = wanted;
        for (path, facts) in &mut wanted.0 {
            facts.mtime = facts.mtime.filter(|_| tree.snapshot().0.get(path).is_some_and(|facts| facts.mtime.is_some()));
        }
        let differences = wanted.differences(&found);
        assert!(differences.is_empty(), "GNU tar: {}\n{}", differences.join("\n"), shown());
    }
}

fn extract(tar: &[u8], folder: &std::path::Path) {
    let archive = folder.with_extension("tar");
    std::fs::write(&archive, tar).unwrap();
    let flags = ["--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"];
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 022; exec tar \"$@\"", "tar"])
        .arg("-xpf")
        .arg(&archive)
        .arg("-C")
        .arg(folder)
        .args(flags)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
