//! ADD of local files: archives of every kind, and what only looks like one.

use std::os::unix::fs::MetadataExt;

use super::receives::{compressed, tar_of};
use super::*;

fn add_to(tree: &Tree, sources: &[&str], to: &TempDir, destination: &str) -> Result<Copied, FilesError> {
    add(&select(tree, sources)?, open(to.path()).as_fd(), &order(destination), true)
}

#[test]
fn archives_are_seen_by_their_content_and_unpacked_over_what_is_there() {
    let tar = tar_of(&[("d/", ""), ("d/a", "new"), ("d/l -> a", ""), ("implied/b", "b")]);
    for (form, bytes) in compressed(&tar) {
        let root = folder(&[]);
        // The name says nothing.
        fs::write(root.path().join("file.txt"), &bytes).unwrap();
        let to = folder(&[("x/d/a", "old"), ("x/d/kept", "k"), ("x/implied -> /elsewhere", ""), ("x/elsewhere/", "")]);
        add_to(&context(&root), &["file.txt"], &to, "/x").unwrap_or_else(|e| panic!("{form}: {e}"));
        assert_eq!(
            listing(to.path()),
            ["x/", "x/d/", "x/d/a=new", "x/d/kept=k", "x/d/l -> a", "x/elsewhere/", "x/elsewhere/b=b", "x/implied -> /elsewhere"],
            "{form}"
        );
        let meta = fs::metadata(to.path().join("x/d/a")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777, meta.mtime()), (7, 8, 0o640, 1_000_000_000), "{form}");
        // Whoever copies, or says so, gets the file.
        let packed = folder(&[]);
        put(&context(&root), &["file.txt"], packed.path(), &order("/f")).unwrap();
        add(&select(&context(&root), &["file.txt"]).unwrap(), open(packed.path()).as_fd(), &order("/d/"), false).unwrap();
        assert_eq!(fs::read(packed.path().join("d/file.txt")).unwrap(), fs::read(packed.path().join("f")).unwrap());
    }
}

#[test]
fn beside_archives_there_are_files() {
    let tar = tar_of(&[("in", "tar")]);
    let gzip_of_a_text = compressed(b"no tar at all").remove(1).1;
    let root = folder(&[("plain", "p"), ("dir/y", "y")]);
    fs::write(root.path().join("a.tar"), &tar).unwrap();
    fs::write(root.path().join("text.gz"), &gzip_of_a_text).unwrap();
    fs::write(root.path().join("zeros"), [0; 2048]).unwrap();
    fs::write(root.path().join("dir/inner.tar"), &tar).unwrap();
    let to = folder(&[]);
    let done = add_to(&context(&root), &["a.tar", "plain", "text.gz", "zeros", "dir"], &to, "/to/").unwrap();
    let names: Vec<String> =
        fs::read_dir(to.path().join("to")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["in", "inner.tar", "plain", "text.gz", "y", "zeros"]);
    assert_eq!((done.entries, done.changed), (6, false));
    assert!(matches!(add_to(&context(&root), &["a.tar", "plain"], &to, "/no"), Err(FilesError::Several { .. })));
    assert!(matches!(add_to(&context(&root), &["a.tar"], &to, "/to/plain"), Err(FilesError::NoFolderInTheWay { .. })));
}

#[test]
fn folders_and_files_of_an_archive_replace_each_other_and_nothing_is_newer_than_the_epoch() {
    let root = folder(&[]);
    fs::write(root.path().join("a.tar"), tar_of(&[("was_file/", ""), ("was_folder", "f"), ("was_link/", ""), ("new/x", "")]))
        .unwrap();
    let to = folder(&[("was_file", ""), ("was_folder/x", ""), ("was_link -> was_folder", "")]);
    let how = CopyOrder { epoch: Some(900_000_000), ..order("/") };
    add(&select(&context(&root), &["a.tar"]).unwrap(), open(to.path()).as_fd(), &how, true).unwrap();
    assert_eq!(listing(to.path()), ["new/", "new/x=", "was_file/", "was_folder=f", "was_link/"]);
    for path in ["new", "new/x", "was_file", "was_folder", "was_link", "."] {
        assert_eq!(fs::metadata(to.path().join(path)).unwrap().mtime(), 900_000_000, "{path}");
    }
}

#[test]
fn archives_do_not_lead_out() {
    let outer = folder(&[("secret/canary", "sings"), ("root/", ""), ("context/", "")]);
    let secret = outer.path().join("secret");
    symlink(&secret, outer.path().join("root/out")).unwrap();
    let link = format!("l -> {}", secret.display());
    for entries in [&[("out/canary", "x")][..], &[(link.as_str(), ""), ("l/canary", "x")]] {
        fs::write(outer.path().join("context/a.tar"), tar_of(entries)).unwrap();
        let tree = Tree::open(&outer.path().join("context"), "the context").unwrap();
        let root = open(&outer.path().join("root"));
        let error = add(&select(&tree, &["a.tar"]).unwrap(), root.as_fd(), &order("/"), true).unwrap_err();
        assert!(error.to_string().contains("a.tar of the context"), "{error}");
        assert_eq!(listing(&secret), ["canary=sings"]);
    }
}
