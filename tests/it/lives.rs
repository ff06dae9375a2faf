//! Several of one container, commands that are run in them, and whoever starts again with another one.

use crate::harness::{BUSYBOX, Host, PATIENCE, Running, tool, wait_until};

#[test]
fn replicas_hooks_and_followers() {
    let host = Host::new().with_busybox();
    let compose = format!(
        "services:\n\
         \x20 web:\n    image: {BUSYBOX}\n    command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"]\n    scale: 2\n\
         \x20   ports: [\"8080-8081:80\"]\n    volumes: [\"./seen:/seen\"]\n    environment: {{WHO: web}}\n    stop_grace_period: 2s\n\
         \x20   post_start: [{{command: [sh, -c, \"echo up $$WHO $$A >> /seen/all; ls / > /dev/null\"], environment: {{A: b}}}}]\n\
         \x20   pre_stop: [{{command: [sh, -c, \"echo down $$(id -u) >> /seen/all\"], user: \"7\"}}, {{command: [sleep, \"100\"]}}]\n\
         \x20 log: {{image: {BUSYBOX}, command: [sleep, \"1000\"], init: true, external_links: [\"far:near\", far], depends_on: {{web: {{condition: service_started, restart: true}}}}}}\n\
         networks: {{default: {{ipam: {{config: [{{subnet: 10.213.77.0/24, gateway: 10.213.77.254, ip_range: 10.213.77.128/25}}]}}}}}}\n"
    );
    host.write("shop/compose.yaml", &compose);
    host.write("shop/seen/all", "");
    std::fs::set_permissions(host.dir.join("shop/seen"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(host.dir.join("shop/seen/all"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    host.sp(&["apply", "shop"]).fails_with(1).says(&["no container \"far\""]);
    host.sp(&["run", "-d", "--init", "--name", "far", "--network", "shop-default", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["apply", "shop"]).ok();
    assert_eq!(host.running(), ["far", "shop-log", "shop-web", "shop-web-2"]);
    host.sp(&["exec", "shop-log", "cat", "/etc/hosts"]).ok().says(&["\tnear", "\tfar"]);
    let seen = || std::fs::read_to_string(host.dir.join("shop/seen/all")).unwrap();
    assert_eq!(seen(), "up web b\nup web b\n");
    // All answer to the one name.
    let found = host.sp(&["exec", "shop-log", "nslookup", "web"]).ok();
    assert_eq!(found.stdout.matches("Address").count(), 3, "{found:?}");
    assert_eq!(found.stdout.matches("10.213.77.1").count(), 2, "of the range: {found:?}");
    host.sp(&["exec", "shop-log", "ip", "route"]).ok().says(&["default via 10.213.77.254"]);
    host.sp(&["port", "shop-web-2"]).ok().says(&["8081"]);
    host.sp(&["plan", "shop"]).ok();

    // A stop runs what comes before it, and takes no longer than it may, though the second command would.
    let pid = host.pid("shop-log");
    host.sp(&["stop", "shop-web"]).ok();
    assert_eq!(seen(), "up web b\nup web b\ndown 7\n");
    host.sp(&["plan", "shop"]).fails_with(2).says(&["container/log", "starts again, and this one follows it"]);
    host.sp(&["apply", "shop"]).ok();
    assert_ne!(host.pid("shop-log"), pid, "it follows");

    // Its monitor starts it again after a crash; the next look sees that it was later.
    let compose = compose.replace("    scale: 2\n", "    restart: always\n").replace("sleep, \"100\"", "\"true\"");
    host.write("shop/compose.yaml", &compose);
    host.sp(&["apply", "shop"]).ok();
    assert_eq!(host.running(), ["far", "shop-log", "shop-web"]);
    // Another stack waits for it, shares what it has, and follows it.
    let mall = format!(
        "services:\n  till: {{image: {BUSYBOX}, command: [sleep, \"1000\"], init: true, x-setpoint: {{depends_on: {{yard/late: {{restart: true}}}}}}}}\n\
         \x20 beside: {{image: {BUSYBOX}, command: [sleep, \"1000\"], init: true, network_mode: \"container:shop-web\"}}\n"
    );
    host.write("mall/compose.yaml", &mall);
    host.sp(&["plan", "mall"]).fails_with(2).says(&["yard/late started: wait", "because container/till needs it started"]);
    let waiting = Running::spawn(host.command(&["apply", "mall"]));
    host.write(
        "yard/compose.yaml",
        &format!("services: {{late: {{image: {BUSYBOX}, command: [sleep, \"1000\"], init: true}}}}\n"),
    );
    wait_until("what waits for nothing runs", PATIENCE, || host.running().iter().any(|name| name == "mall-beside"));
    assert!(!host.running().iter().any(|name| name == "mall-till"), "it waits");
    host.sp(&["apply", "yard"]).ok();
    waiting.wait(PATIENCE).ok();
    host.write("mall/compose.yaml", &mall.replace("yard/late", "shop/web"));
    host.sp(&["apply", "mall"]).ok();
    host.sp(&["destroy", "yard"]).ok();
    host.sp(&["plan", "mall"]).ok();
    let pid = host.pid("shop-web");
    tool("kill", &["-9", &pid.to_string()]);
    wait_until("it runs again", PATIENCE, || host.running_pid("shop-web").is_some_and(|now| now != pid));
    host.sp(&["plan", "shop"]).fails_with(2).says(&["container/web was started after this one"]);
    // What its monitor starts again keeps its network; a start by others makes it anew.
    host.sp(&["restart", "shop-web"]).ok();
    let later = ["shop/web was started after this one", "its net namespace is no longer that of shop-web"];
    host.sp(&["plan", "mall"]).fails_with(2).says(&later);
    let pid = host.pid("shop-web");
    host.sp(&["apply", "mall"]).ok();
    host.sp(&["plan", "mall"]).ok();
    assert_eq!(host.pid("shop-web"), pid, "it is another stack's");
    host.sp(&["destroy", "mall"]).ok();
    host.sp(&["apply", "shop"]).ok();
    host.sp(&["plan", "shop"]).ok();

    // The same as manifests.
    host.sp(&["convert", "shop", "--out", "made"]).ok().says(&["made/container-web.yaml", "made/stack.yaml"]);
    host.sp(&["plan", "made"]).ok();
    host.sp(&["convert", "shop", "--out", "made"]).fails_with(1).says(&["is there already"]);

    // A hook that fails fails the start, and the container is left as it is until the next apply, which does not forget it.
    let broken = compose.replace("ls / > /dev/null", "cat /seen/luck").replace("[\"true\"]", "[test, \"!\", -e, /seen/busy]");
    host.write("shop/compose.yaml", &broken);
    host.sp(&["apply", "shop"]).fails_with(1).says(&["post_start", "exited with 1", "/seen/luck"]);
    assert!(host.running().contains(&"shop-web".to_owned()));
    host.sp(&["plan", "shop", "--scale", "web=1", "--scale", "log=0"]).fails_with(2);
    host.sp(&["plan", "shop"]).fails_with(2).says(&["container/web", "drift: a post_start hook failed", "/seen/luck"]);
    // One before a stop refuses it to whoever asks for nothing else, and keeps nothing from what is declared.
    host.write("shop/seen/luck", "");
    host.write("shop/seen/busy", "");
    let pid = host.pid("shop-web");
    host.sp(&["stop", "shop-web"]).fails_with(1).says(&["shop-web goes on running", "pre_stop", "setpoint kill shop-web"]);
    assert_eq!(host.pid("shop-web"), pid);
    host.sp(&["apply", "shop"]).ok().says(&["! container/web: stop: a pre_stop hook failed", "container/web: started"]);
    host.sp(&["plan", "shop"]).ok();
    host.sp(&["destroy", "shop"]).fails_with(1).says(&["shop-web goes on running"]);
    std::fs::remove_file(host.dir.join("shop/seen/busy")).unwrap();
    host.sp(&["rm", "-f", "far"]).ok();
    host.sp(&["destroy", "shop"]).ok();
}
