//! What runs here becomes a stack: setpoint's own containers, which go on running, and Docker's.

use serde_json::json;

use crate::harness::{BUSYBOX, Host, PATIENCE, image, wait_until};
use crate::peers::{Docker, Peer};

#[test]
fn what_runs_becomes_a_stack() {
    let host = Host::new().with_busybox();
    let run = ["run", "-d", "--name", "web", "-v", "data:/data", "-v", "/own", "-v", "/etc/hostname:/h:ro", "-p", "8080:80"];
    let more =
        ["-e", "A=$b", "--restart", "always", "-m", "64m", "--init", "-i", "--health-cmd", "true", "--tmpfs", "/t:size=1m"];
    host.sp(&[&run[..], &more, &[BUSYBOX, "sleep", "1000"]].concat()).ok();
    host.sp(&["run", "-d", "--name", "log", "--network", "container:web", "--init", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["run", "-d", "--rm", "--init", "--name", "passing", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["exec", "web", "sh", "-c", "echo kept > /own/file; echo kept > /data/file"]).ok();
    let (pid, id) = (host.pid("web"), host.inspect("web")["id"].clone());

    // Shown, and nothing has changed.
    host.sp(&["adopt", "web"]).ok().says(&["kind: Container", "mem_limit: 64m", "nothing is adopted yet"]);
    assert_eq!(host.inspect("web")["owner"], json!(null));
    host.sp(&["adopt", "passing", "--out", "none"]).fails_with(1).says(&["removed when it exits"]);

    host.sp(&["adopt", "--out", "shop"]).ok().says(&["adopted web", "adopted log", "passing is left out"]);
    host.sp(&["plan", "shop"]).ok().says(&["othing"]);
    host.sp(&["apply", "shop"]).ok();
    assert_eq!((host.pid("web"), host.inspect("web")["id"].clone()), (pid, id), "nothing has started again");
    assert_eq!(host.inspect("web")["owner"], json!({"stack": "shop", "resource": "web"}));
    host.sp(&["adopt", "web", "--out", "again"]).fails_with(1).says(&["belongs to stack shop"]);

    // Made anew it has what it had.
    let manifest = std::fs::read_to_string(host.dir.join("shop/container-web.yaml")).unwrap();
    host.write("shop/container-web.yaml", &manifest.replace("A: \"$$b\"", "A: c"));
    host.sp(&["apply", "shop"]).ok();
    host.sp(&["exec", "web", "sh", "-c", "echo $A; cat /own/file /data/file"]).ok().says(&["c\nkept\nkept"]);
    host.sp(&["plan", "shop"]).ok();
    host.sp(&["destroy", "shop"]).ok();
    host.sp(&["volume", "ls"]).ok().says(&["data"]);
    host.sp(&["rm", "-f", "passing"]).ok();
}

#[test]
fn dockers_containers_become_a_stack() {
    let host = Host::new();
    let docker = Docker::start(&host);
    docker.run(&[
        "import",
        "-c",
        "CMD [\"sleep\", \"1000\"]",
        "-c",
        "ENV OF=image",
        image::busybox_tar().to_str().unwrap(),
        "busy:1",
    ]);
    host.write("shared/file", "kept\n");
    let shared = format!("{}:/shared:ro", host.dir.join("shared").display());
    let one = ["create", "--name", "web", "--network", "none", "-v", &shared, "-v", "data:/data", "--tmpfs", "/t:size=1m"];
    let two = ["-e", "A=$b", "--restart", "on-failure:3", "-m", "64m", "--cpus", "0.5", "--init", "-w", "/shared", "-u", "5:6"];
    let three = ["--cap-drop", "ALL", "--cap-add", "KILL", "--ulimit", "nofile=100:200", "-l", "a=b", "--stop-timeout", "3"];
    let four =
        ["--health-cmd", "true", "--health-interval", "5s", "--log-opt", "max-size=1m", "--oom-score-adj", "5", "--read-only"];
    docker.run(&[&one[..], &two, &three, &four, &["busy:1"]].concat());
    docker.run(&[
        "create",
        "--name",
        "log",
        "--network",
        "container:web",
        "--stop-timeout",
        "1",
        "busy:1",
        "sh",
        "-c",
        "cat /proc/net/dev; sleep 1000",
    ]);
    let archive = host.dir.join("busy.tar");
    docker.run(&["save", "-o", archive.to_str().unwrap(), "busy:1"]);
    host.sp(&["load", "-i", archive.to_str().unwrap()]).ok();

    let from = format!("docker={}", docker.folder.join("socket").display());
    let adopted = host.sp(&["adopt", "web", "log", "--from", &from, "--out", "shop"]).ok();
    assert_eq!(adopted.stderr.matches("warning").count(), 1, "its volume only: {adopted:?}");
    adopted.says(&["the data of the volume data stays at"]);
    host.sp(&["apply", "shop"]).ok();
    host.sp(&["plan", "shop"]).ok().says(&["othing"]);
    assert_eq!(host.running(), ["log", "web"]);

    let spec = host.inspect("web")["spec"].clone();
    let found = json!({
        "environment": spec["environment"], "entrypoint": spec["entrypoint"], "command": spec["command"], "user": spec["user"],
        "restart": spec["restart"], "memory": spec["limits"]["memory"], "cpus": spec["limits"]["cpus"], "labels": spec["labels"],
        "cap_add": spec["cap_add"], "ulimits": spec["ulimits"], "grace": spec["stop_grace_period"], "check": spec["healthcheck"]["interval"],
        "logs": spec["logging"]["max_size"], "init": spec["init"], "score": spec["oom_score_adj"], "read_only": spec["read_only"],
    });
    let wanted = json!({
        "environment": {"A": "$b"}, "entrypoint": null, "command": null, "user": "5:6",
        "restart": "on-failure:3", "memory": "64m", "cpus": "0.5", "labels": {"a": "b"},
        "cap_add": ["CAP_KILL"], "ulimits": {"nofile": {"soft": 100, "hard": 200}}, "grace": "3s", "check": "5s",
        "logs": "1m", "init": true, "score": 5, "read_only": true,
    });
    assert_eq!(found, wanted);
    let seen = "pwd; cat file; echo $OF $A; ulimit -n; id -u; grep -c ' /data ' /proc/self/mountinfo";
    host.sp(&["exec", "web", "sh", "-c", seen]).ok().says(&["/shared\nkept\nimage $b\n100\n5\n1"]);
    wait_until("it has looked", PATIENCE, || host.sp(&["logs", "log"]).stdout.contains("lo:"));
    host.sp(&["destroy", "shop"]).ok();
}
