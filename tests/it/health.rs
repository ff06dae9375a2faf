//! Health as users see it: flags, `inspect`, and manifests whose checks change while the container runs.

use serde_json::json;

use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_until};

#[test]
fn a_line_is_run_by_the_shell_of_the_image() {
    let host = Host::new();
    let mut layout = Layout::new(host.dir.join("layout"));
    layout.add_folder(busybox_folder(), &[]);
    // A shell that only says what it is told.
    let check = json!({"Test": ["CMD-SHELL", "exit 1"], "Interval": 100_000_000});
    let config = json!({"Cmd": ["sleep", "inf"], "Shell": ["/bin/echo", "asked to"], "Healthcheck": check});
    let image = "localhost/shell:1";
    let layout = layout.finish(image, &config);
    let archive = host.dir.join("layout.tar");
    tool("tar", &["-C", layout.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    host.sp(&["load", "-i", archive.to_str().unwrap()]).ok();
    host.sp(&["run", "-d", "--name", "a", "--network", "none", image]).ok();
    host.sp(&["run", "-d", "--name", "b", "--network", "none", "--health-cmd", "exit 2", "--health-interval", "100ms", image])
        .ok();
    for (name, said) in [("a", "asked to exit 1"), ("b", "asked to exit 2")] {
        wait_until("healthy", PATIENCE, || host.inspect(name)["health"]["status"] == "healthy");
        let log = host.inspect(name)["health"]["log"].clone();
        assert!(log.as_array().unwrap().iter().all(|check| check["output"].as_str().unwrap().trim() == said), "{log}");
    }
}

#[test]
fn checks_are_flags_and_their_outputs_are_inspected() {
    let host = Host::new().with_busybox();
    let serve = "mkdir /www; echo well > /www/ok; exec httpd -f -p 8080 -h /www";
    let flags = ["--health-http", "8080/ok", "--health-interval", "100ms", "--health-retries", "2"];
    host.sp(&[&["run", "-d", "--name", "a"], &flags[..], &[BUSYBOX, "sh", "-c", serve]].concat()).ok();
    wait_until("healthy", PATIENCE, || host.inspect("a")["health"]["status"] == "healthy");
    let log = host.inspect("a")["health"]["log"].clone();
    assert!(log.as_array().unwrap().iter().any(|check| check["output"].as_str().unwrap().contains("200 OK")), "{log}");
    host.sp(&["exec", "a", "rm", "/www/ok"]).ok();
    wait_until("unhealthy", PATIENCE, || host.inspect("a")["health"]["status"] == "unhealthy");
    assert!(host.inspect("a")["health"]["failing_streak"].as_u64().unwrap() >= 2);
    host.sp(&["ps"]).ok().says(&["(unhealthy)"]);
    host.sp(&["run", "--health-http", "https://localhost/", BUSYBOX, "true"]).fails_with(125).says(&["https"]);
    host.sp(&["run", "--health-interval", "1s", BUSYBOX, "true"]).fails_with(125);
}

#[test]
fn a_changed_check_is_applied_to_the_running_container() {
    let host = Host::new().with_busybox();
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    let write = |check: &str| {
        let text = format!(
            "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: a}}\nspec:\n  image: {BUSYBOX}\n  \
             command: [sleep, inf]\n  network_mode: none\n  stop_grace_period: 0s\n  healthcheck:\n    interval: 100ms\n    \
             retries: 1\n    {check}\n"
        );
        host.write("s/s.yaml", &text);
    };
    write("test: [CMD, \"true\"]");
    host.sp(&["apply", &folder]).ok();
    let pid = host.pid("s-a");
    wait_until("healthy", PATIENCE, || host.inspect("s-a")["state"]["health"] == "healthy");
    write("tcp: 8080");
    host.sp(&["plan", &folder]).fails_with(2).says(&["healthcheck"]);
    host.sp(&["apply", &folder]).ok();
    wait_until("unhealthy", PATIENCE, || host.inspect("s-a")["state"]["health"] == "unhealthy");
    assert_eq!(host.pid("s-a"), pid, "nothing was restarted for it");
    host.sp(&["plan", &folder]).ok();
    // And one that restarts it.
    write("tcp: 8080\n    on_unhealthy: restart");
    host.sp(&["apply", &folder]).ok();
    wait_until("a restart", PATIENCE, || host.inspect("s-a")["restarts"].as_u64().unwrap() > 0);
    host.sp(&["destroy", &folder]).ok();
}
