//! Options of a network's bridge, by the names that Docker's driver `bridge` has for them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What of a bridge is not as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeOptions {
    /// Of its links, in bytes; that of the host's way out unless given, and 1500 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// What leaves the host has the containers' own addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unmasqueraded: bool,
    /// Its containers do not reach each other but by published ports.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Where ports are published that say no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_binding: Option<Ipv4Addr>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidBridgeOption {
    #[error("`{value}` is not {what}")]
    Value { value: String, what: &'static str },
    #[error("the option `{key}` is not supported")]
    Unsupported { key: String, hint: &'static str },
}

impl InvalidBridgeOption {
    /// What to do instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Value { .. } => "remove it, or give it such a value",
            Self::Unsupported { hint, .. } => hint,
        }
    }
}

const MTU: &str = "com.docker.network.driver.mtu";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const BETWEEN: &str = "com.docker.network.bridge.enable_icc";
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

/// Options that only say what is so anyway.
const USUAL: [(&str, &str); 4] = [
    ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
    ("com.docker.network.bridge.gateway_mode_ipv6", "nat"),
    ("com.docker.network.enable_ipv4", "true"),
    ("com.docker.network.enable_ipv6", "false"),
];

/// What else Docker has, and what to do instead.
const UNSUPPORTED: [(&str, &str); 4] = [
    (
        "com.docker.network.bridge.name",
        "remove it: bridges are named after the network and the instance, so that instances share a host; `setpoint network inspect` \
         says the name",
    ),
    ("com.docker.network.container_iface_prefix", "remove it, or give a container's network its `interface_name`"),
    ("com.docker.network.enable_ipv4", "use `enable_ipv4`"),
    ("com.docker.network.enable_ipv6", "use `enable_ipv6`"),
];

impl BridgeOptions {
    /// The smallest and the largest that links have: every link of IPv4 carries the one, and no packet is larger than the other.
    pub const MTUS: std::ops::RangeInclusive<u32> = 576..=65535;

    /// Takes one option in.
    ///
    /// # Errors
    /// When there is no such option here, or it has no such value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidBridgeOption> {
        let wrong = |what| InvalidBridgeOption::Value { value: value.chars().take(80).collect(), what };
        // As Docker reads booleans.
        let on = || match value {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
            _ => Err(wrong("true, nor false")),
        };
        match key {
            MTU => {
                let bytes: Option<u32> = value.parse().ok().filter(|mtu| *mtu == 0 || Self::MTUS.contains(mtu));
                self.mtu = Some(bytes.ok_or_else(|| wrong("a number of bytes from 576 to 65535"))?).filter(|mtu| *mtu > 0);
            }
            MASQUERADE => self.unmasqueraded = !on()?,
            BETWEEN => self.isolated = !on()?,
            BINDING => {
                let address: Ipv4Addr = value.parse().map_err(|_| wrong("an IPv4 address"))?;
                self.host_binding = Some(address).filter(|address| !address.is_unspecified());
            }
            _ if USUAL.contains(&(key, value)) => {}
            _ => {
                let known = UNSUPPORTED.iter().find(|(known, _)| *known == key);
                let hint = known.map_or("remove it: this is no option of a bridge here", |(_, hint)| hint);
                return Err(InvalidBridgeOption::Unsupported { key: key.chars().take(80).collect(), hint });
            }
        }
        Ok(())
    }

    /// As [`set`](Self::set) takes them.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        let Self { mtu, unmasqueraded, isolated, host_binding } = self;
        let off = |is: &bool| is.then(|| "false".to_owned());
        let all = [
            (MTU, mtu.map(|mtu| mtu.to_string())),
            (MASQUERADE, off(unmasqueraded)),
            (BETWEEN, off(isolated)),
            (BINDING, host_binding.map(|address| address.to_string())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<BridgeOptions, InvalidBridgeOption> {
        let mut options = BridgeOptions::default();
        pairs.iter().try_for_each(|(key, value)| options.set(key, value)).map(|()| options)
    }

    #[test]
    fn options_are_those_of_docker() {
        let all = [(MTU, "1400"), (MASQUERADE, "false"), (BETWEEN, "0"), (BINDING, "127.0.0.1")];
        let options = of(&all).unwrap();
        let pairs = options.pairs();
        let again: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!((again.len(), of(&again)), (4, Ok(options)));
        let usual = [(MTU, "0"), (MASQUERADE, "true"), (BETWEEN, "1"), (BINDING, "0.0.0.0"), USUAL[0]];
        assert_eq!(of(&usual), Ok(BridgeOptions::default()));
        for (key, value, said) in [
            (MTU, "100", "576 to 65535"),
            (BETWEEN, "no", "true, nor false"),
            (BINDING, "::1", "an IPv4 address"),
            ("com.docker.network.bridge.name", "br0", "not supported"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "routed", "not supported"),
            ("foo", "bar", "not supported"),
        ] {
            let error = of(&[(key, value)]).unwrap_err();
            assert!(error.to_string().contains(said) && !error.hint().is_empty(), "{key}: {error}");
        }
    }
}
