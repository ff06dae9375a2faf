//! How an image came about: the steps that its configuration tells of, with the layers that they made.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Images, ImagesError, documents, rows};
use crate::model::{Digest, ImageRef};

/// One step, the newest first in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStep {
    /// The image's own digest, of its last step only: those before were made elsewhere.
    pub image: Option<Digest>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub created: Option<OffsetDateTime>,
    pub created_by: String,
    pub comment: String,
    pub author: String,
    /// Bytes of the layer, unpacked; 0 where the step made none.
    pub size: u64,
    pub layer: Option<Digest>,
    /// The image's names, of its last step only.
    pub references: Vec<ImageRef>,
}

impl Images {
    /// The steps of an image, the newest first.
    pub fn history(&self, digest: Digest) -> Result<Vec<HistoryStep>, ImagesError> {
        let image = self.inner.db.read(|t| rows::by_digest(t, &digest))?.ok_or(ImagesError::Missing(digest))?;
        let (config_digest, diff_ids) = self.content_of(&digest)?;
        let content = self.inner.store.blob(&config_digest)?;
        let damaged = |_| ImagesError::Damaged { digest: config_digest };
        let (config, _) = documents::configuration(&content, diff_ids.len()).map_err(damaged)?;
        let sizes: std::collections::BTreeMap<Digest, u64> =
            self.inner.db.read(rows::layers)?.into_iter().map(|(diff_id, size, _)| (diff_id, size)).collect();
        let mut layers = diff_ids.iter();
        let mut steps = Vec::new();
        for step in config.history().iter().flatten() {
            let layer = if step.empty_layer().unwrap_or(false) { None } else { layers.next().copied() };
            let time = step.created().as_deref();
            steps.push(HistoryStep {
                image: None,
                created: time.and_then(|text| OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()),
                created_by: step.created_by().clone().unwrap_or_default(),
                comment: step.comment().clone().unwrap_or_default(),
                author: step.author().clone().unwrap_or_default(),
                size: layer.and_then(|layer| sizes.get(&layer).copied()).unwrap_or(0),
                layer,
                references: Vec::new(),
            });
        }
        // A history need not tell of every layer, nor be there at all.
        steps.extend(layers.map(|layer| HistoryStep {
            image: None,
            created: None,
            created_by: String::new(),
            comment: String::new(),
            author: String::new(),
            size: sizes.get(layer).copied().unwrap_or(0),
            layer: Some(*layer),
            references: Vec::new(),
        }));
        steps.reverse();
        if let Some(last) = steps.first_mut() {
            last.image = Some(digest);
            last.references = image.references.into_iter().collect();
        }
        Ok(steps)
    }

    /// Gives an image another name, which whoever had it loses.
    pub fn tag(&self, digest: Digest, reference: &ImageRef) -> Result<(), ImagesError> {
        if let Some(id) = reference.id() {
            return Err(ImagesError::Id(id));
        }
        let found = self.inner.db.write(|t| {
            let found = rows::has_image(t, &digest)?;
            if found {
                rows::tag(t, reference, &digest)?;
            }
            Ok(found)
        })?;
        if found { Ok(()) } else { Err(ImagesError::Missing(digest)) }
    }
}
