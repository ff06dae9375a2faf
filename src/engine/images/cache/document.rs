//! The document of a build's cache: which step came to which layer. Pure: bytes in, values out, and back.
//!
//! It has the form of BuildKit's cache configuration, so that programs that know that one can tell what it is, and registries keep it as
//! they keep theirs: a list of layers, and of records with a digest each that name layers by their places. What differs is what
//! a record's digest is made of: here, the key of a step, which covers all that the step depends on, so that records need no
//! links to each other. So neither finds its steps in a cache of the other; the field `setpoint`, which others pass over, says
//! whose it is. It also has answers: what of the files of a stage a step was found to take, so that it can be known without
//! them.
//!
//! Source: BuildKit, docs of the registry cache exporter; its media type and the field of an image's configuration for inline caches.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::engine::images::documents::Blob;
use crate::model::Digest;

pub(in crate::engine::images) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// Where an image's configuration has its cache: records as JSON, in base 64, that name the image's own layers.
pub const INLINE_RECORDS: &str = "moby.buildkit.cache.v0";
/// Where it has what else there is to ours.
pub const INLINE_OWN: &str = "setpoint.cache.v0";
/// More are no cache that anybody writes.
const MOST: usize = 100_000;
const VERSION: u32 = 1;

/// Why bytes are no cache that is of use.
#[derive(Debug, thiserror::Error)]
pub enum CacheDocumentError {
    #[error("the cache is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the cache is not what it should be: {0}")]
    Shape(&'static str),
    #[error("it is the cache of another builder, which knows its steps by other keys")]
    Foreign,
    #[error("the cache is of version {0}, and this setpoint reads version {VERSION}")]
    Version(u32),
    #[error("the image has no cache in it")]
    NoCache,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine::images) struct CachedLayer {
    pub(in crate::engine::images) diff_id: Digest,
    /// When it was made, in seconds since 1970.
    pub(in crate::engine::images) created: i64,
    pub(in crate::engine::images) blob: Blob,
}

/// A cache as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::images) struct Document {
    pub(in crate::engine::images) steps: HashMap<Digest, CachedLayer>,
    pub(in crate::engine::images) answers: BTreeMap<Digest, Digest>,
}

#[derive(Serialize, Deserialize)]
struct Config {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    records: Vec<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    setpoint: Option<Own>,
}

#[derive(Serialize, Deserialize)]
struct Layer {
    blob: Digest,
    /// The place of the layer below; -1 for none. A step of ours says by its key what it stands on.
    #[serde(default)]
    parent: i64,
    annotations: Annotations,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default)]
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: Digest,
    size: u64,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Place>,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(default)]
    layer: usize,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
struct Own {
    version: u32,
    #[serde(default)]
    answers: BTreeMap<Digest, Digest>,
}

/// The document of these layers and of steps, each with the place of its layer. The same gives the same bytes.
pub(in crate::engine::images) fn write(
    layers: &[CachedLayer],
    steps: &BTreeMap<Digest, (usize, i64)>,
    answers: &BTreeMap<Digest, Digest>,
) -> Result<Vec<u8>, CacheDocumentError> {
    let layers = layers.iter().map(|layer| Layer {
        blob: layer.blob.digest,
        parent: -1,
        annotations: Annotations {
            media_type: layer.blob.media_type.clone(),
            diff_id: layer.diff_id,
            size: layer.blob.size,
            created_at: moment(layer.created),
        },
    });
    let setpoint = Some(Own { version: VERSION, answers: answers.clone() });
    Ok(serde_json::to_vec(&Config { layers: layers.collect(), records: records(steps), setpoint })?)
}

fn records(steps: &BTreeMap<Digest, (usize, i64)>) -> Vec<Record> {
    let record = |(key, (layer, created)): (&Digest, &(usize, i64))| Record {
        layers: vec![Place { layer: *layer, created_at: moment(*created) }],
        digest: *key,
    };
    steps.iter().map(record).collect()
}

/// No clock that this program reads gives another time.
fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Reads a document.
pub(in crate::engine::images) fn read(bytes: &[u8]) -> Result<Document, CacheDocumentError> {
    // First whose it is: what others write need not have what ours has.
    let shape: Value = serde_json::from_slice(bytes)?;
    let own = own(shape.get("setpoint"))?;
    let config: Config = serde_json::from_value(shape)?;
    if config.layers.len() > MOST || config.records.len() > MOST {
        return Err(CacheDocumentError::Shape("it has too many records"));
    }
    let layers: Vec<(Digest, Blob)> = config
        .layers
        .into_iter()
        .map(|layer| {
            let Annotations { media_type, diff_id, size, .. } = layer.annotations;
            (diff_id, Blob { digest: layer.blob, size, media_type })
        })
        .collect();
    Ok(Document { steps: steps(&config.records, &layers)?, answers: own.answers })
}

fn own(value: Option<&Value>) -> Result<Own, CacheDocumentError> {
    let own: Own = serde_json::from_value(value.ok_or(CacheDocumentError::Foreign)?.clone())?;
    if own.version == VERSION { Ok(own) } else { Err(CacheDocumentError::Version(own.version)) }
}

fn steps(records: &[Record], layers: &[(Digest, Blob)]) -> Result<HashMap<Digest, CachedLayer>, CacheDocumentError> {
    let mut steps = HashMap::with_capacity(records.len());
    for record in records {
        let Some(place) = record.layers.first() else { continue };
        let (diff_id, blob) =
            layers.get(place.layer).ok_or(CacheDocumentError::Shape("a record names a layer that is not there"))?.clone();
        steps.insert(record.digest, CachedLayer { diff_id, created: place.created_at.unix_timestamp(), blob });
    }
    Ok(steps)
}

/// Puts a cache into an image's configuration: its steps, each with the place of its layer among the image's own.
pub(in crate::engine::images) fn write_inline(
    config: &mut Map<String, Value>,
    steps: &BTreeMap<Digest, (usize, i64)>,
    answers: &BTreeMap<Digest, Digest>,
) -> Result<(), CacheDocumentError> {
    let records = serde_json::to_vec(&records(steps))?;
    config.insert(INLINE_RECORDS.to_owned(), STANDARD.encode(records).into());
    config.insert(INLINE_OWN.to_owned(), json!({"version": VERSION, "answers": answers}));
    Ok(())
}

/// The cache in an image's configuration. `layers` are the image's own, lowest first.
pub(in crate::engine::images) fn read_inline(config: &[u8], layers: &[(Digest, Blob)]) -> Result<Document, CacheDocumentError> {
    let config: Map<String, Value> = serde_json::from_slice(config)?;
    let text = config.get(INLINE_RECORDS).and_then(Value::as_str).ok_or(CacheDocumentError::NoCache)?;
    let own = own(config.get(INLINE_OWN))?;
    let bytes = STANDARD.decode(text).map_err(|_| CacheDocumentError::Shape("its records are not in base 64"))?;
    let records: Vec<Record> = serde_json::from_slice(&bytes)?;
    Ok(Document { steps: steps(&records, layers)?, answers: own.answers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str, created: i64) -> CachedLayer {
        let blob = Blob { digest: Digest::of(text.as_bytes()), size: 9, media_type: "application/x".to_owned() };
        CachedLayer { diff_id: Digest::of(format!("tar of {text}").as_bytes()), created, blob }
    }

    #[test]
    fn a_cache_comes_back_as_it_was_written() {
        let layers = [layer("a", 5), layer("b", 7)];
        let (one, two, again) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
        let steps = BTreeMap::from([(one, (0, 5)), (two, (1, 7)), (again, (1, 8))]);
        let answers = BTreeMap::from([(Digest::of(b"?"), Digest::of(b"!"))]);
        let bytes = write(&layers, &steps, &answers).unwrap();
        let read_back = read(&bytes).unwrap();
        assert_eq!((read_back.steps.len(), &read_back.answers), (3, &answers));
        assert_eq!((&read_back.steps[&one], &read_back.steps[&two]), (&layers[0], &layers[1]));
        assert_eq!(read_back.steps[&again], CachedLayer { created: 8, ..layers[1].clone() });

        let mut config = Map::new();
        write_inline(&mut config, &steps, &answers).unwrap();
        let own: Vec<_> = layers.iter().map(|layer| (layer.diff_id, layer.blob.clone())).collect();
        assert_eq!(read_inline(&serde_json::to_vec(&config).unwrap(), &own).unwrap(), read_back);
    }

    #[test]
    fn what_others_write_is_told_from_what_is_broken() {
        let digest = Digest::of(b"x");
        let theirs = json!({"layers": [{"blob": digest, "annotations": {"diffID": digest, "size": 1, "createdAt": "2026-01-01T00:00:00Z"}}],
                            "records": [{"digest": digest, "inputs": [[{"link": 0}]], "layers": [{"createdAt": "2026-01-01T00:00:00Z"}]}]});
        let said = |value: &Value| read(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(said(&theirs), CacheDocumentError::Foreign));
        let mut ours = theirs;
        ours["setpoint"] = json!({"version": 1});
        // What is left out is the first layer.
        assert_eq!(read(ours.to_string().as_bytes()).unwrap().steps.len(), 1);
        ours["records"][0]["layers"][0]["layer"] = 1.into();
        assert!(matches!(said(&ours), CacheDocumentError::Shape(_)));
        ours["setpoint"]["version"] = 2.into();
        assert!(matches!(said(&ours), CacheDocumentError::Version(2)));
        assert!(matches!(read(b"{"), Err(CacheDocumentError::Json(_))));
        assert!(matches!(read_inline(b"{}", &[]), Err(CacheDocumentError::NoCache)));
        let theirs = json!({INLINE_RECORDS: STANDARD.encode("[]")}).to_string();
        assert!(matches!(read_inline(theirs.as_bytes(), &[]), Err(CacheDocumentError::Foreign)));
    }
}
