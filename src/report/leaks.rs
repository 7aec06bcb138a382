//! What the checks for leaks came to, for a report: those that the run made, and those that it did not need to make,
//! from the stored files. Unaware of how it is shown.
//!
//! The graph is put together from the records of results, in which each input is named by its content.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use pacer_stages::artifact::OutputPort;
use pacer_stages::job::Checkpoints;
use pacer_stages::kinds;
use petgraph::graph::DiGraph;
use serde_json::Value;

use crate::cache::{Cache, StageResult};
use crate::digest::Digest;
use crate::graph::{DeviceWish, Graph, Input, Resources, Source, Stage, StageId};
use crate::leakage::{self, Check, Name, Verdict};
use crate::recipe;
use crate::report::gather::{Run, StageRun};

/// The checks of a run, each once, in the order in which they are told. Files are read for those alone that the run did
/// not make.
pub fn checks(cache: &Cache, run: &Run) -> Vec<Check> {
    let made = recipe::checks(&cache.store, &run.summary.run);
    let mut all: BTreeMap<(Name, String), Check> = BTreeMap::new();
    let mut take = |check: Check| {
        let place = (check.name, check.about.clone());
        // A split by workout is looked at twice: by its graph and by its data.
        let is_graver = |known: &Check| check.verdict == Verdict::Leak && known.verdict != Verdict::Leak;
        if all.get(&place).is_none_or(is_graver) {
            all.insert(place, check);
        }
    };
    let told: BTreeSet<String> =
        made.iter().filter(|check| check.verdict != Verdict::NotChecked).map(told_by_data).collect();
    made.into_iter().filter(|check| check.verdict != Verdict::NotChecked).for_each(&mut take);
    if let Some(graph) = graph(run) {
        let all = vec![true; graph.stages.node_count()];
        leakage::of_graph(&graph, &all).into_iter().for_each(&mut take);
        let paths = Paths { cache, run, graph: &graph };
        for id in graph.order.iter().copied() {
            let is_told = told.contains(&format!("data {}", graph.stages[id].name));
            if is_told {
                continue;
            }
            let locate = |id: StageId, artifact: &str| paths.locate(id, artifact);
            if leakage::divides(&graph, id) {
                leakage::of_split(&graph, id, &locate).into_iter().for_each(&mut take);
            }
            leakage::of_scoring(&graph, id, &locate).into_iter().for_each(&mut take);
        }
    }
    all.into_values().collect()
}

/// The stage that a check was made of by its data; something else where it was made by the graph alone.
fn told_by_data(check: &Check) -> String {
    let is_by_data = matches!(check.name, Name::TimeOrder | Name::Duplicates | Name::Seen);
    let stage = match check.name {
        Name::Seen => check.about.split_once(':').map_or(check.about.as_str(), |(stage, _)| stage),
        _ => &check.about,
    };
    if is_by_data { format!("data {stage}") } else { "graph".to_owned() }
}

/// Where the artifacts of a run lie.
struct Paths<'a> {
    cache: &'a Cache,
    run: &'a Run,
    graph: &'a Graph,
}

impl Paths<'_> {
    fn locate(&self, id: StageId, artifact: &str) -> Option<PathBuf> {
        let stage = self.run.stages.iter().find(|stage| stage.name == self.graph.stages[id].name)?;
        let artifact = stage.artifact(artifact)?;
        let path = self.cache.blob(artifact).ok()?;
        self.cache.store.has(&artifact.digest, artifact.bytes).then_some(path)
    }
}

/// The graph of what a run left; none where its records make no graph.
fn graph(run: &Run) -> Option<Graph> {
    let with_result = |stage: &'_ StageRun| stage.result.is_some();
    let done: Vec<&StageRun> = run.stages.iter().filter(|stage| with_result(stage)).collect();
    let mut stages = DiGraph::new();
    let mut made_by: HashMap<Digest, (StageId, String)> = HashMap::new();
    let mut placed = Vec::new();
    for stage in done {
        let result = stage.result.as_ref()?;
        let Some(node) = node(stage, result) else { continue };
        let id = stages.add_node(node);
        for artifact in &result.artifacts {
            made_by.entry(artifact.digest).or_insert_with(|| (id, artifact.name.clone()));
        }
        placed.push((id, result));
    }
    for (id, result) in placed {
        let inputs = inputs(&stages[id], &result.record["inputs"], &made_by);
        for input in &inputs {
            if let Source::Output(producer, _) = &input.source
                && *producer != id
            {
                stages.update_edge(*producer, id, ());
            }
        }
        stages[id].inputs = inputs;
    }
    let summary = &run.summary;
    let mut graph = Graph::new(summary.pipeline.clone(), summary.path.clone(), stages)?;
    graph.allowed_leaks = run.recipe.as_ref().map(|recipe| recipe.allowed_leaks.clone()).unwrap_or_default();
    Some(graph)
}

/// A stage as its record tells it, without its inputs.
fn node(stage: &StageRun, result: &StageResult) -> Option<Stage> {
    let port = |artifact: &crate::cache::Artifact| OutputPort {
        name: artifact.name.clone().into(),
        artifact: artifact.artifact,
        doc: "".into(),
    };
    Some(Stage {
        name: stage.name.clone(),
        kind: kinds::find(stage.kind())?,
        params: Arc::new(result.record["params"].clone()),
        inputs: Vec::new(),
        outputs: result.artifacts.iter().map(port).collect(),
        seed: result.record["seed"].as_u64().unwrap_or_default(),
        resources: Resources { threads: None, gpus: 0.0, device: DeviceWish::Auto, executor: None },
        course: None,
        checkpoints: Checkpoints::default(),
        origins: Vec::new(),
        uses: Vec::new(),
        trial: stage.trial.clone(),
    })
}

/// The inputs of a stage that other stages made; files from elsewhere are left out, as nobody scores on them.
fn inputs(stage: &Stage, record: &Value, made_by: &HashMap<Digest, (StageId, String)>) -> Vec<Input> {
    let mut inputs = Vec::new();
    for port in stage.kind.inputs {
        let mut take = |name: Option<String>, value: &Value| {
            let digest = value.as_str().and_then(|text| text.parse::<Digest>().ok());
            if let Some((producer, artifact)) = digest.and_then(|digest| made_by.get(&digest)) {
                let source = Source::Output(*producer, artifact.clone());
                inputs.push(Input { slot: port.name, name, source, gathered: None });
            }
        };
        match &record[port.name] {
            Value::Object(named) => named.iter().for_each(|(name, value)| take(Some(name.clone()), value)),
            value => take(None, value),
        }
    }
    inputs
}
