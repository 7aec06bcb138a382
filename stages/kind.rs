//! A kind without its type: the row of a table that the engine looks stages up in. Unaware of any one kind.

use anyhow::Result;
use schemars::Schema;
use serde_json::Value;

use crate::artifact::{InputPort, OutputPort};
use crate::stage::{Context, Course, Metrics, ParameterFault, Run, Stage};

/// Runs a stage with decoded parameters.
pub type RunFn = fn(&Value, &Context<'_>) -> Result<Metrics>;

/// One sort of work.
pub struct Kind {
    /// Its name in pipelines.
    pub name: &'static str,
    /// Slots read.
    pub inputs: &'static [InputPort],
    /// Files written, where they do not depend on the parameters.
    pub outputs: &'static [OutputPort],
    /// Whether the seed belongs to its key.
    pub seeded: bool,
    /// Whether it starts programs that the pipeline names.
    pub runs_programs: bool,
    /// Whether lists leave it out.
    pub hidden: bool,
    /// Whether more threads than one are of use to it.
    pub parallel: bool,
    /// The JSON Schema of its parameters, with their documentation.
    pub schema: fn() -> Schema,
    /// Decodes parameters and fills in defaults.
    pub decode: fn(&Value) -> Result<Decoded, ParameterFault>,
    /// Who runs it.
    pub place: Place,
}

/// Where the work of a kind is done.
#[derive(Clone, Copy)]
pub enum Place {
    /// On a thread of the engine's process.
    Here(RunFn),
    /// In a worker process that links LibTorch.
    Worker,
}

/// Parameters that decoded.
#[derive(Debug)]
pub struct Decoded {
    /// The parameters with every default filled in.
    pub params: Value,
    /// The files that a stage with these parameters writes.
    pub outputs: Vec<OutputPort>,
    /// What types alone do not show.
    pub faults: Vec<ParameterFault>,
    /// The course of the training that these parameters ask for, where they ask for one.
    pub course: Option<Course>,
}

impl Kind {
    /// The row of a kind that runs on a thread.
    pub const fn here<S: Run>() -> Self {
        Self { place: Place::Here(run::<S>), ..Self::in_worker::<S>() }
    }

    /// The row of a kind that a worker process runs.
    pub const fn in_worker<S: Stage>() -> Self {
        Self {
            name: S::NAME,
            inputs: S::INPUTS,
            outputs: S::OUTPUTS,
            seeded: S::SEEDED,
            runs_programs: S::RUNS_PROGRAMS,
            hidden: S::HIDDEN,
            parallel: S::PARALLEL,
            schema: schema::<S>,
            decode: decode::<S>,
            place: Place::Worker,
        }
    }

    /// The port of this name.
    pub fn input(&self, name: &str) -> Option<&'static InputPort> {
        self.inputs.iter().find(|port| port.name == name)
    }
}

fn schema<S: Stage>() -> Schema {
    schemars::schema_for!(S)
}

/// Decodes parameters; a fault of type or of name carries the path that serde had reached.
fn decode<S: Stage>(params: &Value) -> Result<Decoded, ParameterFault> {
    let stage: S = serde_path_to_error::deserialize(params).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        ParameterFault::new(path, error.into_inner().to_string())
    })?;
    let params = serde_json::to_value(&stage).expect("parameters are plain data");
    Ok(Decoded { params, outputs: stage.outputs(), faults: stage.check(), course: stage.course() })
}

/// Runs a stage from parameters that were decoded before.
pub fn run<S: Run>(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let stage: S = serde_json::from_value(params.clone())?;
    stage.run(context)
}
