//! Capabilities: a default set, additions and removals by name, and giving a process exactly what it may have.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Spec};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::failure::{At, Failure, Stage};

/// What a container has unless told otherwise: Docker's set without NET_RAW (forged packets to its neighbours), MKNOD and
/// AUDIT_WRITE (lines in the host's audit log). Podman's default is the same.
pub(super) const DEFAULT: [Capability; 11] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// The capabilities after `drop` and `add`, as Docker combines them: what is added by name stays, even with `drop: ALL`.
/// Names come with or without `CAP_`, in any case; the unknown one is the error.
pub(super) fn combine(add: &BTreeSet<String>, drop: &BTreeSet<String>) -> Result<Capabilities, String> {
    let (add_all, add) = parse(add)?;
    let (drop_all, drop) = parse(drop)?;
    let mut set: Capabilities = match (add_all, drop_all) {
        (true, _) => available(),
        (false, true) => Capabilities::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    set.retain(|c| !drop.contains(c));
    set.extend(add);
    Ok(set)
}

/// Gives a specification's process every capability that can be given.
pub fn grant_all(spec: &mut Spec) {
    if let Some(process) = spec.process_mut() {
        let (mut sets, all) = (process.capabilities().clone().unwrap_or_default(), available());
        sets.set_bounding(Some(all.clone())).set_permitted(Some(all.clone())).set_effective(Some(all));
        process.set_capabilities(Some(sets));
    }
}

fn parse(names: &BTreeSet<String>) -> Result<(bool, Capabilities), String> {
    let mut all = false;
    let mut set = Capabilities::new();
    for name in names {
        let upper = name.trim().to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if plain == "ALL" {
            all = true;
        } else {
            set.insert(plain.parse::<Capability>().map_err(|_| name.clone())?);
        }
    }
    Ok((all, set))
}

/// What this kernel has and this process may give away.
fn available() -> Capabilities {
    caps::all()
        .into_iter()
        .filter(|c| rustix::thread::capability_is_in_bounding_set(bit(c.index())).unwrap_or(false))
        .filter_map(|c| c.to_string().trim_start_matches("CAP_").parse().ok())
        .collect()
}

/// Takes away from the bounding set what the process is not to have. To be done while the process is still privileged.
pub(super) fn limit_bounding(wanted: Option<&LinuxCapabilities>) -> Result<(), Failure> {
    let keep = to_set(wanted.and_then(|w| w.bounding().as_ref()))?;
    for index in 0..64 {
        let one = bit(index);
        if keep.contains(one) {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one).at(Stage::SetCapabilities, "bounding")?,
            Ok(false) => {}
            // The first number that this kernel does not know: there are no more.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(Failure::new(Stage::SetCapabilities, "bounding", e)),
        }
    }
    Ok(())
}

/// Gives the process the wanted sets, as far as it has them. A default capability that the starter itself lacks is quietly
/// missing; one that was asked for is an error.
pub(super) fn set(wanted: Option<&LinuxCapabilities>, uid: u32) -> Result<(), Failure> {
    let own = rustix::thread::capabilities(None).at(Stage::SetCapabilities, "read")?.permitted;
    let permitted = to_set(wanted.and_then(|w| w.permitted().as_ref()))?;
    let effective = to_set(wanted.and_then(|w| w.effective().as_ref()))?;
    let inheritable = to_set(wanted.and_then(|w| w.inheritable().as_ref()))?;
    let ambient = to_set(wanted.and_then(|w| w.ambient().as_ref()))?;
    let quiet = default_set()?;
    let lacking = (permitted - own) - quiet;
    if !lacking.is_empty() {
        return Err(Failure::new(Stage::SetCapabilities, format!("{lacking:?}: not available to the engine"), Errno::PERM));
    }
    rustix::thread::clear_ambient_capability_set().at(Stage::SetCapabilities, "ambient")?;
    // An unprivileged user's program gets none by itself; what it has until then would only help an attack on it.
    let effective = if uid == 0 || !ambient.is_empty() { effective & own } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective, permitted: permitted & own, inheritable: inheritable & own };
    rustix::thread::set_capabilities(None, sets).at(Stage::SetCapabilities, "")?;
    for index in 0..64 {
        let one = bit(index);
        if ambient.contains(one) && own.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true).at(Stage::SetCapabilities, "ambient")?;
        }
    }
    Ok(())
}

fn default_set() -> Result<CapabilitySet, Failure> {
    DEFAULT.iter().try_fold(CapabilitySet::empty(), |set, c| Ok(set | number(*c)?))
}

pub(super) fn to_set(wanted: Option<&Capabilities>) -> Result<CapabilitySet, Failure> {
    wanted.into_iter().flatten().try_fold(CapabilitySet::empty(), |set, c| Ok(set | number(*c)?))
}

fn number(capability: Capability) -> Result<CapabilitySet, Failure> {
    let name = format!("CAP_{capability}");
    let known: caps::Capability =
        name.parse().map_err(|_| Failure::new(Stage::SetCapabilities, format!("{name}: unknown"), Errno::INVAL))?;
    Ok(bit(known.index()))
}

pub(super) fn bit(index: u8) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn combinations() {
        let default: Capabilities = DEFAULT.into_iter().collect();
        assert_eq!(combine(&names(&[]), &names(&[])).unwrap(), default);
        let one = combine(&names(&["cap_net_admin"]), &names(&["ALL"])).unwrap();
        assert_eq!(one, [Capability::NetAdmin].into_iter().collect());
        for without in [Capability::NetRaw, Capability::Mknod, Capability::AuditWrite] {
            assert!(!default.contains(&without));
        }
        let fewer = combine(&names(&["SYS_TIME"]), &names(&["CAP_SETPCAP", "chown"])).unwrap();
        assert!(
            fewer.contains(&Capability::SysTime) && !fewer.contains(&Capability::Setpcap) && !fewer.contains(&Capability::Chown)
        );
        assert!(combine(&names(&["all"]), &names(&["KILL"])).unwrap().len() > 20);
        assert_eq!(combine(&names(&["NOPE"]), &names(&[])).unwrap_err(), "NOPE");
    }

    #[test]
    fn every_default_has_a_number() {
        assert_eq!(default_set().unwrap().bits().count_ones(), 11);
    }
}
