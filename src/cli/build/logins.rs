//! Which registries a build has to do with, as far as that can be told here: their logins travel with the request.

use std::collections::BTreeSet;

use super::check;
use crate::engine::build::dockerfile;
use crate::engine::build::stages::{self, BuildSettings};
use crate::model::ImageRef;
use crate::model::build::{BuildOutput, BuildRequest, CachePlace, ContextSource};

/// The registries of a build, and whether these are all: where the Dockerfile is not here, nobody knows what it begins with.
#[derive(Debug, PartialEq, Eq)]
pub struct Reached {
    pub registries: BTreeSet<String>,
    pub are_all: bool,
}

pub fn reached(request: &BuildRequest) -> Reached {
    let mut images: Vec<ImageRef> = Vec::new();
    let caches = request.cache_from.iter().chain(request.cache_to.iter().map(|to| &to.place));
    images.extend(caches.filter_map(|place| match place {
        CachePlace::Registry { reference } => Some(reference.clone()),
        CachePlace::Local { .. } | CachePlace::Inline => None,
    }));
    images.extend(request.contexts.values().filter_map(|context| match context {
        ContextSource::Image(reference) => Some(reference.clone()),
        _ => None,
    }));
    if request.outputs.iter().any(BuildOutput::is_pushed) {
        images.extend(request.tags.iter().cloned());
    }
    let bases = bases(request);
    let are_all = bases.is_some();
    images.extend(bases.unwrap_or_default());
    Reached { registries: images.iter().map(|image| image.registry().to_owned()).collect(), are_all }
}

/// What the Dockerfile begins with and copies from. `None`: it is not here, or not one. The engine says what is wrong with it.
fn bases(request: &BuildRequest) -> Option<Vec<ImageRef>> {
    let (name, text) = check::text(request).ok()?;
    let file = dockerfile::parse(&name, &text).ok()?;
    let settings =
        BuildSettings::on_this_host(request.target.as_ref(), &request.arguments, &request.platforms, request.contexts.keys());
    let stages = stages::plan(&file, &settings).ok()?;
    Some(stages.images().into_iter().map(|needed| needed.reference).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::DockerfileSource;

    #[test]
    fn registries_of_bases_names_and_caches() {
        let text = "ARG BASE=one.example/a\nFROM $BASE AS x\nFROM two.example/b\nCOPY --from=three.example/c /a /b\nCOPY --from=x /a /c\n";
        let dockerfile = DockerfileSource::Text { name: "Dockerfile".to_owned(), text: text.to_owned() };
        let mut request = BuildRequest::new(ContextSource::Nothing, dockerfile);
        request.tags.push("four.example/d".parse().unwrap());
        request.cache_from.push(CachePlace::Registry { reference: "five.example/e".parse().unwrap() });
        let names = |names: &[&str]| names.iter().map(|name| format!("{name}.example")).collect::<BTreeSet<_>>();
        let found = reached(&request);
        assert_eq!(found, Reached { registries: names(&["one", "two", "three", "five"]), are_all: true });
        request.outputs.push(crate::cli::build::tests::pushed());
        assert!(reached(&request).registries.contains("four.example"));
        request.dockerfile = DockerfileSource::InContext(None);
        assert!(!reached(&request).are_all);
    }
}
