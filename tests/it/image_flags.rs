//! Docker's flags of the verbs of images: what is listed, how it is shown, and what is refused.

use crate::harness::{BUSYBOX, Host, Registry, image};

/// Makes an image with labels and a time of its own: the time is that of the newest file.
fn labelled(host: &Host, name: &str, label: &str, touched: &str) {
    let folder = host.dir.join(format!("root-{touched}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), name).unwrap();
    crate::harness::tool("touch", &["-d", touched, folder.join("file").to_str().unwrap(), folder.to_str().unwrap()]);
    host.sp(&["import", folder.to_str().unwrap(), "draft:1"]).ok();
    host.sp(&["create", "--name", "draft", "--network", "none", "draft:1", "/file"]).ok();
    host.sp(&["commit", "--change", &format!("LABEL {label}"), "draft", name]).ok();
    host.sp(&["rm", "draft"]).ok();
    host.sp(&["rmi", "draft:1"]).ok();
}

fn lines(host: &Host, args: &[&str]) -> Vec<String> {
    host.sp(args).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn images_are_chosen_and_shown_as_asked() {
    let host = Host::new();
    labelled(&host, "registry.test/team/old:1", "tier=back", "2001-01-01T00:00:00Z");
    labelled(&host, "registry.test/team/new:2", "tier=front", "2020-01-01T00:00:00Z");
    host.sp(&["tag", "registry.test/team/new:2", "other:9"]).ok();
    host.sp(&["import", image::busybox_tar().to_str().unwrap()]).ok();
    let names = |args: &[&str]| {
        let mut all = lines(&host, &[&["images", "--format", "{{.Repository}}:{{.Tag}}"], args].concat());
        all.sort();
        all
    };
    let (old, new, other, none) = ("registry.test/team/old:1", "registry.test/team/new:2", "other:9", "<none>:<none>");
    assert_eq!(names(&[]), [none, other, new, old]);
    assert_eq!(names(&["--all"]), [none, other, new, old]);
    for (filter, expected) in [
        ("dangling=true", &[none][..]),
        ("dangling=false", &[other, new, old]),
        ("label=tier", &[other, new, old]),
        ("label=tier=back", &[old]),
        ("label!=tier", &[none]),
        ("reference=registry.test/*/old", &[old]),
        ("reference=*:9", &[other]),
        ("reference=docker.io/library/other", &[other]),
        ("reference=nothing", &[]),
        ("until=2002-01-01", &[old]),
    ] {
        assert_eq!(names(&["--filter", filter]), expected, "{filter}");
    }
    assert_eq!(names(&["--filter", "label=tier=front", "--filter", "reference=other"]), [other]);
    assert_eq!(names(&["registry.test/team/new"]), [new]);
    assert_eq!(names(&["registry.test/team/*:1"]), [old]);
    // An image is as old as the newest thing in it.
    assert_eq!(lines(&host, &["image", "inspect", "-f", "{{.Created}}", old]), ["2001-01-01T00:00:00Z"]);
    assert_eq!(names(&["--filter", &format!("before={new}"), "--filter", "label=tier"]), [old]);
    assert_eq!(names(&["--filter", &format!("since={old}"), "--filter", "label=tier"]), [other, new]);

    let digest = host.sp(&["image", "inspect", old]).ok().json()[0]["digest"].as_str().unwrap().to_owned();
    let short = &digest["sha256:".len()..][..12];
    assert_eq!(lines(&host, &["images", "-q", old]), [short]);
    assert_eq!(lines(&host, &["images", "-q", "--no-trunc", old]), [digest.as_str()]);
    assert_eq!(lines(&host, &["images", "-q"]).len(), 3, "each image once");
    host.sp(&["images", "--digests"]).ok().says(&["DIGEST", &digest]);
    let table = lines(&host, &["image", "ls", "--format", "table {{.ID}}\\t{{.Tag}}", old]);
    assert_eq!(table, ["IMAGE ID       TAG".to_owned(), format!("{short}   1")]);
    let one: serde_json::Value = serde_json::from_str(&lines(&host, &["images", "--format", "json", old])[0]).unwrap();
    assert_eq!((one["Repository"].as_str(), one["Digest"].as_str()), (Some("registry.test/team/old"), Some(digest.as_str())));
    let listed = host.sp(&["images", "--json", "--filter", "label=tier=back"]).ok().json();
    assert_eq!((listed.as_array().unwrap().len(), listed[0]["digest"].as_str()), (1, Some(digest.as_str())));
}

#[test]
fn what_is_asked_wrongly_is_refused_with_a_hint() {
    let host = Host::new();
    for (args, said) in [
        (&["images", "--filter", "colour=red"][..], &["no filter \"colour\"", "the filters are before, dangling"][..]),
        (&["images", "--filter", "dangling"], &["expected KEY=VALUE"]),
        (&["images", "--filter", "dangling=maybe"], &["expected true or false"]),
        (&["images", "--filter", "dangling!=true"], &["cannot be turned round"]),
        (&["images", "--filter", "before=nothing"], &["nothing"]),
        (&["images", "--filter", "until=soon"], &["\"soon\" is not a time"]),
        (&["images", "--filter", "reference=["], &["is not a pattern"]),
        (&["images", "--format", "{{.Nmae}}"], &["no field \".Nmae\"", "the fields here are .Repository"]),
        (&["images", "--format", "{{.ID"], &["`{{` without `}}`"]),
        (&["images", "--format", "{{.ID}}", "-q"], &["cannot be used with"]),
        (&["system", "df", "--format", "{{.Sizes}}"], &["the fields here are .Type"]),
        (&["system", "df", "-v", "--format", "json"], &["cannot be used with"]),
        (&["image", "prune", "-f", "--filter", "name=x"], &["the filters are dangling, label, until"]),
        (&["search", "--limit", "0", "x"], &["a number from 1 to 100"]),
        (&["search", "--filter", "stars=many", "x"], &["expected a number"]),
        (&["pull", "--all-tags", "nginx:1"], &["all tags are asked for"]),
        (&["push", "--all-tags", "nginx:1"], &["all tags are asked for"]),
        (&["push", "-a", "nothing"], &["no image of repository \"nothing\""]),
        (&["pull", "--disable-content-trust", "nginx"], &["Notary", "cosign"]),
        (&["push", "--disable-content-trust=false", "nginx"], &["Notary", "cosign"]),
        (&["image", "inspect", "-f", "{{.Id}}", "nothing"], &["there is no image \"nothing\""]),
    ] {
        let ran = host.sp(args).fails_with(1);
        let text = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in said {
            assert!(text.contains(part), "{args:?} does not say {part:?}: {text}");
        }
    }
}

#[test]
fn all_that_is_known_of_an_image() {
    let host = Host::new();
    let tar = image::busybox_tar().to_str().unwrap();
    let change = ["-c", "ENV A=1", "-c", "CMD [\"true\"]", "-c", "WORKDIR /srv"];
    host.sp(&[&["import", "-m", "from a tar", "--platform", "linux/arm64"], &change[..], &[tar, "app:1"]].concat()).ok();
    host.sp(&["tag", "app:1", "app:2"]).ok();
    let inspected = host.sp(&["image", "inspect", "app:1"]).ok().json()[0].clone();
    let shown = |template: &str| host.sp(&["image", "inspect", "-f", template, "app:1"]).ok().out().to_owned();
    assert_eq!(shown("{{.Os}}/{{.Architecture}} {{.Comment}}"), "linux/arm64 from a tar");
    assert_eq!(shown("{{json .RepoTags}}"), r#"["app:1","app:2"]"#);
    assert_eq!(shown("{{index .Config.Env 0}} {{.Config.Cmd}} {{.Config.WorkingDir}}"), "A=1 [true] /srv");
    assert_eq!(shown("{{len .RootFS.Layers}} {{.RootFS.Type}}"), "1 layers");
    assert_eq!(shown("{{range .RepoDigests}}{{.}}{{end}}"), format!("app@{}", inspected["digest"].as_str().unwrap()));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&shown("json")).unwrap(), inspected);
    // Docker's id is the configuration's, and finds the image too.
    let id = shown("{{.Id}}");
    assert_ne!(Some(id.as_str()), inspected["digest"].as_str());
    assert_eq!(host.sp(&["image", "inspect", &id]).ok().json()[0], inspected);

    // So it does for a container, by all or some of its digits; what is a name here goes before, and an id is never asked for elsewhere.
    let digest = inspected["digest"].as_str().unwrap();
    for (at, text) in [digest, &digest[7..], &digest[..15], &digest[7..15], &id].into_iter().enumerate() {
        let name = format!("c{at}");
        host.sp(&["create", "--name", &name, "--network", "none", text]).ok();
        assert_eq!(host.inspect(&name)["spec"]["image"].as_str(), Some(digest), "{text}");
    }
    host.sp(&["tag", "app:1", &digest[7..15]]).ok();
    host.sp(&["create", "--name", "named", "--network", "none", &digest[7..15]]).ok();
    assert_eq!(host.inspect("named")["spec"]["image"].as_str(), Some(&*format!("{}:latest", &digest[7..15])));
    let other = format!("sha256:{}", "0".repeat(64));
    host.sp(&["run", "--network", "none", &other]).fails_with(125).says(&["is not on this host"]);
    host.sp(&["pull", &other]).fails_with(1).says(&["is an image's id, and not a name"]);
    host.sp(&["tag", "app:1", &other]).fails_with(1).says(&["is an image's id, and not a name"]);
    host.sp(&["rmi", &format!("{}:latest", &digest[7..15])]).ok();
    host.sp(&["adopt", "--stack", "s", "c0"]).ok().says(&["app:1"]);
    host.sp(&["rm", "c0", "c1", "c2", "c3", "c4", "named"]).ok();
    host.sp(&["inspect", "app:2"]).ok().says(&["\"RepoTags\""]);
    host.sp(&["image", "inspect", "-f", "{{.Nothing}}", "app:1"]).fails_with(1).says(&["no field \".Nothing\"", ".RepoTags"]);

    let history = |args: &[&str]| lines(&host, &[&["history"], args, &["app:1"]].concat());
    assert_eq!(history(&["--format", "{{.Comment}}"]), ["from a tar"]);
    let bytes: u64 = history(&["--human=false", "--format", "{{.Size}}"])[0].parse().unwrap();
    assert_eq!(Some(bytes), inspected["size"].as_u64());
    let since = history(&["-H=false", "--format", "{{.CreatedSince}}"]);
    assert!(since[0].ends_with('Z') && since == history(&["--format", "{{.CreatedAt}}"]), "{since:?}");
    assert_eq!(history(&["-q", "--no-trunc"]), [inspected["digest"].as_str().unwrap()]);
    assert!(history(&["-H"])[0].starts_with("IMAGE"));

    host.sp(&["rmi", "--no-prune", "app:1"]).ok();
    let usage = lines(&host, &["system", "df", "--format", "{{.Type}}={{.TotalCount}}"]);
    assert_eq!(usage, ["Images=1", "Containers=0", "Local Volumes=0"]);
    host.sp(&["rmi", "-f", "app:2"]).ok();
}

#[test]
fn all_tags_of_a_repository_come_and_go() {
    let host = Host::new().with_busybox();
    let _registry = Registry::start(&host);
    let name = format!("{}/team/app", Registry::ADDRESS);
    for tag in ["1", "2"] {
        host.sp(&["tag", BUSYBOX, &format!("{name}:{tag}")]).ok();
    }
    host.sp(&["tag", BUSYBOX, &format!("{}/team/other:1", Registry::ADDRESS)]).ok();
    let pushed = lines(&host, &["push", "--all-tags", "-q", &name]);
    assert_eq!(pushed, [format!("{name}:1"), format!("{name}:2")]);
    let other = Host::beside();
    let mut pulled = lines(&other, &["pull", "-a", "-q", &name]);
    pulled.sort();
    assert_eq!(pulled, [format!("{name}:1"), format!("{name}:2")]);
    assert_eq!(lines(&other, &["images", "-q"]).len(), 1, "both tags are of one image");
    other.sp(&["pull", &format!("{}/team/other:1", Registry::ADDRESS)]).fails_with(1);

    let found = |args: &[&str]| lines(&host, &[&["search"], args, &[&format!("{}/team", Registry::ADDRESS)]].concat());
    let names = found(&["--format", "{{.Name}}"]);
    assert!(names.len() == 1 && names[0].ends_with("team/app"), "{names:?}");
    assert_eq!(found(&["--format", "{{.IsOfficial}} {{.StarCount}}"]), ["false 0"]);
    assert!(found(&["--filter", "stars=1", "--format", "{{.Name}}"]).is_empty());
    assert!(found(&["--filter", "is-official=true", "--format", "{{.Name}}"]).is_empty());
    assert_eq!(found(&["--filter", "is-automated=false", "--limit", "1", "--format", "{{.Name}}"]).len(), 1);
}

#[test]
fn prunes_by_label_and_by_time() {
    let host = Host::new();
    labelled(&host, "a:1", "keep=yes", "2001-01-01T00:00:00Z");
    labelled(&host, "b:1", "other=1", "2001-01-01T00:00:00Z");
    host.sp(&["image", "prune", "-a", "-f", "--filter", "until=2000-01-01"]).ok().says(&["Total reclaimed space: 0B"]);
    host.sp(&["image", "prune", "-a", "-f", "--filter", "label!=keep"]).ok().says(&["Untagged: b:1"]);
    assert_eq!(lines(&host, &["images", "--format", "{{.Repository}}"]), ["a"]);
    host.sp(&["image", "prune", "-f", "--filter", "dangling=false", "--filter", "label=keep=yes"]).ok().says(&["Untagged: a:1"]);
    assert!(lines(&host, &["images", "-q"]).is_empty());
}
