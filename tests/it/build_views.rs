//! `RUN --mount=type=bind`: a command sees a context, a stage or an image as it is, and nothing of it is copied.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, wait_until};

fn build(host: &Host, text: &str, args: &[&str]) -> Ran {
    host.write("c/Dockerfile", &text.replace("BUSYBOX", BUSYBOX));
    host.sp(&[&["build", "--progress", "plain"], args, &["c"]].concat())
}

#[test]
fn a_context_is_seen_as_it_would_be_copied() {
    let host = Host::new().with_busybox();
    host.write("c/.dockerignore", "**/secret\nmodules\n!modules/kept\nmodules/kept/not\n");
    for path in
        ["sub/file", "sub/secret", "sub/deep/secret", "sub/deep/file", "modules/lost", "modules/kept/file", "modules/kept/not"]
    {
        host.write(&format!("c/{path}"), path);
    }
    let sub = host.dir.join("c/sub");
    fs::set_permissions(sub.join("deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("file", sub.join("link")).unwrap();
    nix::unistd::mkfifo(&sub.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let times = |path: &str| fs::metadata(host.dir.join("c").join(path)).unwrap().mtime();
    let (folder, file) = (times("sub/deep"), times("sub/deep/file"));
    let text = "FROM BUSYBOX\n\
         RUN --mount=type=bind,target=/c cd /c && find . | sort > /seen && ! touch /c/new 2>/dev/null && ! rm sub/file 2>/dev/null\n\
         RUN --mount=type=bind,source=sub,target=/s stat -c '%a %u:%g %Y' /s/deep /s/deep/file > /stats && cat /s/link >> /stats\n\
         RUN --mount=type=bind,source=sub,target=/s,rw rm /s/file && echo other > /s/deep/file && mkdir /s/deep/new && ls /s > /changed\n\
         RUN --mount=type=bind,source=sub/file,target=/f,rw echo more >> /f && cat /f > /longer\n\
         RUN --mount=type=bind,source=sub,target=/s test -e /s/file && test ! -e /s/deep/new && test \"$(cat /s/deep/file)\" = sub/deep/file\n\
         RUN test ! -e /c && test ! -e /s && test ! -e /f\n";
    build(&host, text, &["-t", "app:1"]).ok();
    let seen = host.sp(&["run", "--rm", "app:1", "cat", "/seen"]).ok().stdout;
    let expected = ". ./.dockerignore ./Dockerfile ./modules ./modules/kept ./modules/kept/file ./sub ./sub/deep ./sub/deep/file \
                    ./sub/file ./sub/link";
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
    let stats = host.sp(&["run", "--rm", "app:1", "cat", "/stats", "/changed", "/longer"]).ok().stdout;
    assert_eq!(stats, format!("2750 0:0 {folder}\n644 0:0 {file}\nsub/filedeep\nlink\nsub/filemore\n"));
    assert_eq!(fs::read_to_string(sub.join("file")).unwrap(), "sub/file");
    assert!(!sub.join("deep/new").exists());
}

/// Whoever owns the files of a context, they are root's in a build.
#[test]
fn what_is_not_as_a_copy_would_be_is_copied() {
    let host = Host::new().with_busybox();
    let file = host.write("c/of/others", "of others");
    chown(&file, Some(1234), Some(5678)).unwrap();
    let text = "FROM BUSYBOX\n\
         RUN --mount=type=bind,source=of,target=/s test \"$(stat -c %u:%g /s/others)\" = 0:0 && ! touch /s/x 2>/dev/null\n\
         RUN --mount=type=bind,source=of,target=/s,rw touch /s/x && rm /s/others\n";
    build(&host, text, &[]).ok();
    assert!(file.exists());
}

#[test]
fn stages_and_images_are_seen_with_their_owners() {
    let host = Host::new().with_busybox();
    let text = "FROM BUSYBOX AS made\n\
         RUN mkdir -p /a/b && echo one > /a/b/file && chown 3:4 /a/b/file && ln -s a/b /link && ln -s /etc /a/out\n\
         RUN rm -r /var && echo two > /a/second\n\
         FROM BUSYBOX\n\
         RUN --mount=type=bind,from=made,target=/all cat /all/a/b/file /all/a/second > /x && test ! -e /all/var && stat -c %u:%g /all/a/b/file >> /x\n\
         RUN --mount=type=bind,from=made,source=/link,target=/part cat /part/file && ! touch /part/new 2>/dev/null\n\
         RUN --mount=type=bind,from=made,source=a,target=/part,rw touch /part/new && rm /part/second && test -e /part/out/passwd\n\
         RUN --mount=type=bind,from=made,source=a,target=/part test ! -e /part/new && test -e /part/second\n\
         RUN --mount=type=bind,from=made,target=/all,rw --mount=type=bind,from=made,source=a,target=/other touch /all/a/x && test ! -e /other/x\n\
         RUN --mount=type=bind,from=localhost/busybox:1,source=/etc/passwd,target=/p cat /p > /passwd\n";
    build(&host, text, &["-t", "app:1"]).ok();
    assert_eq!(host.sp(&["run", "--rm", "app:1", "cat", "/x"]).ok().stdout, "one\ntwo\n3:4\n");
    build(&host, "FROM BUSYBOX AS a\nFROM BUSYBOX\nRUN --mount=type=bind,from=a,source=/none,target=/x true\n", &[])
        .fails_with(1)
        .says(&["none"]);
}

/// A file that somebody writes while a command reads it: what comes of that is not taken for what its key says.
#[test]
fn what_changes_while_it_is_seen_is_not_kept() {
    let host = Host::new().with_busybox();
    let file = host.write("c/file", "before");
    let text = "FROM BUSYBOX\nRUN --mount=type=bind,target=/c \
                echo ready; n=0; until grep -q after /c/file; do sleep 0.1; n=$((n+1)); [ $n -lt 900 ] || exit 1; done; cp /c/file /kept\n";
    host.write("c/Dockerfile", &text.replace("BUSYBOX", BUSYBOX));
    // The second time all is as it was at first, of which the key was made, and the command is done again.
    for _ in 0..2 {
        fs::write(&file, "before").unwrap();
        let running = host.start(&["build", "--progress", "plain", "c"]);
        wait_until("the command waits", PATIENCE, || running.stderr().contains(" ready"));
        fs::write(&file, "after").unwrap();
        running.wait(PATIENCE).ok();
    }
}

/// Many large files cost nothing to be seen: a copy of them would not fit.
#[test]
fn nothing_is_copied() {
    let host = Host::new().with_busybox();
    fs::create_dir(host.dir.join("c")).unwrap();
    let large = fs::File::create(host.dir.join("c/large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let used = || {
        let mut bytes = 0;
        let mut folders = vec![host.instance.state_dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    folders.push(entry.path());
                }
                bytes += meta.len();
            }
        }
        bytes
    };
    let before = used();
    host.write(
        "c/Dockerfile",
        &format!("FROM {BUSYBOX}\nRUN --mount=type=bind,target=/c test -s /c/large && echo waiting && sleep 2\n"),
    );
    let running = host.start(&["build", "--progress", "plain", "c"]);
    wait_until("the command runs", PATIENCE, || running.stderr().contains(" waiting"));
    assert!(used() < before + (32 << 20), "the file was copied");
    running.wait(PATIENCE).ok();
}
