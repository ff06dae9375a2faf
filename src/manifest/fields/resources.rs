//! The fields of networks, volumes, configs and secrets, and of how a container is attached to a network.

use super::{ANY_SUBNET, Form, NAME, PAIRS, Table, field, required};
use crate::model::spec::{LinkName, MacAddress};

const MAC: Form = Form::Of(|g| g.subschema_for::<MacAddress>());

const LINK_NAME: Form = Form::Of(|g| g.subschema_for::<LinkName>());

/// Whether it belongs to somebody else; or, as old compose files have it, its name there.
const EXTERNAL: Form = Form::Either(&[Form::Bool, Form::Object(&EXTERNAL_NAME)]);

pub(in crate::manifest) static EXTERNAL_NAME: Table =
    Table { what: "`external`", fields: &[required("name", NAME, "Its name in the engine")], unsupported: &[] };

pub(in crate::manifest) static NETWORK: Table = Table {
    what: "a network",
    fields: &[
        field("name", NAME, "Its name in the engine, instead of <stack>-<name>"),
        field("external", EXTERNAL, "It belongs to somebody else: it must be there, and is left as it is"),
        field("driver", Form::Choice(&["bridge"]), "All networks are bridges"),
        field("internal", Form::Bool, "Without a way out of the host"),
        field("enable_ipv4", Form::Bool, "Whether its containers have IPv4 addresses; true unless given"),
        field(
            "enable_ipv6",
            Form::Bool,
            "Whether its containers have IPv6 addresses; false unless given, or where it has a subnet of IPv6",
        ),
        field("ipam", Form::Object(&IPAM), "Its addresses"),
        field(
            "driver_opts",
            PAIRS,
            "Options of its bridge, by the names that Docker has for them: MTU, masquerading, ICC, host binding",
        ),
        field("labels", PAIRS, "Labels of the network"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static IPAM: Table = Table {
    what: "`ipam`",
    fields: &[
        field("driver", Form::Choice(&["default"]), "There is one"),
        field("config", Form::List(&Form::Object(&IPAM_CONFIG)), "At most one subnet of IPv4 and one of IPv6"),
    ],
    unsupported: &[("options", "remove it: what gives out addresses has no options here")],
};

pub(in crate::manifest) static IPAM_CONFIG: Table = Table {
    what: "`ipam.config`",
    fields: &[
        field("subnet", ANY_SUBNET, "The network's subnet; one is chosen unless given"),
        field("gateway", Form::Text, "The host's address in it; the first unless given"),
        field("ip_range", ANY_SUBNET, "Where addresses are taken from that nobody has chosen"),
        field("aux_addresses", Form::Map(&Form::Text), "Addresses that no container gets, by what has them"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static VOLUME: Table = Table {
    what: "a volume",
    fields: &[
        field("name", NAME, "Its name in the engine, instead of <stack>-<name>"),
        field("external", EXTERNAL, "It belongs to somebody else: it must be there, and is left as it is"),
        field("driver", Form::Choice(&["local"]), "All volumes are folders of the host"),
        field("labels", PAIRS, "Labels of the volume"),
    ],
    unsupported: &[("driver_opts", "mount what it is on the host, and give containers that path with a volume of type `bind`")],
};

/// Whether another stack has it.
const EXTERNAL_ELSEWHERE: Form = Form::Either(&[Form::Bool, Form::Object(&EXTERNAL_CONTENT)]);
const ABOUT_EXTERNAL: &str = "Another stack has it, which `name` names; it is what that stack was applied with last";
const ABOUT_NAME: &str = "Of what is external: STACK/NAME";

pub(in crate::manifest) static EXTERNAL_CONTENT: Table =
    Table { what: "`external`", fields: &[required("name", Form::Text, ABOUT_NAME)], unsupported: &[] };

pub(in crate::manifest) static CONFIG: Table = Table {
    what: "a config",
    fields: &[
        field("file", Form::Text, "A file whose content it is, relative to the manifest"),
        field("content", Form::Text, "Its content"),
        field("environment", Form::Text, "The variable whose content it is"),
        field("external", EXTERNAL_ELSEWHERE, ABOUT_EXTERNAL),
        field("name", Form::Text, ABOUT_NAME),
    ],
    unsupported: &[("template_driver", "remove it: the content is taken as it stands, after `${VAR}` in `content`")],
};

pub(in crate::manifest) static SECRET: Table = Table {
    what: "a secret",
    fields: &[
        field("file", Form::Text, "The file that it is in, relative to the manifest"),
        field("environment", Form::Text, "The variable that it is in"),
        field("external", EXTERNAL_ELSEWHERE, ABOUT_EXTERNAL),
        field("name", Form::Text, ABOUT_NAME),
    ],
    unsupported: &[
        ("content", "write it to a `file` that is not kept with the manifests, or take it from the `environment`"),
        ("driver", "remove it: a secret is in a `file` or in the `environment`"),
        ("driver_opts", "remove it: a secret is in a `file` or in the `environment`"),
        ("template_driver", "remove it: the content is taken as it stands"),
    ],
};

pub(in crate::manifest) static ATTACHMENT: Table = Table {
    what: "a container's network",
    fields: &[
        field("aliases", Form::List(&Form::Text), "Further names in the network"),
        field("ipv4_address", Form::Text, "A fixed address of the network's subnet"),
        field("ipv6_address", Form::Text, "A fixed address of the network's IPv6 subnet"),
        field("gw_priority", Form::Integer, "The way out is by the network of the highest; 0 unless given"),
        field("interface_name", LINK_NAME, "The name of its link in the container; eth0, eth1 and so on unless given"),
        field("mac_address", MAC, "The address of its link, where it has one network only"),
    ],
    unsupported: &[("driver_opts", "remove it"), ("link_local_ips", "remove it")],
};

pub(in crate::manifest) static PORT: Table = Table {
    what: "a port",
    fields: &[
        required("target", Form::Word, "The container's port"),
        field("published", Form::Word, "The host's port; a free one unless given"),
        field("protocol", Form::Choice(&["tcp", "udp"]), "`tcp` unless given"),
        field("host_ip", Form::Text, "The host's address; all unless given"),
    ],
    unsupported: &[],
};
