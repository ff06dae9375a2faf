//! The verbs of images as people type them: commits and exports of real containers, archives, names, pushes, prunes, checks.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::crash::Dice;
use crate::harness::{BUSYBOX, Host, Registry, image, tool};

/// A server of files. Dropping it ends it.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The files in a tar, as GNU tar lists them.
fn listed(tar: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = tool("tar", &["-tf", tar.to_str().unwrap()]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_running_container_becomes_an_image() {
    let host = Host::new().with_busybox();
    let work = "echo new > /root/new; rm /bin/true; mkdir -p /srv/deep; echo x > /srv/deep/x; touch /ready; exec sleep 1000";
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sh", "-c", work]).ok();
    crate::harness::wait_until("the work is done", crate::harness::PATIENCE, || {
        host.sp(&["exec", "a", "test", "-e", "/ready"]).code == 0
    });
    let change = ["--change", "ENV COLOUR=blue", "--change", "CMD [\"cat\", \"/root/new\"]", "-m", "what is new", "-a", "me"];
    let commit = |name: &str| host.sp(&[&["commit"], &change[..], &["a", name]].concat()).ok();
    commit("made:1");
    // The same content is the same image.
    commit("made:2");
    let digest = |name: &str| host.sp(&["inspect", name]).ok().json()[0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(digest("made:1"), digest("made:2"));
    assert_eq!(host.sp(&["run", "--rm", "made:1"]).ok().stdout, "new\n");
    let look = "echo $COLOUR; cat /srv/deep/x; test -e /bin/true || echo gone";
    assert_eq!(host.sp(&["run", "--rm", "made:1", "sh", "-c", look]).ok().stdout, "blue\nx\ngone\n");
    host.sp(&["history", "made:1"]).ok().says(&["what is new"]);
    // It goes on as before.
    host.sp(&["exec", "a", "cat", "/root/new"]).ok().says(&["new"]);
    host.sp(&["check"]).ok();
}

#[test]
fn a_commit_that_is_killed_leaves_the_container_running() {
    let host = Host::new().with_busybox();
    let work =
        "dd if=/dev/urandom of=/root/big bs=1M count=64 2>/dev/null; touch /ready; while :; do date +%s > /root/tick; done";
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sh", "-c", work]).ok();
    crate::harness::wait_until("the work is done", crate::harness::PATIENCE, || {
        host.sp(&["exec", "a", "test", "-e", "/ready"]).code == 0
    });
    let running = host.start(&["commit", "a", "made:1"]);
    std::thread::sleep(std::time::Duration::from_millis(60));
    drop(running);
    // The next command that looks after the instance puts it right.
    host.write("empty/a.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    host.sp(&["apply", "empty"]).ok();
    host.sp(&["exec", "a", "true"]).ok();
    host.sp(&["commit", "a", "made:1"]).ok();
    host.sp(&["check"]).ok();
}

#[test]
fn the_files_of_a_container_are_exported_whether_it_runs_or_not() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sh", "-c", "echo x > /root/x; rm /bin/true; exec sleep 1000"]).ok();
    crate::harness::wait_until("the work is done", crate::harness::PATIENCE, || {
        host.sp(&["exec", "a", "test", "!", "-e", "/bin/true"]).code == 0
    });
    host.sp(&["export", "-o", "running.tar", "a"]).ok();
    host.sp(&["stop", "-t", "0", "a"]).ok();
    host.sp(&["export", "-o", "stopped.tar", "a"]).ok();
    let names = listed(&host.dir.join("running.tar"));
    assert_eq!(names, listed(&host.dir.join("stopped.tar")));
    let has = |name: &str| names.iter().any(|n| n.trim_start_matches("./") == name);
    assert!(has("root/x") && has("bin/busybox") && !has("bin/true"), "{names:?}");
    // What was exported is an image again.
    host.sp(&["import", "stopped.tar", "again:1"]).ok();
    assert_eq!(host.sp(&["run", "--rm", "again:1", "cat", "/root/x"]).ok().stdout, "x\n");
}

#[test]
fn a_root_file_system_is_fetched_from_the_web() {
    let host = Host::new();
    fs::create_dir(host.dir.join("www")).unwrap();
    fs::copy(image::busybox_tar(), host.dir.join("www/rootfs.tar")).unwrap();
    let server = Command::new("/bin/busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:8099", "-h", host.dir.join("www").to_str().unwrap()])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(server);
    crate::harness::wait_until("the server answers", crate::harness::PATIENCE, || {
        std::net::TcpStream::connect("127.0.0.1:8099").is_ok()
    });
    host.sp(&["import", "http://127.0.0.1:8099/none.tar", "web:1"]).fails_with(1).says(&["none.tar", "no such file"]);
    host.sp(&["import", "http://", "web:1"]).fails_with(1).says(&["not the address of a file"]);
    host.sp(&["import", "http://127.0.0.1:8099/rootfs.tar", "web:1"]).ok();
    drop(server);
    host.sp(&["import", "http://127.0.0.1:8099/rootfs.tar", "web:2"]).fails_with(1).says(&["does not answer"]);
    assert_eq!(host.sp(&["run", "--rm", "web:1", "echo", "here"]).ok().stdout, "here\n");
}

#[test]
fn images_go_from_host_to_host_by_archive_and_by_registry() {
    let host = Host::new().with_busybox();
    let _registry = Registry::start(&host);
    host.sp(&["run", "--name", "a", BUSYBOX, "sh", "-c", "echo mine > /root/mine"]).ok();
    host.sp(&["commit", "a", "mine:1"]).ok();
    let other = Host::beside();
    for format in ["docker-archive", "oci"] {
        host.sp(&["save", "--format", format, "-o", "two.tar", "mine:1", BUSYBOX]).ok();
        let archive = host.dir.join("two.tar");
        other.sp(&["load", "-i", archive.to_str().unwrap()]).ok().says(&["mine:1"]);
        assert_eq!(other.sp(&["run", "--rm", "mine:1", "cat", "/root/mine"]).ok().stdout, "mine\n");
        other.sp(&["rmi", "mine:1", BUSYBOX]).ok();
    }
    let name = format!("{}/mine:1", Registry::ADDRESS);
    host.sp(&["tag", "mine:1", &name]).ok();
    host.sp(&["push", &name]).ok();
    host.sp(&["search", &format!("{}/mine", Registry::ADDRESS)]).ok().says(&["mine"]);
    other.sp(&["pull", &name]).ok();
    assert_eq!(other.sp(&["run", "--rm", &name, "cat", "/root/mine"]).ok().stdout, "mine\n");
}

#[test]
fn what_is_pruned_is_what_nothing_needs() {
    let host = Host::new().with_busybox();
    for number in ["1", "2"] {
        let work = format!("echo {number} > /root/n");
        host.sp(&["run", "--name", "a", BUSYBOX, "sh", "-c", &work]).ok();
        host.sp(&["commit", "a", "made:latest"]).ok();
        host.sp(&["rm", "a"]).ok();
    }
    let usage: Value = host.sp(&["system", "df", "--json"]).ok().json();
    assert!(usage.to_string().contains("reclaimable"), "{usage}");
    let count = || host.sp(&["images", "--json"]).ok().json().as_array().unwrap().len();
    assert_eq!(count(), 3, "the first `made` has lost its name");
    host.sp(&["image", "prune", "--force"]).ok();
    assert_eq!(count(), 2);
    assert_eq!(host.sp(&["run", "--rm", "made", "cat", "/root/n"]).ok().stdout, "2\n");
    host.sp(&["image", "prune", "--all", "--force"]).ok();
    assert_eq!(count(), 0);
}

#[test]
fn damage_is_found_and_said() {
    let host = Host::new().with_busybox();
    host.sp(&["check"]).ok();
    let layers = host.instance.state_dir().join("images/layers");
    let layer = fs::read_dir(layers).unwrap().next().unwrap().unwrap().path();
    let flip = "printf x | dd of=bin/busybox bs=1 seek=5000 conv=notrunc 2>&1";
    assert!(Command::new("sh").args(["-c", flip]).current_dir(layer).status().unwrap().success());
    let ran = host.sp(&["check"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("layer"), "{}", ran.stdout);
}

/// Each verb is killed at many moments; then nothing is damaged, and the same command succeeds.
#[test]
fn killed_at_any_moment_of_a_pull_or_a_commit_the_store_is_whole() {
    killed_at_any_moment([0, 2]);
}

#[test]
fn killed_at_any_moment_of_a_load_or_a_prune_the_store_is_whole() {
    killed_at_any_moment([1, 3]);
}

/// Tries some of the verbs, so that two tests share the processors.
fn killed_at_any_moment(verbs: [usize; 2]) {
    let host = Host::new().with_busybox();
    let registry = Registry::start(&host);
    let mut layout = image::Layout::new(host.dir.join("layout"));
    for layer in 0..3 {
        let text = format!("{layer}").repeat(3000);
        let names: Vec<String> = (0..120).map(|i| format!("folder{layer}/{i}")).collect();
        layout.add_files(&names.iter().map(|name| (name.as_str(), Some(text.as_str()))).collect::<Vec<_>>());
    }
    let pulled = registry.push(&layout.finish("1", &serde_json::json!({})), "1", "many");
    host.sp(&["pull", &pulled]).ok();
    host.sp(&["save", "-o", "many.tar", &pulled]).ok();
    host.sp(&["rmi", &pulled]).ok();
    host.sp(&["create", "--name", "a", BUSYBOX, "true"]).ok();
    host.sp(&["run", "--name", "b", BUSYBOX, "sh", "-c", "for i in $(seq 200); do seq 400 > /root/$i; done"]).ok();
    let mut dice = Dice::from_environment();
    let mut interrupted = [0; 2];
    for round in 0..50 {
        let verb = verbs[round % 2];
        let command: &[&str] = match verb {
            0 => &["pull", &pulled],
            1 => &["load", "-i", "many.tar"],
            2 => &["commit", "b", "made:1"],
            _ => &["image", "prune", "--all", "--force"],
        };
        if verb == 3 {
            host.sp(&["load", "-i", "many.tar"]).ok();
        }
        let mut running = host.start(command);
        std::thread::sleep(std::time::Duration::from_micros(dice.below(120_000)));
        interrupted[round % 2] += usize::from(!running.has_ended());
        drop(running);
        let checked = host.sp(&["check"]);
        assert_eq!(checked.code, 0, "round {round}, {command:?}:\n{}{}", checked.stdout, checked.stderr);
        host.sp(command).ok();
        host.sp(&["check"]).ok();
        if verb < 3 {
            host.sp(&["rmi", if verb == 2 { "made:1" } else { &pulled }]).ok();
        }
    }
    println!("killed before their end, of 25 each: {interrupted:?}");
    assert!(interrupted.iter().all(|count| *count > 0), "{interrupted:?}");
}

#[test]
fn as_many_layers_as_docker_allows() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let mut layout = image::Layout::new(host.dir.join("layout"));
    layout.add_folder(image::busybox_folder(), &[]);
    for layer in 1..127 {
        let (own, gone) = (format!("layer/{layer}"), format!("layer/{}", layer - 1));
        // Each third takes away what the layer below has brought.
        let hides = (layer % 3 == 0).then_some((gone.as_str(), None));
        layout.add_files(&[(own.as_str(), Some("x"))].into_iter().chain(hides).collect::<Vec<_>>());
    }
    let reference = registry.push(&layout.finish("1", &serde_json::json!({})), "1", "deep");
    host.sp(&["pull", &reference]).ok();
    assert_eq!(host.sp(&["run", "--rm", &reference, "sh", "-c", "ls /layer | wc -l"]).ok().out().trim(), "84");
    host.sp(&["save", "-o", "deep.tar", &reference]).ok();
    host.sp(&["rmi", &reference]).ok();
    host.sp(&["load", "-i", "deep.tar"]).ok();
    assert_eq!(host.sp(&["run", "--rm", &reference, "sh", "-c", "ls /layer | wc -l"]).ok().out().trim(), "84");
}
