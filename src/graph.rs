//! The checked graph of stages: every name, type and parameter in it is right. Unaware of TOML, of keys and of
//! how stages are run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pacer_stages::artifact::OutputPort;
use pacer_stages::job::Checkpoints;
use pacer_stages::kind::Kind;
use pacer_stages::stage::Course;
use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::search::Search;

/// A stage's place in the graph.
pub type StageId = NodeIndex<u32>;

/// A pipeline that passed every check.
pub struct Graph {
    /// The pipeline's name: `pipeline.name`, or the file's stem.
    pub name: String,
    /// The pipeline file.
    pub path: PathBuf,
    /// The stages; an edge leads from a producer to its consumer.
    pub stages: DiGraph<Stage, ()>,
    /// Producers before consumers, otherwise as in the file.
    pub order: Vec<StageId>,
    /// Searches that add trials when those so far have ended.
    pub searches: Vec<Search>,
    /// Leaks that the pipeline says are meant, by the check's name, each with the reason.
    pub allowed_leaks: BTreeMap<String, String>,
}

/// One node of the graph.
pub struct Stage {
    /// Its name in the pipeline.
    pub name: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// Decoded parameters, defaults filled in.
    pub params: Arc<Value>,
    /// What it reads, slot by slot in the order of the kind's ports.
    pub inputs: Vec<Input>,
    /// What it writes.
    pub outputs: Vec<OutputPort>,
    /// Seed of its random draws.
    pub seed: u64,
    /// What it asks of the machine.
    pub resources: Resources,
    /// For a training, how it runs apart from how long.
    pub course: Option<Course>,
    /// How often a training keeps its state.
    pub checkpoints: Checkpoints,
    /// Where each parameter and input is written, by its path in the key record (`params.epochs`).
    pub origins: Vec<(String, Origin)>,
    /// The pipeline's parameters that it uses, sorted.
    pub uses: Vec<String>,
    /// Which trial of which group it is, where a sweep made it.
    pub trial: Option<Trial>,
}

/// A stage among those that sweeps made of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The name of the stage in the pipeline file that this one was made of.
    pub group: String,
    /// The swept parameters that it depends on, in the order of the file, each with its value; those of other stages
    /// bear the name of their stage before a dot.
    pub coordinates: Vec<(String, Value)>,
}

impl Trial {
    /// Whether a swept parameter is a seed, over which trials are repeated rather than chosen.
    pub fn is_seed(parameter: &str) -> bool {
        parameter.rsplit('.').next() == Some("seed")
    }
}

/// One artifact or file that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The kind's slot.
    pub slot: &'static str,
    /// The name within a slot of many.
    pub name: Option<String>,
    /// Where the content comes from.
    pub source: Source,
    /// The entry that gathers it with the other trials of a sweep; such an input may stay away.
    pub gathered: Option<String>,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file that no stage made.
    File(PathBuf),
    /// Another stage's artifact, by the artifact's name.
    Output(StageId, String),
}

/// What a stage asks of the machine; never part of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Processor slots; `None` takes a fair share of those that are free when the stage starts.
    pub threads: Option<usize>,
    /// The share of a GPU, where it runs on one.
    pub gpus: f64,
    /// Where it wants to compute.
    pub device: DeviceWish,
    /// The executor of the profile that it runs on; [`HERE`] is this machine, whatever a command says.
    pub executor: Option<String>,
}

impl Resources {
    /// The cluster that the stage runs on; none where it runs here.
    pub fn cluster(&self) -> Option<&str> {
        self.executor.as_deref().filter(|name| *name != HERE)
    }
}

/// The executor that every machine has: itself.
pub const HERE: &str = "here";

/// Where a stage wants to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceWish {
    /// On a GPU if there is one.
    Auto,
    /// On the processor.
    Cpu,
    /// On a GPU, or not at all.
    Gpu,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On this line of the pipeline file.
    Line(usize),
    /// On the command line, as typed.
    Argument(String),
}

impl Graph {
    /// Orders the stages; `None` when they form a cycle.
    pub fn new(name: String, path: PathBuf, stages: DiGraph<Stage, ()>) -> Option<Self> {
        let mut order = toposort(&stages, None).ok()?;
        // Depth first, file order second: stable for people, and a producer always precedes its consumers.
        let mut depth = vec![0_usize; stages.node_count()];
        for &id in &order {
            let above = stages.neighbors_directed(id, Direction::Incoming).map(|up| depth[up.index()] + 1);
            depth[id.index()] = above.max().unwrap_or(0);
        }
        order.sort_by_key(|id| (depth[id.index()], id.index()));
        Some(Self { name, path, stages, order, searches: Vec::new(), allowed_leaks: BTreeMap::new() })
    }

    /// The stage of this name.
    pub fn find(&self, name: &str) -> Option<StageId> {
        self.stages.node_indices().find(|&id| self.stages[id].name == name)
    }

    /// The stages that a name stands for: one, all trials of a sweep (`lstm`), or some (`lstm[batch_size=8]`).
    pub fn named(&self, name: &str) -> Vec<StageId> {
        if let Some(id) = self.find(name) {
            return vec![id];
        }
        let (group, selection) = name_and_selection(name);
        let wanted = selection.map(selected).unwrap_or_default();
        let has = |own: &[(String, String)]| wanted.iter().all(|pair| own.contains(pair));
        let is_meant = |stage: &Stage| {
            let own = name_and_selection(&stage.name).1.map(selected).unwrap_or_default();
            stage.trial.as_ref().is_some_and(|trial| trial.group == group) && has(&own)
        };
        self.order.iter().copied().filter(|id| is_meant(&self.stages[*id])).collect()
    }

    /// The names that stand for stages: of those that no sweep made, and of groups.
    pub fn names(&self) -> Vec<&str> {
        let name = |id: &StageId| self.stages[*id].written_name();
        let mut seen = std::collections::HashSet::new();
        self.order.iter().map(name).filter(|name| seen.insert(*name)).collect()
    }

    /// The stages that a stage reads from, each once.
    pub fn producers(&self, id: StageId) -> impl Iterator<Item = StageId> {
        self.stages.neighbors_directed(id, Direction::Incoming)
    }

    /// The stages that read from a stage, each once.
    pub fn consumers(&self, id: StageId) -> impl Iterator<Item = StageId> {
        self.stages.neighbors_directed(id, Direction::Outgoing)
    }

    /// The folder that relative paths of the pipeline start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Whether each stage is needed for the targets; all are when none is named.
    pub fn needed(&self, targets: &[StageId]) -> Vec<bool> {
        let mut needed = vec![targets.is_empty(); self.stages.node_count()];
        let mut queue = targets.to_vec();
        while let Some(id) = queue.pop() {
            if !std::mem::replace(&mut needed[id.index()], true) {
                queue.extend(self.producers(id));
            }
        }
        needed
    }
}

impl Stage {
    /// The name that stands in the pipeline file.
    pub fn written_name(&self) -> &str {
        self.trial.as_ref().map_or(&self.name, |trial| &trial.group)
    }

    /// Whether it can do without a producer: every way from that into it gathers it.
    pub fn spares(&self, producer: StageId) -> bool {
        let reads = |source: &Source| matches!(source, Source::Output(id, _) if *id == producer);
        self.inputs.iter().filter(|input| reads(&input.source)).all(|input| input.gathered.is_some())
    }
}

/// Cuts `STAGE.ARTIFACT`, where the stage may be a trial whose name holds dots.
pub fn stage_and_artifact(text: &str) -> (&str, Option<&str>) {
    let end = text.rfind(']').map_or(0, |at| at + 1);
    match text[end..].find('.') {
        Some(dot) => (&text[..end + dot], Some(&text[end + dot + 1..])),
        None => (text, None),
    }
}

/// Cuts `lstm[batch_size=8,seed=1]` into the name and what stands in brackets.
pub fn name_and_selection(text: &str) -> (&str, Option<&str>) {
    match text.split_once('[').map(|(name, rest)| (name, rest.strip_suffix(']'))) {
        Some((name, Some(selection))) => (name, Some(selection)),
        _ => (text, None),
    }
}

/// The parameters and values of `batch_size=8,seed=1`.
pub fn selected(selection: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (key.trim().to_owned(), value.trim().to_owned())
    };
    selection.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Argument(text) => f.write_str(text),
        }
    }
}
