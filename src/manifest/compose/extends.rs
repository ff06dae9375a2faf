//! `extends`: a service is laid over another one, of the same file or of another. Relative paths of the other file are
//! relative to that file.
//! Source: Compose Specification, "extends".

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::merge::merge;
use crate::manifest::files;
use crate::manifest::interpolate;
use crate::manifest::problem::{Place, Problems, did_you_mean};
use crate::manifest::reader::clean;
use crate::manifest::tree::{Key, Node, Value};

/// What resolving needs to know of where it happens.
pub(super) struct Extending<'a> {
    pub(super) problems: &'a mut Problems,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) watched: &'a mut Vec<PathBuf>,
    /// The services of files that were read, by path.
    read: HashMap<PathBuf, Option<Services>>,
}

type Services = Vec<(Key, Node)>;

/// A text and where it stands.
type Said = (String, Place);

/// What a service extends.
struct Base {
    service: Said,
    /// The same file unless given.
    file: Option<Said>,
}

impl<'a> Extending<'a> {
    pub(super) fn new(
        problems: &'a mut Problems,
        variables: &'a BTreeMap<String, String>,
        watched: &'a mut Vec<PathBuf>,
    ) -> Self {
        Self { problems, variables, watched, read: HashMap::new() }
    }

    /// Replaces the services of a document, which was read from `file`, by what they come to. Relative paths of the document
    /// are relative to `folder`.
    pub(super) fn apply(&mut self, document: &mut Node, file: &Path, folder: &Path) {
        let Some(services) = services_of(document) else { return };
        if !services.iter().any(|(_, node)| extends_of(node).is_some()) {
            return;
        }
        let all = services.clone();
        for (key, node) in services {
            let mut chain = Vec::new();
            match self.resolve(&key.text, key.at, &all, file, folder, &mut chain) {
                Some(whole) => *node = whole,
                // What it lacks may be what it was to begin with.
                None => self.problems.silence(node.at),
            }
            take_extends(node);
        }
    }

    fn resolve(
        &mut self,
        name: &str,
        at: Place,
        services: &Services,
        file: &Path,
        folder: &Path,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let Some((_, node)) = services.iter().find(|(key, _)| key.text == name) else {
            let hint = did_you_mean(name, services.iter().map(|(key, _)| key.text.as_str()))
                .unwrap_or_else(|| "name a service of the file that is extended".to_owned());
            self.problems.error_hint(at, format!("there is no service `{name}` in {}", file.display()), hint);
            return None;
        };
        let mut node = node.clone();
        let Some(extends) = take_extends(&mut node) else { return Some(node) };
        let this = (file.to_owned(), name.to_owned());
        if chain.contains(&this) {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            self.problems.error_hint(at, format!("`{name}` extends itself by way of {}", names.join(", ")), "remove one of them");
            return None;
        }
        chain.push(this);
        let Base { service: (other, other_at), file: other_file } = self.read_extends(&extends)?;
        let base = match other_file {
            None => self.resolve(&other, other_at, services, file, folder, chain)?,
            Some((text, text_at)) => {
                let path = clean(&folder.join(&text));
                let services = self.services(&path, text_at)?;
                let other_folder = path.parent().unwrap_or(folder).to_owned();
                let mut base = self.resolve(&other, other_at, &services, &path, &other_folder, chain)?;
                if other_folder != folder {
                    rebase(&mut base, &other_folder);
                }
                base
            }
        };
        Some(merge(base, node, &mut vec!["services".to_owned(), name.to_owned()]))
    }

    /// The service and the file that `extends` names.
    fn read_extends(&mut self, node: &Node) -> Option<Base> {
        let text =
            |node: &Node| if let Value::Scalar(scalar) = &node.value { Some((scalar.text.clone(), node.at)) } else { None };
        let Value::Map(entries) = &node.value else {
            let Some(service) = text(node) else {
                self.problems.error_hint(node.at, "`extends` is not a service", "write `{service: NAME, file: PATH}`");
                return None;
            };
            return Some(Base { service, file: None });
        };
        let (mut service, mut file) = (None, None);
        for (key, value) in entries {
            match key.text.as_str() {
                "service" => service = text(value),
                "file" => file = text(value),
                other => {
                    let hint = "the fields are service, file";
                    self.problems.error_hint(key.at, format!("`extends` has no field `{other}`"), hint);
                }
            }
        }
        let Some(service) = service else {
            self.problems.error_hint(node.at, "`extends` needs the field `service`", "the name of the service to begin with");
            return None;
        };
        Some(Base { service, file })
    }

    /// The services of another file.
    fn services(&mut self, path: &Path, at: Place) -> Option<Services> {
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        self.watched.push(path.to_owned());
        let services = self.read_services(path, at);
        self.read.insert(path.to_owned(), services.clone());
        services
    }

    fn read_services(&mut self, path: &Path, at: Place) -> Option<Services> {
        if !path.is_file() {
            self.problems.error(at, format!("there is no file {}", path.display()));
            return None;
        }
        let (_, documents) = files::read_documents(path, path, self.problems)?;
        let mut document = documents.into_iter().next();
        if let Some(document) = &mut document {
            interpolate::interpolate(document, self.variables, self.problems);
        }
        match document.as_mut().and_then(|document| services_of(document)) {
            Some(services) => Some(std::mem::take(services)),
            None => {
                self.problems.error(at, format!("{} has no services", path.display()));
                None
            }
        }
    }
}

fn services_of(document: &mut Node) -> Option<&mut Services> {
    let Value::Map(entries) = &mut document.value else { return None };
    let (_, node) = entries.iter_mut().find(|(key, _)| key.text == "services")?;
    if let Value::Map(services) = &mut node.value { Some(services) } else { None }
}

fn extends_of(service: &Node) -> Option<&Node> {
    let Value::Map(entries) = &service.value else { return None };
    entries.iter().find(|(key, _)| key.text == "extends").map(|(_, node)| node)
}

fn take_extends(service: &mut Node) -> Option<Node> {
    let Value::Map(entries) = &mut service.value else { return None };
    let at = entries.iter().position(|(key, _)| key.text == "extends")?;
    Some(entries.remove(at).1)
}

/// Makes a service's paths of the host, which are relative to `folder`, absolute.
fn rebase(service: &mut Node, folder: &Path) {
    let Value::Map(entries) = &mut service.value else { return };
    for (key, node) in entries {
        match key.text.as_str() {
            "env_file" | "label_file" => each(node, &mut |item| match &mut item.value {
                Value::Map(entries) => fields(entries, &["path"], &mut |node| path(node, folder)),
                _ => path(item, folder),
            }),
            "volumes" => each(node, &mut |item| {
                // Names of volumes begin otherwise.
                let is_path = text(item).is_some_and(|text| text.starts_with('.'));
                match &mut item.value {
                    Value::Map(entries) => {
                        let bind = entries.iter().any(|(key, node)| key.text == "type" && text(node) == Some("bind"));
                        if bind {
                            fields(entries, &["source"], &mut |node| path(node, folder));
                        }
                    }
                    _ if is_path => path(item, folder),
                    _ => {}
                }
            }),
            "build" => match &mut node.value {
                Value::Map(entries) => {
                    fields(entries, &["context"], &mut |node| context(node, folder));
                    fields(entries, &["additional_contexts"], &mut |node| values(node, &mut |node| context(node, folder)));
                    fields(entries, &["secrets"], &mut |node| {
                        each(node, &mut |item| {
                            if let Value::Map(entries) = &mut item.value {
                                fields(entries, &["file"], &mut |node| path(node, folder));
                            }
                        });
                    });
                }
                _ => context(node, folder),
            },
            _ => {}
        }
    }
}

fn text(node: &Node) -> Option<&str> {
    if let Value::Scalar(scalar) = &node.value { Some(&scalar.text) } else { None }
}

fn each(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(change),
        _ => change(node),
    }
}

fn fields(entries: &mut [(Key, Node)], names: &[&str], change: &mut dyn FnMut(&mut Node)) {
    entries.iter_mut().filter(|(key, _)| names.contains(&key.text.as_str())).for_each(|(_, node)| change(node));
}

fn values(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    if let Value::Map(entries) = &mut node.value {
        entries.iter_mut().for_each(|(_, node)| change(node));
    }
}

fn path(node: &mut Node, folder: &Path) {
    if let Value::Scalar(scalar) = &mut node.value
        && !scalar.text.starts_with(['/', '~'])
    {
        // What follows a mount's source stays as it is: a path is joined before it.
        let trailing = scalar.text.find(':').map_or(scalar.text.len(), |colon| colon);
        let (source, rest) = scalar.text.split_at(trailing);
        scalar.text = format!("{}{rest}", clean(&folder.join(source)).display());
    }
}

/// A folder, unless it is one that is somewhere else.
fn context(node: &mut Node, folder: &Path) {
    if text(node).is_some_and(|text| !text.contains(':')) {
        path(node, folder);
    }
}
