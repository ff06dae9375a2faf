//! The rows of images, references and layers. Knows nothing of files.

use std::collections::BTreeSet;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::layer::Layer;
use super::members;
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

/// A blob that unpacks to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerBlob {
    pub(super) diff_id: Digest,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
    /// Whether it is in the store.
    pub(super) kept: bool,
}

/// A layer's completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// Of the layer and all below it.
    pub(super) chain_id: Digest,
    pub(super) size: u64,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) registry: String,
    pub(super) repository: String,
}

/// Records an image whose layers all have rows, with the completion of each, and gives it references.
pub(super) fn insert(
    t: &Transaction<'_>,
    image: &Record,
    completions: &[Option<Completion>],
    references: &[ImageRef],
) -> rusqlite::Result<()> {
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
    completions.iter().flatten().try_for_each(|completion| insert_completion(t, *completion))?;
    for (position, (layer, completion)) in image.layers.iter().zip(completions).enumerate() {
        t.execute(
            "INSERT INTO image_layers (digest, position, diff_id, completion) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest, position) DO UPDATE SET completion = excluded.completion",
            params![digest, position as i64, layer.to_string(), completion.map(|completion| completion.chain_id.to_string())],
        )?;
    }
    references.iter().try_for_each(|reference| tag(t, reference, &image.digest))
}

/// Gives an image a reference, which another one loses.
pub(super) fn tag(t: &Transaction<'_>, reference: &ImageRef, digest: &Digest) -> rusqlite::Result<()> {
    t.execute(
        "INSERT INTO image_refs (reference, digest) VALUES (?1, ?2)
         ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest",
        params![reference.to_string(), digest.to_string()],
    )?;
    members::forget(t, reference)
}

/// `is_new`: its folder is what has just been unpacked; that of one which was there already stays as it was.
pub(super) fn insert_layer(t: &Transaction<'_>, layer: &Layer, is_new: bool) -> rusqlite::Result<()> {
    t.execute(
        "INSERT INTO layers (diff_id, size, tar_size, dependent) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (diff_id) DO UPDATE
         SET tar_size = excluded.tar_size, dependent = iif(?5, excluded.dependent, dependent)",
        params![layer.diff_id.to_string(), layer.size.cast_signed(), layer.tar_size.cast_signed(), layer.dependent, is_new],
    )?;
    Ok(())
}

/// Whether the layers below have a say in a layer. `None`: there is no such layer, or its folder does not tell.
pub(super) fn is_dependent(t: &Transaction<'_>, diff_id: &Digest) -> rusqlite::Result<Option<bool>> {
    let mut query = t.prepare_cached("SELECT dependent FROM layers WHERE diff_id = ?1")?;
    Ok(query.query_row([diff_id.to_string()], |row| row.get::<_, Option<bool>>(0)).optional()?.flatten())
}

/// The completion of a layer with all below it.
pub(super) fn completion(t: &Transaction<'_>, chain_id: &Digest) -> rusqlite::Result<Option<Completion>> {
    let mut query = t.prepare_cached("SELECT chain_id, size FROM completions WHERE chain_id = ?1")?;
    query.query_row([chain_id.to_string()], read_completion).optional()
}

pub(super) fn completions(t: &Transaction<'_>) -> rusqlite::Result<Vec<Completion>> {
    let mut query = t.prepare_cached("SELECT chain_id, size FROM completions ORDER BY chain_id")?;
    query.query_map([], read_completion)?.collect()
}

/// The completions of an image's layers, the lowest layer first.
pub(super) fn completions_of(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Vec<Option<Digest>>> {
    let mut query = t.prepare_cached("SELECT completion FROM image_layers WHERE digest = ?1 ORDER BY position")?;
    let read = |row: &Row<'_>| row.get::<_, Option<String>>(0)?.map(|_| parsed(row, 0)).transpose();
    query.query_map([digest.to_string()], read)?.collect()
}

/// Records what is laid over a layer of an image.
pub(super) fn set_completion(
    t: &Transaction<'_>,
    image: &Digest,
    position: usize,
    completion: Option<Completion>,
) -> rusqlite::Result<()> {
    completion.map_or(Ok(()), |completion| insert_completion(t, completion))?;
    t.execute(
        "UPDATE image_layers SET completion = ?3 WHERE digest = ?1 AND position = ?2",
        params![image.to_string(), position as i64, completion.map(|completion| completion.chain_id.to_string())],
    )?;
    Ok(())
}

fn insert_completion(t: &Transaction<'_>, completion: Completion) -> rusqlite::Result<()> {
    t.execute(
        "INSERT OR IGNORE INTO completions (chain_id, size) VALUES (?1, ?2)",
        params![completion.chain_id.to_string(), completion.size.cast_signed()],
    )?;
    Ok(())
}

fn read_completion(row: &Row<'_>) -> rusqlite::Result<Completion> {
    Ok(Completion { chain_id: parsed(row, 0)?, size: row.get::<_, i64>(1)?.cast_unsigned() })
}

/// A blob that is kept stays so when the same is seen again.
pub(super) fn insert_blob(t: &Transaction<'_>, blob: &LayerBlob) -> rusqlite::Result<()> {
    t.execute(
        "INSERT INTO layer_blobs (digest, diff_id, size, media_type, kept) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (digest, diff_id) DO UPDATE SET kept = max(kept, excluded.kept), media_type = excluded.media_type",
        params![blob.digest.to_string(), blob.diff_id.to_string(), blob.size.cast_signed(), blob.media_type, blob.kept],
    )?;
    Ok(())
}

pub(super) fn insert_place(t: &Transaction<'_>, digest: &Digest, place: &Place) -> rusqlite::Result<()> {
    t.execute(
        "INSERT OR IGNORE INTO blob_places (digest, registry, repository) VALUES (?1, ?2, ?3)",
        params![digest.to_string(), place.registry, place.repository],
    )?;
    Ok(())
}

/// Where a blob or a manifest was seen.
pub(super) fn places(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Vec<Place>> {
    let mut query =
        t.prepare_cached("SELECT registry, repository FROM blob_places WHERE digest = ?1 ORDER BY registry, repository")?;
    query.query_map([digest.to_string()], |row| Ok(Place { registry: row.get(0)?, repository: row.get(1)? }))?.collect()
}

/// The blobs that are known to unpack to a layer, those in the store first.
pub(super) fn blobs_of(t: &Transaction<'_>, diff_id: &Digest) -> rusqlite::Result<Vec<LayerBlob>> {
    let mut query = t.prepare_cached(
        "SELECT digest, diff_id, size, media_type, kept FROM layer_blobs WHERE diff_id = ?1 ORDER BY kept DESC, digest",
    )?;
    query.query_map([diff_id.to_string()], layer_blob)?.collect()
}

/// The layer that a blob is known to unpack to.
pub(super) fn blob(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Option<LayerBlob>> {
    let mut query = t.prepare_cached("SELECT digest, diff_id, size, media_type, kept FROM layer_blobs WHERE digest = ?1")?;
    query.query_row([digest.to_string()], layer_blob).optional()
}

pub(super) fn kept_blobs(t: &Transaction<'_>) -> rusqlite::Result<Vec<LayerBlob>> {
    let mut query =
        t.prepare_cached("SELECT digest, diff_id, size, media_type, kept FROM layer_blobs WHERE kept ORDER BY digest")?;
    query.query_map([], layer_blob)?.collect()
}

pub(super) fn forget_kept(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    t.execute("UPDATE layer_blobs SET kept = 0 WHERE digest = ?1", [digest.to_string()])?;
    Ok(())
}

/// Every layer: its unpacked size and, where it has a skeleton, its tar's.
pub(super) fn layers(t: &Transaction<'_>) -> rusqlite::Result<Vec<(Digest, u64, Option<u64>)>> {
    let mut query = t.prepare_cached("SELECT diff_id, size, tar_size FROM layers ORDER BY diff_id")?;
    let read = |row: &Row<'_>| {
        let tar_size: Option<i64> = row.get(2)?;
        Ok((parsed(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned(), tar_size.map(i64::cast_unsigned)))
    };
    query.query_map([], read)?.collect()
}

/// Bytes of a layer's tar. `None`: there is no such layer, or it was unpacked before there were skeletons.
pub(super) fn tar_size(t: &Transaction<'_>, diff_id: &Digest) -> rusqlite::Result<Option<u64>> {
    let mut query = t.prepare_cached("SELECT tar_size FROM layers WHERE diff_id = ?1")?;
    let size = query.query_row([diff_id.to_string()], |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(size.flatten().map(i64::cast_unsigned))
}

/// Every image with every layer and every completion that it has.
pub(super) fn layers_of_images(t: &Transaction<'_>) -> rusqlite::Result<Vec<(Digest, Digest)>> {
    let mut query = t.prepare_cached(
        "SELECT digest, diff_id FROM image_layers
         UNION SELECT digest, completion FROM image_layers WHERE completion IS NOT NULL",
    )?;
    query.query_map([], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?.collect()
}

/// Every layer, and every completion (`false`), that an image has.
pub(super) fn folders(t: &Transaction<'_>) -> rusqlite::Result<Vec<(Digest, bool)>> {
    let mut query = t.prepare_cached(
        "SELECT DISTINCT diff_id, 1 FROM image_layers
         UNION ALL SELECT DISTINCT completion, 0 FROM image_layers WHERE completion IS NOT NULL",
    )?;
    query.query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?)))?.collect()
}

fn layer_blob(row: &Row<'_>) -> rusqlite::Result<LayerBlob> {
    Ok(LayerBlob {
        digest: parsed(row, 0)?,
        diff_id: parsed(row, 1)?,
        size: row.get::<_, i64>(2)?.cast_unsigned(),
        media_type: row.get(3)?,
        kept: row.get(4)?,
    })
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

/// The image whose configuration has this digest: what other programs call its id.
pub(super) fn by_config(t: &Transaction<'_>, hex: &str) -> rusqlite::Result<Vec<observed::Image>> {
    let mut query = t.prepare_cached(
        "SELECT digest, size, created, imported_from FROM images WHERE substr(config, 8, length(?1)) = ?1 ORDER BY digest LIMIT 2",
    )?;
    let images = query.query_map([hex], image)?.collect::<rusqlite::Result<Vec<_>>>()?;
    images.into_iter().map(|image| with_references(t, image)).collect()
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

pub(super) fn untag(t: &Transaction<'_>, reference: &ImageRef) -> rusqlite::Result<bool> {
    Ok(t.execute("DELETE FROM image_refs WHERE reference = ?1", [reference.to_string()])? > 0)
}

pub(super) fn remove(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<bool> {
    Ok(t.execute("DELETE FROM images WHERE digest = ?1", [digest.to_string()])? > 0)
}

pub(super) fn unreferenced(t: &Transaction<'_>) -> rusqlite::Result<Vec<Digest>> {
    let mut query = t.prepare_cached(
        "SELECT digest FROM images WHERE digest NOT IN (SELECT digest FROM image_refs UNION SELECT digest FROM image_members)",
    )?;
    query.query_map([], |row| parsed(row, 0))?.collect()
}

/// Forgets layers and completions that no image has, nor a step of a build; how many layers, and the bytes of all.
pub(super) fn remove_unneeded_layers(t: &Transaction<'_>) -> rusqlite::Result<(u64, u64)> {
    let mut query = t.prepare_cached(
        "DELETE FROM completions
         WHERE chain_id NOT IN (SELECT completion FROM image_layers WHERE completion IS NOT NULL) RETURNING size",
    )?;
    let completed: i64 = query.query_map([], |row| row.get::<_, i64>(0))?.sum::<rusqlite::Result<_>>()?;
    let mut query = t.prepare_cached(
        "DELETE FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers UNION SELECT diff_id FROM build_steps)
         RETURNING size",
    )?;
    let sizes = query.query_map([], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    t.execute(
        "DELETE FROM blob_places WHERE digest NOT IN (SELECT digest FROM images UNION SELECT digest FROM layer_blobs)",
        [],
    )?;
    Ok((sizes.len() as u64, sizes.iter().map(|size| size.cast_unsigned()).sum::<u64>() + completed.cast_unsigned()))
}

/// The hexadecimal digits of everything that has a row.
pub(super) struct Names {
    pub(super) layers: BTreeSet<String>,
    pub(super) completions: BTreeSet<String>,
    pub(super) blobs: BTreeSet<String>,
}

pub(super) fn names(t: &Transaction<'_>) -> rusqlite::Result<Names> {
    let mut query = t.prepare("SELECT substr(chain_id, 8) FROM completions")?;
    let completions = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut query = t.prepare("SELECT substr(diff_id, 8) FROM layers")?;
    let layers = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut query = t.prepare(
        "SELECT substr(digest, 8) FROM images UNION SELECT substr(config, 8) FROM images
         UNION SELECT substr(digest, 8) FROM layer_blobs WHERE kept",
    )?;
    let blobs = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Names { layers, completions, blobs })
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

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?.parse().map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(FromSqlError::other(error)))
}
