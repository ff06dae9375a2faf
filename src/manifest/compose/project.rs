//! A compose project from its files: each is read, its services are laid over those that they extend, and it is laid over the
//! files before it; what it includes is a project of its own beside it.
//! Source: Compose Specification, "Merge" and "Include".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::extends::Extending;
use super::merge::merge;
use crate::manifest::declared::Declared;
use crate::manifest::problem::{Place, Problems};
use crate::manifest::reader::{Reader, clean};
use crate::manifest::tree::{self, Node, Value};
use crate::manifest::{fields, files, interpolate};

/// How deep projects may include others.
const MAX_DEPTH: usize = 16;

/// A file, and how the user called it.
pub(in crate::manifest) struct Part {
    pub(in crate::manifest) path: PathBuf,
    pub(in crate::manifest) shown: PathBuf,
}

/// The files of a project. The first is laid below all others.
pub(in crate::manifest) struct Project {
    /// What paths are relative to.
    pub(in crate::manifest) folder: PathBuf,
    pub(in crate::manifest) parts: Vec<Part>,
    pub(in crate::manifest) variables: BTreeMap<String, String>,
}

/// Where what is read goes.
pub(in crate::manifest) struct Reading<'a> {
    pub(in crate::manifest) problems: &'a mut Problems,
    pub(in crate::manifest) watched: &'a mut Vec<PathBuf>,
    pub(in crate::manifest) declared: &'a mut Declared,
    /// What has been read: a file that several include is read once, where it means the same for all.
    known: Vec<(Vec<PathBuf>, PathBuf, BTreeMap<String, String>)>,
}

impl<'a> Reading<'a> {
    pub(in crate::manifest) fn new(
        problems: &'a mut Problems,
        watched: &'a mut Vec<PathBuf>,
        declared: &'a mut Declared,
    ) -> Self {
        Self { problems, watched, declared, known: Vec::new() }
    }

    /// Reads a project and all that it includes.
    pub(in crate::manifest) fn project(&mut self, project: &Project) {
        self.read(project, &mut Vec::new());
    }

    fn read(&mut self, project: &Project, chain: &mut Vec<PathBuf>) {
        let mut whole: Option<Node> = None;
        for part in &project.parts {
            let Some(document) = self.document(project, part) else { continue };
            whole = Some(match whole {
                None => document,
                Some(base) => merge(base, document, &mut Vec::new()),
            });
        }
        let Some(mut whole) = whole else { return };
        tree::settle(&mut whole);
        let includes = take(&mut whole, "include");
        let mut reader = Reader {
            problems: self.problems,
            base: project.folder.clone(),
            variables: &project.variables,
            watched: self.watched,
        };
        let named = self.declared.stack.clone();
        super::read(&mut reader, &whole, self.declared);
        if !chain.is_empty() {
            // The name of what is included is nobody's.
            self.declared.stack = named;
        }
        let Some(includes) = includes else { return };
        chain.extend(project.parts.iter().map(|part| part.path.clone()));
        let items = match &includes.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&includes),
        };
        for item in items {
            let Some(included) = self.include(item, project) else { continue };
            if let Some(again) = included.parts.iter().find(|part| chain.contains(&part.path)) {
                self.problems.error(item.at, format!("{} is included by itself", again.path.display()));
            } else if chain.len() >= MAX_DEPTH {
                self.problems.error(item.at, format!("files are included more than {MAX_DEPTH} deep"));
            } else if !self.is_known(&included) {
                self.read(&included, chain);
            }
        }
        chain.truncate(chain.len() - project.parts.len());
    }

    /// Whether a project has been read before; now it will have been.
    fn is_known(&mut self, project: &Project) -> bool {
        let files = project.parts.iter().map(|part| part.path.clone()).collect();
        let this = (files, project.folder.clone(), project.variables.clone());
        let known = self.known.contains(&this);
        if !known {
            self.known.push(this);
        }
        known
    }

    /// The one document of a file, with all that its services extend.
    fn document(&mut self, project: &Project, part: &Part) -> Option<Node> {
        self.watched.push(part.path.clone());
        let (number, documents) = files::read_documents(&part.path, &part.shown, self.problems)?;
        if let Some(second) = documents.get(1) {
            self.problems.error(second.at, "a compose file has one document only");
        }
        let Some(mut document) = documents.into_iter().next() else {
            if !self.problems.any() {
                self.problems.error(Place::whole(number), "the file is empty");
            }
            return None;
        };
        interpolate::interpolate(&mut document, &project.variables, self.problems);
        let mut extending = Extending::new(self.problems, &project.variables, self.watched);
        extending.apply(&mut document, &part.path, &project.folder);
        Some(document)
    }

    /// A file, or files with a folder and variables of their own.
    fn include(&mut self, node: &Node, outer: &Project) -> Option<Project> {
        let mut reader =
            Reader { problems: self.problems, base: outer.folder.clone(), variables: &outer.variables, watched: self.watched };
        let (paths, folder, env_files) = match &node.value {
            Value::Map(_) => {
                let f = reader.fields(node, &fields::INCLUDE)?;
                let paths = f.get("path").map(|node| reader.texts(node)).unwrap_or_default();
                let folder = f.get("project_directory").and_then(|node| Some((reader.text(node)?.to_owned(), node.at)));
                (paths, folder, f.get("env_file").map(|node| reader.texts(node)))
            }
            _ => (reader.texts(node), None, None),
        };
        let mut parts = Vec::new();
        for (text, at) in paths {
            let path = reader.host_path(at, &text)?;
            if !path.is_file() {
                reader.error(at, format!("there is no file {}", path.display()));
                return None;
            }
            parts.push(Part { shown: path.clone(), path });
        }
        let first = parts.first()?.path.parent().map(Path::to_owned).unwrap_or_else(|| outer.folder.clone());
        let folder = match folder {
            Some((text, at)) => reader.host_path(at, &text)?,
            None => clean(&first),
        };
        let variables = match env_files {
            // What is set outside counts more, as everywhere.
            None => files::variables(&folder, &outer.variables, self.problems, self.watched),
            Some(files) => {
                let mut all = BTreeMap::new();
                for (text, at) in files {
                    let path = reader.host_path(at, &text)?;
                    let text = files::small_text(&mut reader, at, &path)?;
                    all.extend(files::parse_variables(&path, text.as_bytes(), &outer.variables, reader.problems));
                }
                all.extend(outer.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
                all
            }
        };
        Some(Project { folder, parts, variables })
    }
}

fn take(root: &mut Node, name: &str) -> Option<Node> {
    let Value::Map(entries) = &mut root.value else { return None };
    let at = entries.iter().position(|(key, _)| key.text == name)?;
    Some(entries.remove(at).1).filter(|node| !matches!(node.value, Value::Null))
}
