//! A container becomes what another specification says. Of one that runs, its process stays: what takes another one is for whoever
//! stops it first.

use oci_spec::image::ImageConfiguration;

use super::containers::{Beside, Held, Record};
use super::networks::Given;
use super::{Engine, EngineError, start};
use crate::files;
use crate::model::ContainerId;
use crate::model::spec::classes::{Change, signals, strictest};
use crate::model::spec::{ContainerSpec, NetworkMode};

impl Engine {
    /// Makes of a container what `spec` says. Contents of configs must have been put before.
    ///
    /// Guarantees: what the kernel and the monitor have is changed first and the record last, so after a crash in between the
    /// same is done again, and comes to the same.
    ///
    /// # Errors
    /// When it runs and the change takes a new process.
    pub async fn alter(&self, id: &ContainerId, spec: ContainerSpec) -> Result<(), EngineError> {
        let parts = &self.0;
        let held = parts.containers.hold(id).await?;
        let old = parts.containers.get(id)?;
        let new = Record { spec: std::sync::Arc::new(spec), ..old.clone() };
        if parts.containers.runs(&held).await? {
            if strictest(&old.spec, &new.spec) > Change::Reload {
                return Err(EngineError::TakesRestart { name: old.name });
            }
            self.alter_running(&held, &old, &new).await?;
        }
        Ok(parts.containers.set_spec(&held, &new.spec)?)
    }

    async fn alter_running(&self, held: &Held, old: &Record, new: &Record) -> Result<(), EngineError> {
        let parts = &self.0;
        let image = parts.images.rootfs(new.image_digest)?.config;
        let beside = self.beside(new, &image)?;
        parts.containers.tell(held, old, new, &beside).await?;
        files::failpoint("alter told")?;

        let mut made = Vec::new();
        if around(&old.spec) != around(&new.spec) && new.spec.network_mode.container().is_none() {
            let given = match start::joins(new) {
                Some(joins) => {
                    let live = self.live_one(new)?;
                    let ports = start::published(&new.spec, &image);
                    Some(parts.networks.reattach(&new.id, live, &joins, &ports).await?)
                }
                None => None,
            };
            made = self.made_files(new, given.as_ref())?;
        }
        files::failpoint("alter attached")?;
        parts.containers.rewrite_files(old, new, &made)?;
        files::failpoint("alter rewritten")?;
        for signal in signals(&old.spec, &new.spec) {
            parts.containers.signal(&new.id, signal).await?;
        }
        Ok(())
    }

    /// What its image says of how a container is looked after.
    pub(super) fn beside(&self, record: &Record, image: &ImageConfiguration) -> Result<Beside, EngineError> {
        let of_image = start::of_image(&self.0, record.image_digest)?;
        let signal = image.config().as_ref().and_then(|config| config.stop_signal().as_ref()?.parse().ok());
        let healthcheck = record.spec.healthcheck.clone().or(of_image.healthcheck);
        Ok(Beside { healthcheck: healthcheck.map(|check| check.with_shell(of_image.shell.as_deref())), image_signal: signal })
    }

    fn made_files(&self, record: &Record, given: Option<&Given>) -> Result<Vec<(&'static str, String)>, EngineError> {
        Ok(vec![
            ("hosts", start::hosts(record, given)? + &start::linked(&self.0, record, given)?),
            ("resolv.conf", start::resolv_conf(&record.spec, given)?),
        ])
    }
}

/// What of a specification says whom a container reaches, by what name, and how it is reached.
fn around(spec: &ContainerSpec) -> impl PartialEq + use<'_> {
    let names = (&spec.extra_hosts, &spec.external_links, &spec.dns, &spec.dns_search, &spec.dns_opt);
    let exposed = spec.publish_all.then_some(&spec.expose);
    let networks = (spec.network_mode == NetworkMode::Bridge).then_some(&spec.networks);
    (names, networks, &spec.ports, spec.publish_all, exposed)
}
