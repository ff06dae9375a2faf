//! Which images `images` lists: the filters of Docker, and a name.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::cli::error::CliError;
use crate::cli::pattern::Glob;
use crate::cli::render::images::{Named, subjects};
use crate::cli::select::{Filter, Filters, InvalidFilter};
use crate::cli::time::When;
use crate::client::Client;
use crate::observed::Image;

const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

/// What is asked for, with the images that it names looked up.
pub(super) struct Wanted<'a> {
    filters: Filters<'a>,
    dangling: Option<bool>,
    before: Option<OffsetDateTime>,
    since: Option<OffsetDateTime>,
    patterns: Vec<Glob>,
    name: Option<Glob>,
    /// Only asked for where a filter needs them.
    labels: BTreeMap<crate::model::Digest, BTreeMap<String, String>>,
}

impl<'a> Wanted<'a> {
    pub(super) async fn new(
        client: &Client,
        all: &'a [Filter],
        name: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Self, CliError> {
        let filters = Filters::new(all, FILTERS)?;
        let glob =
            |key: &str, text: &str| Glob::new(text).map_err(|source| InvalidFilter::Pattern { key: key.to_owned(), source });
        let patterns = filters.read("reference", |text| glob("reference", text))?.0;
        let name = name.map(|text| glob("reference", text)).transpose()?;
        let mut before = until(&filters, now)?;
        for text in filters.values("before") {
            let created = client.image(text).await?.image.created;
            before = Some(before.map_or(created, |known| known.min(created)));
        }
        let mut since = None;
        for text in filters.values("since") {
            let created = client.image(text).await?.image.created;
            since = Some(since.map_or(created, |known: OffsetDateTime| known.max(created)));
        }
        let labels = if filters.has("label") { client.image_labels().await? } else { BTreeMap::new() };
        Ok(Self { dangling: filters.flag("dangling")?, before, since, patterns, name, labels, filters })
    }

    pub(super) fn takes(&self, Named { image, name }: &Named<'_>) -> bool {
        self.takes_image(image) && {
            let subjects = name.map(subjects);
            let fits = |glob: &Glob| subjects.iter().flatten().any(|subject| glob.matches(subject));
            (self.patterns.is_empty() || self.patterns.iter().any(fits)) && self.name.iter().all(fits)
        }
    }

    fn takes_image(&self, image: &Image) -> bool {
        let none = BTreeMap::new();
        self.dangling.is_none_or(|dangling| dangling == image.references.is_empty())
            && self.before.is_none_or(|time| image.created < time)
            && self.since.is_none_or(|time| image.created > time)
            && self.filters.take_labels(self.labels.get(&image.digest).unwrap_or(&none))
    }
}

/// The earliest of the times that `until` names.
pub(super) fn until(filters: &Filters<'_>, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, InvalidFilter> {
    let read = |text: &str| {
        let when = text.parse::<When>();
        when.map(|when| when.resolve(now)).map_err(|source| InvalidFilter::Time { key: "until".to_owned(), source })
    };
    Ok(filters.read("until", read)?.0.into_iter().min())
}
