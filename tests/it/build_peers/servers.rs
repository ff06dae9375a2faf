//! What Dockerfiles fetch from and are lent: a web server, a server of Git repositories and an agent with a key. All of it is on the
//! loopback of the test's own network, or below its folder, and goes with it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::context::make_context;
use crate::harness::{Host, PATIENCE, tool, wait_until};

/// Dockerfiles name these ports: the network is the test's own.
const WEB: &str = "127.0.0.1:8765";
const GIT: &str = "9418";
/// What stands for the agent's socket in their flags.
pub(super) const AGENT: &str = "AGENT";

/// Dropping it ends the programs.
pub(super) struct Servers {
    pub(super) agent: PathBuf,
    children: Vec<Child>,
}

impl Servers {
    pub(super) fn start(host: &Host) -> Self {
        let folder = host.dir.join("served");
        make_context(&folder);
        serve(&folder);
        let mut servers = Self { agent: host.dir.join("agent.sock"), children: Vec::new() };
        servers.git(&host.dir.join("git"));
        servers.ssh(host);
        servers
    }

    fn start_one(&mut self, command: &mut Command) {
        command.env_clear().env("PATH", super::PATH).stdin(Stdio::null()).stdout(Stdio::null());
        self.children.push(command.spawn().unwrap());
    }

    fn git(&mut self, home: &Path) {
        let repository = home.join("app.git");
        fs::create_dir_all(repository.join("lib")).unwrap();
        fs::write(repository.join("main.c"), "int main(void) { return 0; }\n").unwrap();
        fs::write(repository.join("lib/util.c"), "int util(void) { return 1; }\n").unwrap();
        let at = repository.to_str().unwrap();
        let named = ["-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "init.defaultBranch=main"];
        for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
            tool("git", &[&["-C", at], &named[..], args].concat());
        }
        let base = format!("--base-path={}", home.display());
        let listen = ["--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={GIT}")];
        // The program itself: `git daemon` would be its parent, and ending that would leave it.
        let program = Path::new(tool("git", &["--exec-path"]).trim()).join("git-daemon");
        // It complains of who only looks whether it is there.
        self.start_one(Command::new(program).arg(base).args(listen).stderr(Stdio::null()));
        wait_until("the Git server listens", PATIENCE, || TcpStream::connect(format!("127.0.0.1:{GIT}")).is_ok());
    }

    fn ssh(&mut self, host: &Host) {
        let (agent, key) = (self.agent.clone(), host.dir.join("key"));
        self.start_one(Command::new("ssh-agent").arg("-D").arg("-a").arg(&agent));
        wait_until("the agent listens", PATIENCE, || agent.exists());
        tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f", key.to_str().unwrap()]);
        let ssh_add = "SSH_AUTH_SOCK=\"$0\" exec ssh-add -q \"$1\"";
        tool("sh", &["-c", ssh_add, agent.to_str().unwrap(), key.to_str().unwrap()]);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is no matter.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Serves a folder, in threads that go with the test's process.
fn serve(folder: &Path) {
    let listener = TcpListener::bind(WEB).unwrap();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(stream, &folder));
        }
    });
}

fn answer(mut stream: TcpStream, folder: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, content) = match fs::read(folder.join(path)) {
        Ok(content) => ("200 OK", content),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let dated = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let head = format!("HTTP/1.1 {status}\r\n{dated}Content-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    // Whoever goes away before the end of the answer does not want it.
    drop(
        stream
            .write_all(head.as_bytes())
            .and_then(|()| if first.starts_with("HEAD") { Ok(()) } else { stream.write_all(&content) }),
    );
}

/// Puts a program of this host and what it is linked with into a folder, as they are in a root.
pub(super) fn with_program(folder: &Path, program: &str) {
    let path = tool("sh", &["-c", "command -v \"$0\"", program]);
    let linked = tool("ldd", &[path.trim()]);
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([path.trim()]) {
        let to = folder.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}
