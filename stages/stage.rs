//! The contract of a stage: what a kind declares, what its run is given, what it gives back.
//! A stage never sees its name, the store, the graph, the clock or the terminal.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::artifact::{InputPort, OutputPort};
use crate::job::Job;

/// Figures that a stage reports, by name; they are kept in its result.
pub type Metrics = Map<String, Value>;

/// A sort of work, declared: the type is the kind's parameters, its documentation the kind's documentation.
///
/// Field documentation gives the meaning and the unit; `#[serde(default)]` makes a parameter optional.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + 'static {
    /// The kind's name in pipelines.
    const NAME: &'static str;
    /// Slots read.
    const INPUTS: &'static [InputPort];
    /// Files written, where they do not depend on the parameters.
    const OUTPUTS: &'static [OutputPort];
    /// Whether random draws are made, so that the seed belongs to the key.
    const SEEDED: bool = false;

    /// Whether it starts programs that the pipeline names.
    const RUNS_PROGRAMS: bool = false;

    /// Whether lists of kinds leave it out: it is for tests and benchmarks.
    const HIDDEN: bool = false;

    /// Whether more threads than one are of use to it; results never depend on their number.
    const PARALLEL: bool = false;

    /// Files written by a stage with these parameters.
    fn outputs(&self) -> Vec<OutputPort> {
        Self::OUTPUTS.to_vec()
    }

    /// Faults that types alone do not show, such as a fraction above one.
    fn check(&self) -> Vec<ParameterFault> {
        Vec::new()
    }

    /// The course of a training, which longer and shorter ones share; none where nothing is trained in steps.
    fn course(&self) -> Option<Course> {
        None
    }
}

/// How a training runs, apart from how long: of two trainings with equal `params` here, and all else equal but
/// the parameters left out here, one is the beginning of the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The parameters without those that only decide where it ends.
    pub params: Value,
    /// How far it goes, in epochs of all phases, at most.
    pub epochs: u64,
    /// Why it cannot go on from a shorter one, where its end decides its beginning; then `params` hold the end too.
    pub fixed_end: Option<String>,
}

/// A stage that can be run by this program (a worker runs those that compute with LibTorch).
pub trait Run: Stage {
    /// Reads the inputs, writes every declared output and returns the figures.
    fn run(&self, context: &Context<'_>) -> Result<Metrics>;
}

/// A parameter that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterFault {
    /// Path of the parameter, `a.b` or `a[0]`; empty when the fault is of the whole.
    pub path: String,
    /// What is wrong and what would be right, lower case, no full stop.
    pub message: String,
}

impl ParameterFault {
    /// Names a faulty parameter.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// What a run of a stage is given.
pub struct Context<'a> {
    /// Inputs, output folder, seed, device and threads.
    pub job: &'a Job,
    /// Takes progress and warnings.
    pub sink: &'a (dyn Fn(Notice) + Sync),
    /// Set when the run shall stop soon.
    pub cancelled: &'a AtomicBool,
}

/// What a stage tells while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "lowercase")]
pub enum Notice {
    /// How far the work is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, where known.
        total: Option<u64>,
        /// What is counted: `epochs`, `workouts`, `MB`.
        unit: String,
        /// The latest news, such as `loss 0.41, validation MAE 9.8 BPM`.
        message: String,
    },
    /// Something a person should know that does not stop the work.
    Warning {
        /// The sentence to show.
        message: String,
    },
    /// A line for the stage's log alone.
    Log {
        /// The line.
        message: String,
    },
}

impl Context<'_> {
    /// The path that an output must be written to.
    pub fn output(&self, port: &OutputPort) -> PathBuf {
        self.job.out.join(port.file_name())
    }

    /// Reports how far the work is.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str, message: impl Into<String>) {
        (self.sink)(Notice::Progress { done, total, unit: unit.into(), message: message.into() });
    }

    /// Tells something that does not stop the work.
    pub fn warn(&self, message: impl Into<String>) {
        (self.sink)(Notice::Warning { message: message.into() });
    }

    /// Tells something that belongs into the stage's log alone.
    pub fn log(&self, message: impl Into<String>) {
        (self.sink)(Notice::Log { message: message.into() });
    }

    /// Ends the stage with [`Interrupted`] when it was asked to stop; called once per unit of work.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        Ok(())
    }
}

/// The error of a stage that stopped because it was asked to.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped on request")
    }
}

impl std::error::Error for Interrupted {}

/// The error of a stage that points at the parameter to change, so that the caller can show its line.
#[derive(Clone, Debug)]
pub struct Blame {
    /// Path of the parameter.
    pub parameter: String,
    /// What happened and what to change.
    pub message: String,
}

impl std::fmt::Display for Blame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Blame {}
