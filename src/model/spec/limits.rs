//! Limits on what a container uses of processors, memory and disks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, Cpus};

/// Upper limits on what a container uses, and its weight against others; `None` is unlimited, or the kernel's own default,
/// except for processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    pub memory: Option<ByteSize>,
    pub cpus: Option<Cpus>,
    /// `None` is [`Self::DEFAULT_PIDS`], and [`Self::ANY_PIDS`] is unlimited.
    pub pids: Option<u32>,
    /// What it is pressed down to when the host has little memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<ByteSize>,
    /// Memory and swap together. As much swap as memory unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<SwapLimit>,
    /// Its processes wait when memory runs out, instead of being killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    /// Microseconds in each `cpu_period`, instead of `cpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Its weight when processors are scarce; 1024 is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<IdList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<IdList>,
    /// Its weight when disks are busy, from 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
    /// The same at single disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blkio_weight_device: Vec<DeviceWeight>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<DeviceRate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<DeviceRate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<DeviceRate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<DeviceRate>,
}

/// The weights at disks that kernels take.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

/// A limit of memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapLimit {
    Unlimited,
    Bytes(ByteSize),
}

/// Numbers of processors or memory nodes: `0-3,7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdList(String);

/// At most so much a second of one disk: `PATH:RATE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRate {
    /// The disk's node on the host. Absolute.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// A container's weight at one disk: `PATH:WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The disk's node on the host. Absolute.
    pub path: String,
    /// From 10 to 1000.
    pub weight: u16,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}")]
pub struct InvalidLimit {
    text: String,
    what: &'static str,
}

fn invalid(text: &str, what: &'static str) -> InvalidLimit {
    InvalidLimit { text: text.chars().take(80).collect(), what }
}

impl ResourceLimits {
    /// How many processes a container may have unless told otherwise: enough for servers, too few to keep a host from
    /// starting any more. Podman's figure.
    pub const DEFAULT_PIDS: u32 = 2048;
    /// As many processes as the host has room for.
    pub const ANY_PIDS: u32 = 0;
    /// The smallest that Docker takes, because nothing starts with less.
    const LEAST_MEMORY: u64 = 6 << 20;

    /// What of it contradicts itself, or no kernel takes: which limit, and why.
    ///
    /// # Errors
    /// The first such limit.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.memory.is_some_and(|m| m.0 < Self::LEAST_MEMORY) {
            return Err(("memory", "the least is 6m: nothing starts with less"));
        }
        if let (Some(memory), Some(reservation)) = (self.memory, self.memory_reservation)
            && reservation > memory
        {
            return Err(("memory_reservation", "it is above the limit of memory"));
        }
        match (self.memory_swap, self.memory) {
            (Some(SwapLimit::Bytes(_)), None) => return Err(("memory_swap", "it needs a limit of memory beside it")),
            (Some(SwapLimit::Bytes(both)), Some(memory)) if both < memory => {
                return Err(("memory_swap", "it is memory and swap together, and less than memory alone"));
            }
            _ => {}
        }
        if self.cpus.is_some() && (self.cpu_quota.is_some() || self.cpu_period.is_some()) {
            return Err(("cpus", "it says the same as cpu_quota and cpu_period: give one of them"));
        }
        if self.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
            return Err(("cpu_period", "it is from 1000 to 1000000 microseconds"));
        }
        if self.cpu_quota.is_some_and(|quota| quota < 1000) {
            return Err(("cpu_quota", "the least is 1000 microseconds"));
        }
        if self.cpu_shares.is_some_and(|shares| !(2..=262_144).contains(&shares)) {
            return Err(("cpu_shares", "they are from 2 to 262144"));
        }
        if self.blkio_weight.is_some_and(|weight| !WEIGHTS.contains(&weight)) {
            return Err(("blkio_weight", "it is from 10 to 1000"));
        }
        Ok(())
    }
}

impl FromStr for SwapLimit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        match text {
            "-1" => Ok(Self::Unlimited),
            text => text.parse().map(Self::Bytes).map_err(|_| invalid(text, "a size, such as 512m, or -1 for no limit")),
        }
    }
}

impl fmt::Display for SwapLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("-1"),
            Self::Bytes(size) => size.fmt(f),
        }
    }
}

impl IdList {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdList {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let invalid = || invalid(text, "a list of numbers, such as 0-3,7");
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
            if number(from)? > number(to)? {
                return Err(invalid());
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for IdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DeviceRate {
    /// `PATH:RATE`, where a rate of bytes may have a unit.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str, bytes: bool) -> Result<Self, InvalidLimit> {
        let what = if bytes { "a disk and its rate, such as /dev/sda:10m" } else { "a disk and its rate, such as /dev/sda:1000" };
        let (path, rate) = text.rsplit_once(':').ok_or_else(|| invalid(text, what))?;
        let rate = if bytes { rate.parse::<ByteSize>().ok().map(|size| size.0) } else { rate.parse().ok() };
        match rate {
            Some(rate) if rate > 0 && is_node(path) => Ok(Self { path: path.to_owned(), rate }),
            _ => Err(invalid(text, what)),
        }
    }
}

fn is_node(path: &str) -> bool {
    path.starts_with("/dev/") && !path.split('/').any(|part| part == "..")
}

impl FromStr for DeviceWeight {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let found = text.rsplit_once(':').and_then(|(path, weight)| Some((path, weight.parse().ok()?)));
        match found {
            Some((path, weight)) if WEIGHTS.contains(&weight) && is_node(path) => Ok(Self { path: path.to_owned(), weight }),
            _ => Err(invalid(text, "a disk and a weight from 10 to 1000, such as /dev/sda:500")),
        }
    }
}

impl fmt::Display for DeviceWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.weight)
    }
}

impl FromStr for DeviceRate {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        Self::parse(text, false)
    }
}

impl fmt::Display for DeviceRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.rate)
    }
}

crate::model::serde_as_text!(SwapLimit, "^(-1|[0-9.]+ *([kKmMgGtT]?[iI]?[bB]?))$", "A size, or -1 for no limit");
crate::model::serde_as_text!(IdList, "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$", "Numbers, such as 0-3,7");
crate::model::serde_as_text!(DeviceWeight, "^/dev/.+:[0-9]+$", "A disk and a weight, such as /dev/sda:500");
crate::model::serde_as_text!(DeviceRate, "^/dev/.+:[0-9]+$", "A disk and its rate, such as /dev/sda:1048576");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!("-1".parse(), Ok(SwapLimit::Unlimited));
        assert_eq!("64m".parse::<SwapLimit>().unwrap().to_string(), "64m");
        for good in ["0", "0-3,7", "1,2,3"] {
            assert_eq!(good.parse::<IdList>().unwrap().as_str(), good);
        }
        for bad in ["", "a", "3-1", "0,", "-1"] {
            assert!(bad.parse::<IdList>().is_err(), "{bad}");
        }
        assert_eq!(DeviceRate::parse("/dev/sda:1m", true).unwrap().rate, 1 << 20);
        assert_eq!("/dev/sda:10".parse::<DeviceWeight>().unwrap().to_string(), "/dev/sda:10");
        for bad in ["/dev/sda", "/dev/sda:9", "/dev/sda:1001", "sda:10", "/dev/../sda:10"] {
            assert!(bad.parse::<DeviceWeight>().is_err(), "{bad}");
        }
        assert!(DeviceRate::parse("/dev/sda:1m", false).is_err() && DeviceRate::parse("sda:1", false).is_err());
    }

    #[test]
    fn contradictions() {
        let size = |text: &str| text.parse::<ByteSize>().ok();
        let none = ResourceLimits::default();
        assert_eq!(none.check(), Ok(()));
        for (limits, which) in [
            (ResourceLimits { memory: size("1m"), ..none.clone() }, "memory"),
            (ResourceLimits { memory: size("10m"), memory_reservation: size("20m"), ..none.clone() }, "memory_reservation"),
            (ResourceLimits { memory_swap: "20m".parse().ok(), ..none.clone() }, "memory_swap"),
            (ResourceLimits { memory: size("30m"), memory_swap: "20m".parse().ok(), ..none.clone() }, "memory_swap"),
            (ResourceLimits { cpus: "1".parse().ok(), cpu_quota: Some(5000), ..none.clone() }, "cpus"),
            (ResourceLimits { cpu_period: Some(1), ..none.clone() }, "cpu_period"),
            (ResourceLimits { cpu_shares: Some(1), ..none.clone() }, "cpu_shares"),
            (ResourceLimits { blkio_weight: Some(5), ..none.clone() }, "blkio_weight"),
        ] {
            assert_eq!(limits.check().unwrap_err().0, which);
        }
        let swapless = ResourceLimits { memory: size("30m"), memory_swap: "30m".parse().ok(), ..none };
        assert_eq!(swapless.check(), Ok(()));
    }
}
