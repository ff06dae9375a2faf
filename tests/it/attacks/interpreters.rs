//! A script says that its interpreter is `/proc/self/exe`: the kernel then executes this program once more, in the container
//! and from the host's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{image, run};
use crate::harness::Host;

#[test]
fn the_interpreter_is_a_file_that_nobody_can_write_to() {
    let host = Host::new();
    let before = fs::read(host.command(&[]).get_program()).unwrap();
    let image = image(&host, "scripts", |root| {
        for (name, first) in [("plain", "#!/proc/self/exe"), ("role", "#!/proc/self/exe @monitor"), ("one", "#!/proc/1/exe")] {
            fs::write(root.join(name), format!("{first}\n")).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    });
    host.sp(&["run", "-d", "--name", "a", "--network", "none", &image, "sleep", "1000"]).ok();
    for name in ["/plain", "/role", "/one"] {
        // What the program makes of its arguments there does not matter: it has no more rights than the container.
        run(&host, &["--cap-add", "ALL"], &image, &[name]);
        host.sp(&["exec", "a", name]);
    }
    assert!(host.running_pid("a").is_some());
    assert!(fs::read(host.command(&[]).get_program()).unwrap() == before, "the program has been changed");
}
