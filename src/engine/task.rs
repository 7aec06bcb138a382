//! What the thread of one stage does: claim the key, run the job, commit. Unaware of the other stages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use pacer_stages::fingerprint;
use pacer_stages::job::{Device, JOB_VERSION, Job, Slot};
use pacer_stages::stage::{Interrupted, Metrics, Notice};
use pacer_stages::worker::{Failure, FailureClass, REBUILD};
use serde_json::Value;

use crate::cache::afar::{Brought, Looker};
use crate::cache::{Artifact, Cache, Claim, Claimant, Hit, Produced, Ticket};
use crate::cluster::runner::{Cluster, Whereabouts};
use crate::digest::Digest;
use crate::engine::records::{self, Prepared};
use crate::engine::run::class_name;
use crate::engine::slots::Held;
use crate::executor::{self, Output, Pool, Stop, Surroundings};
use crate::graph::{Stage, StageId};
use crate::remote::Meter;
use crate::store::{BAD_DISK, DISK_FULL, READ_ONLY};

/// What to do about a disk that refuses, by the words that errors say it with.
const REMEDIES: [(&[&str], &str); 3] = [
    (&["(os error 28)", "No space left on device", "(os error 122)"], DISK_FULL),
    (&["(os error 30)"], READ_ONLY),
    (&["(os error 5)"], BAD_DISK),
];

/// What failures say that are mended by setting something up, or by running again.
const OF_THE_SETUP: [&str; 6] =
    [REBUILD, "cannot be started", "pacer-worker` is not beside", "run again", "is not on the PATH", UNKEPT];

/// What is said of a result that the store does not take.
const UNKEPT: &str = "it was made, but its result cannot be kept";

/// What a stage's thread tells the scheduler.
pub enum Message {
    /// It waits for another process.
    Waiting(StageId, Option<u32>),
    /// Where on a cluster it is.
    Where(StageId, Whereabouts),
    /// The stage told something.
    Notice(StageId, Notice),
    /// Inputs came from the remote, in so many seconds.
    Brought(StageId, Brought, f64),
    /// It cannot start, for artifacts of these stages could not be brought, each with why.
    Lacking(StageId, Vec<(StageId, String)>),
    /// Its artifacts can be read; its result is not on the disk yet.
    Made(StageId, Hit),
    /// It ended.
    Ended(StageId, Box<Result<Ran, Failure>>),
}

/// How a stage ended well.
pub struct Ran {
    /// Its result.
    pub hit: Hit,
    /// Its figures; none where another process made the result while this one waited for the lock.
    pub metrics: Option<Metrics>,
    /// The most memory that its worker held, where it had one.
    pub peak_bytes: Option<u64>,
    /// Artifacts whose bytes differ from those of an earlier result with the same key.
    pub diverged: Vec<String>,
}

/// The job of a stage: all that its run is told.
pub fn describe(stage: &Stage, inputs: BTreeMap<String, Slot>, out: &Path, partial: &Path, held: &Held) -> Job {
    Job {
        v: JOB_VERSION,
        kind: stage.kind.name.to_owned(),
        code: fingerprint::of(stage.kind.name).expect("every kind has a fingerprint").to_owned(),
        params: Value::clone(&stage.params),
        inputs,
        out: out.to_owned(),
        partial: partial.to_owned(),
        checkpoints: stage.checkpoints.clone(),
        seed: stage.seed,
        // The job sees one GPU only, so whatever its index was, there it is the first.
        device: if held.gpu.is_some() { Device::Cuda(0) } else { Device::Cpu },
        threads: held.threads,
    }
}

/// One stage to be run.
pub struct Task<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// Where its result goes.
    pub cache: &'a Cache,
    /// The worker program.
    pub worker: Option<&'a Path>,
    /// The cluster that runs it, where it does not run here.
    pub cluster: Option<&'a Cluster>,
    /// Workers that wait for a job.
    pub pool: &'a Pool,
    /// Asks it to stop.
    pub stop: &'a Stop,
    /// Its place in the graph.
    pub id: StageId,
    /// What it holds of the machine.
    pub held: Held,
    /// Whether to run even if the result is there.
    pub forced: bool,
    /// Whether to tell of its artifacts before they are safe on the disk.
    pub hand_on: bool,
    /// Where its log goes.
    pub log: PathBuf,
    /// The run that it belongs to.
    pub run: String,
    /// The course of training that it goes along.
    pub course: Option<Digest>,
    /// To the scheduler.
    pub sender: Sender<Message>,
    /// Inputs that only the remote has, with who made them.
    pub afar: Vec<(StageId, Artifact)>,
}

impl Task<'_> {
    /// Does it all, from the files behind its inputs, and tells the scheduler how it ended.
    pub fn run(self, prepared: Prepared, inputs: Result<BTreeMap<String, Slot>>) {
        let lacking = self.bring_inputs();
        if !lacking.is_empty() && !self.stop.requested() {
            return self.tell(Message::Lacking(self.id, lacking));
        }
        let inputs = match lacking.is_empty() {
            true => inputs.map_err(|error| executor::failure(&error)),
            false => Err(executor::failure(&Interrupted.into())),
        };
        let key = prepared.key;
        let outcome = inputs.and_then(|inputs| self.attempt(prepared, inputs)).map_err(with_remedy);
        if self.stage.trial.is_some() {
            self.keep(key, &outcome);
        }
        self.tell(Message::Ended(self.id, Box::new(outcome)));
    }

    /// Brings the inputs that only the remote has; those that could not be had, with why.
    fn bring_inputs(&self) -> Vec<(StageId, String)> {
        if self.afar.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let artifacts: Vec<Artifact> = self.afar.iter().map(|(_, artifact)| artifact.clone()).collect();
        let meter = Meter::default();
        let brought = self.cache.bring(&artifacts, &Looker { meter: &meter, stop: &|| self.stop.requested() });
        let why = |artifact: &Artifact| brought.lacking.iter().find(|(digest, _)| *digest == artifact.digest);
        let lacking = self.afar.iter().filter_map(|(id, it)| Some((*id, why(it)?.1.clone())));
        let mut lacking: Vec<_> = lacking.collect();
        lacking.sort_by_key(|(id, _)| *id);
        lacking.dedup_by_key(|(id, _)| *id);
        if brought.blobs > 0 {
            self.tell(Message::Brought(self.id, brought, began.elapsed().as_secs_f64()));
        }
        lacking
    }

    /// Keeps how a trial failed, so that it is not tried again unasked.
    fn keep(&self, key: Digest, outcome: &Result<Ran, Failure>) {
        match outcome {
            Ok(_) => self.cache.forget_failure(&key),
            Err(failure) if lasts(failure) => {
                self.cache.record_failure(key, class_name(failure.class), failure.message.clone(), &self.run);
            }
            Err(_) => {}
        }
    }

    fn attempt(&self, prepared: Prepared, inputs: BTreeMap<String, Slot>) -> Result<Ran, Failure> {
        let plain = |error: anyhow::Error| executor::failure(&error);
        let told = AtomicBool::new(false);
        let waiting = |process| {
            if !told.swap(true, Ordering::Relaxed) {
                self.tell(Message::Waiting(self.id, process));
            }
            if self.stop.requested() { Err(Interrupted.into()) } else { Ok(()) }
        };
        let claimant = Claimant { run: &self.run, forced: self.forced, course: self.course, waiting: &waiting };
        let ticket = match self.cache.claim(prepared.record.clone(), &claimant).map_err(plain)? {
            Claim::Hit(hit) => return Ok(Ran { hit, metrics: None, peak_bytes: None, diverged: Vec::new() }),
            Claim::Ticket(ticket) => ticket,
        };
        let job = describe(self.stage, inputs, ticket.out(), ticket.partial(), &self.held);
        let warnings = Mutex::new(Vec::new());
        let began = Instant::now();
        let output = self.execute(&prepared, &job, &warnings)?;
        // On a cluster it may have waited long.
        let seconds = output.seconds.unwrap_or_else(|| began.elapsed().as_secs_f64());
        let warnings = warnings.into_inner().expect("no thread panicked with it");
        self.commit(&prepared, ticket, output, warnings, seconds).map_err(plain)
    }

    fn execute(&self, prepared: &Prepared, job: &Job, warnings: &Mutex<Vec<String>>) -> Result<Output, Failure> {
        let sink = |notice: Notice| {
            match &notice {
                Notice::Log { message } => return self.log(message),
                Notice::Warning { message } => {
                    warnings.lock().expect("no thread panicked with it").push(message.clone());
                    self.log(message);
                }
                Notice::Progress { .. } => {}
            }
            self.tell(Message::Notice(self.id, notice));
        };
        let surroundings = Surroundings {
            worker: self.worker,
            pool: Some(self.pool),
            gpu: self.held.gpu.map(|(gpu, _)| gpu),
            log: &self.log,
            stop: self.stop,
            sink: &sink,
        };
        let outcome = match self.cluster {
            Some(cluster) => {
                let tell = |whereabouts| self.tell(Message::Where(self.id, whereabouts));
                let read: Vec<_> = prepared.files.iter().map(|(_, stamp)| *stamp).collect();
                cluster.run(prepared.key, &self.stage.name, job, &read, &surroundings, &tell)
            }
            None => executor::execute(self.stage.kind.place, job, &surroundings),
        };
        if let Err(failure) = &outcome {
            self.log(&failure.message);
        }
        outcome
    }

    fn commit(
        &self,
        prepared: &Prepared,
        ticket: Ticket<'_>,
        output: Output,
        warnings: Vec<String>,
        seconds: f64,
    ) -> Result<Ran> {
        if let Some((path, _)) = prepared.files.iter().find(|(path, stamp)| !records::unchanged(path, stamp)) {
            bail!("`{}` changed while the stage read it: run again", path.display());
        }
        let metrics = Some(output.metrics.clone());
        let peak_bytes = output.peak_bytes;
        let produced = Produced { metrics: output.metrics, warnings, seconds, peak_bytes };
        let pending = ticket.take_in(&self.stage.outputs, produced)?;
        if self.hand_on {
            self.tell(Message::Made(self.id, pending.hit()));
        }
        let committed = pending.publish().context(UNKEPT)?;
        Ok(Ran { hit: committed.hit, metrics, peak_bytes, diverged: committed.diverged })
    }

    /// Appends a line to the stage's log; a log that cannot be written is no reason to fail.
    fn log(&self, line: &str) {
        let file = File::options().create(true).append(true).open(&self.log);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
            tracing::warn!("`{}` cannot be written: {error}", self.log.display());
        }
    }

    fn tell(&self, message: Message) {
        // The scheduler outlives every task; should it be gone, nobody is left to tell.
        let _ = self.sender.send(message);
    }
}

/// Whether a failure is of the trial rather than of the moment or of the machine's set-up.
fn lasts(failure: &Failure) -> bool {
    let remedies = REMEDIES.iter().map(|(_, remedy)| *remedy).chain(OF_THE_SETUP);
    failure.class != FailureClass::Interrupted && !remedies.into_iter().any(|sign| failure.message.contains(sign))
}

/// Says what to do about a disk that refuses, which libraries report in words of their own.
fn with_remedy(failure: Failure) -> Failure {
    let says = |sign: &&str| failure.message.contains(*sign);
    let found = REMEDIES.iter().find(|(signs, _)| signs.iter().any(says));
    match found {
        Some((_, remedy)) if !failure.message.contains(remedy) => {
            Failure { message: format!("{remedy} ({})", failure.message), ..failure }
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_what_to_do_once() {
        let failure = |message: &str| Failure { class: FailureClass::Error, message: message.into(), parameter: None };
        let told = with_remedy(failure("`raw.bin` cannot be written: No space left on device (os error 28)"));
        assert_eq!(
            told.message,
            "the disk is full: free some space (`pacer gc` helps), then run again; nothing finished is lost \
             (`raw.bin` cannot be written: No space left on device (os error 28))"
        );
        assert_eq!(with_remedy(told.clone()), told);
        assert_eq!(with_remedy(failure("no")), failure("no"));
    }

    #[test]
    fn a_broken_and_a_read_only_disk_are_told_with_what_to_do() {
        let told = |code: i32| {
            let message = std::io::Error::from_raw_os_error(code).to_string();
            with_remedy(Failure { class: FailureClass::Error, message, parameter: None }).message
        };
        assert!(told(5).starts_with(BAD_DISK), "{}", told(5));
        assert!(told(30).starts_with(READ_ONLY), "{}", told(30));
        assert!(told(122).starts_with(DISK_FULL), "{}", told(122));
    }
}
