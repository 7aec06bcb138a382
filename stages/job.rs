//! A job: all that the run of one stage is told, alike for a thread, a worker process and a remote node.
//! Unaware of names of stages, of the store and of the graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the job's JSON form; a worker refuses any other.
pub const JOB_VERSION: u32 = 1;

/// One run of one stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Version of this description: [`JOB_VERSION`].
    pub v: u32,
    /// Name of the kind.
    pub kind: String,
    /// Code fingerprint of the kind; a worker built from other code refuses the job.
    pub code: String,
    /// Decoded parameters with their defaults.
    pub params: Value,
    /// Input files by slot.
    pub inputs: BTreeMap<String, Slot>,
    /// Empty folder that takes the outputs.
    pub out: PathBuf,
    /// Folder for the checkpoints of a course of training, which jobs of several keys may share, one at a time; it
    /// outlives them all and need not exist yet.
    pub partial: PathBuf,
    /// How often checkpoints are written and how many are kept; it changes no result.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Seed of every random draw.
    pub seed: u64,
    /// Where to compute.
    pub device: Device,
    /// Threads that the stage may use.
    pub threads: usize,
}

/// How often a training writes the state that it can go on from, and how many of them it keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoints {
    /// Seconds between two of them; more where writing them would take above a hundredth of the time.
    pub seconds: f64,
    /// Steps of the optimizer between two of them, where they shall come sooner than the seconds say.
    pub steps: Option<u64>,
    /// How many of the latest are kept, at least one; the ends of finished trainings come on top.
    pub keep: usize,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { seconds: 30.0, steps: None, keep: 2 }
    }
}

/// The files of one input slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Slot {
    /// A slot of one file.
    One(PathBuf),
    /// A slot of files by name.
    Named(BTreeMap<String, PathBuf>),
}

/// Where a stage computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The GPU of this index, as the driver counts.
    Cuda(usize),
}

impl Job {
    /// The file in a slot that must hold one.
    pub fn input(&self, slot: &str) -> Result<&Path> {
        self.optional_input(slot).with_context(|| format!("input `{slot}` is not wired"))
    }

    /// The file in a slot that may be empty.
    pub fn optional_input(&self, slot: &str) -> Option<&Path> {
        match self.inputs.get(slot) {
            Some(Slot::One(path)) => Some(path),
            Some(Slot::Named(_)) | None => None,
        }
    }

    /// The files of a slot with names, sorted by name.
    pub fn named_inputs(&self, slot: &str) -> impl Iterator<Item = (&str, &Path)> {
        let files = match self.inputs.get(slot) {
            Some(Slot::Named(files)) => Some(files),
            Some(Slot::One(_)) | None => None,
        };
        files.into_iter().flatten().map(|(name, path)| (name.as_str(), path.as_path()))
    }
}
