//! What only compose files have, and what of them has no meaning on one host.

use super::{Form, Table, field, required};

pub(in crate::manifest) static INCLUDE: Table = Table {
    what: "an `include`",
    fields: &[
        required(
            "path",
            Form::Either(&[Form::Text, Form::List(&Form::Text)]),
            "The file, or files that are laid over each other",
        ),
        field("project_directory", Form::Text, "What its paths are relative to; the folder of the file unless given"),
        field("env_file", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Files of variables, instead of its `.env`"),
    ],
    unsupported: &[],
};

/// Fields that are read and have no effect: what they are fields of, their name, and why.
pub(in crate::manifest) const WITHOUT_EFFECT: &[(&str, &str, &str)] = &[
    ("a container", "attach", "apply attaches to nothing; `setpoint logs -f` shows what it prints"),
    ("a container", "develop", "it is for `docker compose watch`"),
    ("`deploy`", "endpoint_mode", "it is for clusters, and there is one host"),
    ("`deploy`", "labels", "they are a cluster's; `labels` are the container's"),
    ("`deploy`", "placement", "there is one host"),
    ("`restart_policy`", "delay", "the pause grows with each restart, and begins anew when the container has run for a while"),
    ("`restart_policy`", "window", "a container that has run for ten seconds is taken to have started"),
    ("`reservations`", "cpus", "nothing is set aside; `cpu_shares` says who goes first"),
    ("a config", "labels", "nothing here asks for them"),
    ("a secret", "labels", "nothing here asks for them"),
    ("a mount", "consistency", "it has no meaning on Linux"),
    ("a network", "attachable", "every network is attachable"),
    ("a port", "app_protocol", "nothing here looks into what passes"),
    ("a port", "mode", "ports are published at the host"),
    ("a port", "name", "nothing here asks for it"),
    ("a container's network", "priority", "networks are attached in one step"),
];
