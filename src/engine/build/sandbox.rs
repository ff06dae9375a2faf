//! Where the commands of a stage run: the lock, the cgroup and the network that all of them have one after the other.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::error::BuildError;
use super::work::Work;
use crate::engine::containers::Workshop;
use crate::engine::networks::{Attached, DEFAULT_NETWORK, Join};
use crate::files;
use crate::model::Name;
use crate::model::spec::{HostAddress, NetworkSpec};

/// Closes itself in the background when it is dropped, as a build does that is given up.
pub(super) struct Sandbox {
    work: Arc<Work>,
    inner: Option<Inner>,
}

struct Inner {
    workshop: Workshop,
    attached: Option<Attached>,
}

impl Sandbox {
    pub(super) async fn open(work: &Arc<Work>) -> Result<Self, BuildError> {
        let workshop = work.containers.workshop(work.request.cgroup_parent.as_ref()).await?;
        Ok(Self { work: work.clone(), inner: Some(Inner { workshop, attached: None }) })
    }

    /// It has one as long as it lives.
    fn inner(&self) -> Result<&Inner, BuildError> {
        self.inner.as_ref().ok_or(BuildError::Interrupted)
    }

    pub(super) fn workshop(&self) -> Result<&Workshop, BuildError> {
        Ok(&self.inner()?.workshop)
    }

    /// Makes the network, for the first command that needs it.
    pub(super) async fn connect(&mut self) -> Result<(), BuildError> {
        let inner = self.inner.as_mut().ok_or(BuildError::Interrupted)?;
        if inner.attached.is_some() {
            return Ok(());
        }
        let network: Name = DEFAULT_NETWORK.parse().map_err(|_| BuildError::Interrupted)?;
        let networks = &self.work.networks;
        networks.create(&network, None, &NetworkSpec::default()).await?;
        let join = Join { network, names: BTreeSet::new(), ipv4_address: None, ipv6_address: None, interface: None, mac: None };
        inner.attached = Some(networks.attach(inner.workshop.id(), &[join], &BTreeSet::new()).await?);
        Ok(())
    }

    pub(super) fn network(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inner.as_ref()?.attached.as_ref()?.netns.as_fd())
    }

    /// Writes `/etc/hosts` and `/etc/resolv.conf`, and gives the folder that they are in.
    pub(super) fn name_files(&self, on_host: bool, hostname: &str) -> Result<&Path, BuildError> {
        let Inner { workshop, attached } = self.inner()?;
        let attached = attached.as_ref().filter(|_| !on_host);
        let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let mut own = attached
            .iter()
            .flat_map(|attached| attached.given.endpoints.values())
            .filter_map(|endpoint| endpoint.addresses().next())
            .map(|ip| ip.to_string());
        let own = own.next_back().unwrap_or_else(|| "127.0.0.1".to_owned());
        hosts.push_str(&format!("{own}\t{hostname}\n"));
        for (name, address) in &self.work.request.extra_hosts {
            let address = match address {
                HostAddress::Ip(address) => address.to_string(),
                HostAddress::Gateway => {
                    let gateway = attached.and_then(|attached| attached.given.nameservers.first());
                    gateway.map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string)
                }
            };
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        let resolv = match attached {
            Some(attached) => {
                attached.given.nameservers.iter().map(|server| format!("nameserver {server}\n")).collect::<String>()
            }
            None => {
                let host = files::read_if_there(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
                String::from_utf8_lossy(&host).into_owned()
            }
        };
        let folder = workshop.folder();
        for (name, content) in [("hosts", hosts), ("resolv.conf", resolv), ("hostname", format!("{hostname}\n"))] {
            files::publish(&folder.join(name), content.as_bytes(), 0o644)?;
        }
        Ok(folder)
    }

    /// Gives back what it holds, in the background.
    pub(super) fn close(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Some(Inner { workshop, attached }) = self.inner.take() else { return };
        let (networks, containers) = (self.work.networks.clone(), self.work.containers.clone());
        let connected = attached.is_some();
        drop(attached);
        // Without a runtime there is nobody to do it, and the next recovery does.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let closing = runtime.spawn(async move {
            if connected && let Err(error) = networks.detach(workshop.id()).await {
                tracing::warn!(%error, "the network of a build is left for recovery");
            }
            if let Err(error) = containers.close(workshop).await {
                tracing::warn!(%error, "the cgroup of a build is left for recovery");
            }
        });
        self.work.closing.lock().unwrap_or_else(PoisonError::into_inner).push(closing);
    }
}
