//! Health as users see it: flags, `inspect`, and manifests whose checks change while the container runs.

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

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
