//! Runs a stage again beside its result and compares what both wrote, bit for bit. Unaware of schedules and of the
//! terminal.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pacer_stages::compare::{self, Difference};
use pacer_stages::stage::Notice;
use pacer_stages::worker::Failure;

use crate::cache::{Cache, Hit};
use crate::engine::records::{self, Results};
use crate::engine::slots::Held;
use crate::engine::task;
use crate::executor::machine::Machine;
use crate::executor::{self, Stop, Surroundings};
use crate::graph::{Graph, StageId};
use crate::hash::hash_file;
use crate::lock::Lock;

/// What an artifact of a second run is beside the first one's.
pub struct Compared {
    /// The artifact's name.
    pub artifact: String,
    /// How it differs; `None` when every bit is the same.
    pub difference: Option<Difference>,
}

/// How a second run ended: with artifacts to compare, or not at all.
pub type Rerun = std::result::Result<Vec<Compared>, Failure>;

/// Runs a stage again in a folder of its own, from the start and from the same inputs. The store's results stay as
/// they are. `results` holds the stage's own and those of all its producers.
pub fn rerun(
    graph: &Graph,
    id: StageId,
    results: &Results,
    cache: &Cache,
    machine: &Machine,
    stop: &Stop,
    sink: &(dyn Fn(Notice) + Sync),
) -> Result<Rerun> {
    let store = &cache.store;
    // No collection takes the folder meanwhile.
    let owner = format!("rerun-{}", std::process::id());
    let _alive = Lock::try_take(&store.owner_lock_path(&owner));
    let scratch = store.scratch(&owner)?;
    let [out, partial, log] = ["out", "partial", "log"].map(|name| scratch.path().join(name));
    std::fs::create_dir(&out).with_context(|| format!("`{}` cannot be made", out.display()))?;
    let stage = &graph.stages[id];
    let on_gpu = records::runs_on_gpu(&stage.resources, machine);
    let gpu = machine.gpus().first().copied().filter(|_| on_gpu);
    if on_gpu && gpu.is_none() {
        bail!("`{}` computes on a GPU of its executor, and this machine has none to run it again on", stage.name);
    }
    let threads = stage.resources.threads.unwrap_or(machine.threads).clamp(1, machine.threads);
    let held = Held { cluster: None, threads, gpu: gpu.map(|gpu| (gpu, 1.0)), memory: 0 };
    let inputs = records::paths(graph, id, results, store)?;
    records::afar(graph, id, results, cache).iter().try_for_each(|(_, artifact)| cache.blob(artifact).map(drop))?;
    let job = task::describe(stage, inputs, &out, &partial, &held);
    let worker = machine.worker.as_deref();
    let surroundings = Surroundings { worker, pool: None, gpu, log: &log, stop, sink };
    if let Err(failure) = executor::execute(stage.kind.place, &job, &surroundings) {
        return Ok(Err(failure));
    }
    let hit = results.get(&id).with_context(|| format!("`{}` has no result", stage.name))?;
    let compared = stage.outputs.iter().map(|port| compare(hit, &port.name, &out.join(port.file_name()), cache));
    Ok(Ok(compared.collect::<Result<_>>()?))
}

fn compare(hit: &Hit, name: &str, second: &Path, cache: &Cache) -> Result<Compared> {
    let artifact = hit.artifact(name)?;
    let first = cache.blob(artifact)?;
    let difference = match hash_file(second)?.0 == artifact.digest {
        true => None,
        false => compare::compare(artifact.artifact, name, &first, second)?,
    };
    Ok(Compared { artifact: name.to_owned(), difference })
}
