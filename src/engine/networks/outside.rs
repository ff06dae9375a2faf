//! What the world has to do with the networks. The packet filter follows the rows; and where the networks are in a namespace
//! of an ordinary user's own, so does what the program that connects it passes on from the host's ports.
//!
//! A thread that has gone into that namespace cannot come back, so one thread of the program stays outside, to be asked what
//! only the host's own network tells.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{OnceLock, mpsc};

use super::error::NetworkError;
use super::rows::{Published, Rows};
use super::{Result, nft};
use crate::engine::rootless::slirp::Forward;
use crate::engine::rootless::{self, slirp};
use crate::model::Instance;
use crate::sys;

type Question = Box<dyn FnOnce() + Send>;

/// The thread that stays outside; none where everything is outside.
static HOST: OnceLock<mpsc::Sender<Question>> = OnceLock::new();

/// Starts the thread that stays outside, where one is needed. The caller is outside.
pub(super) fn stay_out(instance: &Instance) -> Result<()> {
    if HOST.get().is_some() || !rootless::is_inside(instance.run_dir()) {
        return Ok(());
    }
    let (sender, questions) = mpsc::channel::<Question>();
    if HOST.set(sender).is_ok() {
        let thread = std::thread::Builder::new().name("outside".to_owned());
        thread.spawn(move || questions.into_iter().for_each(|question| question())).map_err(NetworkError::Thread)?;
    }
    Ok(())
}

/// What the host's own network says.
pub(super) fn on_host<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let Some(host) = HOST.get() else { return Ok(question()) };
    let (sender, receiver) = mpsc::channel();
    host.send(Box::new(move || drop(sender.send(question())))).map_err(|_| NetworkError::Panicked)?;
    receiver.recv().map_err(|_| NetworkError::Panicked)
}

/// Moves the calling thread to where the networks are. It does not come back.
pub(super) fn go_in(instance: &Instance) -> Result<()> {
    match rootless::network(instance.run_dir())? {
        None => Ok(()),
        Some(network) => sys::netns::enter(network).map_err(|source| NetworkError::Kernel {
            step: "enter",
            object: "this user's network namespace".to_owned(),
            source,
        }),
    }
}

/// Whether the networks are in a namespace of a user's own.
pub(super) fn is_apart(instance: &Instance) -> bool {
    rootless::is_inside(instance.run_dir())
}

/// Makes all what the rows need.
pub(super) fn rebuild(instance: &Instance, rows: &Rows) -> Result<()> {
    nft::rebuild(instance, rows)?;
    pass_on(instance, rows)
}

/// Adds ports, which are among the rows.
pub(super) fn publish(instance: &Instance, rows: &Rows, ports: &[Published]) -> Result<()> {
    if nft::publish(instance, ports).is_err() {
        // The table is gone or differs; the whole of it is put back, which also says what is really wrong.
        nft::rebuild(instance, rows)?;
    }
    pass_on(instance, rows)
}

/// Removes ports, which are not among the rows any more.
pub(super) fn withdraw(instance: &Instance, rows: &Rows, ports: &[Published]) -> Result<()> {
    if nft::withdraw(instance, ports).is_err() {
        nft::rebuild(instance, rows)?;
    }
    pass_on(instance, rows)
}

/// What is passed on from the host's ports is held there: who is to have the same port again lets it go before.
pub(super) fn give_back(instance: &Instance, rows: &Rows) -> Result<()> {
    pass_on(instance, rows)
}

/// Takes all back.
pub(super) fn remove(instance: &Instance) -> Result<()> {
    nft::remove(instance)?;
    pass_on(instance, &Rows::default())
}

/// What differs from what the rows need.
pub(super) fn differences(instance: &Instance, rows: &Rows) -> Result<Option<String>> {
    match nft::differences(instance, rows)? {
        None if is_apart(instance) => Ok(slirp::difference(instance.run_dir(), &forwards(rows))?),
        found => Ok(found),
    }
}

fn pass_on(instance: &Instance, rows: &Rows) -> Result<()> {
    if is_apart(instance) { Ok(slirp::pass_on(instance.run_dir(), &forwards(rows))?) } else { Ok(()) }
}

fn forwards(rows: &Rows) -> BTreeSet<Forward> {
    // Who connects the networks with the host's passes on IPv4 only.
    let forward = |port: &Published| {
        let host = match port.host_ip {
            None => Ipv4Addr::UNSPECIFIED,
            Some(IpAddr::V4(ip)) => ip,
            Some(IpAddr::V6(_)) => return None,
        };
        Some(Forward { protocol: port.protocol, host, port: port.host_port })
    };
    rows.published.iter().filter_map(forward).collect()
}
