//! Putting away: what belongs to no container and no network any more, and everything when the instance goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::NetworkError;
use super::kernel::Kernel;
use super::observe::Seen;
use super::rows;
use super::{Inner, Result, nft, outside};
use crate::model::ContainerId;

impl Inner {
    pub(super) fn recover(&self, keeps: impl Fn(&ContainerId) -> bool, known: Option<&Seen>) -> Result<()> {
        let _lock = self.lock()?;
        let before = self.rows_seen()?;
        let gone: BTreeSet<ContainerId> = before
            .leases
            .iter()
            .map(|l| &l.container)
            .chain(before.published.iter().map(|p| &p.container))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|id| !keeps(id))
            .cloned()
            .collect();
        let ports_gone = before.published.iter().any(|p| gone.contains(&p.container));
        let rows = if gone.is_empty() { before } else { Arc::new(before.as_ref().clone().without(|id| gone.contains(id))) };

        let mut needed: BTreeSet<String> = rows.leases.iter().map(|l| self.instance.host_link(&l.container, l.link)).collect();
        needed.extend(rows.networks.iter().map(|n| self.instance.bridge(&n.id)));
        let mut errors = match known {
            Some(seen) if !seen.names().any(|(name, group)| self.is_stray(name, group, &needed)) => Vec::new(),
            _ => self.delete_links_but(&needed)?,
        };
        if ports_gone {
            errors.extend(outside::rebuild(&self.instance, &rows).err());
        }
        if !gone.is_empty() || self.dns.is_alive()? {
            errors.extend(self.publish_zone(&rows).err());
        }
        if errors.is_empty() {
            rows::release(&self.db, &gone)?;
        }
        NetworkError::gather(errors)
    }

    pub(super) fn teardown(&self) -> Result<()> {
        let _lock = self.lock()?;
        let rows = self.rows()?;
        let mut errors: Vec<NetworkError> = self.dns.stop().err().into_iter().collect();
        errors.extend(self.delete_links_but(&BTreeSet::new())?);
        errors.extend(outside::remove(&self.instance).err());
        if rows.networks.iter().any(|n| n.subnet6.is_some()) {
            errors.extend(nft::remove6(&self.instance).err());
        }
        if errors.is_empty() {
            rows::release(&self.db, rows.leases.iter().map(|l| &l.container).chain(rows.published.iter().map(|p| &p.container)))?;
        }
        NetworkError::gather(errors)
    }

    /// Deletes this instance's links that are not in `needed`; what could not be deleted is returned.
    fn delete_links_but(&self, needed: &BTreeSet<String>) -> Result<Vec<NetworkError>> {
        let kernel = Kernel::open()?;
        let ours = kernel.links()?.into_iter().filter(|link| self.is_stray(&link.name, link.group, needed));
        Ok(ours.filter_map(|link| kernel.delete_link(&link.name).err()).collect())
    }

    fn is_stray(&self, name: &str, group: u32, needed: &BTreeSet<String>) -> bool {
        !needed.contains(name) && self.is_our_name(name) && group == self.group()
    }

    /// Whether a link is named as [`crate::model::Instance::bridge`] and [`crate::model::Instance::host_link`] do. The
    /// group already tells instances apart; the name makes sure that nobody else's use of the same group is touched.
    fn is_our_name(&self, name: &str) -> bool {
        let tag = self.instance.tag();
        name.starts_with(&format!("sp{tag}-"))
            || name
                .strip_prefix('v')
                .and_then(|rest| rest.get(1..))
                .is_some_and(|rest| rest.len() == 13 && rest.starts_with(tag) && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}
