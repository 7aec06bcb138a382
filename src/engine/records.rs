//! Makes the key record of a stage from the digests of its inputs. Unaware of what is done with it.

use std::collections::BTreeMap;
use std::env::VarError;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use pacer_stages::artifact::Arity;
use pacer_stages::fingerprint;
use pacer_stages::job::Slot;
use pacer_stages::kind::Place;
use serde_json::{Map, Value};

use crate::cache::{Artifact, StageResult};
use crate::executor::machine::Machine;
use crate::graph::{DeviceWish, Graph, Input, Source, StageId};
use crate::key::{self, RecordParts};
use crate::stat_cache::{Stamp, StatCache};
use crate::store::Store;

/// What is known of the stages that are done.
pub type Results = BTreeMap<StageId, StageResult>;

/// The parameter of a stage that names environment variables to pass on.
pub const ENVIRONMENT: &str = "environment";

/// A record, the files behind its inputs, and the stamps of those that no stage made.
pub struct Prepared {
    /// The key record.
    pub record: Value,
    /// Paths of the inputs by slot.
    pub inputs: BTreeMap<String, Slot>,
    /// Input files with their stamps when they were hashed.
    pub files: Vec<(PathBuf, Stamp)>,
}

/// Makes the record of a stage whose producers are all in `results`.
pub fn prepare(
    graph: &Graph,
    id: StageId,
    results: &Results,
    store: &Store,
    stats: &mut StatCache,
    machine: &Machine,
) -> Result<Prepared> {
    let stage = &graph.stages[id];
    let mut digests: Map<String, Value> = Map::new();
    let mut inputs: BTreeMap<String, Slot> = BTreeMap::new();
    let mut files = Vec::new();
    for input in &stage.inputs {
        let (digest, path) = match &input.source {
            Source::File(path) => {
                let (digest, stamp) = stats.digest(path)?;
                let path = std::path::absolute(path)?;
                files.push((path.clone(), stamp));
                (digest, path)
            }
            Source::Output(producer, name) => {
                let artifact = artifact(&results[producer], name)?;
                (artifact.digest, store.object_path(&artifact.digest))
            }
        };
        place(input, digest.to_string(), path, &mut digests, &mut inputs);
    }
    // A slot that may stay empty is in the record all the same, so that filling it is a change of a leaf.
    for port in stage.kind.inputs.iter().filter(|port| matches!(port.arity, Arity::Optional | Arity::NamedOptional)) {
        digests.entry(port.name).or_insert(Value::Null);
    }
    let record = key::record(RecordParts {
        kind: stage.kind.name,
        code: fingerprint::parts(stage.kind.name),
        params: &stage.params,
        inputs: digests.into(),
        seed: stage.kind.seeded.then_some(stage.seed),
        numeric: numeric(graph, id, machine)?,
        environment: environment(&stage.params)?,
    });
    Ok(Prepared { record, inputs, files })
}

fn place(
    input: &Input,
    digest: String,
    path: PathBuf,
    digests: &mut Map<String, Value>,
    inputs: &mut BTreeMap<String, Slot>,
) {
    let slot = input.slot.to_owned();
    let Some(name) = input.name.clone() else {
        digests.insert(slot.clone(), digest.into());
        inputs.insert(slot, Slot::One(path));
        return;
    };
    let named = digests.entry(slot.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(named) = named {
        named.insert(name.clone(), digest.into());
    }
    if let Slot::Named(named) = inputs.entry(slot).or_insert_with(|| Slot::Named(BTreeMap::new())) {
        named.insert(name, path);
    }
}

/// An artifact of a result by its name.
pub fn artifact<'a>(result: &'a StageResult, name: &str) -> Result<&'a Artifact> {
    result.artifacts.iter().find(|artifact| artifact.name == name).ok_or_else(|| anyhow!("no artifact `{name}`"))
}

fn numeric(graph: &Graph, id: StageId, machine: &Machine) -> Result<Option<Value>> {
    let stage = &graph.stages[id];
    match stage.kind.place {
        Place::Here(_) => Ok(None),
        Place::Worker => {
            let on_gpu = runs_on_gpu(stage.resources.device, stage.resources.gpus, machine);
            let class = machine.numeric_class(on_gpu);
            let class = class.with_context(|| format!("stage `{}` needs `pacer-worker`: run `make build`", stage.name));
            class.map(Some)
        }
    }
}

/// Whether a stage with this wish computes on a GPU of this machine.
pub fn runs_on_gpu(wish: DeviceWish, gpus: f64, machine: &Machine) -> bool {
    wish != DeviceWish::Cpu && gpus > 0.0 && machine.gpus() > 0
}

/// The values of the environment variables that a stage declares; one that is not set is null.
fn environment(params: &Value) -> Result<Option<Value>> {
    let Some(names) = params.get(ENVIRONMENT).and_then(Value::as_array) else { return Ok(None) };
    let mut values = Map::new();
    for name in names.iter().filter_map(Value::as_str) {
        let value = match std::env::var(name) {
            Ok(value) => Value::from(value),
            Err(VarError::NotPresent) => Value::Null,
            // Two such values could not be told apart in a key.
            Err(VarError::NotUnicode(_)) => bail!("the environment variable `{name}` is not UTF-8"),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(Some(values.into()))
}

/// Whether an input file still is as it was when it was hashed.
pub fn unchanged(path: &Path, stamp: &Stamp) -> bool {
    Stamp::read(path).is_ok_and(|now| now == *stamp)
}
