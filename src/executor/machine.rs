//! What there is to compute with: processor threads, GPUs, the worker program. Unaware of stages.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use pacer_stages::worker::{CudaDevice, Probe};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::stat_cache::Stamp;
use crate::store::Store;

/// The program that computes with LibTorch, looked for beside this one.
const WORKER: &str = "pacer-worker";

/// The driver's version; a new driver may compute otherwise.
const DRIVER: &str = "/proc/driver/nvidia/version";

/// The machine that a run has.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processor threads.
    pub threads: usize,
    /// The worker program.
    pub worker: Option<PathBuf>,
    /// What the worker computes with; `None` where no stage needs it or there is no worker.
    pub probe: Option<Probe>,
    /// What the nodes of clusters compute with, by the names of the executors that stages name.
    pub nodes: BTreeMap<String, Probe>,
}

/// A probe as kept in the store, believed until what it rests on changes.
#[derive(PartialEq, Serialize, Deserialize)]
struct KeptProbe {
    rests_on: Vec<Option<Stamp>>,
    driver: String,
    visible: Option<String>,
    probe: Probe,
}

impl Machine {
    /// Looks what there is without starting anything.
    pub fn look() -> Self {
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(WORKER)));
        // Test programs lie one folder below the programs that they test.
        let above = beside.as_ref().and_then(|path| Some(path.parent()?.parent()?.join(WORKER)));
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            worker: [beside, above].into_iter().flatten().find(|path| path.is_file()),
            probe: None,
            nodes: BTreeMap::new(),
        }
    }

    /// Asks the worker what it computes with, or remembers its last answer.
    pub fn probe(&mut self, store: &Store) -> Result<&Probe> {
        let worker = self.worker.as_deref().context(
            "`pacer-worker` is not beside `pacer`; stages that compute with LibTorch need it: run `make build`",
        )?;
        let kept_path = store.path("probe.json");
        let rests_on = vec![Stamp::read(worker).ok(), library(worker).and_then(|path| Stamp::read(&path).ok())];
        let driver = std::fs::read_to_string(DRIVER).unwrap_or_default();
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let kept = std::fs::read(&kept_path).ok();
        let kept: Option<KeptProbe> = kept.and_then(|text| serde_json::from_slice(&text).ok());
        let kept = kept.filter(|kept| kept.rests_on == rests_on && kept.driver == driver && kept.visible == visible);
        let probe = match kept {
            Some(kept) => kept.probe,
            None => {
                let probe = ask(worker)?;
                let kept = KeptProbe { rests_on, driver, visible, probe };
                if let Err(error) = store.write_json(&kept_path, &kept) {
                    tracing::warn!("{error:#}");
                }
                kept.probe
            }
        };
        Ok(self.probe.insert(probe))
    }

    /// The GPUs that stages run on here, by index.
    pub fn gpus(&self) -> Vec<usize> {
        self.probe.iter().flat_map(alike).map(|gpu| gpu.index).collect()
    }

    /// What stages compute with here, or on the nodes of an executor.
    pub fn probe_of(&self, executor: Option<&str>) -> Option<&Probe> {
        match executor {
            None => self.probe.as_ref(),
            Some(name) => self.nodes.get(name),
        }
    }

    /// What decides the rounding of a computation with LibTorch, as it stands in keys.
    pub fn numeric_class(&self, executor: Option<&str>, on_gpu: bool) -> Option<Value> {
        let probe = self.probe_of(executor)?;
        let device = match probe.cuda.first().filter(|_| on_gpu) {
            Some(gpu) => gpu.architecture.as_str(),
            None => "cpu",
        };
        Some(
            json!({"libtorch": probe.libtorch, "device": device, "dtype": "float32", "deterministic": device == "cpu"}),
        )
    }
}

/// The GPUs of the first one's architecture. Another would round otherwise under the same keys.
pub fn alike(probe: &Probe) -> impl Iterator<Item = &CudaDevice> {
    let is_alike = move |gpu: &&CudaDevice| gpu.architecture == probe.cuda[0].architecture;
    probe.cuda.iter().filter(is_alike)
}

/// What a worker program computes with.
pub fn ask(worker: &Path) -> Result<Probe> {
    let output = Command::new(worker).arg("--probe").stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("`{}` cannot be started", worker.display()))?;
    if output.status.signal() == Some(9) {
        bail!("`{}` was killed while it started; if nobody did it, memory ran out: free some", worker.display());
    }
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` cannot say what it computes with ({}): run `make setup` and `make build`\n{}",
            worker.display(),
            output.status,
            stderr.trim()
        );
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` does not speak as this pacer does: rebuild with `make build`", worker.display()))
}

/// LibTorch as it lies in the checkout that the worker was built in, where it does.
fn library(worker: &Path) -> Option<PathBuf> {
    let lib = |root: &Path| root.join(".libtorch/torch/lib/libtorch_cpu.so");
    worker.ancestors().map(lib).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_of_another_architecture_than_that_in_the_keys_take_no_stage() {
        let gpu = |(index, architecture): (usize, &str)| {
            let architecture = architecture.to_owned();
            CudaDevice { index, name: "GPU".to_owned(), architecture, memory: 1 }
        };
        let cuda: Vec<_> = ["sm_86", "sm_90", "sm_86"].into_iter().enumerate().map(gpu).collect();
        let probe = Probe { libtorch: "2".to_owned(), cuda, without_cuda: None, cpu: "AVX2".to_owned() };
        let mut machine = Machine { threads: 1, worker: None, probe: Some(probe), nodes: BTreeMap::new() };
        assert_eq!(machine.gpus(), [0, 2]);
        assert_eq!(machine.numeric_class(None, true).unwrap()["device"], "sm_86");
        machine.probe = None;
        assert!(machine.gpus().is_empty());
    }
}
