//! What a container with users of its own gets hold of by a mistake of the host's: a descriptor of a place with files of the
//! host's root. Its own root is root there no more than any user.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{Canary, probe_image, run};
use crate::harness::Host;
use crate::own_users::give;

/// What the probe says of a folder and a file, open as places only, that a process of the host passes to it.
fn attempt(host: &Host, canary: &Canary, image: &str, options: &[&str]) -> String {
    let folder = host.dir.join("sockets");
    fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("s");
    fs::remove_file(&socket).ok();
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let places = [&canary.folder, &canary.secret];
    let places = places.map(|path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap());
    std::thread::scope(|scope| {
        let passing = scope.spawn(|| {
            // The test itself comes where the probe did not.
            let (client, _) = listener.accept().unwrap();
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut room);
            let fds = places.each_ref().map(AsFd::as_fd);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            // Fails where nobody is there any more to hear it, which the test sees by itself.
            rustix::net::sendmsg(&client, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::NOSIGNAL).ok();
        });
        let volume = format!("{}:/s", folder.display());
        let ran = run(host, &[options, &["-v", &volume]].concat(), image, &["/probe", "passed", "/s/s"]);
        drop(UnixStream::connect(&socket));
        passing.join().unwrap();
        ran.ok().stdout
    })
}

#[test]
fn places_of_the_hosts_root_are_closed_to_it() {
    let host = Host::new();
    give(&host, "setpoint:1200000000:65536");
    let canary = Canary::new(&host);
    for (path, mode) in [(&canary.folder, 0o700), (&canary.secret, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let image = probe_image(&host);
    // Otherwise nothing would be shown by its failing.
    let with_the_hosts = attempt(&host, &canary, &image, &[]);
    assert!(with_the_hosts.contains("read 0 done") && with_the_hosts.contains("enter 0 done"), "{with_the_hosts}");
    for more in [&[][..], &["--cap-add", "ALL"], &["--cap-add", "DAC_READ_SEARCH", "--cap-add", "SYS_ADMIN"]] {
        let said = attempt(&host, &canary, &image, &[&["--userns", "auto"], more].concat());
        // 1: not permitted. 13: denied.
        for what in ["read", "write", "enter", "list", "owner"] {
            let outcome = said.lines().find_map(|line| line.strip_prefix(&format!("{what} 0 "))).unwrap_or_default();
            assert!(["1", "13"].contains(&outcome), "{what}: {said}");
        }
        canary.is_alive();
    }
}
