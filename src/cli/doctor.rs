//! `pacer doctor`: what this machine has, and what to do about what is missing.

use anyhow::Result;
use pacer_stages::worker::{CudaDevice, Probe};
use serde_json::json;

use crate::cli::project::store_folder;
use crate::cli::{Exit, Format, Session};
use crate::executor::machine::{Machine, alike};
use crate::store::Store;
use crate::ui::output::{self, BAD, GOOD, ODD, paint};

/// One thing that was looked for.
struct Finding {
    what: &'static str,
    /// Whether it is there; `None` for a thing that need not be.
    good: Option<bool>,
    said: String,
}

/// Looks at the machine.
pub fn doctor(session: &Session) -> Result<Exit> {
    let mut machine = Machine::look();
    let folder = store_folder(session, None);
    let store = Store::open(&folder);
    let mut findings =
        vec![Finding { what: "threads", good: Some(true), said: format!("{} of the processor", machine.threads) }];
    findings.push(match &machine.worker {
        Some(path) => Finding { what: "worker", good: Some(true), said: path.display().to_string() },
        None => Finding {
            what: "worker",
            good: Some(false),
            said: "`pacer-worker` is not beside `pacer`: run `make build`".into(),
        },
    });
    match &store {
        Ok(store) => {
            findings.extend(computing(&mut machine, store));
            findings.push(Finding { what: "store", good: Some(true), said: store.root().display().to_string() });
        }
        Err(error) => findings.push(Finding { what: "store", good: Some(false), said: format!("{error:#}") }),
    }
    let ill = findings.iter().any(|finding| finding.good == Some(false));
    if session.format == Format::Json {
        let rows =
            findings.iter().map(|finding| json!({"what": finding.what, "good": finding.good, "said": finding.said}));
        output::print_json(&json!({"v": 1, "findings": rows.collect::<Vec<_>>(), "probe": machine.probe}))?;
    } else {
        for Finding { what, good, said } in &findings {
            let mark = match good {
                Some(true) => paint(GOOD, "✓"),
                Some(false) => paint(BAD, "✗"),
                None => paint(ODD, "-"),
            };
            output::print(&format!("{mark} {what:9} {said}\n"));
        }
    }
    Ok(if ill { Exit::Failed } else { Exit::Done })
}

fn computing(machine: &mut Machine, store: &Store) -> Vec<Finding> {
    let probe = match machine.probe(store) {
        Ok(probe) => probe,
        Err(error) => {
            return vec![Finding { what: "LibTorch", good: Some(false), said: format!("{error:#}") }];
        }
    };
    let mut findings = vec![Finding {
        what: "LibTorch",
        good: Some(true),
        said: format!("{} (kernels for {})", probe.libtorch, probe.cpu),
    }];
    findings.extend(gpus(probe));
    findings
}

/// The GPUs, or why there is none.
fn gpus(probe: &Probe) -> Vec<Finding> {
    let used: Vec<usize> = alike(probe).map(|gpu| gpu.index).collect();
    let finding = |gpu: &CudaDevice| {
        let said = format!("{} {} ({}), {}", gpu.index, gpu.name, gpu.architecture, output::bytes(gpu.memory));
        if used.contains(&gpu.index) {
            return Finding { what: "GPU", good: Some(true), said };
        }
        let why = format!(
            "left out: keys hold one architecture, here {}; to use this one, name it alone in CUDA_VISIBLE_DEVICES",
            probe.cuda[0].architecture
        );
        Finding { what: "GPU", good: None, said: format!("{said}, {why}") }
    };
    let mut findings: Vec<Finding> = probe.cuda.iter().map(finding).collect();
    if probe.cuda.is_empty() {
        let said = match &probe.without_cuda {
            Some(why) => format!("none that can be used: {why}"),
            None => "none; training runs on the processor".to_owned(),
        };
        findings.push(Finding { what: "GPU", good: None, said });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_are_left_out_are_told_with_why() {
        let gpu = |index, architecture: &str| CudaDevice {
            index,
            name: "GPU".to_owned(),
            architecture: architecture.to_owned(),
            memory: 24_000_000_000,
        };
        let cuda = vec![gpu(0, "sm_90"), gpu(1, "sm_86")];
        let probe = Probe { libtorch: "2".to_owned(), cuda, without_cuda: None, cpu: "AVX2".to_owned() };
        let told: Vec<_> = gpus(&probe).into_iter().map(|finding| (finding.good, finding.said)).collect();
        let left_out = "1 GPU (sm_86), 24.0 GB, left out: keys hold one architecture, here sm_90; to use this one, name it \
                        alone in CUDA_VISIBLE_DEVICES";
        assert_eq!(told, [(Some(true), "0 GPU (sm_90), 24.0 GB".to_owned()), (None, left_out.to_owned())]);
    }
}
