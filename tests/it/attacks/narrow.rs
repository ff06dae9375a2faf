//! Programs of 32 bits, which reach the kernel by numbers of their own: they run, and have no more than others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{image, run};
use crate::harness::{Host, tool};

/// ALG, VSOCK, PACKET.
const REFUSED: [&str; 3] = ["38", "40", "17"];
const ALLOWED: [&str; 4] = ["1", "2", "10", "16"];

/// The program of `narrow.c`.
fn narrow() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/attacks/narrow.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("narrow");
        let draft = program.with_extension(std::process::id().to_string());
        let alone = ["-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"];
        let files = ["-O1", "-Wall", "-o", draft.to_str().unwrap(), source.to_str().unwrap()];
        tool("cc", &[&alone[..], &files].concat());
        fs::rename(draft, &program).unwrap();
        program
    })
}

fn narrow_image(host: &Host) -> String {
    image(host, "narrow", |root| {
        fs::copy(narrow(), root.join("narrow")).unwrap();
    })
}

/// What is said of an attempt, such as `socket 38`.
fn outcome<'a>(printed: &'a str, attempt: &str) -> &'a str {
    let found = printed.lines().find_map(|line| line.strip_prefix(attempt)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {attempt} in {printed}"))
}

#[test]
fn they_run_and_have_no_more_than_others() {
    let host = Host::new();
    let image = narrow_image(&host);
    let families = [&ALLOWED[..], &REFUSED].concat();
    // Otherwise nothing would be shown by its failing in the container.
    let outside = tool(narrow().to_str().unwrap(), &[&["harmless"], &families[..]].concat());
    for attempt in ["user 0", "socket 17", "socketcall 2", "socketcall 17", "keys 0", "namespace 1"] {
        assert_eq!(outcome(&outside, attempt), "done", "{attempt}: {outside}");
    }
    let command = [&["/narrow", "all"][..], &families].concat();
    let inside = run(&host, &[], &image, &command).ok().stdout;
    for attempt in ["user 0", "memory 0", "open 0", "stat 0", "map 0", "control 0", "time 0", "fork 0", "named 0"] {
        assert_eq!(outcome(&inside, attempt), "done", "{attempt}: {inside}");
    }
    for family in families {
        // 97: the family is not supported. 38: the call does not exist.
        let expected = if ALLOWED.contains(&family) { "done" } else { "97" };
        assert_eq!(outcome(&inside, &format!("socket {family}")), expected, "{family}: {inside}");
        assert_eq!(outcome(&inside, &format!("socketcall {family}")), "38", "{family}: {inside}");
        assert_eq!(outcome(&inside, &format!("socketpair {family}")), "38", "{family}: {inside}");
    }
    for attempt in ["namespace 1", "namespace 2", "bpf 0", "keys 0", "mount 0", "unmount 1", "unmount 2", "personality 6"] {
        assert_eq!(outcome(&inside, attempt), "1", "{attempt}: {inside}");
    }
    assert_eq!((outcome(&inside, "namespace 3"), outcome(&inside, "future 0")), ("38", "38"), "{inside}");
    assert_eq!(outcome(&inside, "personality 8"), "done", "{inside}");
    // A command in a container that runs has the same.
    host.sp(&["run", "-d", "--name", "a", "--network", "none", &image, "sleep", "1000"]).ok();
    assert_eq!(host.sp(&[&["exec", "a"][..], &command].concat()).ok().stdout, inside);
}

#[test]
fn sockets_by_the_one_call_are_for_who_is_given_all() {
    let host = Host::new();
    let image = narrow_image(&host);
    let opened = ["--security-opt", "sockets=unconfined"];
    let ran = run(&host, &opened, &image, &["/narrow", "all", "2", "16", "17"]).ok().stdout;
    for attempt in ["socket 2", "socketcall 2", "socketcall 16"] {
        assert_eq!(outcome(&ran, attempt), "done", "{attempt}: {ran}");
    }
    // Asked by the kernel itself: the capability is still wanting.
    assert_eq!((outcome(&ran, "socket 17"), outcome(&ran, "socketcall 17")), ("1", "1"), "{ran}");
    assert_eq!((outcome(&ran, "bpf 0"), outcome(&ran, "namespace 2")), ("1", "1"), "{ran}");
}

#[test]
fn a_profile_of_ones_own_judges_what_it_names() {
    let host = Host::new();
    let image = narrow_image(&host);
    let profile = |more: &str| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", {more}
                "syscalls": [{{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}}]}}"#
        )
    };
    let map = r#""archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],"#;
    let with = host.write("with.json", &profile(map));
    let without = host.write("without.json", &profile(""));
    let option = |file: &Path| format!("seccomp={}", file.display());
    let ran = run(&host, &["--security-opt", &option(&with)], &image, &["/narrow", "all", "1"]).ok().stdout;
    assert_eq!((outcome(&ran, "socket 1"), outcome(&ran, "socketcall 1")), ("5", "done"), "{ran}");
    // 159: ended by SIGSYS, at its first call.
    let ran = run(&host, &["--security-opt", &option(&without)], &image, &["/narrow", "all", "1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (159, ""), "{}", ran.stderr);
}
