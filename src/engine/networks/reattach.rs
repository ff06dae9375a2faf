//! A container that runs gets other networks, names and ports. Its process stays, and so does every link that it keeps.

use std::collections::BTreeSet;

use super::attach::{Given, Join, Numbers, namespace_of};
use super::error::NetworkError;
use super::kernel::Kernel;
use super::observe::Live;
use super::{Inner, Result, outside};
use crate::model::{ContainerId, PortMapping};

impl Inner {
    /// `live` is `None` while the container waits to be started again: its links are put right at the next look.
    ///
    /// Guarantees: rows first, so whatever is cut off after them is a fault that the next look sees and repairs.
    pub(super) fn reattach(
        &self,
        container: &ContainerId,
        live: Option<&Live>,
        joins: &[Join],
        ports: &BTreeSet<PortMapping>,
    ) -> Result<Given> {
        if joins.is_empty() && !ports.is_empty() {
            return Err(NetworkError::PortsWithoutNetwork);
        }
        let reserved = {
            let _lock = self.lock()?;
            self.reserve(container, joins, ports, Numbers::Kept).map_err(|error| self.undone(error))?
        };
        let host = Kernel::open()?;
        self.ready(&host, &reserved)?;
        for former in &reserved.former {
            let same = |lease: &&super::rows::Lease| (&lease.network, lease.link) == (&former.network, former.link);
            // A link whose address or name is another one is made anew, with nothing left of the old one.
            if reserved.leases.iter().find(same).is_none_or(|lease| {
                (lease.address, lease.address6, &lease.interface) != (former.address, former.address6, &former.interface)
            }) {
                host.delete_link(&self.instance.host_link(container, former.link))?;
            }
        }
        let namespace = live.map(namespace_of).transpose()?.flatten();
        if let (Some(live), Some(namespace)) = (live, namespace) {
            self.link_up(&host, &namespace, &reserved.rows, &reserved.leases, live.mac)?;
        }
        Ok(reserved.given())
    }

    /// What was given back for a moment is taken again, because nothing has changed in the end.
    pub(super) fn undone(&self, error: NetworkError) -> NetworkError {
        match self.rows().and_then(|rows| outside::rebuild(&self.instance, &rows)) {
            Ok(()) => error,
            Err(undoing) => NetworkError::Several(vec![error, undoing]),
        }
    }
}
