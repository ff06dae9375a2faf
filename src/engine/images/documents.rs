//! Manifests, indexes and configurations: what a registry says an image is made of. Pure: bytes in, values out.
//! Sources: OCI Image Specification, manifest.md, image-index.md and config.md; Docker's schema 2, which has the same shape.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::model::digest::InvalidDigest;
use crate::model::{Digest, Platform};

/// The largest manifest or configuration that is read.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;
/// More layers than overlayfs can stack.
const MAX_LAYERS: usize = 500;

/// The configuration and the uncompressed layer of an image that is made here.
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What a registry is asked for.
pub(super) const ACCEPT: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the {what} is not what it should be: {source}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("the manifest is of type {0:?}, which is not supported; expected an OCI or Docker schema 2 image")]
    MediaType(String),
    #[error("the manifest claims to be an index and an image at once")]
    Ambiguous,
    #[error("{0}")]
    Digest(#[from] InvalidDigest),
    #[error("no image for {wanted} in the index; it has {}", .there.join(", "))]
    NoPlatform { wanted: Platform, there: Vec<String> },
    #[error("the image is for {found}, and {wanted} is wanted; ask for its platform to have it all the same")]
    WrongPlatform { found: String, wanted: Platform },
    #[error("an index that leads to another index is not supported")]
    Nested,
    #[error("layer {digest} is of type {media_type:?}, which is not a file system layer")]
    LayerType { digest: Digest, media_type: String },
    #[error("the manifest has {layers} layers and the configuration {diff_ids}")]
    Layers { layers: usize, diff_ids: usize },
    #[error("the image has {0} layers; at most {MAX_LAYERS} can be stacked")]
    TooManyLayers(usize),
    #[error("the {what} claims {size} bytes; at most {MAX_DOCUMENT} are read")]
    Size { what: &'static str, size: u64 },
}

/// Content and how to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
}

#[derive(Debug)]
pub(super) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Manifest),
}

/// The manifest of one image.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) config: Blob,
    pub(super) layers: Vec<Blob>,
}

/// Parses what a registry answered. `content_type` decides only where the document does not say itself what it is.
pub(super) fn parse(content: &[u8], content_type: Option<&str>) -> Result<Document, DocumentError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        schema_version: Option<u32>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let json = |what| move |source| DocumentError::Json { what, source };
    let shape: Shape = serde_json::from_slice(content).map_err(json("manifest"))?;
    let (index, image) = (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some());
    let said = shape.media_type.as_deref().or(content_type.filter(|t| ACCEPT.contains(t)));
    if index && image {
        return Err(DocumentError::Ambiguous);
    }
    match said {
        Some(OCI_INDEX | DOCKER_LIST) if !image => Ok(Document::Index(serde_json::from_slice(content).map_err(json("index"))?)),
        Some(OCI_MANIFEST | DOCKER_MANIFEST) if !index => Ok(Document::Manifest(manifest(content)?)),
        Some(OCI_INDEX | DOCKER_LIST | OCI_MANIFEST | DOCKER_MANIFEST) => Err(DocumentError::Ambiguous),
        None if shape.schema_version == Some(1) => Err(DocumentError::MediaType("Docker schema 1".into())),
        None if index => Ok(Document::Index(serde_json::from_slice(content).map_err(json("index"))?)),
        None if image => Ok(Document::Manifest(manifest(content)?)),
        other => Err(DocumentError::MediaType(other.or(content_type).unwrap_or_default().to_owned())),
    }
}

fn manifest(content: &[u8]) -> Result<Manifest, DocumentError> {
    let parsed: ImageManifest =
        serde_json::from_slice(content).map_err(|source| DocumentError::Json { what: "manifest", source })?;
    if parsed.layers().len() > MAX_LAYERS {
        return Err(DocumentError::TooManyLayers(parsed.layers().len()));
    }
    let config = blob(parsed.config())?;
    if config.size > MAX_DOCUMENT {
        return Err(DocumentError::Size { what: "configuration", size: config.size });
    }
    let layers = parsed.layers().iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Manifest { config, layers })
}

fn layer(descriptor: &Descriptor) -> Result<Blob, DocumentError> {
    let blob = blob(descriptor)?;
    let media_type = descriptor.media_type().to_string();
    // `…layer.v1.tar+gzip`, `…rootfs.diff.tar.gzip`, and the same for layers that are not to be distributed.
    let base = media_type.strip_suffix("+gzip").or(media_type.strip_suffix(".gzip")).or(media_type.strip_suffix("+zstd"));
    let base = base.or(media_type.strip_suffix(".zstd")).unwrap_or(&media_type);
    let known = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    if known.iter().any(|prefix| base.starts_with(prefix)) && base.ends_with(".tar") {
        Ok(blob)
    } else {
        Err(DocumentError::LayerType { digest: blob.digest, media_type })
    }
}

fn blob(descriptor: &Descriptor) -> Result<Blob, DocumentError> {
    let media_type = descriptor.media_type().to_string();
    Ok(Blob { digest: descriptor.digest().to_string().parse()?, size: descriptor.size(), media_type })
}

/// The image in `index` that runs on `wanted` and is made closest to it.
pub(super) fn select(index: &ImageIndex, wanted: &Platform) -> Result<Blob, DocumentError> {
    let wanted_exactly = settled(wanted.clone());
    let candidates = index.manifests().iter().filter_map(|descriptor| {
        let platform = descriptor.platform().as_ref()?;
        let platform = settled(Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        });
        Some((platform, descriptor))
    });
    let mut best: Option<(Platform, &Descriptor)> = None;
    for (platform, descriptor) in candidates {
        // The first of equals: publishers put the preferred one first.
        let better = best.as_ref().is_none_or(|(known, _)| platform.variant > known.variant);
        if platform.runs_on(&wanted_exactly) && better {
            best = Some((platform, descriptor));
        }
    }
    let (_, descriptor) = best.ok_or_else(|| DocumentError::NoPlatform { wanted: wanted.clone(), there: platforms(index) })?;
    let media_type = descriptor.media_type().to_string();
    match media_type.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => {}
        OCI_INDEX | DOCKER_LIST => return Err(DocumentError::Nested),
        _ => return Err(DocumentError::MediaType(media_type)),
    }
    let blob = blob(descriptor)?;
    if blob.size > MAX_DOCUMENT {
        return Err(DocumentError::Size { what: "manifest", size: blob.size });
    }
    Ok(blob)
}

fn platforms(index: &ImageIndex) -> Vec<String> {
    let named = index.manifests().iter().filter_map(|d| d.platform().as_ref());
    let mut there: Vec<String> = named
        .filter(|p| p.os().to_string() != "unknown")
        .map(|p| {
            let variant = p.variant().as_ref().map(|v| format!("/{v}")).unwrap_or_default();
            format!("{}/{}{variant}", p.os(), p.architecture())
        })
        .collect();
    if there.is_empty() {
        there.push("none that names its platform".into());
    }
    there
}

/// A platform with the variant that goes without saying.
fn settled(mut platform: Platform) -> Platform {
    platform.variant = platform.variant.filter(|v| !v.is_empty());
    match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", Some("v1")) => platform.variant = None,
        ("arm64", None | Some("8")) => platform.variant = Some("v8".into()),
        ("arm", None) => platform.variant = Some("v7".into()),
        _ => {}
    }
    platform
}

/// Parses a configuration; its diff ids, lowest first.
pub(super) fn configuration(content: &[u8], layers: usize) -> Result<(ImageConfiguration, Vec<Digest>), DocumentError> {
    let config: ImageConfiguration =
        serde_json::from_slice(content).map_err(|source| DocumentError::Json { what: "configuration", source })?;
    let diff_ids = config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<Vec<Digest>, _>>()?;
    if diff_ids.len() != layers {
        return Err(DocumentError::Layers { layers, diff_ids: diff_ids.len() });
    }
    Ok((config, diff_ids))
}

/// Refuses an image that was made for something else than `wanted`.
pub(super) fn check_platform(config: &ImageConfiguration, wanted: &Platform) -> Result<(), DocumentError> {
    let found = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    };
    // Artifacts and images made from scratch often leave it out.
    if found.os.is_empty() || found.architecture.is_empty() || settled(found.clone()).runs_on(&settled(wanted.clone())) {
        Ok(())
    } else {
        Err(DocumentError::WrongPlatform { found: found.to_string(), wanted: wanted.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, Option<&str>)]) -> ImageIndex {
        let manifests: Vec<_> = platforms
            .iter()
            .enumerate()
            .map(|(i, (architecture, variant))| {
                serde_json::json!({
                    "mediaType": OCI_MANIFEST, "digest": Digest::of(&[i as u8]).to_string(), "size": 7,
                    "platform": {"os": if *architecture == "unknown" { "unknown" } else { "linux" },
                                 "architecture": architecture, "variant": variant},
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
    }

    #[test]
    fn selects_the_closest_platform() {
        let all = index(&[("unknown", None), ("arm", Some("v6")), ("arm", Some("v7")), ("arm64", None), ("amd64", None)]);
        for (wanted, place) in [
            ("linux/amd64", 4),
            ("linux/arm64", 3),
            ("linux/arm64/v8", 3),
            ("linux/arm/v7", 2),
            ("linux/arm/v6", 1),
            ("linux/arm", 2),
        ] {
            let found = select(&all, &wanted.parse().unwrap()).unwrap();
            assert_eq!(found.digest, Digest::of(&[place]), "{wanted}");
        }
        let error = select(&all, &"linux/s390x".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("linux/arm/v6, linux/arm/v7, linux/arm64, linux/amd64"), "{error}");
    }

    #[test]
    fn refuses_what_is_not_an_image() {
        let digest = Digest::of(b"");
        let blob = |kind: &str| serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": 1});
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let config = blob("application/vnd.oci.image.config.v1+json");
        let parse_json = |value: serde_json::Value| parse(value.to_string().as_bytes(), None);
        let image = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [blob(tar)]});
        assert!(matches!(parse_json(image.clone()).unwrap(), Document::Manifest(m) if m.layers.len() == 1));
        let mut both = image.clone();
        both["manifests"] = serde_json::json!([]);
        assert!(matches!(parse_json(both), Err(DocumentError::Ambiguous)));
        let mut lies = image.clone();
        lies["mediaType"] = OCI_INDEX.into();
        assert!(matches!(parse_json(lies), Err(DocumentError::Ambiguous)));
        let chart =
            serde_json::json!({"config": config, "layers": [blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip")]});
        let mut chart = chart;
        chart["schemaVersion"] = 2.into();
        assert!(matches!(parse_json(chart), Err(DocumentError::LayerType { .. })));
        assert!(matches!(parse_json(serde_json::json!({"schemaVersion": 1})), Err(DocumentError::MediaType(_))));
        assert!(parse(b"<html>", None).is_err());
    }
}
