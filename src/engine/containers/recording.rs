//! From what a container's spec says of logging to what its monitor is told, and to what its readers are shown.

use std::path::PathBuf;

use super::Record;
use crate::engine::monitor::logs::{LogBounds, Recording, field_name};
use crate::model::spec::LogDriver;

/// Where systemd-journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where a container's output is recorded.
pub(super) fn recording(record: &Record) -> Recording {
    let logging = &record.spec.logging;
    match logging.driver {
        LogDriver::File => {
            let default = LogBounds::default();
            Recording::File(LogBounds {
                file_size: logging.max_size.map_or(default.file_size, |size| size.0),
                files: logging.max_file.unwrap_or(default.files),
            })
        }
        LogDriver::Journald => Recording::Journald { socket: PathBuf::from(JOURNAL), fields: fields(record) },
        LogDriver::None => Recording::None,
    }
}

/// What each entry in the journal says of its container, in the names that Docker gives.
fn fields(record: &Record) -> Vec<(String, String)> {
    let tag = tag(record).unwrap_or_else(|| record.id.short().to_owned());
    let mut fields: Vec<(String, String)> = [
        ("CONTAINER_ID", record.id.short().to_owned()),
        ("CONTAINER_ID_FULL", record.id.to_string()),
        ("CONTAINER_NAME", record.name.to_string()),
        ("CONTAINER_TAG", tag.clone()),
        ("SYSLOG_IDENTIFIER", tag),
        ("IMAGE_NAME", record.spec.image.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    fields.extend(labels(record).filter_map(|(name, value)| Some((field_name(name)?, value.to_owned()))));
    fields
}

/// What `--details` puts before each line; `None` when the container's logging names nothing.
pub(super) fn details(record: &Record) -> Option<String> {
    let tag = tag(record).map(|tag| format!("tag={tag}"));
    let all: Vec<String> = tag.into_iter().chain(labels(record).map(|(name, value)| format!("{name}={value}"))).collect();
    (!all.is_empty()).then(|| all.join(","))
}

fn tag(record: &Record) -> Option<String> {
    record.spec.logging.tag_with(|field| {
        Some(match field {
            "ID" => record.id.short().to_owned(),
            "FullID" => record.id.to_string(),
            "Name" => record.name.to_string(),
            "ImageName" => record.spec.image.to_string(),
            _ => return None,
        })
    })
}

/// The labels that go with each line. One that the container does not have is none.
fn labels(record: &Record) -> impl Iterator<Item = (&str, &str)> {
    let wanted = record.spec.logging.labels.iter();
    wanted.filter_map(|name| record.spec.labels.get_key_value(name)).map(|(name, value)| (name.as_str(), value.as_str()))
}
