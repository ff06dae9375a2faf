//! The rows of images, references and layers. Knows nothing of files.

use std::collections::BTreeSet;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::{Digest, ImageRef};
use crate::observed;

/// What is recorded of an image, once its content is on the disk.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) config: Digest,
    pub(super) created: OffsetDateTime,
    /// Lowest first.
    pub(super) layers: Vec<Digest>,
    pub(super) imported_from: Option<Digest>,
}

/// Records an image whose layers all have rows, and gives it a reference.
pub(super) fn insert(t: &Transaction<'_>, image: &Record, reference: &ImageRef) -> rusqlite::Result<()> {
    let digest = image.digest.to_string();
    let created = image.created.format(&Rfc3339).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let mut size = 0i64;
    for layer in image.layers.iter().collect::<BTreeSet<_>>() {
        size += t.query_row("SELECT size FROM layers WHERE diff_id = ?1", [layer.to_string()], |row| row.get::<_, i64>(0))?;
    }
    t.execute(
        "INSERT INTO images (digest, config, created, size, imported_from) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (digest) DO UPDATE SET imported_from = coalesce(excluded.imported_from, imported_from)",
        params![digest, image.config.to_string(), created, size, image.imported_from.map(|d| d.to_string())],
    )?;
    for (position, layer) in image.layers.iter().enumerate() {
        t.execute(
            "INSERT OR IGNORE INTO image_layers (digest, position, diff_id) VALUES (?1, ?2, ?3)",
            params![digest, position as i64, layer.to_string()],
        )?;
    }
    t.execute(
        "INSERT INTO image_refs (reference, digest) VALUES (?1, ?2)
         ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest",
        params![reference.to_string(), digest],
    )?;
    Ok(())
}

pub(super) fn insert_layer(t: &Transaction<'_>, diff_id: &Digest, size: u64) -> rusqlite::Result<()> {
    t.execute("INSERT OR IGNORE INTO layers (diff_id, size) VALUES (?1, ?2)", params![diff_id.to_string(), size.cast_signed()])?;
    Ok(())
}

pub(super) fn has_layer(t: &Transaction<'_>, diff_id: &Digest) -> rusqlite::Result<bool> {
    t.prepare_cached("SELECT 1 FROM layers WHERE diff_id = ?1")?.exists([diff_id.to_string()])
}

pub(super) fn has_image(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<bool> {
    t.prepare_cached("SELECT 1 FROM images WHERE digest = ?1")?.exists([digest.to_string()])
}

pub(super) fn by_reference(t: &Transaction<'_>, reference: &ImageRef) -> rusqlite::Result<Option<observed::Image>> {
    let mut query = t.prepare_cached("SELECT digest FROM image_refs WHERE reference = ?1")?;
    let digest = query.query_row([reference.to_string()], |row| parsed::<Digest>(row, 0)).optional()?;
    // A reference by digest names that very image, whatever it was pulled as.
    digest.or(reference.digest()).map_or(Ok(None), |digest| by_digest(t, &digest))
}

pub(super) fn by_digest(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Option<observed::Image>> {
    let mut query = t.prepare_cached("SELECT digest, size, created, imported_from FROM images WHERE digest = ?1")?;
    let image = query.query_row([digest.to_string()], image).optional()?;
    image.map(|image| with_references(t, image)).transpose()
}

/// Images whose digest starts with these hexadecimal digits, two at most.
pub(super) fn by_prefix(t: &Transaction<'_>, hex: &str) -> rusqlite::Result<Vec<observed::Image>> {
    let mut query = t.prepare_cached(
        "SELECT digest, size, created, imported_from FROM images WHERE substr(digest, 8, length(?1)) = ?1 LIMIT 2",
    )?;
    let images = query.query_map([hex], image)?.collect::<rusqlite::Result<Vec<_>>>()?;
    images.into_iter().map(|image| with_references(t, image)).collect()
}

pub(super) fn all(t: &Transaction<'_>) -> rusqlite::Result<Vec<observed::Image>> {
    let mut query = t.prepare_cached("SELECT digest, size, created, imported_from FROM images ORDER BY created, digest")?;
    let mut images = query.query_map([], image)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let places: std::collections::HashMap<Digest, usize> =
        images.iter().enumerate().map(|(i, image)| (image.digest, i)).collect();
    let mut query = t.prepare_cached("SELECT digest, reference FROM image_refs")?;
    for pair in query.query_map([], |row| Ok((parsed::<Digest>(row, 0)?, parsed::<ImageRef>(row, 1)?)))? {
        let (digest, reference) = pair?;
        if let Some(place) = places.get(&digest) {
            images[*place].references.insert(reference);
        }
    }
    Ok(images)
}

/// The configuration's digest and the layers, lowest first.
pub(super) fn content(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Option<(Digest, Vec<Digest>)>> {
    let mut query = t.prepare_cached("SELECT config FROM images WHERE digest = ?1")?;
    let Some(config) = query.query_row([digest.to_string()], |row| parsed(row, 0)).optional()? else { return Ok(None) };
    let mut query = t.prepare_cached("SELECT diff_id FROM image_layers WHERE digest = ?1 ORDER BY position")?;
    let layers = query.query_map([digest.to_string()], |row| parsed(row, 0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Some((config, layers)))
}

/// Gives an image a further reference, or moves one to it; false when there is no such image.
pub(super) fn tag(t: &Transaction<'_>, digest: &Digest, reference: &ImageRef) -> rusqlite::Result<bool> {
    if !has_image(t, digest)? {
        return Ok(false);
    }
    t.execute(
        "INSERT INTO image_refs (reference, digest) VALUES (?1, ?2)
         ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest",
        params![reference.to_string(), digest.to_string()],
    )?;
    Ok(true)
}

pub(super) fn untag(t: &Transaction<'_>, reference: &ImageRef) -> rusqlite::Result<bool> {
    Ok(t.execute("DELETE FROM image_refs WHERE reference = ?1", [reference.to_string()])? > 0)
}

pub(super) fn remove(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<bool> {
    Ok(t.execute("DELETE FROM images WHERE digest = ?1", [digest.to_string()])? > 0)
}

pub(super) fn unreferenced(t: &Transaction<'_>) -> rusqlite::Result<Vec<Digest>> {
    let mut query = t.prepare_cached("SELECT digest FROM images WHERE digest NOT IN (SELECT digest FROM image_refs)")?;
    query.query_map([], |row| parsed(row, 0))?.collect()
}

/// Forgets layers that no image has; how many, and their bytes.
pub(super) fn remove_unneeded_layers(t: &Transaction<'_>) -> rusqlite::Result<(u64, u64)> {
    let mut query =
        t.prepare_cached("DELETE FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers) RETURNING size")?;
    let sizes = query.query_map([], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((sizes.len() as u64, sizes.iter().map(|size| size.cast_unsigned()).sum()))
}

/// The hexadecimal digits of every layer, and of every blob, that has a row.
pub(super) fn names(t: &Transaction<'_>) -> rusqlite::Result<(BTreeSet<String>, BTreeSet<String>)> {
    let mut query = t.prepare("SELECT substr(diff_id, 8) FROM layers")?;
    let layers = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut query = t.prepare("SELECT substr(digest, 8) FROM images UNION SELECT substr(config, 8) FROM images")?;
    let blobs = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((layers, blobs))
}

fn with_references(t: &Transaction<'_>, mut image: observed::Image) -> rusqlite::Result<observed::Image> {
    let mut query = t.prepare_cached("SELECT reference FROM image_refs WHERE digest = ?1")?;
    image.references = query.query_map([image.digest.to_string()], |row| parsed(row, 0))?.collect::<rusqlite::Result<_>>()?;
    Ok(image)
}

fn image(row: &Row<'_>) -> rusqlite::Result<observed::Image> {
    let created: String = row.get(2)?;
    let imported: Option<String> = row.get(3)?;
    Ok(observed::Image {
        digest: parsed(row, 0)?,
        references: BTreeSet::new(),
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        created: OffsetDateTime::parse(&created, &Rfc3339).map_err(|e| unreadable(2, e))?,
        imported_from: imported.map(|_| parsed(row, 3)).transpose()?,
    })
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?.parse().map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(FromSqlError::other(error)))
}
