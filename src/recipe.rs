//! What it takes to make a run again and to trust it, kept beside its journal: the words of the command, the pipeline's
//! text as it was, what it was made with, and what the checks for leaks came to. Unaware of how runs go and of reports.
//!
//! Of the environment nothing is kept: it may hold secrets.

use std::collections::BTreeMap;

use pacer_stages::kind::Place;
use serde::{Deserialize, Serialize};

use crate::executor::machine::Machine;
use crate::graph::{Graph, StageId};
use crate::journal;
use crate::leakage::Check;
use crate::store::Store;

/// Version of the file; one of another version is left aside.
const VERSION: u32 = 1;

/// Files in the folder of a run.
const RECIPE: &str = "recipe.json";
const PIPELINE: &str = "pipeline.toml";
const LEAKAGE: &str = "leakage.json";

/// A pipeline longer than this many bytes is not kept.
const TEXT_BYTES: usize = 4 << 20;

/// The graph of more stages than this is not kept: no picture could show it.
const STAGES: usize = 5_000;

/// How a run was asked for, and with what it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// [`VERSION`].
    pub v: u32,
    /// The words of the command line after the program's name.
    pub command: Vec<String>,
    /// The version of `pacer`.
    pub pacer: String,
    /// Operating system and architecture.
    pub system: String,
    /// The processor, where the system tells it.
    pub processor: Option<String>,
    /// Its threads.
    pub threads: usize,
    /// The version of LibTorch, where a stage needed it, and the instructions that it chose.
    pub libtorch: Option<[String; 2]>,
    /// The GPUs that it could use.
    pub gpus: Vec<String>,
    /// Leaks that the pipeline says are meant, by the check's name, each with the reason.
    pub allowed_leaks: BTreeMap<String, String>,
    /// The stages that were asked for, producers first; empty where there were too many.
    pub stages: Vec<Planned>,
}

/// A stage as it was planned, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The stages that it reads from.
    pub reads: Vec<String>,
}

impl Recipe {
    /// What a run is about to be made with.
    pub fn of(graph: &Graph, needed: &[bool], machine: &Machine, command: Vec<String>) -> Self {
        let ids: Vec<StageId> = graph.order.iter().copied().filter(|id| needed[id.index()]).collect();
        let computes = ids.iter().any(|id| matches!(graph.stages[*id].kind.place, Place::Worker));
        let probe = machine.probe.as_ref().filter(|_| computes);
        let planned = |id: &StageId| Planned {
            name: graph.stages[*id].name.clone(),
            kind: graph.stages[*id].kind.name.to_owned(),
            reads: graph.producers(*id).map(|producer| graph.stages[producer].name.clone()).collect(),
        };
        Self {
            v: VERSION,
            command,
            pacer: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: processor(),
            threads: machine.threads,
            libtorch: probe.map(|probe| [probe.libtorch.clone(), probe.cpu.clone()]),
            gpus: probe.into_iter().flat_map(|probe| &probe.cuda).map(|gpu| gpu.name.clone()).collect(),
            allowed_leaks: graph.allowed_leaks.clone(),
            stages: if ids.len() > STAGES { Vec::new() } else { ids.iter().map(planned).collect() },
        }
    }

    /// Keeps it with the pipeline's text in the folder of a run.
    pub fn keep(&self, text: &str, store: &Store, run: &str) {
        journal::keep(store, run, RECIPE, &serde_json::to_vec(self).unwrap_or_default());
        if text.len() <= TEXT_BYTES {
            journal::keep(store, run, PIPELINE, text.as_bytes());
        }
    }

    /// The recipe of a run; none for one of an older `pacer`.
    pub fn read(store: &Store, run: &str) -> Option<Self> {
        let recipe: Self = serde_json::from_slice(&journal::kept(store, run, RECIPE)?).ok()?;
        (recipe.v == VERSION).then_some(recipe)
    }
}

/// The pipeline's text as it was at a run.
pub fn pipeline(store: &Store, run: &str) -> Option<String> {
    String::from_utf8(journal::kept(store, run, PIPELINE)?).ok()
}

/// Keeps what the checks of a run came to.
pub fn keep_checks(checks: &[Check], store: &Store, run: &str) {
    journal::keep(store, run, LEAKAGE, &serde_json::to_vec(checks).unwrap_or_default());
}

/// What the checks came to that were made while a run went on.
pub fn checks(store: &Store, run: &str) -> Vec<Check> {
    journal::kept(store, run, LEAKAGE).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// What Linux calls the processor.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1.trim().to_owned();
    (!name.is_empty()).then_some(name)
}
