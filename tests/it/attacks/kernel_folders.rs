//! `/proc`, `/sys` and `/dev` are links in the image: what is mounted there, and written through there, would go elsewhere.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Canary, image, run};
use crate::harness::Host;

#[test]
fn links_in_the_place_of_kernel_folders_are_refused() {
    let host = Host::new();
    let canary = Canary::new(&host);
    for name in ["proc", "sys", "dev"] {
        for (way, to) in
            [("out", canary.folder.to_str().unwrap().to_owned()), ("up", canary.path_from_below()), ("in", "/tmp".into())]
        {
            let image = image(&host, &format!("{name}-{way}"), |root| {
                let place = root.join(name);
                fs::remove_dir_all(&place).ok();
                symlink(&to, &place).unwrap();
            });
            run(&host, &[], &image, &["true"]).fails_with(125).says(&[&format!("/{name}")]);
            canary.is_alive();
        }
    }
}
