//! User ids beyond 2^31: one of them means "stay who you are" to the kernel, which is root, and others become negative.

use serde_json::json;

use super::run;
use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{BUSYBOX, Host, tool};

const BEYOND: [&str; 5] = ["2147483648", "4294967294", "4294967295", "4294967296", "-1"];

#[test]
fn numbers_beyond_the_largest_are_refused() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]).ok();
    for id in BEYOND {
        for user in [id.to_owned(), format!("0:{id}"), format!("{id}:{id}")] {
            let ran = run(&host, &[&format!("--user={user}")], BUSYBOX, &["id"]).fails_with(125).says(&[id]);
            assert!(ran.stdout.is_empty(), "{ran:?}");
            let ran = host.sp(&["exec", &format!("--user={user}"), "a", "id"]).fails_with(125).says(&[id]);
            assert!(ran.stdout.is_empty(), "{ran:?}");
        }
    }
    let largest = run(&host, &["-u", "2147483647:2147483647"], BUSYBOX, &["sh", "-c", "id -u; id -g"]).ok();
    assert_eq!(largest.out(), "2147483647\n2147483647");
}

#[test]
fn an_image_cannot_ask_for_them_either() {
    let host = Host::new();
    let mut layout = Layout::new(host.dir.join("layout"));
    layout.add_folder(busybox_folder(), &[]);
    layout.add_files(&[("etc/passwd", Some("root:x:0:0::/:/bin/sh\nweb:x:4294967295:4294967295::/:/bin/sh\n"))]);
    let folder = layout.finish("1", &json!({"User": "4294967295", "Cmd": ["id"]}));
    tool("tar", &["-C", folder.to_str().unwrap(), "-cf", host.dir.join("image.tar").to_str().unwrap(), "."]);
    let loaded = host.sp(&["load", "-q", "-i", "image.tar"]).ok();
    let image = loaded.out().rsplit(' ').next().unwrap();
    for more in [&[][..], &["-u", "web"]] {
        let ran = run(&host, more, image, &[]).fails_with(125);
        assert!(ran.stdout.is_empty() && !ran.stderr.contains("pull"), "{ran:?}");
    }
    // It is not for another reason that it does not run.
    run(&host, &["-u", "1"], image, &[]).ok().says(&["uid=1"]);
}
