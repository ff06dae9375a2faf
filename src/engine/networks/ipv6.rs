//! What the kernel must be told so that links carry IPv6: that they do, and that the host forwards it.
//!
//! Sources: the kernel's Documentation/networking/ip-sysctl.rst; RFC 8200, 5, for the least MTU.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Result;
use super::bridge::sysctl;
use super::error::NetworkError;
use crate::files::{self, FileError};
use crate::model::Name;

const CONF: &str = "/proc/sys/net/ipv6/conf";

/// Fails where the host has no IPv6 for a network that asks for it.
pub(super) fn require(network: &Name) -> Result<()> {
    let why = match files::read_if_there(&Path::new(CONF).join("all/disable_ipv6"))? {
        None => "the kernel was built or started without it",
        Some(value) if value.trim_ascii() != b"0" => "the setting net.ipv6.conf.all.disable_ipv6 is 1",
        Some(_) => return Ok(()),
    };
    Err(NetworkError::NoIpv6 { name: network.clone(), why })
}

/// Settings of a link before it comes up: it has the addresses that it is given, at once, and takes none from whoever announces
/// routers. A container that announces itself as one would else draw what others send (CVE-2020-13401).
pub(super) fn prepare(link: &str) -> Result<()> {
    for (key, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")] {
        sysctl("ipv6", link, key, value)?;
    }
    Ok(())
}

/// Whether the host forwards between its links. Of IPv6 there is one switch for all of them.
pub(super) fn forwards() -> Result<bool> {
    let value = files::read_if_there(&Path::new(CONF).join("all/forwarding"))?;
    Ok(value.is_some_and(|value| value.trim_ascii() != b"0"))
}

/// Makes the host forward. A host that forwards no longer listens to routers, and loses what it has learned from them; the links
/// that did listen are told to go on.
pub(super) fn forward() -> Result<()> {
    if forwards()? {
        return Ok(());
    }
    let failed = |path: &Path, e: io::Error| FileError::new("write", path, e);
    for link in fs::read_dir(CONF).map_err(|e| FileError::new("read", CONF, e))? {
        let folder = link.map_err(|e| FileError::new("read", CONF, e))?.path();
        let path = folder.join("accept_ra");
        if folder.ends_with("all") || files::read_if_there(&path)?.is_none_or(|value| value.trim_ascii() != b"1") {
            continue;
        }
        match fs::write(&path, "2") {
            // The link has gone meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(|e| failed(&path, e))?,
        }
    }
    let all = PathBuf::from(CONF).join("all/forwarding");
    Ok(fs::write(&all, "1").map_err(|e| failed(&all, e))?)
}
