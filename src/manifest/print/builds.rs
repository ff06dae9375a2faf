//! How an image is built, in the words of a manifest.

use crate::model::build::{BuildNetwork, CachePlace, CacheTo, ContextSource, DockerfileSource, Entitlement, Provenance, Slsa};
use crate::model::spec::Build;

use super::yaml::Yaml;
use super::{Fields, PrintError, Printer, container};

impl Printer<'_> {
    pub(super) fn build(&self, build: &Build) -> Result<Yaml, PrintError> {
        let mut fields = Fields::default();
        fields.put("context", Yaml::text(self.context(&build.context)?));
        match &build.dockerfile {
            DockerfileSource::InContext(file) => fields.some("dockerfile", file.as_ref()),
            // Absolute, because what is relative is so to the context.
            DockerfileSource::File(path) => {
                let text = path.to_str().ok_or_else(|| PrintError::Path(path.clone()))?;
                fields.put("dockerfile", Yaml::text(text));
            }
            DockerfileSource::Text { text, .. } => fields.put("dockerfile_inline", Yaml::text(text)),
        }
        fields.pairs("args", &build.arguments);
        fields.some("target", build.target.as_ref());
        match build.network {
            BuildNetwork::Default => {}
            BuildNetwork::None => fields.put("network", Yaml::text("none")),
            BuildNetwork::Host => fields.put("network", Yaml::text("host")),
        }
        fields.pairs("labels", &build.labels);
        let mut contexts = Vec::new();
        for (name, context) in &build.contexts {
            contexts.push((name.clone(), Yaml::text(self.context(context)?)));
        }
        fields.map("additional_contexts", Yaml::Map(contexts));
        let mut caches = Vec::new();
        for place in &build.cache_from {
            caches.push(self.cache(place, "src")?);
        }
        fields.texts("cache_from", caches);
        let mut caches = Vec::new();
        for to in &build.cache_to {
            caches.push(self.cache_to(to)?);
        }
        fields.texts("cache_to", caches);
        fields.when("no_cache", build.no_cache);
        fields.texts("no_cache_filter", &build.no_cache_filter);
        fields.when("pull", build.pull);
        fields.texts("platforms", &build.platforms);
        let mut secrets = Vec::new();
        for (id, file) in &build.secrets {
            let file = Yaml::text(self.path(file)?);
            secrets.push(Yaml::Map(vec![("id".to_owned(), Yaml::text(id)), ("file".to_owned(), file)]));
        }
        fields.map("secrets", Yaml::List(secrets));
        let mut agents = Vec::new();
        for (id, socket) in &build.ssh {
            agents.push((id.clone(), Yaml::text(self.path(socket)?)));
        }
        fields.map("ssh", Yaml::Map(agents));
        fields.some("shm_size", build.shm_size);
        fields.map("ulimits", container::ulimits(&build.ulimits));
        fields.pairs("extra_hosts", &build.extra_hosts);
        fields.texts("tags", &build.tags);
        fields.texts(
            "entitlements",
            build.allow.iter().map(|allowed| match allowed {
                Entitlement::NetworkHost => "network.host",
                Entitlement::Insecure => "security.insecure",
            }),
        );
        if let Some(wanted) = &build.provenance {
            fields.put("provenance", Yaml::text(provenance(wanted)));
        }
        fields.when("sbom", build.sbom);
        Ok(Yaml::Map(fields.0))
    }

    fn context(&self, context: &ContextSource) -> Result<String, PrintError> {
        Ok(match context {
            ContextSource::Folder(path) => self.path(path)?,
            ContextSource::Git(address) | ContextSource::Url(address) => address.clone(),
            ContextSource::Image(reference) => format!("docker-image://{reference}"),
            ContextSource::Layout { path, image } => {
                let path = self.path(path)?;
                match image {
                    None => format!("oci-layout://{path}"),
                    Some(digest) if digest.contains(':') => format!("oci-layout://{path}@{digest}"),
                    Some(tag) => format!("oci-layout://{path}:{tag}"),
                }
            }
            // Neither comes of a manifest.
            ContextSource::Upload | ContextSource::Nothing => ".".to_owned(),
        })
    }

    fn cache(&self, place: &CachePlace, folder: &str) -> Result<String, PrintError> {
        Ok(match place {
            CachePlace::Registry { reference } => format!("type=registry,ref={reference}"),
            CachePlace::Local { path, name } => {
                let path = field(&format!("{folder}={}", self.path(path)?));
                match name {
                    None => format!("type=local,{path}"),
                    Some(digest) if digest.contains(':') => format!("type=local,{path},digest={digest}"),
                    Some(tag) => format!("type=local,{path},tag={tag}"),
                }
            }
            CachePlace::Inline => "type=inline".to_owned(),
        })
    }

    fn cache_to(&self, to: &CacheTo) -> Result<String, PrintError> {
        let mut text = self.cache(&to.place, "dest")?;
        if to.all {
            text.push_str(",mode=max");
        }
        if let Some(compression) = to.packing.compression {
            text.push_str(&format!(",compression={}", compression.word()));
        }
        if let Some(level) = to.packing.level {
            text.push_str(&format!(",compression-level={level}"));
        }
        if to.packing.force {
            text.push_str(",force-compression=true");
        }
        if to.ignore_error {
            text.push_str(",ignore-error=true");
        }
        Ok(text)
    }
}

/// A field of a list with commas, in quotes where it has one itself.
fn field(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn provenance(wanted: &Provenance) -> String {
    let mut text = format!("mode={}", if wanted.max { "max" } else { "min" });
    if wanted.version == Slsa::V02 {
        text.push_str(",version=v0.2");
    }
    if let Some(builder) = &wanted.builder_id {
        text.push(',');
        text.push_str(&field(&format!("builder-id={builder}")));
    }
    for (key, value) in [("reproducible", wanted.reproducible), ("inline-only", wanted.inline_only)] {
        if value {
            text.push_str(&format!(",{key}=true"));
        }
    }
    text
}
