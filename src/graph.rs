//! The checked graph of stages: every name, type and parameter in it is right. Unaware of TOML, of keys and of
//! how stages are run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pacer_stages::artifact::OutputPort;
use pacer_stages::job::Checkpoints;
use pacer_stages::kind::Kind;
use pacer_stages::stage::Course;
use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::Value;

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
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that no stage made.
    File(PathBuf),
    /// Another stage's artifact, by the artifact's name.
    Output(StageId, String),
}

/// What a stage asks of the machine; never part of its key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// Processor slots; `None` takes a fair share of those that are free when the stage starts.
    pub threads: Option<usize>,
    /// The share of a GPU, where it runs on one.
    pub gpus: f64,
    /// Where it wants to compute.
    pub device: DeviceWish,
}

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
        Some(Self { name, path, stages, order })
    }

    /// The stage of this name.
    pub fn find(&self, name: &str) -> Option<StageId> {
        self.stages.node_indices().find(|&id| self.stages[id].name == name)
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

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Argument(text) => f.write_str(text),
        }
    }
}
