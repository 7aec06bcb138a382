//! `pacer run --lock` and `--locked`: writes the lock file of a pipeline, or fails where its results drift from it.

use anyhow::{Result, bail};

use crate::engine::plan::Plan;
use crate::engine::records::Results;
use crate::graph::{Graph, StageId};
use crate::lockfile::{Drift, LockFile};
use crate::ui::output::{self, BAD, paint};

/// The lock file that must be there for `--locked`.
pub fn required(graph: &Graph) -> Result<LockFile> {
    let path = LockFile::path_of(&graph.path);
    match LockFile::read(&path)? {
        Some(file) => Ok(file),
        None => bail!("there is no lock file `{}`: write it with `pacer run --lock`", path.display()),
    }
}

/// Tells every stage of a plan whose key is known and is not the locked one; whether there is any.
pub fn told_drift_of_plan(file: &LockFile, graph: &Graph, plan: &Plan) -> bool {
    let drifts = plan.stages.iter().filter_map(|planned| {
        let key = planned.prepared.as_ref()?.key;
        let drift = file.drift(&graph.stages[planned.id].name, &key, plan.results.get(&planned.id))?;
        let why = planned.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        Some((planned.id, drift, why))
    });
    let gone: Vec<_> = file.stages().filter(|stage| graph.find(stage).is_none()).collect();
    for stage in &gone {
        output::say(&format!("{} `{stage}` is locked and is no stage any more", paint(BAD, "✗ drift")));
    }
    tell(graph, drifts) || !gone.is_empty()
}

/// Tells every result that is not the locked one; whether there is any.
pub fn told_drift_of_results(file: &LockFile, graph: &Graph, results: &Results) -> bool {
    let drift = |(id, hit): (&StageId, _)| Some((*id, hit_drift(file, graph, *id, hit)?, String::new()));
    tell(graph, results.iter().filter_map(drift))
}

fn hit_drift(file: &LockFile, graph: &Graph, id: StageId, hit: &crate::cache::Hit) -> Option<Drift> {
    file.drift(&graph.stages[id].name, &hit.key, Some(hit))
}

fn tell(graph: &Graph, drifts: impl Iterator<Item = (StageId, Drift, String)>) -> bool {
    let mut any = false;
    for (id, drift, why) in drifts {
        any = true;
        let name = &graph.stages[id].name;
        let what = match drift {
            Drift::Unlocked => "is not in the lock file".to_owned(),
            Drift::Key => format!("has another key than the locked one{why}"),
            Drift::Artifact(artifact) => format!("has its locked key, but another `{artifact}`"),
        };
        output::say(&format!("{} `{name}` {what}", paint(BAD, "✗ drift")));
    }
    if any {
        output::say("where the change is meant, write the lock file anew with `pacer run --lock`");
    }
    any
}

/// Writes what the results are now; stages that were not part of this run stay as they were locked.
pub fn write(graph: &Graph, results: &Results) -> Result<()> {
    let path = LockFile::path_of(&graph.path);
    let mut file = LockFile::read(&path)?.unwrap_or_else(LockFile::new);
    file.retain(|stage| graph.find(stage).is_some());
    for (id, hit) in results {
        file.lock(&graph.stages[*id].name, hit);
    }
    file.write(&path)?;
    output::say(&format!("locked {} stages in {}", results.len(), path.display()));
    Ok(())
}
