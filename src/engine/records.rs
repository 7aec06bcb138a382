//! Makes the key record of a stage from the digests of its inputs. Unaware of what is done with it.

use std::collections::{BTreeMap, BTreeSet};
use std::env::VarError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pacer_stages::artifact::Arity;
use pacer_stages::fingerprint;
use pacer_stages::job::Slot;
use pacer_stages::kind::Place;
use serde_json::{Map, Value};

use crate::cache::{Artifact, Cache, Hit};
use crate::digest::Digest;
use crate::engine::courses::Leg;
use crate::executor::machine::Machine;
use crate::graph::{DeviceWish, Graph, Input, Resources, Source, Stage, StageId};
use crate::key::{Record, RecordParts};
use crate::stat_cache::{Stamp, StatCache};
use crate::store::Store;

/// What is known of the stages that are done.
pub type Results = BTreeMap<StageId, Hit>;

/// The parameter of a stage that names environment variables to pass on.
pub const ENVIRONMENT: &str = "environment";

/// What stands in a record for an input that no stage has made yet.
const UNKNOWN: &str = "not made yet";

/// A record, its key, and the stamps of the input files that no stage made.
pub struct Prepared {
    /// The key record.
    pub record: Record,
    /// Its key.
    pub key: Digest,
    /// Input files with their stamps when they were hashed.
    pub files: Vec<(PathBuf, Stamp)>,
    /// Whether all inputs are; else the key means nothing.
    pub is_known: bool,
}

/// What is known of other stages when the record of one is made.
pub struct Known<'a> {
    /// Those that are done.
    pub results: &'a Results,
    /// Those that failed or cannot be run; who gathers them goes on without them.
    pub gone: &'a BTreeSet<StageId>,
}

/// Makes the record of a stage. An input whose producer is not in `results` is marked as unknown; the key of such
/// a record means nothing.
pub fn prepare(
    graph: &Graph,
    id: StageId,
    known: &Known<'_>,
    stats: &mut StatCache,
    machine: &Machine,
) -> Result<Prepared> {
    let stage = &graph.stages[id];
    let mut digests: Map<String, Value> = Map::new();
    let mut files = Vec::new();
    let mut is_known = true;
    for input in &stage.inputs {
        let digest = match &input.source {
            Source::File(path) => {
                let (digest, stamp) = stats.digest(path)?;
                files.push((path.clone(), stamp));
                digest.hex()
            }
            Source::Output(producer, _) if input.gathered.is_some() && known.gone.contains(producer) => continue,
            Source::Output(producer, name) => match known.results.get(producer) {
                Some(hit) => hit.artifact(name)?.digest.hex(),
                None => {
                    is_known = false;
                    UNKNOWN.to_owned()
                }
            },
        };
        place(input, digest, &mut digests);
    }
    // A slot that may stay empty is in the record all the same, so that filling it is a change of a leaf.
    for port in stage.kind.inputs.iter().filter(|port| matches!(port.arity, Arity::Optional | Arity::NamedOptional)) {
        digests.entry(port.name).or_insert(Value::Null);
    }
    let record = Record::new(RecordParts {
        kind: stage.kind.name,
        code: fingerprint::parts(stage.kind.name),
        params: Arc::clone(&stage.params),
        inputs: digests.into(),
        seed: stage.kind.seeded.then_some(stage.seed),
        numeric: numeric(graph, id, machine)?,
        environment: environment(&stage.params)?,
    });
    Ok(Prepared { key: record.key(), record, files, is_known })
}

fn place(input: &Input, digest: String, digests: &mut Map<String, Value>) {
    let Some(name) = &input.name else {
        digests.insert(input.slot.to_owned(), digest.into());
        return;
    };
    let named = digests.entry(input.slot).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(named) = named {
        named.insert(name.clone(), digest.into());
    }
}

/// The place of a training on its course; none for other stages.
pub fn leg(stage: &Stage, prepared: &Prepared) -> Option<Leg> {
    let course = stage.course.as_ref()?;
    Some(Leg { course: prepared.record.course(&course.params), epochs: course.epochs })
}

/// The files behind the inputs of a stage, by slot; its producers are all in `results`, but for gathered ones that
/// failed.
pub fn paths(graph: &Graph, id: StageId, results: &Results, store: &Store) -> Result<BTreeMap<String, Slot>> {
    let mut slots: BTreeMap<String, Slot> = BTreeMap::new();
    for input in &graph.stages[id].inputs {
        let path = match &input.source {
            Source::File(path) => std::path::absolute(path)?,
            Source::Output(producer, _) if input.gathered.is_some() && !results.contains_key(producer) => continue,
            Source::Output(producer, name) => store.object_path(&results[producer].artifact(name)?.digest),
        };
        let slot = input.slot.to_owned();
        let Some(name) = input.name.clone() else {
            slots.insert(slot, Slot::One(path));
            continue;
        };
        if let Slot::Named(named) = slots.entry(slot).or_insert_with(|| Slot::Named(BTreeMap::new())) {
            named.insert(name, path);
        }
    }
    Ok(slots)
}

/// The inputs of a stage whose artifacts only the remote has, with who made them.
pub fn afar(graph: &Graph, id: StageId, results: &Results, cache: &Cache) -> Vec<(StageId, Artifact)> {
    let artifact = |input: &Input| {
        let Source::Output(producer, name) = &input.source else { return None };
        let hit = results.get(producer).filter(|hit| hit.afar)?;
        let artifact = hit.artifact(name).ok()?;
        (!cache.store.has(&artifact.digest, artifact.bytes)).then(|| (*producer, artifact.clone()))
    };
    graph.stages[id].inputs.iter().filter_map(artifact).collect()
}

fn numeric(graph: &Graph, id: StageId, machine: &Machine) -> Result<Option<Value>> {
    let stage = &graph.stages[id];
    match stage.kind.place {
        Place::Here(_) => Ok(None),
        Place::Worker => {
            let on_gpu = runs_on_gpu(&stage.resources, machine);
            let class = machine.numeric_class(stage.resources.cluster(), on_gpu);
            let class = class.with_context(|| format!("stage `{}` needs `pacer-worker`: run `make build`", stage.name));
            class.map(Some)
        }
    }
}

/// Whether a stage with these wishes computes on a GPU, of this machine or of a node.
pub fn runs_on_gpu(wished: &Resources, machine: &Machine) -> bool {
    let has_gpu = || machine.probe_of(wished.cluster()).is_some_and(|probe| !probe.cuda.is_empty());
    wished.device != DeviceWish::Cpu && wished.gpus > 0.0 && has_gpu()
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
