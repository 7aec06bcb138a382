//! The clusters that stages name, or that `--executor` names for all of them. Unaware of what runs there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pacer_stages::kind::Place;
use pacer_stages::worker::{CudaDevice, Probe};

use crate::cli::project::{self, Project};
use crate::cluster::probing::{self, UNKNOWN};
use crate::cluster::runner::Cluster;
use crate::engine::records::ENVIRONMENT;
use crate::executor::Stop;
use crate::executor::machine::Machine;
use crate::graph::{DeviceWish, Graph, HERE, Stage};
use crate::profile::{Executors, Slurm};
use crate::store::Store;
use crate::ui::output;

/// Lets stages that name no executor run on this one.
pub fn assign(graph: &mut Graph, executor: Option<&str>) {
    let Some(name) = executor else { return };
    for stage in graph.stages.node_weights_mut() {
        stage.resources.executor.get_or_insert_with(|| name.to_owned());
    }
}

/// The executors that stages name, by name.
fn named(graph: &Graph) -> BTreeSet<&str> {
    graph.stages.node_weights().filter_map(|stage| stage.resources.cluster()).collect()
}

/// The profile's executors that stages name; one that there is not is an error.
fn wanted(graph: &Graph) -> Result<Executors> {
    let named = named(graph);
    if named.is_empty() {
        return Ok(Executors::new());
    }
    let known = project::profile(Some(&graph.path))?.executors;
    let find = |name: &str| {
        let found = known.get(name).with_context(|| match known.keys().next() {
            None => format!("no profile has an executor: describe it in `pacer.toml` as [executor.{name}]"),
            Some(_) => {
                let known: Vec<_> = known.keys().map(String::as_str).chain([HERE]).collect();
                format!("the profile has no executor `{name}`; there are: {}", known.join(", "))
            }
        });
        Ok((name.to_owned(), found?.clone()))
    };
    named.into_iter().map(find).collect()
}

/// What the nodes of executors compute with: on the processor as here, on GPUs as a node has said.
pub fn meet(graph: &Graph, machine: &mut Machine, store: &Store) -> Result<()> {
    for (name, profile) in wanted(graph)? {
        let Some(probe) = &machine.probe else { continue };
        let kept = || store.recall::<Probe>(&kept(store, &profile));
        let probe = match &profile.gpus {
            None => Probe { cuda: Vec::new(), without_cuda: None, ..probe.clone() },
            Some(_) => kept().unwrap_or_else(|| Probe { cuda: vec![unknown()], ..probe.clone() }),
        };
        let wants_gpu = |stage: &&Stage| {
            stage.resources.cluster() == Some(name.as_str()) && stage.resources.device == DeviceWish::Gpu
        };
        if let Some(stage) = graph.stages.node_weights().find(wants_gpu).filter(|_| probe.cuda.is_empty()) {
            bail!("stage `{}` requires a GPU, and the executor `{name}` asks for none: add `gpus = 1`", stage.name);
        }
        machine.nodes.insert(name, probe);
    }
    Ok(())
}

fn kept(store: &Store, profile: &Slurm) -> std::path::PathBuf {
    store.path(&probing::name(profile))
}

fn is_unknown(probe: &Probe) -> bool {
    probe.cuda.first().is_some_and(|gpu| gpu.architecture == UNKNOWN)
}

fn unknown() -> CudaDevice {
    CudaDevice { index: 0, name: UNKNOWN.to_owned(), architecture: UNKNOWN.to_owned(), memory: 0 }
}

/// Asks a node of each executor whose GPUs stages use and nobody has asked yet.
pub fn ask(project: &mut Project, needed: &[bool]) -> Result<()> {
    let Project { graph, cache, machine, .. } = project;
    for (name, profile) in wanted(graph)? {
        let computes = |stage: &Stage| {
            stage.resources.cluster() == Some(name.as_str())
                && matches!(stage.kind.place, Place::Worker)
                && stage.resources.device != DeviceWish::Cpu
        };
        let Some(probe) = machine.nodes.get_mut(&name).filter(|probe| is_unknown(probe)) else { continue };
        if !graph.order.iter().any(|id| needed[id.index()] && computes(&graph.stages[*id])) {
            continue;
        }
        output::say(&format!("asking a node of `{name}` for its GPU, which is part of keys; once Slurm has a place"));
        let answer = probing::ask(&profile)?;
        cache.store.remember(&kept(&cache.store, &profile), &answer);
        output::say(&format!("it has: {}", answer.cuda[0].name));
        *probe = answer;
    }
    Ok(())
}

/// Opens the clusters of the executors that needed stages name.
pub fn open(project: &Project, needed: &[bool], stop: &Arc<Stop>) -> Result<BTreeMap<String, Cluster>> {
    let Project { graph, cache, machine, .. } = project;
    let is_needed = |name: &str| {
        let mut stages = graph.order.iter().filter(|id| needed[id.index()]);
        stages.any(|id| graph.stages[*id].resources.cluster() == Some(name))
    };
    let mut clusters = BTreeMap::new();
    for (name, profile) in wanted(graph)?.into_iter().filter(|(name, _)| is_needed(name)) {
        let stop = Arc::clone(stop);
        let probe = machine.nodes.get(&name).filter(|probe| !is_unknown(probe));
        let environment = environment(graph);
        // By the file and not by how the command names it.
        let pipeline = graph.path.canonicalize().unwrap_or_else(|_| graph.path.clone());
        let whose = format!("{name}\n{}", pipeline.display());
        let cluster = Cluster::open(&profile, &whose, cache, probe, &environment, move || stop.requested());
        clusters.insert(name, cluster?);
    }
    Ok(clusters)
}

/// The environment variables that stages declare, with their values; pilots with other values do not serve them.
fn environment(graph: &Graph) -> BTreeMap<String, Option<String>> {
    let declared = graph.stages.node_weights().filter_map(|stage| stage.params.get(ENVIRONMENT)?.as_array());
    let names = declared.flatten().filter_map(|name| name.as_str());
    names.map(|name| (name.to_owned(), std::env::var(name).ok())).collect()
}
