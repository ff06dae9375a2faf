//! Secrets of stacks: files in memory, shown nowhere, and a container has the new one when the content has changed.

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

#[test]
fn a_secret_is_in_the_container_and_nowhere_else() {
    let host = Host::new().with_busybox();
    let compose = format!(
        "services:\n  app:\n    image: {BUSYBOX}\n    user: \"5:6\"\n    stop_signal: SIGKILL\n    secrets: [pw, {{source: token, target: /etc/token, mode: 0400, uid: \"5\"}}]\n\
         \x20   command: [sh, -c, \"cat /run/secrets/pw /etc/token; ls -ln /etc/token; grep -c ' /run/secrets/pw .*ro,' /proc/self/mountinfo; exec sleep 1000\"]\n\
         \x20 other: {{image: {BUSYBOX}, command: [ls, /run/secrets]}}\n\
         secrets:\n  pw: {{file: ./pw}}\n  token: {{environment: TOKEN}}\n"
    );
    host.write("shop/compose.yaml", &compose);
    host.write("shop/pw", "canary-one\n");
    host.write("shop/.env", "TOKEN=canary-two\n");
    let planned = host.sp(&["plan", "shop"]).fails_with(2);
    assert!(!planned.stdout.contains("canary"), "{planned:?}");
    host.sp(&["apply", "shop"]).ok();
    let printed = |name: &str, what: &str| {
        wait_until("it has printed", PATIENCE, || host.sp(&["logs", name]).stdout.contains(what));
    };
    printed("shop-app", "canary-one\ncanary-two-r--------    1 5        0");
    printed("shop-app", "\n1\n");
    wait_until("it has looked", PATIENCE, || host.sp(&["logs", "shop-other"]).stderr.contains("No such file"));
    host.sp(&["plan", "shop"]).ok();
    for shown in [host.sp(&["inspect", "shop-app"]), host.sp(&["validate", "--json", "shop"]), host.sp(&["status", "--json"])] {
        let all = format!("{}{}", shown.stdout, shown.stderr);
        assert!(!all.contains("canary") && !all.contains("Y2FuYXJ5"), "{all}");
    }
    host.sp(&["status"]).ok().says(&["secret/pw", "secret/token", "mounted"]);
    // On the disk it is in the database, which only root may read.
    let state = host.instance.state_dir().to_str().unwrap();
    let found =
        std::process::Command::new("grep").args(["-rlF", "canary-", "--exclude=state.db*", "--exclude-dir=logs", state]).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");

    let id = || host.inspect("shop-app")["id"].as_str().unwrap().to_owned();
    let before = id();
    host.write("shop/pw", "canary-three\n");
    let planned = host.sp(&["plan", "shop"]).fails_with(2).says(&["container/app", "/run/secrets/pw.digest"]);
    assert!(!planned.stdout.contains("canary"), "{planned:?}");
    host.sp(&["apply", "shop"]).ok();
    assert_ne!(id(), before);
    printed("shop-app", "canary-three\n");
    // What is killed and started again has it again.
    host.sp(&["restart", "-t", "0", "shop-app"]).ok();
    wait_until("it has printed again", PATIENCE, || host.sp(&["logs", "shop-app"]).stdout.matches("canary-three").count() == 2);

    // Another stack has what this one was applied with last, and keeps it when this one is gone.
    let mall = format!(
        "services:\n  till:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    init: true\n\
         \x20   secrets: [{{source: key, x-setpoint: {{on_change: nothing}}}}]\n\
         secrets: {{key: {{external: true, name: shop/none}}}}\n"
    );
    host.write("mall/compose.yaml", &mall);
    host.sp(&["apply", "mall"]).fails_with(1).says(&["secret shop/none is not there", "apply the stack `shop` first"]);
    host.write("mall/compose.yaml", &mall.replace("shop/none", "shop/pw"));
    host.sp(&["convert", "mall"]).ok().says(&["external: true", "name: shop/pw"]);
    host.sp(&["apply", "mall"]).ok();
    host.sp(&["exec", "mall-till", "cat", "/run/secrets/key"]).ok().says(&["canary-three"]);
    host.sp(&["plan", "mall"]).ok();
    host.write("shop/pw", "canary-four\n");
    host.sp(&["plan", "mall"]).ok();
    host.sp(&["apply", "shop"]).ok();
    host.sp(&["plan", "mall"]).fails_with(2).says(&["container/till: update", "/run/secrets/key.digest"]);
    let pid = host.pid("mall-till");
    host.sp(&["apply", "mall"]).ok();
    host.sp(&["destroy", "shop"]).ok();
    host.sp(&["plan", "mall"]).ok();
    host.sp(&["exec", "mall-till", "cat", "/run/secrets/key"]).ok().says(&["canary-four"]);
    assert_eq!(host.pid("mall-till"), pid);
    let shown = host.sp(&["validate", "--json", "mall"]).ok();
    assert!(!shown.stdout.contains("canary") && shown.stdout.contains("shop/pw"), "{}", shown.stdout);
    host.sp(&["destroy", "mall"]).ok();
}
