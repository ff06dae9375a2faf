//! Which files sources mean, and where they go. What is expected is what the Dockerfile reference says.

use super::*;

/// The places of what is selected; folders end in `/`, and `=path` says where else in the tree it is.
fn places(selection: &Selection) -> Vec<String> {
    let shown = selection.items().map(|item| {
        let slash = if item.kind == rustix::fs::FileType::Directory { "/" } else { "" };
        let from = if item.path == item.place { String::new() } else { format!("={}", item.path.display()) };
        format!("{}{slash}{from}", item.place.display())
    });
    shown.collect()
}

fn sample() -> TempDir {
    folder(&[
        ("hom.txt", ""),
        ("home.md", ""),
        ("src/main.rs", ""),
        ("src/deep/er.rs", ""),
        ("src/link -> main.rs", ""),
        ("docs/a.md", ""),
        ("docs/a.txt", ""),
        ("empty/", ""),
        ("to_src -> src", ""),
        ("to_file -> /src/main.rs", ""),
        ("out -> ../../../etc/passwd", ""),
        ("up -> src/deep/../../docs", ""),
        ("odd*name", ""),
    ])
}

#[test]
fn sources_and_their_places() {
    let root = sample();
    let tree = context(&root);
    let src = ["deep/=src/deep", "deep/er.rs=src/deep/er.rs", "link=src/link", "main.rs=src/main.rs"];
    for (sources, expected) in [
        (&["src"][..], &src[..]),
        (&["src/"], &src),
        (&["/src/."], &src),
        (&["../../src"], &src),
        (&["./docs/../src"], &src),
        // The source itself may be a link, and links may be on the way to it.
        (&["to_src"], &src),
        (&["up"], &["a.md=docs/a.md", "a.txt=docs/a.txt"]),
        (&["to_src/deep"], &["er.rs=src/deep/er.rs"]),
        (&["to_file"], &["to_file=src/main.rs"]),
        (&["src/link"], &["link=src/main.rs"]),
        (&["src/main.rs"], &["main.rs=src/main.rs"]),
        (&["empty"], &[]),
        (&["hom*"], &["hom.txt", "home.md"]),
        (&["hom?.md", "docs/*.txt"], &["a.txt=docs/a.txt", "home.md"]),
        (&["*/*.md"], &["a.md=docs/a.md"]),
        (&["s*"], &src),
        (&["src/**"], &["er.rs=src/deep/er.rs", "link=src/main.rs", "main.rs=src/main.rs"]),
        (&[r"odd\*name"], &["odd*name"]),
        // One that matches nothing is no error beside one that does.
        (&["home.md", "lock*"], &["home.md"]),
        // A later source is laid over an earlier one.
        (&["docs", "docs/a.md"], &["a.md=docs/a.md", "a.txt=docs/a.txt"]),
    ] {
        let selection = select(&tree, sources).unwrap_or_else(|e| panic!("{sources:?}: {e}"));
        assert_eq!(places(&selection), expected, "{sources:?}");
    }
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let root = sample();
    let tree = context(&root);
    for (sources, expected) in [
        (&["src/main.rs"][..], &["src/", "src/main.rs"][..]),
        (&["src/deep"], &["src/", "src/deep/", "src/deep/er.rs"]),
        (&["src/./deep/er.rs"], &["deep/=src/deep", "deep/er.rs=src/deep/er.rs"]),
        (&["./src/deep/./er.rs"], &["er.rs=src/deep/er.rs"]),
        (&["**/*.md"], &["docs/", "docs/a.md", "home.md"]),
        (&["src/./**/*.rs"], &["deep/=src/deep", "deep/er.rs=src/deep/er.rs", "main.rs=src/main.rs"]),
        (&["*/a.txt", "src/deep"], &["docs/", "docs/a.txt", "src/", "src/deep/", "src/deep/er.rs"]),
    ] {
        let selection = select_but(&tree, sources, &[], true).unwrap_or_else(|e| panic!("{sources:?}: {e}"));
        assert_eq!(places(&selection), expected, "{sources:?}");
    }
}

#[test]
fn what_is_excluded() {
    let root = sample();
    let tree = context(&root);
    for (sources, exclude, parents, expected) in [
        (&["hom*"][..], &["*.txt"][..], false, &["home.md"][..]),
        (&["docs"], &["*.md"], false, &["a.txt=docs/a.txt"]),
        (&["src"], &["deep"], false, &["link=src/link", "main.rs=src/main.rs"]),
        (&["src"], &["*", "!deep/er.rs"], false, &["deep/=src/deep", "deep/er.rs=src/deep/er.rs"]),
        (&["src"], &["**/*.rs", "link"], false, &["deep/=src/deep"]),
        // What is named is meant.
        (&["hom.txt"], &["*.txt"], false, &["hom.txt"]),
        (&["docs"], &["docs/*.md"], true, &["docs/", "docs/a.txt"]),
        (&["**/*.rs"], &["src/deep"], true, &["src/", "src/main.rs"]),
    ] {
        let selection = select_but(&tree, sources, exclude, parents).unwrap_or_else(|e| panic!("{sources:?}: {e}"));
        assert_eq!(places(&selection), expected, "{sources:?} without {exclude:?}");
    }
}

#[test]
fn what_is_ignored_is_not_there() {
    let root = sample();
    let with = |rules: &str| context(&root).with_rules(".dockerignore", rules.as_bytes()).unwrap();
    for (rules, sources, expected) in [
        ("docs", &["."][..], Some(&["hom.txt", "home.md", "src/", "src/main.rs"][..])),
        ("*\n!docs/a.md", &["."], Some(&["docs/", "docs/a.md"])),
        ("*\n!docs/a.md", &["docs"], Some(&["a.md"])),
        ("*\n!docs/a.md", &["docs/*"], Some(&["a.md"])),
        ("**/*.rs", &["src"], Some(&["deep/", "link"])),
        ("src", &["to_src"], None),
        ("to_src", &["to_src"], None),
        ("src/main.rs", &["to_file"], None),
        ("docs", &["docs/a.md"], None),
        ("docs", &["docs"], None),
        ("*", &["*"], None),
        ("docs", &["d*"], None),
    ] {
        let selection = select(&with(rules), sources);
        match expected {
            Some(expected) => {
                let places = places(&selection.unwrap_or_else(|e| panic!("{rules:?} {sources:?}: {e}")));
                let places: Vec<_> = places.iter().map(|place| place.split('=').next().unwrap()).collect();
                let found = places.iter().filter(|place| expected.contains(place)).count();
                assert_eq!(found, expected.len(), "{rules:?} {sources:?} {places:?}");
                assert!(places.len() == expected.len() || rules == "docs", "{rules:?} {sources:?} {places:?}");
                assert!(!places.iter().any(|place| place.starts_with("docs")) || rules != "docs");
            }
            None => {
                let error = selection.unwrap_err();
                let says = format!("{error} {}", error.hint().unwrap_or_default());
                assert!(says.contains(".dockerignore"), "{rules:?} {sources:?}: {says}");
            }
        }
    }
}

#[test]
fn rules_of_the_dockerfile_come_before_those_of_all() {
    let root = folder(&[
        ("a", ""),
        ("b", ""),
        ("c", ""),
        (".dockerignore", "a"),
        ("x/Dockerfile.dockerignore", "b"),
        ("bad.dockerignore", "\n["),
    ]);
    let has = |dockerfile: Option<&str>, name: &str| {
        select(&context(&root).ignoring(dockerfile).unwrap(), &[name]).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(has(None, "a").unwrap_err(), "\"a\" is in the context, but left out by .dockerignore");
    assert_eq!(has(Some("Dockerfile"), "a").unwrap_err(), "\"a\" is in the context, but left out by .dockerignore");
    assert!(has(Some("Dockerfile"), "b").is_ok() && has(Some("x/Dockerfile"), "a").is_ok());
    assert_eq!(has(Some("x/Dockerfile"), "b").unwrap_err(), "\"b\" is in the context, but left out by x/Dockerfile.dockerignore");
    let bad = context(&root).ignoring(Some("bad")).unwrap_err().to_string();
    assert!(bad.starts_with("bad.dockerignore: line 2:"), "{bad}");
}

#[test]
fn errors_say_what_may_have_been_meant() {
    let root = sample();
    let tree = context(&root);
    for (sources, message, hint) in [
        (&["src/mian.rs"][..], "\"src/mian.rs\" is not in the context", Some("did you mean `src/main.rs`?")),
        (&["scr/main.rs"], "\"scr/main.rs\" is not in the context", Some("did you mean `src`?")),
        (&["nothing_like_it_at_all"], "\"nothing_like_it_at_all\" is not in the context", None),
        (&["out"], "\"out\" is not in the context", None),
        (&["hom.txt/x"], "\"hom.txt/x\" is not in the context", None),
        (&["x*", "y?"], "nothing in the context matches \"x*\", \"y?\"", None),
        (&["["], "source \"[\": `[` is not closed by `]`, or nothing stands between them", Some("patterns have")),
        (&["../../secret_of_the_host"], "is not in the context", Some("`..` does not lead out")),
    ] {
        let error = select(&tree, sources).unwrap_err();
        assert!(error.to_string().contains(message), "{sources:?}: {error}");
        let hinted = error.hint();
        assert!(hint.is_none_or(|hint| hinted.as_deref().is_some_and(|text| text.contains(hint))), "{sources:?}: {hinted:?}");
    }
    assert!(matches!(select(&Tree::nothing("no context"), &["."]), Err(FilesError::Missing { .. })));
    let other = folder(&[("docs/x", ""), ("y/docs", "")]);
    assert!(matches!(select(&context(&other), &["y", "docs/../."]), Err(FilesError::Clash { .. })));
}

#[test]
fn loops_and_depths_end() {
    let root = folder(&[("a -> b", ""), ("b -> a", ""), ("self -> .", ""), ("deep/", "")]);
    let tree = context(&root);
    assert!(matches!(select(&tree, &["a"]), Err(FilesError::Links { .. })));
    assert_eq!(select(&tree, &["self/self/self"]).unwrap().items().count(), 4);
    let mut path = root.path().join("deep");
    for _ in 0..300 {
        path.push("d");
    }
    fs::create_dir_all(path).unwrap();
    assert!(matches!(select(&tree, &["deep"]), Err(FilesError::Deep { .. })));
    assert!(matches!(select_but(&tree, &["**/x"], &[], true), Err(FilesError::NoMatch { .. } | FilesError::Deep { .. })));
}

#[test]
fn what_cannot_be_copied_is_told() {
    let root = folder(&[("a", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    rustix::fs::mknodat(CWD, root.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let selection = select(&context(&root), &["."]).unwrap();
    assert_eq!(places(&selection), ["a"]);
    let to = folder(&[]);
    let copied = copy(&selection, open(to.path()).as_fd(), &order("/")).unwrap();
    let told: Vec<_> = copied.doubts.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["pipe is a named pipe, and is not copied", "socket is a socket, and is not copied"]);
    assert_eq!(places(&select(&stage(&root), &["."]).unwrap()), ["a", "pipe"]);
}

#[test]
fn the_dockerfile_is_read_in_its_tree() {
    let root =
        folder(&[("Dockerfile", "FROM scratch"), ("out -> ../../../../etc/hostname", ""), ("in -> /Dockerfile", ""), ("d/", "")]);
    let tree = context(&root);
    assert_eq!(tree.read("Dockerfile", 100).unwrap().unwrap(), b"FROM scratch");
    assert_eq!(tree.read("in", 100).unwrap().unwrap(), b"FROM scratch");
    assert_eq!(tree.read("out", 100).unwrap(), None);
    assert!(matches!(tree.read("Dockerfile", 3), Err(FilesError::TooLong { .. })));
    assert!(tree.read("d", 100).is_err());
    assert!(matches!(tree.below("Dockerfile"), Err(FilesError::NoFolder { .. })));
    assert_eq!(tree.below("d").unwrap().name(), "\"d\" of the context");
}
