//! One stage: from its base through its instructions to an image. What an instruction does to files is in the modules beside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::config::{ConfigError, Image, Wrong};
use super::dockerfile::{Command, Instruction, Place, Word};
use super::error::BuildError;
use super::events::Running;
use super::layers::Layers;
use super::sandbox::Sandbox;
use super::stages::{Source, Stage, Step};
use super::work::{Context, Origin, Work, base_key};
use super::{copy, key, run};
use crate::engine::images::{Draft, DraftLayer, Fresh};
use crate::engine::runtime::{look_up_at, view};
use crate::model::{Digest, did_you_mean};

/// What a stage has come to.
#[derive(Debug)]
pub(super) struct StageDone {
    pub(super) image: Image,
    pub(super) layers: Layers,
}

/// A stage that is being built.
pub(super) struct Builder {
    pub(super) work: Arc<Work>,
    pub(super) stage: Stage,
    /// The stages that it takes something from.
    pub(super) needs: BTreeMap<usize, Arc<StageDone>>,
    pub(super) image: Image,
    pub(super) layers: Layers,
    /// Made for the first RUN that is not known.
    pub(super) sandbox: Option<Sandbox>,
    /// Steps are not taken from the cache.
    no_cache: bool,
    /// Of the steps that are told of.
    position: usize,
    total: usize,
}

/// Builds a stage whose needs have been built.
pub(super) async fn build(
    work: Arc<Work>,
    index: usize,
    needs: BTreeMap<usize, Arc<StageDone>>,
) -> Result<Arc<StageDone>, BuildError> {
    let stage = work.stages.stages[index].clone();
    let request = &work.request;
    let own_number = index.to_string();
    let filtered = request
        .no_cache_filter
        .iter()
        .any(|wanted| *wanted == own_number || stage.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(wanted)));
    let no_cache = request.no_cache || filtered;
    let total = 1 + stage.steps.iter().filter(|step| is_told(&step.instruction.command)).count();
    let escape = work.stages.escape;
    let (image, layers) = match &stage.base {
        Source::Stage(base) => {
            let base = needs.get(base).ok_or(BuildError::Interrupted)?;
            (base.image.handed_down(), base.layers.clone())
        }
        Source::Scratch => (Image::scratch(stage.platform.clone(), escape), Layers::default()),
        Source::Image(reference) => of_image(&work, &stage, &base_key(reference, &stage.platform))?,
        Source::Context(name) => match work.contexts.get(name) {
            Some(Context::Image(key)) => of_image(&work, &stage, key)?,
            // The files of a folder are all that such a stage has.
            Some(Context::Files(_)) | None => (Image::scratch(stage.platform.clone(), escape), Layers::default()),
        },
    };
    let mut builder = Builder { work, stage, needs, image, layers, sandbox: None, no_cache, position: 0, total };
    let outcome = builder.run().await;
    if let Some(sandbox) = builder.sandbox.take() {
        // What it holds goes in the background: nobody waits for the kernel to take a network apart.
        sandbox.close();
    }
    outcome?;
    Ok(Arc::new(StageDone { image: builder.image, layers: builder.layers }))
}

fn of_image(work: &Work, stage: &Stage, key: &super::work::BaseKey) -> Result<(Image, Layers), BuildError> {
    let base = work.base(key)?;
    let read = Image::of_base(&base.config, stage.platform.clone(), work.stages.escape);
    let (image, _triggers) = read.map_err(|error| wrong_at(work, stage.place, error.to_string(), None))?;
    Ok((image, Layers::of_base(base)))
}

/// Whether an instruction is a step that is told of: those that may change files.
fn is_told(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_))
}

fn wrong_at(work: &Work, place: Place, message: String, hint: Option<String>) -> BuildError {
    BuildError::Instruction(Box::new(work.stages.source().problem(place, message, hint)))
}

impl Builder {
    async fn run(&mut self) -> Result<(), BuildError> {
        self.begin_with_base().await?;
        let steps = std::mem::take(&mut self.stage.steps);
        for step in &steps {
            match &step.instruction.command {
                Command::Workdir(path) => self.workdir(step, path).await?,
                Command::Run(run) => run::run(self, step, run).await?,
                Command::Copy(copy) => copy::copy(self, step, copy).await?,
                Command::Add(add) => copy::add(self, step, add).await?,
                command => self.configure(command)?,
            }
        }
        Ok(())
    }

    /// Tells of FROM. The files of a folder, where that is the base, become a layer.
    async fn begin_with_base(&mut self) -> Result<(), BuildError> {
        let about = match &self.stage.base {
            Source::Stage(index) => {
                let name = self.work.stages.stages[*index].name.clone();
                name.unwrap_or_else(|| format!("stage {index}"))
            }
            Source::Image(reference) => {
                let base = self.work.base(&base_key(reference, &self.stage.platform))?;
                format!("{reference}@{}", base.image)
            }
            Source::Scratch => "scratch".to_owned(),
            Source::Context(name) => format!("the context {name}"),
        };
        let running = self.begin(&format!("FROM {about}"));
        running.done(true);
        if let Source::Context(name) = self.stage.base.clone()
            && let Some(Context::Files(tree)) = self.work.contexts.get(&name)
        {
            let tree = tree.clone();
            copy::whole(self, tree).await?;
        }
        Ok(())
    }

    fn configure(&mut self, command: &Command) -> Result<(), BuildError> {
        let mut unset = Vec::new();
        let stages = &self.work.stages;
        let applied = self.image.apply(command, &stages.globals, stages.arguments(), &mut unset);
        self.warn(unset);
        match applied {
            Ok(_) => Ok(()),
            Err(Wrong { place, cause }) => Err(self.wrong(place, cause)),
        }
    }

    async fn workdir(&mut self, step: &Step, word: &Word) -> Result<(), BuildError> {
        let running = self.begin(&step.instruction.text);
        let path = match self.word(word) {
            Ok(path) => self.image.enter(&path),
            Err(error) => return running.ended(Err(error), false),
        };
        let created_by = format!("WORKDIR {path}");
        let user = self.image.user().map(str::to_owned);
        // Both are known by the layers, without a look at their files.
        let is_there = self.key("workdir-there", json!({"path": path}));
        let key = self.key("workdir", json!({"path": path, "user": user}));
        // A folder that is there needs no layer.
        if self.work.answer(&is_there, &self.layers).is_some() {
            running.done(true);
            self.image.note(created_by);
            return Ok(());
        }
        match self.known(&key) {
            Ok(Some(layer)) => {
                self.take(key, &created_by, layer, running, true);
                return Ok(());
            }
            Ok(None) => {}
            Err(error) => return running.ended(Err(error), false),
        }
        let owner = match self.owner_of_workdir(&path, user, step).await {
            Err(error) => return running.ended(Err(error), false),
            Ok(None) => {
                self.work.answered(&is_there, &Digest::of(b"there"), &self.layers);
                running.done(true);
                self.image.note(created_by);
                return Ok(());
            }
            Ok(Some(owner)) => owner,
        };
        let made = self
            .change(move |root| {
                view::make_folder(root, Path::new(&path), owner).map_err(BuildError::step("make the working folder"))
            })
            .await;
        let layer = match made {
            Ok(layer) => layer,
            Err(error) => return running.ended(Err(error), false),
        };
        self.take(key, &created_by, layer, running, false);
        Ok(())
    }

    /// Whose a working folder is to be. `None`: it is there.
    async fn owner_of_workdir(&self, path: &str, user: Option<String>, step: &Step) -> Result<Option<(u32, u32)>, BuildError> {
        self.work.bring(&self.layers).await?;
        let (work, layers, there) = (self.work.clone(), self.layers.clone(), path.to_owned());
        let owner = tokio::task::spawn_blocking(move || {
            let root = work.view(&layers)?;
            let found = view::find(&root, Path::new(&there)).map_err(BuildError::step("look for the working folder"))?;
            if found {
                return Ok(None);
            }
            // By number as with BuildKit: a user alone is also the group.
            let known = |user: String| copy::numeric(&user).map_or_else(|| look_up_at(&root, &user), Ok);
            let owner = user.map_or(Ok((0, 0)), known);
            Ok::<_, BuildError>(Some(owner))
        });
        match owner.await??.transpose() {
            Ok(owner) => Ok(owner),
            // As BuildKit, which looks for whom the folder is to belong to, and not for whether there is such a user.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.warn_of_user(step.instruction.place);
                Ok(Some((0, 0)))
            }
            Err(error) => Err(self.wrong_with(step.instruction.place, format!("the user of the working folder: {error}"), None)),
        }
    }

    /// Changes the tree of the stage, and makes a layer of what has changed.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(&std::os::fd::OwnedFd) -> Result<(), BuildError> + Send + 'static,
    ) -> Result<DraftLayer, BuildError> {
        self.work.bring(&self.layers).await?;
        let (work, layers) = (self.work.clone(), self.layers.clone());
        tokio::task::spawn_blocking(move || {
            let draft = layers.draft(&work.images)?;
            let root = layers.changed_in(&draft, &work.floor.upper()).map_err(BuildError::step("mount the layers"))?;
            change(&root)?;
            drop(root);
            Ok(work.images.seal(draft, work.request.epoch, &Fresh::default())?)
        })
        .await?
    }

    /// Makes a layer of a draft in which nothing is mounted any more.
    pub(super) async fn seal(&self, draft: Draft) -> Result<DraftLayer, BuildError> {
        let work = self.work.clone();
        Ok(tokio::task::spawn_blocking(move || work.images.seal(draft, work.request.epoch, &Fresh::default())).await??)
    }

    /// The next step that is told of.
    pub(super) fn begin(&mut self, text: &str) -> Running {
        self.position += 1;
        let name = match &self.stage.name {
            Some(name) => format!("{name} "),
            None if self.work.stages.stages.len() > 1 => format!("stage-{} ", self.stage.index),
            None => String::new(),
        };
        let platform = if self.work.is_one_of_several { format!("{} ", self.stage.platform) } else { String::new() };
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.work.events.begin(format!("[{platform}{name}{}/{}] {text}", self.position, self.total))
    }

    pub(super) fn key(&self, kind: &str, facts: serde_json::Value) -> Digest {
        key::of_step(kind, &self.layers.chain(), self.work.request.epoch, facts)
    }

    /// Whether every step is done, though the cache may have it.
    pub(super) const fn is_afresh(&self) -> bool {
        self.no_cache
    }

    /// The key of a step that no other one is to be taken for.
    pub(super) fn key_of_content(&self, layer: &DraftLayer, created_by: &str) -> Digest {
        self.key("once", json!({"layer": layer.diff_id, "of": created_by}))
    }

    /// What a step came to before, unless the cache is not wanted.
    pub(super) fn known(&self, key: &Digest) -> Result<Option<DraftLayer>, BuildError> {
        if self.no_cache { Ok(None) } else { self.work.known_step(key) }
    }

    /// A step is done: its layer goes on top.
    pub(super) fn take(&mut self, key: Digest, created_by: &str, layer: DraftLayer, running: Running, known: bool) {
        self.layers.push(&layer);
        self.image.note_layer(created_by.to_owned(), layer.created);
        self.work.record(key, created_by.to_owned(), layer, known);
        running.done(known);
    }

    /// Replaces the variables of a word, and tells of those without a value.
    pub(super) fn word(&self, word: &Word) -> Result<String, BuildError> {
        let mut unset = Vec::new();
        let text = self.image.word(word, &mut unset);
        self.warn(unset);
        text.map_err(|Wrong { place, cause }| self.wrong(place, cause))
    }

    fn warn(&self, unset: Vec<(Place, String)>) {
        for (place, name) in unset {
            let known: Vec<&str> = self.image.scope.environment().iter().map(|(name, _)| name.as_str()).collect();
            let hint = did_you_mean(&name, known).or_else(|| Some(format!("set it by ENV or ARG, or write `${{{name}:-}}`")));
            let problem = self.work.stages.source().problem(place, format!("the variable `{name}` has no value"), hint);
            self.work.events.warn(problem.render(false));
        }
    }

    /// The image has no such user as its configuration says; it is no matter for root.
    fn warn_of_user(&self, place: Place) {
        let user = self.image.user().unwrap_or_default();
        if user.split(':').any(|name| name != "root") {
            let message = format!("the image has no user or group `{user}`, so the folder belongs to root");
            let problem = self.work.stages.source().problem(place, message, None);
            self.work.events.warn(problem.render(false));
        }
    }

    fn wrong(&self, place: Place, cause: ConfigError) -> BuildError {
        let hint = if let ConfigError::Expand(error) = &cause { error.hint() } else { None };
        self.wrong_with(place, cause.to_string(), hint)
    }

    /// Something is wrong with an instruction.
    pub(super) fn wrong_with(&self, place: Place, message: String, hint: Option<String>) -> BuildError {
        wrong_at(&self.work, place, message, hint)
    }

    /// Where a step takes files from, and what that is called.
    pub(super) fn origin(&self, source: Option<&Source>, instruction: &Instruction) -> Result<Origin, BuildError> {
        if let Some(Source::Stage(index)) = source {
            let stage = self.needs.get(index).ok_or(BuildError::Interrupted)?;
            return Ok(Origin::Layers(stage.layers.clone()));
        }
        let found = self.work.origin(source)?;
        found.ok_or_else(|| self.wrong_with(instruction.place, "there is no such context".to_owned(), None))
    }
}
