//! A stack of real servers, kept by the daemon: PostgreSQL and Redis behind nginx, from an image in a registry. They are
//! written to and read through the published ports while servers are killed, the daemon is restarted and settings change.

mod image;
mod postgres;

use std::io::{self, Read, Write};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::net::{connect, http};
use crate::harness::{Host, Registry, wait_for, wait_until};

const HTTP: u16 = 8080;
const POSTGRES: u16 = 5432;
const REDIS: u16 = 6379;

/// Emulated or busy machines start PostgreSQL in tens of seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn manifests(reference: &str, work_mem: &str, max_memory: &str) -> [(&'static str, String); 4] {
    [
        (
            "stack/shared.yaml",
            format!(
                "apiVersion: setpoint/v1
kind: Image
metadata: {{name: servers}}
spec:
  reference: {reference}
  pull: {{policy: missing}}
---
apiVersion: setpoint/v1
kind: Network
metadata: {{name: back}}
spec: {{internal: true}}
---
apiVersion: setpoint/v1
kind: Network
metadata: {{name: front}}
spec: {{}}
"
            ),
        ),
        (
            "stack/postgres.yaml",
            format!(
                "apiVersion: setpoint/v1
kind: Volume
metadata: {{name: rows}}
spec: {{}}
---
apiVersion: setpoint/v1
kind: Config
metadata: {{name: hba}}
spec:
  content: |
    local all all trust
    host all all all trust
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: postgres}}
spec:
  image: {reference}
  user: postgres
  command:
    - /usr/lib/postgresql/15/bin/postgres
    - -D
    - /var/lib/postgresql/15/main
    - --config-file=/etc/postgresql/15/main/postgresql.conf
    - --hba_file=/etc/pg_hba.conf
    - --listen_addresses=*
    - --unix_socket_directories=/tmp
    - --external_pid_file=/tmp/postgres.pid
    - --ssl=off
    - --work_mem={work_mem}
  configs: [{{source: hba, target: /etc/pg_hba.conf}}]
  # Empty at first, so it gets the cluster that Debian's package made in the image.
  volumes: [\"rows:/var/lib/postgresql/15/main\"]
  networks: [back]
  healthcheck:
    test: [CMD, /usr/lib/postgresql/15/bin/pg_isready, -h, /tmp]
    interval: 1s
    start_interval: 200ms
    start_period: 60s
  restart: always
"
            ),
        ),
        (
            "stack/redis.yaml",
            format!(
                "apiVersion: setpoint/v1
kind: Volume
metadata: {{name: keys}}
spec: {{}}
---
apiVersion: setpoint/v1
kind: Config
metadata: {{name: redis}}
spec:
  content: |
    bind 0.0.0.0
    protected-mode no
    dir /var/lib/redis
    appendonly yes
    appendfsync always
    maxmemory {max_memory}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: redis}}
spec:
  image: {reference}
  user: redis
  command: [redis-server, /etc/redis.conf]
  configs: [{{source: redis, target: /etc/redis.conf}}]
  volumes: [\"keys:/var/lib/redis\"]
  networks: [back]
  healthcheck: {{test: [CMD, redis-cli, ping], interval: 1s, start_interval: 200ms, start_period: 60s}}
  restart: always
"
            ),
        ),
        (
            "stack/nginx.yaml",
            format!(
                "apiVersion: setpoint/v1
kind: Config
metadata: {{name: nginx}}
spec:
  content: |
    load_module modules/ngx_stream_module.so;
    worker_processes 1;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {{}}
    stream {{
      resolver @RESOLVER@ valid=1s ipv6=off;
      map $$server_port $$backend {{ 5432 postgres:5432; 6379 redis:6379; }}
      server {{ listen 5432; proxy_pass $$backend; }}
      server {{ listen 6379; proxy_pass $$backend; }}
    }}
    http {{
      access_log off;
      server {{ listen 80; location / {{ return 200 \"in front\\n\"; }} }}
    }}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: nginx}}
spec:
  image: {reference}
  command: [nginx-here]
  configs: [{{source: nginx, target: /etc/nginx.template}}]
  networks: [front, back]
  ports: [\"{HTTP}:80\", \"{POSTGRES}:5432\", \"127.0.0.1:{REDIS}:6379\"]
  depends_on:
    postgres: {{condition: service_healthy}}
    redis: {{condition: service_healthy}}
  restart: always
"
            ),
        ),
    ]
}

/// One command to Redis, in its inline form: the answer, without its length line.
fn redis(command: &str) -> io::Result<String> {
    let mut stream = connect(REDIS)?;
    write!(stream, "{command}\r\nQUIT\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer).trim_end();
    match answer.bytes().next() {
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(b'-') => Err(io::Error::other(answer.to_owned())),
        Some(_) => Ok(answer.to_owned()),
    }
}

/// All three servers answer through nginx, and the data is as it was written last.
#[track_caller]
fn data_is_there(expected: usize) {
    let expected = expected.to_string();
    wait_until("nginx answers", PATIENCE, || http(HTTP, "/").is_ok_and(|body| body == "in front\n"));
    let rows = wait_for("PostgreSQL answers", PATIENCE, || postgres::query(POSTGRES, "SELECT count(*) FROM visits").ok());
    assert_eq!(rows, std::slice::from_ref(&expected), "rows in PostgreSQL");
    let answer = wait_for("Redis answers", PATIENCE, || redis("GET visits").ok());
    assert!(answer.ends_with(&format!("\r\n{expected}")), "the key in Redis: {answer:?}");
}

fn write_once() {
    wait_for("PostgreSQL writes", PATIENCE, || postgres::query(POSTGRES, "INSERT INTO visits VALUES (now())").ok());
    wait_for("Redis writes", PATIENCE, || redis("INCR visits").ok());
}

#[test]
fn real_servers_keep_their_data() {
    // First, because the mirror is out of reach from the test's network namespace.
    let layout = image::layout();
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = registry.push(&layout, image::TAG, "test/servers");
    for (path, text) in manifests(&reference, "4MB", "64mb") {
        host.write(path, &text);
    }
    let source = host.dir.join("stack");
    let daemon = host.daemon(&source);
    let servers = ["stack-nginx", "stack-postgres", "stack-redis"];
    wait_until("all servers run", PATIENCE, || host.running() == servers);

    wait_for("a table", PATIENCE, || postgres::query(POSTGRES, "CREATE TABLE visits (at timestamptz)").ok());
    write_once();
    write_once();
    data_is_there(2);

    // Each is killed in turn, and comes back by its policy with its data.
    for name in servers {
        let before = host.pid(name);
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        wait_until(&format!("{name} comes back"), PATIENCE, || host.running_pid(name).is_some_and(|pid| pid != before));
        data_is_there(2);
    }
    write_once();
    data_is_there(3);

    // The daemon goes, once asked and once not: nothing of what it keeps notices.
    let pids = servers.map(|name| host.pid(name));
    daemon.stop();
    data_is_there(3);
    let daemon = host.daemon(&source);
    data_is_there(3);
    daemon.kill();
    write_once();
    let daemon = host.daemon(&source);
    wait_until("the daemon has looked", PATIENCE, || host.sp(&["plan", source.to_str().unwrap()]).code == 0);
    data_is_there(4);
    assert_eq!(servers.map(|name| host.pid(name)), pids, "a daemon's end or start restarts nothing");

    // A changed setting recreates its container only, and the data is found again.
    for (path, text) in manifests(&reference, "8MB", "96mb") {
        host.write(path, &text);
    }
    wait_until("PostgreSQL has its new setting", PATIENCE, || {
        postgres::query(POSTGRES, "SHOW work_mem").is_ok_and(|rows| rows == ["8MB"])
    });
    wait_until("Redis has its new setting", PATIENCE, || {
        redis("CONFIG GET maxmemory").is_ok_and(|answer| answer.ends_with(&(96 << 20).to_string()))
    });
    data_is_there(4);
    assert_ne!([host.pid(servers[1]), host.pid(servers[2])], [pids[1], pids[2]]);

    // The image's second layer took effect, whiteout included.
    let motd = host.sp(&["exec", "stack-redis", "cat", "/etc/motd"]).ok();
    assert_eq!(motd.out(), "replaced by the second layer");
    host.sp(&["exec", "stack-redis", "test", "-e", "/etc/issue"]).ok();
    host.sp(&["exec", "stack-redis", "test", "-e", "/etc/issue.net"]).fails_with(1);
    daemon.stop();
    host.sp(&["destroy", source.to_str().unwrap()]).ok();
    assert!(host.containers().is_empty());
}
