//! Reads where a container's output is recorded: Compose's form, with the drivers and options that are meant here.

use crate::model::spec::{InvalidLogging, LogDriver, Logging};

use super::fields::{Form, PAIRS, Table, field};
use super::reader::Reader;
use super::tree::Node;

pub(super) static LOGGING: Table = Table {
    what: "`logging`",
    fields: &[
        field("driver", Form::Of(|g| g.subschema_for::<LogDriver>()), "file, journald or none; file unless given"),
        field("options", PAIRS, "Of file: max-size, max-file, tag, labels; of journald: tag, labels"),
    ],
    unsupported: &[],
};

pub(super) fn logging(reader: &mut Reader, node: &Node) -> Option<Logging> {
    let f = reader.fields(node, &LOGGING)?;
    let driver = match f.get("driver") {
        None => LogDriver::default(),
        Some(node) => match reader.text(node)?.parse() {
            Ok(driver) => driver,
            Err(error) => return refuse(reader, node, &error),
        },
    };
    let mut logging = Logging { driver, ..Logging::default() };
    let Some(options) = f.get("options") else { return Some(logging) };
    let pairs = reader.pairs(options);
    let all = pairs.iter().map(|(name, (value, _))| (name.as_str(), value.as_deref().unwrap_or_default()));
    match Logging::new(driver, all) {
        Ok(made) => logging = made,
        Err(error) => return refuse(reader, options, &error),
    }
    Some(logging)
}

fn refuse(reader: &mut Reader, node: &Node, error: &InvalidLogging) -> Option<Logging> {
    reader.error_hint(node.at, error.to_string(), error.hint());
    None
}
