//! One container takes over from another one what the world reaches it by: names and published ports. Addresses and links stay as they
//! are, and so do the connections that there are.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use super::attach::{Join, reached};
use super::rows::{self, Lease, NetworkRow, Published};
use super::{Inner, Result, outside, ports};
use crate::model::{ContainerId, PortMapping};

/// Who takes over what from whom.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// `None`: nobody has it any more.
    pub from: Option<ContainerId>,
    /// What the one that hands over answers to from then on.
    pub left: Vec<Join>,
    pub to: ContainerId,
    pub taken: Vec<Join>,
    /// What the one that takes over publishes from then on; the other one publishes nothing.
    pub ports: BTreeSet<PortMapping>,
}

impl Inner {
    /// Done in one transaction together with `also`. What the packet filter and the name server have follows it.
    pub(super) fn hand_over(&self, what: &HandOver, also: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<()> {
        let _lock = self.lock()?;
        let mut rows = self.rows()?;
        let names = rows.networks.clone();
        let mut changed: Vec<Lease> = Vec::new();
        let from = what.from.as_ref().map(|from| (from, &what.left));
        for (container, joins) in from.into_iter().chain([(&what.to, &what.taken)]) {
            for lease in rows.leases.iter_mut().filter(|lease| lease.container == *container) {
                let network = names.iter().find(|network| network.id == lease.network);
                let join = network.and_then(|network| joins.iter().find(|join| join.network == network.name));
                if let Some(join) = join {
                    lease.names.clone_from(&join.names);
                    changed.push(lease.clone());
                }
            }
        }
        let involved = |container: &ContainerId| what.from.as_ref() == Some(container) || *container == what.to;
        let former: Vec<Published> = rows.published.iter().filter(|port| involved(&port.container)).cloned().collect();
        rows.published.retain(|port| !involved(&port.container));
        if !former.is_empty() {
            outside::give_back(&self.instance, &rows)?;
        }
        let networks: Vec<&NetworkRow> =
            rows.leases_of(&what.to).filter_map(|lease| rows.network_by_id(&lease.network)).collect();
        let apart = outside::is_apart(&self.instance);
        let published = ports::assign(&rows, &former, reached(&rows.leases, &networks, &what.to), &what.ports, apart);
        let published = published.map_err(|error| self.undone(error))?;
        rows::hand_over(&self.db, &changed, what.from.iter().chain([&what.to]), &published, also)?;
        rows.published.extend(published);
        outside::rebuild(&self.instance, &rows)?;
        self.publish_zone(&rows)
    }
}
