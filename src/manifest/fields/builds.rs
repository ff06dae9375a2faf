//! The fields of what is built.

use super::{Form, NAME, PAIRS, PLATFORM, REFERENCE, SCALAR, SIZE, Table, ULIMIT, field};

/// A mapping, or a list of words.
const TEXTS: Form = Form::Either(&[Form::Text, Form::List(&Form::Text)]);

/// A folder alone, or all that is to be said.
pub(in crate::manifest) const BUILDS: Form = Form::Either(&[Form::Text, Form::Object(&BUILD)]);

const ATTEST: Form = Form::Either(&[Form::Bool, Form::Text]);

pub(in crate::manifest) static BUILD: Table = Table {
    what: "`build`",
    fields: &[
        field("context", Form::Text, "Its files: a folder relative to the manifest, a Git repository, or the address of a tar"),
        field("dockerfile", Form::Text, "The Dockerfile, relative to the context; Dockerfile unless given"),
        field("dockerfile_inline", Form::Text, "The instructions themselves"),
        field("args", PAIRS, "Values of ARGs; one without a value is taken from setpoint's environment"),
        field("target", Form::Text, "The stage to build, instead of the last"),
        field("network", Form::Choice(&["default", "none", "host"]), "The network of RUN"),
        field("labels", PAIRS, "Labels of the image"),
        field("cache_from", Form::List(&Form::Text), "Further caches: an image, type=registry,ref=… or type=local,src=…"),
        field("cache_to", Form::List(&Form::Text), "Where the cache is kept too: type=registry,ref=… or type=local,dest=…"),
        field("additional_contexts", PAIRS, "Further contexts by their names: folders, addresses, docker-image://IMAGE"),
        field("no_cache", Form::Bool, "Every step is done, though the cache has it"),
        field("no_cache_filter", TEXTS, "Stages of which every step is done"),
        field("pull", Form::Bool, "Registries are asked for newer bases whenever it is built"),
        field("platforms", Form::List(&PLATFORM), "What it is for, instead of this host"),
        field("secrets", Form::List(&Form::Either(&[Form::Text, Form::Object(&BUILD_SECRET)])), "Secrets for RUN"),
        field("ssh", Form::Either(&[Form::List(&Form::Text), Form::Map(&SCALAR)]), "Sockets of agents for RUN: NAME=SOCKET"),
        field("shm_size", SIZE, "The size of /dev/shm for RUN; 64m unless given"),
        field("ulimits", Form::Map(&Form::Either(&[Form::Integer, Form::Object(&ULIMIT)])), "Limits of RUN's processes"),
        field("extra_hosts", PAIRS, "Lines of /etc/hosts for RUN: name to address, or to host-gateway"),
        field("tags", Form::List(&REFERENCE), "Further names of the image"),
        field("entitlements", Form::List(&Form::Choice(&["network.host", "security.insecure"])), "What not every Dockerfile may"),
        field(
            "provenance",
            ATTEST,
            "Whether it is attested how it was built: true, false, mode=min or mode=max; false unless given",
        ),
        field("sbom", ATTEST, "Whether it is attested which software is in it; false unless given"),
    ],
    unsupported: &[
        ("isolation", "remove it: it is for Windows"),
        ("privileged", "write `RUN --security=insecure` in the Dockerfile, and here `entitlements: [security.insecure]`"),
    ],
};

pub(in crate::manifest) static BUILD_SECRET: Table = Table {
    what: "a secret of a build",
    fields: &[
        field("source", NAME, "A secret of the compose file"),
        field("target", Form::Text, "What RUN calls it; its name unless given"),
        field("id", Form::Text, "What RUN calls it, where it is a file"),
        field("file", Form::Text, "The file that it is in, relative to the manifest"),
    ],
    unsupported: &[
        ("uid", "write it in the Dockerfile: RUN --mount=type=secret,uid=…"),
        ("gid", "write it in the Dockerfile: RUN --mount=type=secret,gid=…"),
        ("mode", "write it in the Dockerfile: RUN --mount=type=secret,mode=…"),
    ],
};
