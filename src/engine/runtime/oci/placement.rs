//! Where a container's cgroup is and who makes it: this runtime in the file system, or systemd as a scope, where the caller
//! says `--systemd-cgroup`. `linux.cgroupsPath` is a path for the one, and `slice:prefix:name` for the other.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};

use super::super::holder::Holder;
use super::super::systemd::{Systemd, Value};
use super::DEFAULT_CGROUP;
use super::cgroups::{Cgroup, Dialect, properties};
use super::error::OciError;

/// What the bundle and the caller want.
#[derive(Debug)]
pub(super) enum Placement {
    Folder(Cgroup),
    Scope(Scope),
}

/// A unit of systemd that has processes it has not started.
#[derive(Debug)]
pub(super) struct Scope {
    unit: String,
    slice: String,
    /// Of annotations.
    further: Vec<(String, Value)>,
}

/// A cgroup that is there, if it is systemd's, or can be made.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) cgroup: Cgroup,
    pub(super) unit: Option<String>,
    holder: Option<Holder>,
}

/// Annotations whose names begin so are properties of the scope, as with runc and crun.
const ANNOTATION: &str = "org.systemd.property.";

const DEFAULT_SLICE: &str = "system.slice";
const DEFAULT_PREFIX: &str = "setpoint";

impl Placement {
    pub(super) fn of(spec: &Spec, id: &str, systemd: bool) -> Result<Self, OciError> {
        let named = spec.linux().as_ref().and_then(|l| l.cgroups_path().as_deref()).filter(|p| !p.as_os_str().is_empty());
        if !systemd {
            return Ok(Self::Folder(Cgroup::at(named.unwrap_or(&Path::new(DEFAULT_CGROUP).join(id)))?));
        }
        let (slice, unit) = name(named, id)?;
        let mut further = Vec::new();
        for (key, text) in spec.annotations().iter().flatten() {
            if let Some(name) = key.strip_prefix(ANNOTATION) {
                further.push(property(name, text).map_err(|reason| OciError::Annotation { name: key.clone(), reason })?);
            }
        }
        further.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self::Scope(Scope { unit, slice, further }))
    }

    /// Lets systemd make it, with what it is to know of the limits.
    pub(super) fn make(self, spec: &Spec, id: &str) -> Result<Placed, OciError> {
        let scope = match self {
            Self::Folder(cgroup) => {
                cgroup.refuse_others()?;
                return Ok(Placed { cgroup, unit: None, holder: None });
            }
            Self::Scope(scope) => scope,
        };
        let mut systemd = Systemd::connect()?;
        let holder = Holder::new().map_err(OciError::step("make a process that holds the scope"))?;
        let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref());
        let wanted = scope.properties(id, &holder, resources, dialect(&systemd)?)?;
        systemd.start_scope(&scope.unit, &wanted)?;
        let cgroup = systemd.cgroup_of(&scope.unit).map_err(OciError::from).and_then(|path| Ok(Cgroup::at(&path)?));
        match cgroup {
            Ok(cgroup) => Ok(Placed { cgroup, unit: Some(scope.unit), holder: Some(holder) }),
            Err(error) => {
                // The failure is what the caller is told.
                drop(systemd.stop(&scope.unit));
                Err(error)
            }
        }
    }
}

impl Scope {
    fn properties(
        &self,
        id: &str,
        holder: &Holder,
        resources: Option<&LinuxResources>,
        dialect: Dialect,
    ) -> Result<Vec<(String, Value)>, OciError> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut all: Vec<(String, Value)> = [
            ("Description", text(&format!("Container {id} of setpoint-oci"))),
            ("Slice", text(&self.slice)),
            // What is below it is the container's, and systemd leaves it alone.
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            // One whose process was killed for want of memory would stay as a failed unit.
            ("CollectMode", text("inactive-or-failed")),
            ("PIDs", Value::Numbers(vec![holder.pid().cast_unsigned()])),
            ("CPUAccounting", Value::Bool(true)),
            ("MemoryAccounting", Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            (if dialect.unified { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(resources) = resources {
            all.extend(properties::of(resources, dialect)?);
            all.extend(properties::of_devices(resources)?);
        }
        all.extend(self.further.iter().cloned());
        Ok(all)
    }
}

impl Placed {
    /// To be called when the container's process is in it: then nobody else needs to hold it.
    pub(super) fn is_taken(&mut self) {
        self.holder = None;
    }

    /// After a failure, which is what the caller is told; what cannot be removed now is found by the next `delete`.
    pub(super) fn undo(mut self) {
        self.is_taken();
        drop(self.cgroup.kill_all());
        drop(stop(self.unit.as_deref()));
        drop(self.cgroup.remove());
        self.cgroup.remove_default_parent();
    }
}

fn dialect(systemd: &Systemd) -> Result<Dialect, OciError> {
    Ok(Dialect { unified: super::cgroups::is_unified()?, version: systemd.version() })
}

/// Stops a container's scope, where it has one.
pub(super) fn stop(unit: Option<&str>) -> Result<(), OciError> {
    match unit {
        Some(unit) => Ok(Systemd::connect()?.stop(unit)?),
        None => Ok(()),
    }
}

/// Tells systemd of limits that change, where it has to know of them: otherwise it would write the old ones again.
pub(super) fn update(unit: Option<&str>, resources: &LinuxResources) -> Result<(), OciError> {
    let Some(unit) = unit else { return Ok(()) };
    let mut systemd = Systemd::connect()?;
    let mut wanted = properties::of(resources, dialect(&systemd)?)?;
    wanted.extend(properties::of_devices(resources)?);
    if wanted.is_empty() { Ok(()) } else { Ok(systemd.set(unit, &wanted)?) }
}

/// The slice and the scope that a path names.
fn name(path: Option<&Path>, id: &str) -> Result<(String, String), OciError> {
    let Some(path) = path else {
        return Ok((DEFAULT_SLICE.to_owned(), format!("{DEFAULT_PREFIX}-{id}.scope")));
    };
    let wrong = |reason: &'static str| OciError::ScopePath { path: PathBuf::from(path), reason };
    let text = path.to_str().ok_or_else(|| wrong("it is no text"))?;
    let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(wrong("with --systemd-cgroup it is `slice:prefix:name`, and without it a path"));
    };
    let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
    let stem = slice.strip_suffix(".slice").ok_or_else(|| wrong("the slice must end in `.slice`"))?;
    // Dashes tell which slice it is in, so that there is a name before and after each.
    if stem != "-" && stem.split('-').any(str::is_empty) {
        return Err(wrong("the slice needs a name before and after each dash"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '\\' | '@');
    if name.is_empty() || ![slice, prefix, name].iter().all(|part| part.chars().all(plain)) {
        return Err(wrong("its parts are names of units, of letters, digits and `-_.+@`"));
    }
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    // That is what systemd allows.
    if unit.len() > 255 { Err(wrong("the unit's name is too long")) } else { Ok((slice.to_owned(), unit)) }
}

/// A property that an annotation names. Times in seconds are what people write, and microseconds what systemd takes.
fn property(name: &str, text: &str) -> Result<(String, Value), String> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err("it does not end in the name of a property, such as TimeoutStopUSec".to_owned());
    }
    let value = Value::parse(text)
        .ok_or_else(|| format!("{text:?} is no value; write true, 5, uint64 5, 1.5, 'text' or ['one', 'two']"))?;
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else { return Ok((name.to_owned(), value)) };
    let whole = |seconds: i128| u64::try_from(seconds * 1_000_000).ok();
    let microseconds = match value {
        Value::I32(n) => whole(n.into()),
        Value::U32(n) => whole(n.into()),
        Value::I64(n) => whole(n.into()),
        Value::U64(n) => whole(n.into()),
        Value::F64(n) if (0.0..1e12).contains(&n) => Some((n * 1e6) as u64),
        _ => None,
    };
    let microseconds = microseconds.ok_or_else(|| format!("{text:?} is no number of seconds"))?;
    Ok((format!("{stem}USec"), Value::U64(microseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_slice_and_a_scope() {
        let named = |text: &str| name(Some(Path::new(text)), "c").map_err(|e| e.to_string());
        let ok = |slice: &str, unit: &str| Ok((slice.to_owned(), unit.to_owned()));
        assert_eq!(name(None, "c").unwrap(), ("system.slice".to_owned(), "setpoint-c.scope".to_owned()));
        assert_eq!(named("machine.slice:libpod:0123"), ok("machine.slice", "libpod-0123.scope"));
        assert_eq!(named(":cri:x"), ok("system.slice", "cri-x.scope"));
        assert_eq!(named("a-b.slice::x"), ok("a-b.slice", "x.scope"));
        assert_eq!(named("-.slice:p:x"), ok("-.slice", "p-x.scope"));
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            ".slice:p:n",
            "a.slice:p:",
            "a/b.slice:p:n",
        ] {
            assert!(named(bad).is_err(), "{bad}");
        }
        assert!(named(&format!("a.slice:p:{}", "x".repeat(300))).is_err());
    }

    #[test]
    fn annotations_are_properties() {
        let is = |name: &str, text: &str| property(name, text).ok();
        assert_eq!(is("TimeoutStopUSec", "uint64 5"), Some(("TimeoutStopUSec".to_owned(), Value::U64(5))));
        assert_eq!(is("TimeoutStopSec", "2"), Some(("TimeoutStopUSec".to_owned(), Value::U64(2_000_000))));
        assert_eq!(is("TimeoutStopSec", "0.5"), Some(("TimeoutStopUSec".to_owned(), Value::U64(500_000))));
        assert_eq!(is("CollectMode", "'inactive'"), Some(("CollectMode".to_owned(), Value::Text("inactive".to_owned()))));
        for (name, text) in
            [("X", "1"), ("Time out", "1"), ("CollectMode", "inactive"), ("TimeoutStopSec", "'2'"), ("ASec", "-1")]
        {
            assert!(property(name, text).is_err(), "{name} {text}");
        }
    }
}
