//! COPY and ADD: files of a context, a stage or an image become a layer.

use std::os::fd::AsFd;

use serde_json::json;

use super::attest::{Material, without_user};
use super::dockerfile::{AddFiles, CopyFiles, Place, Transfer};
use super::error::BuildError;
use super::events::Running;
use super::files::git::{self, GitSource};
use super::files::{self, Copied, CopyOrder, Download, FilesError, Rest, Select, Selection, Tree, Web, write_document};
use super::ignore::Ignore;
use super::layers::Layers;
use super::permissions::Permissions;
use super::stage::Builder;
use super::stages::{Source, Step};
use super::work::Origin;
use crate::engine::images::{Draft, DraftLayer, Fresh};
use crate::engine::runtime::look_up_at;
use crate::model::Digest;

/// What is copied, with all variables replaced.
struct Order {
    /// Those of a tree. With ADD, sources that come from elsewhere stand between the groups, because what comes later is laid over what
    /// came before.
    sources: Vec<Vec<String>>,
    documents: Vec<(String, String)>,
    exclude: Vec<String>,
    parents: bool,
    destination: String,
    to_folder: bool,
    chown: Option<String>,
    chmod: Option<Permissions>,
    link: bool,
    /// `Some` for ADD: whether archives among the files are unpacked, and those that were fetched.
    unpacks: Option<(bool, bool)>,
    place: Place,
    created_by: String,
}

/// One after the other, as they are written.
#[derive(Clone, Copy)]
enum Turn {
    /// A group of sources, by its place.
    Here(usize),
    Web(usize),
    Git(usize),
}

/// What ADD has fetched.
#[derive(Default)]
struct Fetched {
    /// Empty where nothing comes from elsewhere.
    turns: Vec<Turn>,
    web: Vec<Web>,
    /// Those of the web, once they are here.
    downloads: Vec<Download>,
    checkouts: Vec<Selection>,
    /// What each is known by, in the order of the sources.
    facts: Vec<Digest>,
    /// Where it is.
    scratch: Option<Draft>,
}

pub(super) async fn copy(builder: &mut Builder, step: &Step, copy: &CopyFiles) -> Result<(), BuildError> {
    let running = builder.begin(&step.instruction.text);
    let source = step.from.first().cloned().flatten();
    let outcome = match order(builder, step, &copy.files, copy.parents, "COPY") {
        Ok(order) => transfer(builder, step, order, source, Fetched::default()).await,
        Err(error) => Err(error),
    };
    finish(builder, running, outcome)
}

pub(super) async fn add(builder: &mut Builder, step: &Step, add: &AddFiles) -> Result<(), BuildError> {
    let running = builder.begin(&step.instruction.text);
    let outcome = added(builder, step, add).await;
    finish(builder, running, outcome)
}

async fn added(builder: &mut Builder, step: &Step, add: &AddFiles) -> Result<Done, BuildError> {
    let mut order = order(builder, step, &add.files, false, "ADD")?;
    // Archives of the context are unpacked unless the flag says no, and fetched ones only if it says so.
    order.unpacks = Some((add.unpack.unwrap_or(true), add.unpack.unwrap_or(false)));
    let fetched = fetch(builder, &mut order, add).await.map_err(|error| told_at(builder, order.place, error))?;
    transfer(builder, step, order, None, fetched).await
}

fn is_web(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Fetches those of the sources that are elsewhere, and leaves the others in the order.
async fn fetch(builder: &Builder, order: &mut Order, add: &AddFiles) -> Result<Fetched, BuildError> {
    let all: Vec<String> = std::mem::take(&mut order.sources).into_iter().flatten().collect();
    let is_elsewhere = |source: &String| GitSource::is_one(source) || is_web(source);
    let elsewhere = all.iter().filter(|source| is_elsewhere(source)).count();
    let checksum = add.checksum.as_ref().map(|word| builder.word(word)).transpose()?;
    if let Some(word) = add.checksum.as_ref().filter(|_| elsewhere != 1 || all.len() != 1) {
        let hint = Some("give each such source an ADD of its own".to_owned());
        return Err(builder.wrong_with(word.place, "`--checksum` is of one URL or one Git repository".to_owned(), hint));
    }
    if elsewhere == 0 {
        order.sources = groups(all);
        return Ok(Fetched::default());
    }
    let work = builder.work.clone();
    let scratch = work.images.draft(None)?;
    let mut fetched = Fetched::default();
    for (number, source) in all.into_iter().enumerate() {
        if !is_elsewhere(&source) {
            match (fetched.turns.last(), order.sources.last_mut()) {
                (Some(Turn::Here(_)), Some(group)) => group.push(source),
                _ => {
                    fetched.turns.push(Turn::Here(order.sources.len()));
                    order.sources.push(vec![source]);
                }
            }
            continue;
        }
        let path = scratch.folder().join(format!("fetched-{number}"));
        if GitSource::is_one(&source) {
            let mut parsed = GitSource::parse(&source)?;
            if let Some(checksum) = &checksum {
                parsed = parsed.with_checksum(checksum)?;
            }
            let (keep, access) = (add.keep_git_dir.unwrap_or(false), super::plan::git_access(&work.request));
            let selected = tokio::task::spawn_blocking(move || {
                let checkout = git::fetch(&parsed, &path, keep, &access)?;
                let none = Ignore::default();
                let all = ["/".to_owned()];
                let selection = Selection::of(&checkout.tree, &Select { sources: &all, exclude: &none, parents: false })?;
                Ok::<_, BuildError>((checkout.digest(), checkout.commit, selection))
            });
            let (digest, commit, selection) = selected.await??;
            work.fetched(Material { uri: without_user(&source), digest: Some(("sha1", commit)) });
            fetched.facts.push(digest);
            fetched.turns.push(Turn::Git(fetched.checkouts.len()));
            fetched.checkouts.push(selection);
        } else {
            let wanted = match &checksum {
                None => None,
                Some(text) => Some(
                    text.parse::<Digest>()
                        .map_err(|error| builder.wrong_with(order.place, format!("`--checksum={text}`: {error}"), None))?,
                ),
            };
            let visits = files::visits(&work.state_dir);
            let web = Web::look(&work.images, &source, path, wanted, &visits, builder.is_afresh()).await?;
            work.fetched(Material { uri: without_user(&source), digest: Some(("sha256", web.content().hex())) });
            fetched.facts.push(web.digest());
            fetched.turns.push(Turn::Web(fetched.web.len()));
            fetched.web.push(web);
        }
    }
    fetched.scratch = Some(scratch);
    Ok(fetched)
}

/// All sources as one group, if there are any.
fn groups(sources: Vec<String>) -> Vec<Vec<String>> {
    if sources.is_empty() { Vec::new() } else { vec![sources] }
}

/// Fetches what is not here yet. Whether any of it is another than was said.
async fn bring(builder: &Builder, fetched: &mut Fetched) -> Result<bool, BuildError> {
    let work = builder.work.clone();
    let visits = files::visits(&work.state_dir);
    let mut other = false;
    for (number, web) in std::mem::take(&mut fetched.web).into_iter().enumerate() {
        let scratch = fetched.scratch.as_ref().ok_or(BuildError::Interrupted)?;
        let (download, changed) = web.bring(&work.images, scratch.folder().join(format!("brought-{number}")), &visits).await?;
        other |= changed;
        fetched.downloads.push(download);
    }
    Ok(other)
}

/// All files of a context, for a stage that begins with them.
pub(super) async fn whole(builder: &mut Builder, tree: Tree) -> Result<(), BuildError> {
    let running = builder.begin("the files of the context");
    let order = Order {
        sources: vec![vec!["/".to_owned()]],
        documents: Vec::new(),
        exclude: Vec::new(),
        parents: false,
        destination: "/".to_owned(),
        to_folder: true,
        chown: None,
        chmod: None,
        link: false,
        unpacks: None,
        place: builder.stage.place,
        created_by: "the files of a context".to_owned(),
    };
    let outcome = layer(builder, order, Origin::Tree(tree), Fetched::default()).await;
    finish(builder, running, outcome)
}

/// A layer that is done: what it is known by and from.
struct Done {
    key: Option<Digest>,
    created_by: String,
    layer: DraftLayer,
    known: bool,
}

fn finish(builder: &mut Builder, running: Running, outcome: Result<Done, BuildError>) -> Result<(), BuildError> {
    match outcome {
        Ok(Done { key, created_by, layer, known }) => {
            // What changed while it was copied is not what its key says; it is known by its own content only.
            let key = key.unwrap_or_else(|| builder.key_of_content(&layer, &created_by));
            builder.take(key, &created_by, layer, running, known);
            Ok(())
        }
        Err(error) => running.ended(Err(error), false),
    }
}

/// Replaces the variables.
fn order(
    builder: &Builder,
    step: &Step,
    files: &Transfer,
    parents: bool,
    instruction: &'static str,
) -> Result<Order, BuildError> {
    let place = step.instruction.place;
    let sources = files.sources.iter().map(|word| builder.word(word)).collect::<Result<Vec<_>, _>>()?;
    let written = builder.word(&files.destination)?;
    let to_folder = written.is_empty() || written.ends_with('/') || written == "." || written.ends_with("/.");
    let folder = if written.starts_with('/') { "" } else { builder.image.working_dir() };
    let destination = super::config::clean(&format!("{folder}/{written}"));
    if sources.len() + files.documents.len() > 1 && !to_folder {
        let hint = Some(format!("write `{written}/`"));
        return Err(builder.wrong_with(files.destination.place, "several sources need a folder to go to".to_owned(), hint));
    }
    let chown = files.chown.as_ref().map(|word| builder.word(word)).transpose()?;
    let chmod = match &files.chmod {
        None => None,
        Some(word) => {
            let text = builder.word(word)?;
            let parsed = text.parse::<Permissions>();
            Some(parsed.map_err(|error| builder.wrong_with(word.place, format!("`--chmod`: {error}"), None))?)
        }
    };
    let mut documents = Vec::new();
    for document in &files.documents {
        let content = match document.expand {
            true => {
                let expanded = builder.image.scope.document(&document.content);
                expanded.map_err(|error| builder.wrong_with(document.place, error.to_string(), error.hint()))?.value
            }
            false => document.content.clone(),
        };
        documents.push((document.name.clone(), content));
    }
    let mut told = sources.clone();
    told.extend(documents.iter().map(|(name, _)| format!("<<{name}")));
    let flags = chown.iter().map(|owner| format!("--chown={owner} ")).collect::<String>();
    let created_by = format!("{instruction} {flags}{} {written}", told.join(" "));
    Ok(Order {
        sources: groups(sources),
        documents,
        exclude: files.exclude.clone(),
        parents,
        destination,
        to_folder,
        chown,
        chmod,
        link: files.link,
        unpacks: None,
        place,
        created_by,
    })
}

async fn transfer(
    builder: &mut Builder,
    step: &Step,
    order: Order,
    source: Option<Source>,
    fetched: Fetched,
) -> Result<Done, BuildError> {
    let origin = builder.origin(source.as_ref(), &step.instruction)?;
    layer(builder, order, origin, fetched).await
}

/// Selects, looks whether it is known, and copies.
async fn layer(builder: &mut Builder, order: Order, origin: Origin, mut fetched: Fetched) -> Result<Done, BuildError> {
    let order = std::sync::Arc::new(order);
    // What layers show may be known without a look at them, and then they need not be here.
    let answers = match &origin {
        Origin::Layers(layers) if !order.sources.is_empty() => {
            let asked = order.sources.iter().map(|sources| question(&order, sources, layers));
            asked.map(|question| builder.work.answer(&question, layers)).collect::<Option<Vec<Digest>>>()
        }
        Origin::Tree(_) | Origin::Layers(_) => None,
    };
    let (selections, content) = match answers {
        Some(content) => (None, content),
        None => {
            let (selections, content) = select(builder, &order, &origin).await?;
            (Some(selections), content)
        }
    };
    let kind = |turn: &Turn| match turn {
        Turn::Here(_) => "here",
        Turn::Web(_) => "web",
        Turn::Git(_) => "git",
    };
    let turns: Vec<&str> = fetched.turns.iter().map(kind).collect();
    // Whose a name is, is said by the layers that the step stands on, and those are in its key.
    let (named, owner) = match &order.chown {
        Some(text) if !order.link && numeric(text).is_none() => (Some(text), None),
        _ => (None, owner(builder, &order).await?),
    };
    let facts = json!({
        "content": content, "documents": order.documents, "to": order.destination, "folder": order.to_folder, "owner": owner,
        "named": named, "mode": order.chmod.as_ref().map(|mode| format!("{mode:?}")), "link": order.link, "fetched": fetched.facts,
        "turns": turns,
        "unpacks": order.unpacks,
    });
    let key = match order.link {
        // It does not look at what it goes on top of.
        true => super::key::of_step("copy", "", builder.work.request.epoch, facts),
        false => builder.key("copy", facts),
    };
    let created_by = order.created_by.clone();
    if let Some(layer) = builder.known(&key)? {
        return Ok(Done { key: Some(key), created_by, layer, known: true });
    }
    let other = bring(builder, &mut fetched).await.map_err(|error| told_at(builder, order.place, error))?;
    let selections = match selections {
        Some(selections) => selections,
        None => select(builder, &order, &origin).await?.0,
    };
    let owner = match named {
        Some(_) => self::owner(builder, &order).await?,
        None => owner,
    };
    let work = builder.work.clone();
    let layers = if order.link { Layers::default() } else { builder.layers.clone() };
    work.bring(&layers).await?;
    let again = order.clone();
    let (copied, layer) = tokio::task::spawn_blocking(move || {
        let epoch = work.request.epoch;
        let to = CopyOrder {
            destination: again.destination.clone(),
            to_folder: again.to_folder,
            owner,
            mode: again.chmod.clone(),
            epoch,
        };
        let draft = layers.draft(&work.images)?;
        let syncing = draft.syncing().map_err(FilesError::from)?;
        let root = layers.changed_in(&draft, &work.floor.upper()).map_err(BuildError::step("mount the layers"))?;
        let (mut copied, rest) = write(&again, &to, &selections, &fetched, &root)?;
        // With it goes the mount, and the upper folder is nobody else's.
        drop(root);
        let mut fresh = Fresh::default();
        if let Some(rest) = rest {
            copied = copied.and(rest.copy(draft.opened().map_err(FilesError::from)?.as_fd(), &to, &mut fresh)?);
        }
        let layer = work.images.seal(draft, epoch, &fresh)?;
        syncing.end().map_err(FilesError::from)?;
        Ok::<_, BuildError>((copied, layer))
    })
    .await?
    .map_err(|error| told_at(builder, order.place, error))?;
    for doubt in &copied.doubts {
        let problem = builder.work.stages.source().problem(order.place, doubt.to_string(), None);
        builder.work.events.warn(problem.render(false));
    }
    Ok(Done { key: (!copied.changed && !other).then_some(key), created_by, layer, known: false })
}

/// What is wrong with files is shown where the instruction stands.
fn told_at(builder: &Builder, place: Place, error: BuildError) -> BuildError {
    match error {
        BuildError::Files(error) => builder.wrong_with(place, error.to_string(), error.hint()),
        other => other,
    }
}

async fn select(
    builder: &Builder,
    order: &std::sync::Arc<Order>,
    origin: &Origin,
) -> Result<(Vec<Selection>, Vec<Digest>), BuildError> {
    if order.sources.is_empty() {
        return Ok(Default::default());
    }
    if let Origin::Layers(layers) = origin {
        builder.work.bring(layers).await?;
    }
    let (work, origin, wanted) = (builder.work.clone(), origin.share(), order.clone());
    let selected = tokio::task::spawn_blocking(move || {
        let tree = match &origin {
            Origin::Tree(tree) => tree.clone(),
            Origin::Layers(layers) => Tree::of_root(work.view(layers)?, "the stage"),
        };
        let exclude = Ignore::of_patterns(wanted.exclude.iter().map(String::as_str));
        let exclude = exclude.map_err(|source| BuildError::Ignore { file: "--exclude".to_owned(), source })?;
        let one = |sources: &Vec<String>| {
            let selection = Selection::of(&tree, &Select { sources, exclude: &exclude, parents: wanted.parents })?;
            let content = match &origin {
                Origin::Tree(_) => selection.digest(&work.known)?,
                Origin::Layers(layers) => {
                    let question = question(&wanted, sources, layers);
                    match work.answer(&question, layers) {
                        Some(content) => content,
                        None => {
                            let content = selection.digest(&work.known)?;
                            work.answered(&question, &content, layers);
                            content
                        }
                    }
                }
            };
            Ok::<_, BuildError>((selection, content))
        };
        wanted.sources.iter().map(one).collect::<Result<(Vec<_>, Vec<_>), _>>()
    });
    selected.await?.map_err(|error| told_at(builder, order.place, error))
}

/// What of layers a step takes, as a question that has one answer for ever: what layers show never changes.
fn question(order: &Order, sources: &[String], layers: &Layers) -> Digest {
    super::key::of_step("content", &layers.chain(), None, json!([sources, order.exclude, order.parents]))
}

/// The user and the group of `--chown`, looked up in the stage's own files.
async fn owner(builder: &Builder, order: &Order) -> Result<Option<(u32, u32)>, BuildError> {
    let Some(text) = order.chown.clone() else { return Ok(None) };
    if let Some(numbers) = numeric(&text) {
        return Ok(Some(numbers));
    }
    builder.work.bring(&builder.layers).await?;
    let (work, layers, named) = (builder.work.clone(), builder.layers.clone(), text.clone());
    let found = tokio::task::spawn_blocking(move || Ok::<_, BuildError>(look_up_at(&work.view(&layers)?, &named))).await??;
    match found {
        Ok(owner) => Ok(Some(owner)),
        Err(error) => {
            let hint = Some("it is looked for in the stage's own /etc/passwd and /etc/group; numbers need neither".to_owned());
            Err(builder.wrong_with(order.place, format!("`--chown={text}`: {error}"), hint))
        }
    }
}

/// `user:group` or `user` by number; a user alone is also the group, as with Docker. Root is 0 also where no table says so.
pub(super) fn numeric(text: &str) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let number = |word: &str| if word == "root" { Some(0) } else { word.parse().ok() };
    Some((number(user)?, number(group)?))
}

/// Does what the step says in `root`, the stage as it is, and returns what is to be done in the stage's upper folder then.
fn write<'a>(
    order: &Order,
    to: &CopyOrder,
    selections: &'a [Selection],
    fetched: &'a Fetched,
    root: &std::os::fd::OwnedFd,
) -> Result<(Copied, Option<Rest<'a>>), BuildError> {
    let all_here: Vec<Turn> = (0..selections.len()).map(Turn::Here).collect();
    let turns = if fetched.turns.is_empty() { &all_here } else { &fetched.turns };
    if let ([turn], true) = (turns.as_slice(), order.documents.is_empty()) {
        // Nothing comes on top of it.
        let selection = match *turn {
            Turn::Here(number) if order.unpacks.is_none() => Some(&selections[number]),
            Turn::Git(number) => Some(&fetched.checkouts[number]),
            Turn::Here(_) | Turn::Web(_) => None,
        };
        if let Some(selection) = selection {
            let (copied, rest) = files::copy_leaving(selection, root.as_fd(), to)?;
            return Ok((copied, Some(rest)));
        }
    }
    let mut all = Copied::default();
    for turn in turns {
        all = all.and(match *turn {
            Turn::Here(number) => match order.unpacks {
                Some((unpacks, _)) => files::add(&selections[number], root.as_fd(), to, unpacks)?,
                None => files::copy(&selections[number], root.as_fd(), to)?,
            },
            Turn::Web(number) => {
                let unpacks = order.unpacks.is_some_and(|(_, fetched)| fetched);
                fetched.downloads[number].put(root.as_fd(), to, unpacks)?
            }
            Turn::Git(number) => files::copy(&fetched.checkouts[number], root.as_fd(), to)?,
        });
    }
    for (name, content) in &order.documents {
        all = all.and(write_document(root.as_fd(), to, name, content.as_bytes())?);
    }
    Ok((all, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_by_number() {
        assert_eq!(numeric("5:7"), Some((5, 7)));
        assert_eq!(numeric("5"), Some((5, 5)));
        assert_eq!(numeric("root:7"), Some((0, 7)));
        assert_eq!(numeric("app"), None);
        assert_eq!(numeric("5:app"), None);
    }
}
