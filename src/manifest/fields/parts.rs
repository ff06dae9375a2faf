//! The fields of what stands within a container: devices, disks and volumes.

use super::{Form, SIZE, Table, field, required};

pub(in crate::manifest) static VOLUME_MOUNT: Table = Table {
    what: "`volume`",
    fields: &[
        field("nocopy", Form::Bool, "It does not get the image's content"),
        field("options", Form::List(&Form::Text), "Options with which it is mounted, such as noexec"),
        field("subpath", Form::Text, "Only this of it is mounted, which must be there: a path from the volume's root"),
    ],
    unsupported: &[("labels", "declare the volume and label it there")],
};

pub(in crate::manifest) static DEVICE: Table = Table {
    what: "a device",
    fields: &[
        required("source", Form::Text, "The device's path on the host"),
        field("target", Form::Text, "Its path in the container; the same unless given"),
        field("permissions", Form::Text, "Letters of rwm: read, write, make nodes; all unless given"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static BLKIO: Table = Table {
    what: "`blkio_config`",
    fields: &[
        field("weight", Form::Integer, "Its weight when disks are busy, from 10 to 1000"),
        field("weight_device", Form::List(&Form::Object(&DEVICE_WEIGHT)), "Its weights at single disks"),
        field("device_read_bps", Form::List(&Form::Object(&DEVICE_RATE)), "Most bytes a second that are read"),
        field("device_write_bps", Form::List(&Form::Object(&DEVICE_RATE)), "Most bytes a second that are written"),
        field("device_read_iops", Form::List(&Form::Object(&DEVICE_RATE)), "Most reads a second"),
        field("device_write_iops", Form::List(&Form::Object(&DEVICE_RATE)), "Most writes a second"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static DEVICE_WEIGHT: Table = Table {
    what: "a weight at a disk",
    fields: &[required("path", Form::Text, "The disk's path on the host"), required("weight", Form::Word, "From 10 to 1000")],
    unsupported: &[],
};

pub(in crate::manifest) static DEVICE_RATE: Table = Table {
    what: "a disk's rate",
    fields: &[
        required("path", Form::Text, "The disk's path on the host"),
        required("rate", Form::Word, "So much a second; of bytes also with a unit, such as 10m"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static RESERVATIONS: Table = Table {
    what: "`reservations`",
    fields: &[field("memory", SIZE, "The same as mem_reservation")],
    unsupported: &[
        ("devices", "give the container its devices with `devices`"),
        ("generic_resources", "they are a cluster's: remove it"),
    ],
};

pub(in crate::manifest) const ON_CHANGE: Form = Form::Text;
pub(in crate::manifest) const ON_CHANGE_ABOUT: &str =
    "What another content does to the container: recreate (unless given), restart, a signal such as SIGHUP, or nothing";

pub(in crate::manifest) static MOUNT_EXTENSION: Table = Table {
    what: "`x-setpoint` of what is mounted",
    fields: &[field("on_change", ON_CHANGE, ON_CHANGE_ABOUT)],
    unsupported: &[],
};
