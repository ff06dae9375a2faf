//! What happens inside of builds: stages beside each other, what is known from before, mounts of commands, and what a build cannot
//! reach.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use nix::sys::signal::Signal;

use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, Registry, wait_until};

/// Builds the Dockerfile `text` in the folder `c`, which may have other files.
fn build(host: &Host, text: &str, args: &[&str]) -> Ran {
    host.write("c/Dockerfile", &text.replace("BUSYBOX", BUSYBOX));
    host.sp(&[&["build", "--progress", "plain"], args, &["c"]].concat())
}

fn digest(host: &Host, name: &str) -> String {
    host.sp(&["inspect", name]).ok().json()[0]["digest"].as_str().unwrap().to_owned()
}

/// How many steps a build found done.
fn cached(ran: &Ran) -> usize {
    ran.stderr.lines().filter(|line| line.ends_with(" CACHED")).count()
}

/// Each of two stages waits for what the other does, so only together do they end; a third one, which nobody needs, would fail.
#[test]
fn stages_that_do_not_need_each_other_are_built_together() {
    let host = Host::new().with_busybox();
    let meets = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id=meet,target=/m touch /m/{own}; n=0; until [ -e /m/{other} ]; do sleep 0.1; n=$((n+1)); \
             [ $n -lt 900 ] || exit 1; done; echo {own} > /{own}\n"
        )
    };
    let text = format!(
        "FROM BUSYBOX AS one\n{}FROM BUSYBOX AS two\n{}FROM BUSYBOX AS unneeded\nRUN false\n\
         FROM BUSYBOX\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
        meets("one", "two"),
        meets("two", "one")
    );
    build(&host, &text, &["-t", "both:1"]).ok();
    host.sp(&["run", "--rm", "both:1", "cat", "/one", "/two"]).ok().says(&["one", "two"]);
    build(&host, &text, &["--target", "unneeded"]).fails_with(1).says(&["RUN false", "code 1"]);
}

#[test]
fn what_was_done_is_known_by_content() {
    let host = Host::new().with_busybox();
    host.write("c/a", "a");
    host.write("c/b", "b");
    host.write("c/.dockerignore", "ignored\n");
    let text = "FROM BUSYBOX\nRUN echo 1 > /1\nCOPY a /\nRUN cat /a > /2\nCOPY b /\n";
    build(&host, text, &["-t", "app:1"]).ok();
    let first = digest(&host, "app:1");
    // Neither times nor what is not copied matter.
    host.write("c/a", "a");
    host.write("c/ignored", "x");
    let again = build(&host, text, &["-t", "app:1"]).ok();
    assert_eq!((cached(&again), digest(&host, "app:1")), (5, first.clone()), "{}", again.stderr);
    // What changed is done again, and what stands on the same files is not.
    host.write("c/b", "other");
    assert_eq!(cached(&build(&host, text, &["-t", "app:1"]).ok()), 4);
    assert_ne!(digest(&host, "app:1"), first);
    // A step that comes to the same leaves those after it alone.
    let other = text.replace("echo 1 >", "echo  1 >").replace("RUN echo", "ENV X=1\nRUN echo");
    host.sp(&["run", "--rm", "app:1", "cat", "/b"]).ok().says(&["other"]);
    build(&host, &other, &[]).ok();
    // Not from the cache, all of it or of a stage.
    assert_eq!(cached(&build(&host, text, &["--no-cache"]).ok()), 1);
    assert_eq!(cached(&build(&host, &text.replace("FROM BUSYBOX", "FROM BUSYBOX AS s"), &["--no-cache-filter", "s"]).ok()), 1);
    // What a failed build had done is found by the next one.
    let failing = "FROM BUSYBOX\nRUN echo kept > /kept\nRUN exit 7\n";
    build(&host, failing, &[]).fails_with(1).says(&["code 7"]);
    assert_eq!(cached(&build(&host, failing, &[]).fails_with(1)), 2);
    host.sp(&["check"]).ok();
}

#[test]
fn with_an_epoch_the_same_sources_are_the_same_bytes() {
    let host = Host::new().with_busybox();
    host.write("c/a", "a");
    let text = "FROM BUSYBOX\nARG SOURCE_DATE_EPOCH\nRUN mkdir /d && date > /dev/null && touch /d/x && rm -r /var\nCOPY a /d/\nWORKDIR /w\n\
                RUN test $SOURCE_DATE_EPOCH = 1000000000\n";
    let mut digests = Vec::new();
    for tag in ["app:1", "app:2"] {
        host.write("c/Dockerfile", &text.replace("BUSYBOX", BUSYBOX));
        let mut command = host.command(&["build", "--no-cache", "-t", tag, "c"]);
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        crate::harness::Running::spawn(command).wait(PATIENCE).ok();
        digests.push(digest(&host, tag));
        // Another second, another time of every file that is made.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert_eq!(digests[0], digests[1]);
    let seen = host.sp(&["run", "--rm", "app:1", "stat", "-c", "%Y", "/d/x", "/d", "/w"]).ok();
    assert_eq!(seen.stdout.lines().collect::<Vec<_>>(), ["1000000000"; 3]);
}

#[test]
fn commands_have_what_they_are_given_while_they_run() {
    let host = Host::new().with_busybox();
    host.write("c/sub/file", "from the context");
    let text = "FROM BUSYBOX AS a\nRUN echo of a stage > /f\nFROM BUSYBOX\n\
        RUN --mount=type=bind,source=sub,target=/src test \"$(cat /src/file)\" = 'from the context' && ! touch /src/x\n\
        RUN --mount=type=bind,from=a,source=/f,target=/mnt/f,rw cat /mnt/f && echo more >> /mnt/f\n\
        RUN --mount=type=bind,from=a,source=/f,target=/mnt/f test \"$(cat /mnt/f)\" = 'of a stage'\n\
        RUN --mount=type=cache,target=/cache,mode=0700,uid=7 echo 1 >> /cache/n && stat -c %u%a /cache > /cache-is\n\
        RUN --mount=type=cache,target=/cache test \"$(wc -l < /cache/n)\" = 1\n\
        RUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/x && ! dd if=/dev/zero of=/t/large bs=1M count=2\n\
        RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n\
        RUN <<A cat <<B > /heredocs && cat /heredocs\nfirst $PATH\nA\nsecond\nB\n\
        RUN <<X\n#!/bin/sh\necho \"script $0\" > /script\nX\n\
        RUN test ! -e /cache && test ! -e /t && test ! -e /src && test ! -e /mnt && test ! -e /proc/x\n\
        USER 7:8\nRUN test \"$(id -u):$(id -g)\" = 7:8\n";
    build(&host, text, &["-t", "app:1"]).ok();
    let seen = host.sp(&["run", "--rm", "-u", "0", "app:1", "sh", "-c", "cat /cache-is /script; ls -a /"]).ok();
    let seen = seen.says(&["7700", "script /dev/pipes/X"]);
    let names: Vec<&str> = seen.stdout.lines().collect();
    assert!(!names.iter().any(|name| ["cache", "t", "src", "mnt", "run"].contains(name)), "{names:?}");
    build(&host, "FROM BUSYBOX\nRUN --mount=type=secret,id=s,required=true true\n", &[]).fails_with(1).says(&[
        "the secret `s` is required",
        "--secret id=s,src=FILE",
        "Dockerfile:2",
    ]);
    build(&host, "FROM BUSYBOX\nRUN --mount=type=tmpfs,target=/ true\n", &[]).fails_with(1).says(&["over the root"]);
}

/// Those who share a cache alone wait for each other.
#[test]
fn a_locked_cache_is_one_commands_at_a_time() {
    let host = Host::new().with_busybox();
    let stage = |name: &str| {
        format!(
            "FROM BUSYBOX AS {name}\nRUN --mount=type=cache,id=l,target=/l,sharing=locked test ! -e /l/busy && touch /l/busy && \
             sleep 0.5 && rm /l/busy && echo {name} > /{name}\n"
        )
    };
    let text = format!("{}{}FROM BUSYBOX\nCOPY --from=x /x /\nCOPY --from=y /y /\n", stage("x"), stage("y"));
    build(&host, &text, &[]).ok();
}

#[test]
fn triggers_are_for_who_begins_with_the_image() {
    let host = Host::new().with_busybox();
    host.write("c/src", "source");
    build(&host, "FROM BUSYBOX\nONBUILD COPY src /app/\nONBUILD RUN echo built > /app/built\n", &["-t", "parent:1"]).ok();
    host.sp(&["run", "--rm", "parent:1", "ls", "/app"]).fails_with(1);
    build(&host, "FROM parent:1\nCMD [\"cat\", \"/app/src\", \"/app/built\"]\n", &["-t", "child:1"]).ok();
    host.sp(&["run", "--rm", "child:1"]).ok().says(&["source", "built"]);
    let config = &host.sp(&["inspect", "child:1"]).ok().json()[0]["Config"];
    assert!(config.get("OnBuild").is_none(), "{config}");
}

#[test]
fn a_build_reaches_nothing_of_the_host() {
    let host = Host::new().with_busybox();
    let canary = host.write("canary", "of the host");
    host.write("c/a", "a");
    symlink(&canary, host.dir.join("c/out")).unwrap();
    symlink("..", host.dir.join("c/up")).unwrap();
    for copy in ["COPY out /x", "COPY ../canary /x", "COPY up/canary /x", "ADD out /x"] {
        build(&host, &format!("FROM BUSYBOX\n{copy}\n"), &[]).fails_with(1);
    }
    // A link of the image leads within the image, however it is written to.
    let text = format!("FROM BUSYBOX\nRUN ln -s {} /out && ln -s ../../../.. /up\nCOPY a /out/\n", host.dir.display());
    build(&host, &text, &["-t", "app:1"]).ok();
    assert!(!host.dir.join("a").exists());
    for (command, entitlement) in
        [("RUN --network=host true", "network.host"), ("RUN --security=insecure true", "security.insecure")]
    {
        let text = format!("FROM BUSYBOX\n{command}\n");
        build(&host, &text, &[]).fails_with(1).says(&["not allowed", entitlement, "Dockerfile:2"]);
        build(&host, &text, &["--allow", entitlement]).ok();
    }
    let confined = "FROM BUSYBOX\nRUN ! mount -t tmpfs none /mnt 2>/dev/null && ! chroot / true 2>/dev/null; \
                    ! echo x > /proc/sys/kernel/hostname && test \"$(grep NoNewPrivs /proc/self/status | tr -d '\\t')\" = NoNewPrivs:0 && \
                    test ! -e /dev/sda && test \"$(ls /proc | grep -c '^[0-9]')\" -lt 10\n\
                    RUN --network=none test \"$(ls /sys/class/net)\" = lo\n";
    build(&host, confined, &[]).ok();
    assert_eq!(fs::read_to_string(&canary).unwrap(), "of the host");
}

/// A folder's owner that the image does not know is no reason to refuse a Dockerfile: with BuildKit it belongs to root.
#[test]
fn a_working_folder_of_nobody_is_roots() {
    let host = Host::new().with_busybox();
    let text = "FROM BUSYBOX AS b\nFROM scratch\nCOPY --from=b / /x\nUSER nobody-there\nWORKDIR /w\n";
    build(&host, text, &["-o", "out"]).ok().says(&["nobody-there", "belongs to root"]);
    let made = fs::metadata(host.dir.join("out/w")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

/// As with Docker, for which the destination is the root of an archive; and `--chown` is for what is in it too.
#[test]
fn archives_stay_where_they_are_unpacked() {
    let host = Host::new().with_busybox();
    let c = host.dir.join("c");
    fs::create_dir_all(c.join("in/etc")).unwrap();
    fs::write(c.join("in/etc/file"), "content").unwrap();
    symlink("..", c.join("in/up")).unwrap();
    symlink("/", c.join("in/root")).unwrap();
    let pack = "cd \"$0\" && tar -cf ../a.tar up root && tar -rf ../a.tar --transform 's,^etc,up/etc,' etc && \
                tar -rf ../a.tar --transform 's,^etc,root/opt,' etc && rm -r ../in";
    crate::harness::tool("sh", &["-c", pack, c.join("in").to_str().unwrap()]);
    let text = "FROM scratch\nADD a.tar /sub\nADD --chown=5:6 a.tar /owned/\n";
    build(&host, text, &["-o", "out"]).ok();
    let out = host.dir.join("out");
    for path in ["sub/etc/file", "sub/opt/file"] {
        assert_eq!(fs::read_to_string(out.join(path)).unwrap(), "content", "{path}");
    }
    assert!(!out.join("etc").exists() && !out.join("opt").exists());
    let owned = fs::metadata(out.join("owned/etc/file")).unwrap();
    assert_eq!((owned.uid(), owned.gid()), (5, 6));
}

/// Killed at any point, a build leaves its steps undone and nothing else: the host of this test looks for that at its end.
#[test]
fn a_killed_build_leaves_nothing() {
    let host = Host::new().with_busybox();
    host.write("c/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo begun; sleep 1000\n"));
    let running = host.start(&["build", "--progress", "plain", "c"]);
    wait_until("the command runs", PATIENCE, || running.stderr().contains(" begun"));
    running.signal(Signal::SIGKILL);
    running.wait(PATIENCE);
    let folder = host.instance.state_dir().join("images/tmp");
    // The next recovery sweeps.
    host.write("m/v.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    host.sp(&["apply", "m"]).ok();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "work is left");
}

#[test]
fn results_go_where_they_are_wanted() {
    let host = Host::new().with_busybox();
    let text = "FROM BUSYBOX AS b\nRUN echo made > /made && chown 5:6 /made && ln /made /again\nFROM scratch\nCOPY --from=b /made /again /d/\n";
    build(&host, text, &["-o", "out"]).ok();
    let made = fs::metadata(host.dir.join("out/d/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (5, 6));
    build(&host, text, &["-o", "type=tar,dest=made.tar"]).ok();
    let listed = crate::harness::tool("tar", &["-tf", host.dir.join("made.tar").to_str().unwrap()]);
    assert!(listed.lines().any(|line| line == "d/made"), "{listed}");
    assert!(host.sp(&["images", "-q"]).ok().stdout.lines().count() == 1, "no image was asked for");
    build(&host, text, &["-t", "app:1", "-o", "type=oci,dest=app.tar"]).ok();
    host.sp(&["inspect", "app:1"]).fails_with(1);
    host.sp(&["load", "-i", "app.tar"]).ok();
    host.sp(&["inspect", "app:1"]).ok();
    let _registry = Registry::start(&host);
    let name = format!("{}/app:pushed", Registry::ADDRESS);
    build(&host, text, &["-t", &name, "--push"]).ok();
    let layers = |host: &Host| host.sp(&["inspect", &name]).ok().json()[0]["RootFS"].clone();
    let pushed = layers(&host);
    host.sp(&["rmi", &name, "app:1"]).ok();
    host.sp(&["pull", &name]).ok();
    assert_eq!(layers(&host), pushed);
}

#[test]
fn steps_are_listed_and_forgotten() {
    let host = Host::new().with_busybox();
    build(&host, "FROM BUSYBOX\nRUN echo one > /one\nRUN echo two > /two\n", &["-t", "app:1"]).ok();
    host.sp(&["rmi", "app:1"]).ok();
    let pruned = host.sp(&["builder", "prune", "-a", "-f"]).ok();
    pruned.says(&["2"]);
    assert_eq!(cached(&build(&host, "FROM BUSYBOX\nRUN echo one > /one\n", &[]).ok()), 1, "only FROM is known");
}
