//! Asks a node of a cluster what it computes with, for that stands in keys before any job is offered. Unaware of stores.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use pacer_stages::worker::Probe;

use crate::cluster::{batch, code};
use crate::digest::Digest;
use crate::executor::machine::{self, Machine};
use crate::profile::Slurm;

/// The architecture of a GPU that nobody has asked for yet; no result has it in its key.
pub const UNKNOWN: &str = "not known yet";

/// A name for what the answer rests on.
pub fn name(profile: &Slurm) -> String {
    let Slurm { partition, gpus, arguments, setup, program, .. } = profile;
    let text = serde_json::to_string(&(code(), partition, gpus, arguments, setup, program)).unwrap_or_default();
    format!("probe-{}", Digest::of(text.as_bytes()).short())
}

/// Lets Slurm start this program on a node to say what it computes with, and waits for that.
pub fn ask(profile: &Slurm) -> Result<Probe> {
    let here = std::env::current_exe().context("this program cannot be found")?;
    let program = profile.program.clone().map_or(here, Into::into);
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let script = batch::script(&profile.setup, &[program.to_owned(), "probe".to_owned()]);
    let mut command = Command::new("srun");
    command.args(batch::wishes(profile)).args(["--job-name=pacer-probe", "--quiet", "/bin/sh", "-c", &script]);
    // What it says while it waits is for the person who waits.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("`srun` cannot be started, by which a node is asked for its GPU")?;
    if !output.status.success() {
        bail!("no node could be asked for its GPU: `srun` ended with {}", output.status);
    }
    let answer = String::from_utf8_lossy(&output.stdout);
    let line =
        answer.lines().find(|line| line.starts_with('{')).context("the node did not say what it computes with")?;
    let probe: Probe = serde_json::from_str(line).context("`pacer` on the node is of another version than here")?;
    if probe.cuda.is_empty() {
        let why = probe.without_cuda.unwrap_or_else(|| "its LibTorch sees none".to_owned());
        bail!("the executor asks for GPUs, and its node has none that LibTorch can use: {why}");
    }
    Ok(probe)
}

/// What this machine computes with, as a line for whoever asked.
pub fn answer() -> Result<String> {
    let worker = Machine::look().worker.context("`pacer-worker` is not beside `pacer` on the node")?;
    Ok(serde_json::to_string(&machine::ask(&worker)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_what_it_rests_on() {
        let of = |gpus: &str, max_jobs| name(&Slurm { gpus: Some(gpus.into()), max_jobs, ..Slurm::default() });
        assert_eq!(of("1", 2), of("1", 3));
        assert_ne!(of("1", 2), of("a100:1", 2));
    }
}
