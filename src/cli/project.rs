//! Opens what a command is about: the pipeline, its store, the machine. Unaware of commands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use pacer_stages::kind::Place;

use crate::cache::Cache;
use crate::cli::cluster;
use crate::cli::{Exit, PipelineArgs, Session, Sharing};
use crate::diagnostic::{Diagnostic, Place as FaultPlace};
use crate::engine::rounds;
use crate::executor::machine::Machine;
use crate::graph::{DeviceWish, Graph, StageId};
use crate::profile::{self, Faulty, Profile};
use crate::remote::Remote;
use crate::resolve::{self, Overrides};
use crate::store::Store;
use crate::ui::{diagnostics, output};

/// The environment variable that names the store.
const STORE_VARIABLE: &str = "PACER_STORE";

/// Files and folders that mark the top of a project.
const PROJECT_MARKS: [&str; 3] = ["artifacts", ".git", "Cargo.toml"];

/// The largest pipeline: about 300,000 stages.
const PIPELINE_BYTES: u64 = 64 << 20;

/// A pipeline with its store and the machine that it can use.
pub struct Project {
    /// The checked pipeline.
    pub graph: Graph,
    /// Its text.
    pub text: String,
    /// Its results.
    pub cache: Cache,
    /// What there is to compute with.
    pub machine: Machine,
}

impl Project {
    /// The pipeline as it is before its searches decide anything.
    pub fn undecided(&self, args: &PipelineArgs) -> Option<Graph> {
        let overrides = Overrides { set: args.set.clone(), seed: args.seed, points: BTreeMap::new() };
        resolve::resolve(&args.file, &self.text, &overrides).ok()
    }
}

/// Reads and checks a pipeline; its faults are drawn, and `Err(Exit::Fault)` says so.
pub fn graph(args: &PipelineArgs, session: &Session) -> Result<Result<Graph, Exit>> {
    let (text, resolved) = resolved(args, session)?;
    Ok(resolved.map_err(|faults| {
        draw(&faults, &args.file, &text);
        Exit::Fault
    }))
}

/// The text of a pipeline, and what comes of it.
pub fn resolved(args: &PipelineArgs, session: &Session) -> Result<(String, Result<Graph, Vec<Diagnostic>>)> {
    let text = read(&args.file)?;
    if args.file.to_str().is_none() {
        bail!("the path of the pipeline `{}` is not UTF-8: give it another name", args.file.display());
    }
    let mut overrides = Overrides { set: args.set.clone(), seed: args.seed, points: BTreeMap::new() };
    let mut resolved = resolve::resolve(&args.file, &text, &overrides);
    if let Ok(graph) = &resolved
        && !graph.searches.is_empty()
    {
        let store = Store::open(&store_folder(session, Some(&args.file)))?;
        overrides.points = rounds::points(&store, graph);
        resolved = resolve::resolve(&args.file, &text, &overrides);
    }
    Ok((text, resolved))
}

/// The text of a pipeline; what is larger than any, or never ends, is refused.
fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(PIPELINE_BYTES + 1).read_to_string(&mut text));
    let length = file.with_context(|| format!("the pipeline `{}` cannot be read", path.display()))?;
    if length as u64 > PIPELINE_BYTES {
        let most = PIPELINE_BYTES >> 20;
        bail!("the pipeline `{}` is larger than {most} MB: is it a pipeline? If so, divide it", path.display());
    }
    Ok(text)
}

/// Draws faults on stderr.
pub fn draw(faults: &[Diagnostic], path: &Path, text: &str) {
    output::say(diagnostics::render(faults, &path.display().to_string(), text, true).trim_end());
}

/// Opens a pipeline with its store and the machine.
pub fn open(args: &PipelineArgs, session: &Session) -> Result<Result<Project, Exit>> {
    let (text, mut graph) = match resolved(args, session)? {
        (text, Ok(graph)) => (text, graph),
        (text, Err(faults)) => {
            draw(&faults, &args.file, &text);
            return Ok(Err(Exit::Fault));
        }
    };
    let cache = cache(session, Some(&args.file))?;
    let mut machine = Machine::look();
    cluster::assign(&mut graph, args.executor.as_deref());
    if graph.stages.node_weights().any(|stage| matches!(stage.kind.place, Place::Worker)) {
        machine.probe(&cache.store)?;
    }
    cluster::meet(&graph, &mut machine, &cache.store)?;
    let lacks_gpu = |id: &StageId| {
        let wished = &graph.stages[*id].resources;
        wished.device == DeviceWish::Gpu && wished.cluster().is_none() && machine.gpus().is_empty()
    };
    if let Some(id) = graph.order.iter().find(|id| lacks_gpu(id)) {
        bail!(
            "stage `{}` requires a GPU and this machine has none that LibTorch can use: `pacer doctor` says more, or \
             set its `resources.device` to \"auto\"",
            graph.stages[*id].name
        );
    }
    Ok(Ok(Project { graph, text, cache, machine }))
}

/// Opens the store of a pipeline, or of the current folder, with the remote that the profiles name.
pub fn cache(session: &Session, pipeline: Option<&Path>) -> Result<Cache> {
    cache_in(&store_folder(session, pipeline), session, pipeline)
}

/// Opens a store with the remote that the profiles name.
pub fn cache_in(folder: &Path, session: &Session, pipeline: Option<&Path>) -> Result<Cache> {
    let store = Store::open(folder)?;
    let settings = if session.sharing == Sharing::Off { None } else { profile(pipeline)?.remote };
    let Some(mut settings) = settings else { return Ok(Cache::of(store)) };
    settings.push &= session.sharing != Sharing::ReadOnly;
    Ok(Cache { store, remote: Some(Arc::new(Remote::open(&settings)?)) }.recalling())
}

/// What the profiles of the user and of the project say.
pub fn profile(pipeline: Option<&Path>) -> Result<Profile> {
    let top = top(pipeline);
    let project = top.0.ancestors().take(top.1).map(|folder| folder.join(profile::PROJECT_FILE));
    let project = project.into_iter().find(|path| path.is_file());
    profile::load(profile::of_user().as_deref(), project.as_deref())?.map_err(|Faulty { path, text, faults }| {
        draw(&faults, &path, &text);
        anyhow!("the profile `{}` has faults", path.display())
    })
}

/// The folder of a pipeline, or the current one, and how many folders up the top of its project is.
fn top(pipeline: Option<&Path>) -> (PathBuf, usize) {
    let start = pipeline.and_then(Path::parent).unwrap_or(Path::new(""));
    let start = std::path::absolute(if start.as_os_str().is_empty() { Path::new(".") } else { start });
    let start = start.unwrap_or_else(|_| PathBuf::from("."));
    let is_top = |folder: &Path| PROJECT_MARKS.iter().any(|mark| folder.join(mark).exists());
    let steps = start.ancestors().position(is_top).map_or(1, |steps| steps + 1);
    (start, steps)
}

/// A pipeline with the stages that a command is about.
pub struct Selection {
    /// The pipeline.
    pub project: Project,
    /// Which stages are needed for the targets.
    pub needed: Vec<bool>,
    /// Stages to run even if their results are there.
    pub forced: Vec<StageId>,
}

/// Opens a pipeline and looks up targets and forced stages; all are needed where no target is named.
pub fn select(
    args: &PipelineArgs,
    session: &Session,
    target_names: &[String],
    forced_names: &[String],
) -> Result<Result<Selection, Exit>> {
    let project = match open(args, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(Err(exit)),
    };
    match (targets(&project.graph, target_names), targets(&project.graph, forced_names)) {
        (Ok(targets), Ok(forced)) => {
            let needed = project.graph.needed(&targets);
            Ok(Ok(Selection { project, needed, forced }))
        }
        (Err(exit), _) | (_, Err(exit)) => Ok(Err(exit)),
    }
}

/// Where the store is: `--store`, PACER_STORE, or `artifacts` at the top of the project of the pipeline.
pub fn store_folder(session: &Session, pipeline: Option<&Path>) -> PathBuf {
    let variable = || std::env::var_os(STORE_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    session.store.clone().or_else(variable).unwrap_or_else(|| {
        let (start, steps) = top(pipeline);
        start.ancestors().nth(steps - 1).unwrap_or(&start).join("artifacts")
    })
}

/// The one stage of a name; of a sweep, a trial must be named.
pub fn target(graph: &Graph, name: &str) -> Result<Result<StageId, Exit>> {
    match targets(graph, &[name.to_owned()]).as_deref() {
        Err(exit) => Ok(Err(*exit)),
        Ok([id]) => Ok(Ok(*id)),
        Ok(trials) => bail!(
            "`{name}` stands for {} trials: name one, such as '{}' (`pacer sweep table` compares them)",
            trials.len(),
            graph.stages[trials[0]].name
        ),
    }
}

/// The stages of these names, all trials for that of a sweep; a wrong name is drawn like any other fault.
pub fn targets(graph: &Graph, names: &[String]) -> Result<Vec<StageId>, Exit> {
    let mut ids = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        match graph.named(name).as_slice() {
            found @ [_, ..] => ids.extend(found),
            [] => {
                let place = FaultPlace::Argument { text: name.clone(), span: 0..name.len() };
                let fault = Diagnostic::new(format!("the pipeline has no stage `{name}`")).place(&place);
                let known = graph.names();
                let fault = fault.label("unknown stage").help(format!("its stages: {}", known.join(", ")));
                faults.push(fault.did_you_mean(name, known.iter().copied()));
            }
        }
    }
    if faults.is_empty() {
        return Ok(ids);
    }
    draw(&faults, &graph.path, "");
    Err(Exit::Fault)
}

/// A command about the same pipeline, as a person would type it.
pub fn again(command: &str, args: &PipelineArgs, session: &Session, tail: &[String]) -> String {
    let mut words = vec!["pacer".to_owned(), command.to_owned(), args.file.display().to_string()];
    words.extend(tail.iter().cloned());
    args.set.iter().for_each(|set| words.extend(["--set".to_owned(), set.clone()]));
    args.seed.iter().for_each(|seed| words.extend(["--seed".to_owned(), seed.to_string()]));
    args.executor.iter().for_each(|name| words.extend(["--executor".to_owned(), name.clone()]));
    session.store.iter().for_each(|store| words.extend(["--store".to_owned(), store.display().to_string()]));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a person would type it in a shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-/=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
