//! What the checks for leaks came to, for a report: those that the run made, and those that it did not need to make,
//! from the stored files. Unaware of how it is shown.
//!
//! The graph is put together from the records of results, in which each input is named by its content.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pacer_stages::artifact::OutputPort;
use pacer_stages::job::Checkpoints;
use pacer_stages::kinds;
use petgraph::graph::DiGraph;
use serde_json::Value;

use crate::cache::{Cache, StageResult};
use crate::digest::Digest;
use crate::graph::{DeviceWish, Graph, Input, Resources, Source, Stage, StageId};
use crate::leakage::evidence::{Content, Evidence, Findings};
use crate::leakage::{self, Check, Name, Verdict, lineage};
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
    let made: Vec<Check> = made.into_iter().filter(|check| check.verdict != Verdict::NotChecked).collect();
    let told: BTreeSet<(Name, String)> = made.iter().map(|check| (check.name, check.about.clone())).collect();
    made.into_iter().for_each(&mut take);
    if let Some(graph) = graph(run) {
        let needed = vec![true; graph.stages.node_count()];
        leakage::of_graph(&graph, &needed).into_iter().for_each(&mut take);
        let contents = Contents { cache, run, graph: &graph };
        let find = |source: &Source| contents.find(source);
        let (gone, findings) = (BTreeSet::new(), Findings::load(&cache.store));
        let evidence = Evidence { find: &find, gone: &gone, findings: &findings };
        for (subject, about) in leakage::all_subjects(&graph, &needed) {
            if !leakage::places(&graph, &subject, &about).is_subset(&told) {
                leakage::of_subject(&graph, &subject, &about, &evidence).into_iter().for_each(&mut take);
            }
        }
    }
    all.into_values().collect()
}

/// What the artifacts of a run hold, and files by the digests that stand in its records.
struct Contents<'a> {
    cache: &'a Cache,
    run: &'a Run,
    graph: &'a Graph,
}

impl Contents<'_> {
    fn find(&self, source: &Source) -> Option<Content> {
        let (digest, path) = match source {
            Source::Output(id, name) => {
                let stage = self.run.stages.iter().find(|stage| stage.name == self.graph.stages[*id].name)?;
                let artifact = stage.artifact(name)?;
                let store = &self.cache.store;
                let is_here = store.has(&artifact.digest, artifact.bytes);
                (artifact.digest, is_here.then(|| store.object_path(&artifact.digest)))
            }
            Source::File(digest) => {
                let digest = digest.to_str()?.parse().ok()?;
                (digest, Some(self.cache.store.object_path(&digest)).filter(|path| path.exists()))
            }
        };
        Some(Content { digest, path: path.ok_or("the store does not hold") })
    }
}

/// The graph of what a run left; none where its records make no graph.
fn graph(run: &Run) -> Option<Graph> {
    let with_result = |stage: &'_ StageRun| stage.result.is_some();
    let done: Vec<&StageRun> = run.stages.iter().filter(|stage| with_result(stage)).collect();
    let mut stages = DiGraph::new();
    let mut made_by: HashMap<Digest, (StageId, String)> = HashMap::new();
    for stage in done {
        let result = stage.result.as_ref()?;
        let Some(mut node) = node(stage, result) else { continue };
        node.inputs = inputs(&node, &result.record["inputs"], &made_by);
        let producers: BTreeSet<StageId> =
            node.inputs.iter().filter_map(|input| lineage::producer(&input.source)).collect();
        let id = stages.add_node(node);
        producers.into_iter().for_each(|producer| _ = stages.update_edge(producer, id, ()));
        for artifact in &result.artifacts {
            made_by.entry(artifact.digest).or_insert_with(|| (id, artifact.name.clone()));
        }
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

/// The inputs of a stage: artifacts of those before it, and files from elsewhere, which are known by their digests alone.
/// A stage that hands on what it reads is no maker of it.
fn inputs(stage: &Stage, record: &Value, made_by: &HashMap<Digest, (StageId, String)>) -> Vec<Input> {
    let mut inputs = Vec::new();
    for port in stage.kind.inputs {
        let mut take = |name: Option<String>, value: &Value| {
            let Some(digest) = value.as_str().and_then(|text| text.parse::<Digest>().ok()) else { return };
            let source = match made_by.get(&digest) {
                Some((producer, artifact)) => Source::Output(*producer, artifact.clone()),
                None => Source::File(digest.hex().into()),
            };
            inputs.push(Input { slot: port.name, name, source, gathered: None });
        };
        match &record[port.name] {
            Value::Object(named) => named.iter().for_each(|(name, value)| take(Some(name.clone()), value)),
            value => take(None, value),
        }
    }
    inputs
}
