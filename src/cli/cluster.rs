//! The cluster that `--executor` names. Unaware of what runs there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::cli::project::{self, Project};
use crate::cli::run::RunArgs;
use crate::cluster::runner::Cluster;
use crate::engine::records::ENVIRONMENT;
use crate::executor::Stop;
use crate::graph::Graph;

/// Opens the cluster that was asked for; none where stages run here.
pub fn open(project: &Project, args: &RunArgs, stop: &Arc<Stop>) -> Result<Option<Cluster>> {
    let Some(name) = &args.executor else { return Ok(None) };
    let executors = project::profile(Some(&project.graph.path))?.executors;
    let profile = executors.get(name).with_context(|| match executors.keys().next() {
        None => format!("no profile has an executor: describe it in `pacer.toml` as [executor.{name}]"),
        Some(_) => {
            let known: Vec<_> = executors.keys().map(String::as_str).collect();
            format!("the profile has no executor `{name}`; it has: {}", known.join(", "))
        }
    })?;
    let stop = Arc::clone(stop);
    let store = project.cache.store.path("");
    Cluster::open(profile, &store, &environment(&project.graph), move || stop.requested()).map(Some)
}

/// The environment variables that stages declare, with their values; pilots with other values do not serve them.
fn environment(graph: &Graph) -> BTreeMap<String, Option<String>> {
    let declared = graph.stages.node_weights().filter_map(|stage| stage.params.get(ENVIRONMENT)?.as_array());
    let names = declared.flatten().filter_map(|name| name.as_str());
    names.map(|name| (name.to_owned(), std::env::var(name).ok())).collect()
}
