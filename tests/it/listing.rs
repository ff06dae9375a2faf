//! `ps` and `inspect`: which containers are listed, and in which form.

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

/// The names that a list has, in its order.
#[track_caller]
fn names(host: &Host, args: &[&str]) -> Vec<String> {
    let words = [&["ps", "--format", "{{.Names}}"][..], args].concat();
    host.sp(&words).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn containers_are_listed_as_they_are_asked_for() {
    let host = Host::new().with_busybox();
    host.sp(&["create", "--name", "old", "-l", "tier=back", BUSYBOX, "true"]).ok();
    let web = [
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "tier=front",
        "-l",
        "x",
        "-p",
        "18080:80",
        "-v",
        "data:/data",
        BUSYBOX,
        "sleep",
        "1000",
    ];
    host.sp(&web).ok();
    let check = [
        "run",
        "-d",
        "--name",
        "sick",
        "--network",
        "none",
        "--health-cmd",
        "false",
        "--health-interval",
        "50ms",
        "--health-retries",
        "1",
        BUSYBOX,
        "sleep",
        "1000",
    ];
    host.sp(&check).ok();
    host.sp(&["run", "--name", "failed", BUSYBOX, "sh", "-c", "exit 3"]).fails_with(3);
    host.sp(&["pause", "web"]).ok();
    wait_until("it is unhealthy", PATIENCE, || host.sp(&["ps"]).stdout.contains("(unhealthy)"));
    let web_id = host.inspect("web")["Id"].as_str().unwrap().to_owned();
    let image = host.inspect("web")["Image"].as_str().unwrap().to_owned();

    assert_eq!(names(&host, &[]), ["sick", "web"]);
    assert_eq!(names(&host, &["-a"]), ["failed", "sick", "web", "old"]);
    assert_eq!(names(&host, &["-n", "2"]), ["failed", "sick"]);
    assert_eq!(names(&host, &["-l"]), ["failed"]);
    for (filters, expected) in [
        (&["name=^/we"][..], &["web"][..]),
        (&["name=old|sick"], &["sick", "old"]),
        (&["label=tier"], &["web", "old"]),
        (&["label=tier=front", "label=x"], &["web"]),
        (&["label!=tier"], &["failed", "sick"]),
        (&["status=paused"], &["web"]),
        (&["status=exited", "status=created"], &["failed", "old"]),
        (&["exited=3"], &["failed"]),
        (&["exited=0"], &[]),
        (&["health=unhealthy"], &["sick"]),
        (&["health=none"], &["failed", "web", "old"]),
        (&["network=none"], &["sick"]),
        (&["network=bridge"], &["failed", "web", "old"]),
        (&["volume=data"], &["web"]),
        (&["volume=/data/"], &["web"]),
        (&["before=sick"], &["web", "old"]),
        (&["since=web"], &["failed", "sick"]),
        (&["publish=18080"], &["web"]),
        (&["expose=70-90/tcp"], &["web"]),
        (&["publish=18080/udp"], &[]),
        (&["ancestor=localhost/busybox:1"], &["failed", "sick", "web", "old"]),
        (&["ancestor=localhost/other:1"], &[]),
    ] {
        let mut args = vec!["-a"];
        args.extend(filters.iter().flat_map(|filter| ["-f", *filter]));
        assert_eq!(names(&host, &args), expected, "{filters:?}");
    }
    assert_eq!(names(&host, &["-f", &format!("id={}", &web_id[..8])]), ["web"]);
    assert_eq!(names(&host, &["-a", "-f", &format!("ancestor={}", &image[..20])]).len(), 4);
    assert_eq!(names(&host, &["-f", "status=exited"]), ["failed"], "a status asks for those that do not run, too");
    for (filter, why) in [
        ("status=asleep", "created, running"),
        ("colour=red", "the filters are"),
        ("before=nobody", "container that is there"),
        ("exited=x", "exit code"),
        ("name=(", "regular expression"),
        ("publish=x", "PORT"),
        ("nothing", "KEY=VALUE"),
    ] {
        host.sp(&["ps", "-f", filter]).fails_with(1).says(&[why]);
    }
}

#[test]
fn lists_have_the_form_that_is_asked_for() {
    let host = Host::new().with_busybox();
    host.sp(&[
        "run",
        "-d",
        "--name",
        "c",
        "-l",
        "a=b",
        "-v",
        "data:/data",
        BUSYBOX,
        "sh",
        "-c",
        "head -c 100000 /dev/zero >/f; sleep 1000",
    ])
    .ok();
    let id = host.inspect("c")["Id"].as_str().unwrap().to_owned();
    assert_eq!(host.sp(&["ps", "-q"]).ok().out(), &id[..12]);
    assert_eq!(host.sp(&["container", "ls", "-q", "--no-trunc"]).ok().out(), id);
    let table = host.sp(&["ps"]).ok();
    assert_eq!(
        table.stdout.lines().next().unwrap().split("  ").filter(|word| !word.is_empty()).map(str::trim).collect::<Vec<_>>(),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    host.sp(&["ps"]).ok().says(&["\"sh -c head -c 10000…\"", "Up "]);
    host.sp(&["ps", "--no-trunc"]).ok().says(&[&id, "sleep 1000\""]);
    host.sp(&["ps", "-s"]).ok().says(&["SIZE", "(virtual "]);
    let format = "{{.ID}}|{{.Image}}|{{.State}}|{{.Label \"a\"}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}";
    assert_eq!(
        host.sp(&["ps", "--format", format]).ok().out(),
        format!("{}|localhost/busybox:1|running|b|a=b|data|bridge|1", &id[..12])
    );
    let json: serde_json::Value = serde_json::from_str(host.sp(&["ps", "--format", "json"]).ok().out()).unwrap();
    assert_eq!((json["Names"].as_str(), json["Labels"].as_str()), (Some("c"), Some("a=b")));
    host.sp(&["ps", "--format", "table {{.Names}}\t{{.State}}"]).ok().says(&["NAMES   STATE\nc       running"]);
    host.sp(&["ps", "--format", "{{.Nmaes}}"]).fails_with(1).says(&["the fields here are"]);
}

#[test]
fn inspect_has_dockers_fields() {
    let host = Host::new().with_busybox();
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "-e",
        "A=1",
        "-l",
        "k=v",
        "-p",
        "18081:80",
        "-v",
        "data:/data:ro",
        "--restart",
        "on-failure:3",
        "-m",
        "64m",
        "--stop-signal",
        "USR1",
        "-w",
        "/tmp",
        "-u",
        "7",
        // An id whose first twelve digits are decimal is read as an address where it is the host's name.
        "-h",
        "box",
        BUSYBOX,
        "sleep",
        "1000",
    ];
    host.sp(&run).ok();
    let said = |format: &str| host.sp(&["inspect", "-f", format, "c"]).ok().out().to_owned();
    for (format, expected) in [
        ("{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.ExitCode}}", "/c running true 0"),
        ("{{.Path}} {{join .Args \" \"}}", "sleep 1000"),
        (
            "{{.Config.Image}} {{.Config.WorkingDir}} {{.Config.User}} {{.Config.StopSignal}}",
            "localhost/busybox:1 /tmp 7 SIGUSR1",
        ),
        ("{{index .Config.Labels \"k\"}} {{.HostConfig.Memory}} {{.RestartCount}}", "v 67108864 0"),
        ("{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}", "on-failure:3"),
        ("{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}", "volume data /data false"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "18081"),
        ("{{range $name, $net := .NetworkSettings.Networks}}{{$name}}{{end}}", "bridge"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1"),
    ] {
        let found = said(format);
        assert!(found == expected || found.lines().any(|line| line == expected), "{format}: {found:?}");
    }
    let address = said("{{.NetworkSettings.IPAddress}}");
    assert_eq!(host.sp(&["exec", "c", "hostname", "-i"]).ok().out(), address);
    assert_eq!(said("{{.State.Pid}}"), host.pid("c").to_string());
    assert_eq!(host.inspect("c")["SizeRw"], serde_json::Value::Null);
    let sized = host.sp(&["container", "inspect", "-s", "c"]).ok().json();
    assert!(sized[0]["SizeRootFs"].as_u64().unwrap() > 0 && sized[0]["SizeRw"].is_u64(), "{}", sized[0]);
    host.sp(&["inspect", "--type", "container", "data"]).fails_with(1).says(&["no container"]);
    host.sp(&["inspect", "--type", "volume", "-f", "{{.name}}", "data"]).ok().says(&["data"]);
    host.sp(&["inspect", "-f", "{{.NoSuch}}", "c"]).fails_with(1);
    host.sp(&["inspect", "-f", "{{", "c"]).fails_with(1);
    host.sp(&["stop", "-t", "0", "c"]).ok();
    assert_eq!(said("{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}"), "exited 137 false");
}
