//! A person at a terminal: a command that runs on a pseudo terminal of its own. Knows nothing of what is typed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use setpoint::sys::pty;

use super::{Host, PATIENCE};

pub(crate) struct Typist {
    controller: OwnedFd,
    screen: File,
    child: Child,
    seen: String,
}

impl Typist {
    /// Runs the program with these arguments on a terminal of 24 rows and 80 columns.
    pub(crate) fn start(host: &Host, args: &[&str]) -> Self {
        let pty::Pty { controller, terminal } = pty::open().unwrap();
        pty::resize(&controller, 24, 80).unwrap();
        let like = host.command(args);
        // The terminal becomes the controlling one, as a login makes it.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(like.get_program()).args(like.get_args()).current_dir(&host.dir);
        command.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.process_group(0).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        drop((terminal, command));
        rustix::io::ioctl_fionbio(&controller, true).unwrap();
        let screen = File::from(controller.try_clone().unwrap());
        Self { controller, screen, child, seen: String::new() }
    }

    /// Waits until this is on the screen, and forgets what is before and up to it.
    #[track_caller]
    pub(crate) fn sees(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            assert!(Instant::now() < end, "{what:?} does not come; on the screen is {:?}", self.seen);
            if !self.look() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Whether there was something new.
    fn look(&mut self) -> bool {
        let mut block = [0; 4096];
        match self.screen.read(&mut block) {
            Ok(count @ 1..) => {
                self.seen.push_str(&String::from_utf8_lossy(&block[..count]));
                true
            }
            Ok(_) => false,
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            // The terminal's other end is closed.
            Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => false,
            Err(e) => panic!("read the terminal: {e}"),
        }
    }

    pub(crate) fn types(&self, keys: &[u8]) {
        rustix::io::write(&self.controller, keys).unwrap();
    }

    pub(crate) fn resizes(&self, rows: u16, columns: u16) {
        pty::resize(&self.controller, rows, columns).unwrap();
    }

    /// Waits for the command's end. Its exit code.
    #[track_caller]
    pub(crate) fn ends(mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            // A terminal that nobody reads would hold its writer up.
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end; on the screen is {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
