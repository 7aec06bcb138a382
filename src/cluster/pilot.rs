//! A pilot: the program that Slurm starts on a node, which takes jobs from the spool until there are none. Unaware of
//! who offers them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use pacer_stages::job::Device;
use pacer_stages::kind::Place;
use pacer_stages::kinds;
use pacer_stages::stage::Notice;
use pacer_stages::worker::{Failure, FailureClass, Probe};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use signal_hook::consts::{SIGTERM, SIGUSR1};

use crate::cluster::spool::{Attempt, Claim, Offer, Outcome, Pilot, Spool, StopHow, Stopped};
use crate::cluster::{code, policy};
use crate::executor::machine::{self, Machine};
use crate::executor::{self, Output, Pool, Stop, Surroundings, memory};

/// What a pilot says in its log before all else.
pub const BEGAN: &str = "began on";

/// How often a pilot gives a sign of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked, while that is awaited, whether Slurm ends the pilot.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How soon and how seldom a busy one looks whether its job has ended.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];

/// So long after a job has ended its pilot may hear that Slurm ends both, for all their processes are told, one by one:
/// where a program may have gone on without one of its own that was ended, and where the job failed.
const HEARSAY: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(300)];

/// So long a job that was asked to stop is left alone; workers, which write their state, longer.
const ORDERLY: Duration = Duration::from_secs(1);

/// What a pilot is told when it is started.
#[derive(Clone, Debug)]
pub struct Post {
    /// The store.
    pub store: PathBuf,
    /// Which jobs it takes.
    pub shape: String,
    /// The code that its sender has.
    pub code: String,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// How long it waits for a further job.
    pub idle: Duration,
    /// Whether it takes more than one.
    pub share: bool,
    /// The architecture of its GPU, which keys hold, where it shall have one.
    pub architecture: Option<String>,
    /// The version of LibTorch, which keys hold, where it may be another here.
    pub libtorch: Option<String>,
}

/// A pilot at work.
pub(super) struct Serving<'a> {
    spool: Spool,
    claim: Claim,
    post: &'a Post,
    machine: Machine,
    pool: Pool,
    near_limit: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
    beaten: Option<Instant>,
    now: SystemTime,
    /// Pilots that look where this one does.
    crowd: usize,
}

/// Takes jobs until there are none, the end of its time is near, or Slurm ends it.
pub fn serve(post: &Post) -> Result<()> {
    let spool = Spool::open(&post.store)
        .with_context(|| format!("the store `{}` cannot be written on this node", post.store.display()))?;
    let mut serving = Serving::begin(post, spool)?;
    match serving.fault() {
        None => serving.work(),
        fault => {
            serving.beat(None, fault);
            // Long enough for the run to read why.
            std::thread::sleep(Duration::from_secs(3));
        }
    }
    serving.end();
    Ok(())
}

/// Why no job can be done here at all.
fn fault(post: &Post, worker: Option<&Path>) -> Option<String> {
    if code() != post.code {
        return Some("`pacer` on the node was built from other code than here: rebuild it there".to_owned());
    }
    if let Err(error) = std::env::set_current_dir(&post.folder) {
        return Some(format!("the folder `{}` is not there on the node: {error}", post.folder.display()));
    }
    let libtorch = post.libtorch.as_deref()?;
    let probe = match worker.map(machine::ask) {
        Some(Ok(probe)) => probe,
        Some(Err(error)) => return Some(format!("{error:#}")),
        // Programs can be run without it.
        None if post.architecture.is_none() => return None,
        None => return Some("`pacer-worker` is not beside `pacer` on the node".to_owned()),
    };
    if probe.libtorch != libtorch {
        return Some(format!("a node has LibTorch {}, and keys of its stages hold {libtorch}", probe.libtorch));
    }
    other_gpu(post.architecture.as_deref()?, &probe)
}

/// What is wrong with the GPU of the node: results of another would be told apart by nobody.
fn other_gpu(wanted: &str, probe: &Probe) -> Option<String> {
    match probe.cuda.first() {
        Some(gpu) if gpu.architecture == wanted => None,
        Some(gpu) => Some(format!(
            "a node has a GPU of architecture {}, where the first that was asked has {wanted}: results of both would \
             bear the same keys; let the executor name one type, such as gpus = \"a100:1\"",
            gpu.architecture
        )),
        None => {
            Some("a node has no GPU that LibTorch can use, where another has: look at `gpus` of the executor".into())
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Who this pilot is, by what Slurm says.
pub(super) fn claim() -> Claim {
    let array = || Some(format!("{}_{}", variable("SLURM_ARRAY_JOB_ID")?, variable("SLURM_ARRAY_TASK_ID")?));
    let slurm = array().or_else(|| variable("SLURM_JOB_ID")).unwrap_or_else(|| "0".to_owned());
    let node = variable("SLURMD_NODENAME").unwrap_or_else(|| "this machine".to_owned());
    Claim { pilot: format!("{slurm}-{}", std::process::id()), slurm, node, served: 0 }
}

impl<'a> Serving<'a> {
    /// Gets ready to take jobs.
    pub(super) fn begin(post: &'a Post, spool: Spool) -> Result<Self> {
        let (near_limit, terminated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&near_limit))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&terminated))?;
        // What a job starts and leaves behind becomes a child of the pilot, which ends it.
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::warn!("what stages leave behind cannot be ended: {error}");
        }
        let (machine, pool, now) = (Machine::look(), Pool::default(), SystemTime::UNIX_EPOCH);
        let claim = claim();
        // Nobody may read it.
        let _ = writeln!(std::io::stderr(), "pilot {} {BEGAN} {}", claim.pilot, claim.node);
        Ok(Self { spool, claim, post, machine, pool, near_limit, terminated, beaten: None, now, crowd: 0 })
    }

    /// Who it is.
    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Why no job can be done here at all.
    pub(super) fn fault(&self) -> Option<String> {
        fault(self.post, self.machine.worker.as_deref())
    }

    /// Ends all that it started.
    pub(super) fn end(self) {
        let Serving { spool, claim, pool, .. } = self;
        drop(pool);
        end_children(None);
        spool.leave_pilot(&claim.pilot);
    }

    /// Lets go of workers that have been idle for long.
    pub(super) fn trim(&self) {
        self.pool.trim();
    }

    /// Ends what a job left behind.
    pub(super) fn clear(&self) {
        end_children(self.machine.worker.as_deref());
    }

    fn work(&mut self) {
        let mut idle_since = Instant::now();
        while self.reason_to_stop().is_none() && idle_since.elapsed() < self.post.idle.max(BEAT_INTERVAL) {
            self.beat(None, None);
            let Some((attempt, offer)) = self.spool.take(&self.post.shape, &self.claim, self.now) else {
                self.trim();
                std::thread::sleep(policy::idle_pause(self.crowd));
                continue;
            };
            self.beaten = None;
            self.beat(Some(&offer), None);
            let outcome = self.serve(&attempt, &offer);
            self.clear();
            if let Err(error) = self.spool.end(&attempt, &outcome) {
                // Without its outcome the run finds that this pilot is gone, and tries again.
                tracing::error!("the outcome of `{}` cannot be written: {error}", offer.stage);
                break;
            }
            if !self.post.share {
                break;
            }
            idle_since = Instant::now();
        }
    }

    /// Why it shall take no further job, and end the one that it has.
    pub(super) fn reason_to_stop(&self) -> Option<Stopped> {
        match (self.terminated.load(Ordering::Relaxed), self.near_limit.load(Ordering::Relaxed)) {
            (true, _) => Some(Stopped::Terminated),
            (false, true) => Some(Stopped::Limit),
            (false, false) => None,
        }
    }

    fn reason_within(&self, patience: Duration) -> Option<Stopped> {
        let began = Instant::now();
        while self.reason_to_stop().is_none() && began.elapsed() < patience {
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.reason_to_stop()
    }

    /// Does one job, and gives signs of life meanwhile.
    pub(super) fn serve(&mut self, attempt: &Attempt, offer: &Offer) -> Outcome {
        let (stop, began) = (Stop::default(), Instant::now());
        let (mut stopped, mut stopping) = (None, None::<Instant>);
        let events = File::options().create(true).append(true).open(self.spool.events(attempt)).ok();
        let events = Mutex::new(events);
        let own_group = format!("/job_{}/", variable("SLURM_JOB_ID").unwrap_or_else(|| "none".to_owned()));
        let killed = memory::kills(&own_group);
        let (worker, pool) = (self.machine.worker.clone(), std::mem::take(&mut self.pool));
        let result = std::thread::scope(|scope| {
            let (stop, events, pool, worker) = (&stop, &events, &pool, worker.as_deref());
            let job = scope.spawn(move || {
                let sink = |notice: Notice| tell(events, &notice);
                let log = &offer.log;
                // Of the GPUs that Slurm gave to the pilot, the first.
                let gpu = matches!(offer.job.device, Device::Cuda(_)).then_some(0);
                let surroundings = Surroundings { worker, pool: Some(pool), gpu, log, stop, sink: &sink };
                executor::execute(place(&offer.job.kind)?, &offer.job, &surroundings)
            });
            let (mut pause, mut looked) = (PAUSES[0], Instant::now());
            while !job.is_finished() {
                std::thread::sleep(pause);
                pause = pause.mul_f64(1.5).min(PAUSES[1]);
                self.beat(Some(offer), None);
                if looked.elapsed() < policy::follow_pause(self.crowd) {
                    continue;
                }
                looked = Instant::now();
                let asked = self.spool.stop_asked(attempt);
                let reason = self.reason_to_stop().or(asked.map(|_| Stopped::Asked));
                if reason.is_some() && stopped.is_none() {
                    stopped = reason;
                    stop.request();
                    stopping = Some(Instant::now());
                }
                if stopping.is_some_and(|since| since.elapsed() > ORDERLY) {
                    // What the job's program started in a session of its own holds its pipes open.
                    kill_children(self.machine.worker.as_deref());
                }
                if asked == Some(StopHow::Kill) && !stop.kill() {
                    stop.request();
                }
            }
            job.join().unwrap_or_else(|_| Err(broken("the pilot broke, which is a bug of pacer".to_owned())))
        });
        self.pool = pool;
        let runs_programs = kinds::find(&offer.job.kind).is_some_and(|kind| kind.runs_programs);
        if stopped.is_none() && (result.is_err() || runs_programs) {
            stopped = self.reason_within(HEARSAY[usize::from(result.is_err())]);
        }
        // A shell whose command was ended by a signal may go on to what looks like a good end.
        let is_doubtful = runs_programs && stopped == Some(Stopped::Terminated);
        let result = if is_doubtful { result.and_then(|_| Err(cut_short())) } else { result };
        let peak_bytes = result.as_ref().ok().and_then(|output| output.peak_bytes);
        let result = result.map(|Output { metrics, .. }| metrics);
        // The kernel takes the largest process, which may be a program of the stage whose end it did not notice.
        let result = if memory::kills(&own_group) > killed { Err(out_of_memory(&self.claim.node)) } else { result };
        let claim = self.claim.clone();
        self.claim.served += 1;
        Outcome { claim, result, peak_bytes, seconds: began.elapsed().as_secs_f64(), stopped }
    }

    fn beat(&mut self, offer: Option<&Offer>, fault: Option<String>) {
        if self.beaten.is_some_and(|beaten| beaten.elapsed() < BEAT_INTERVAL) {
            return;
        }
        let (claim, shape) = (self.claim.clone(), self.post.shape.clone());
        let (stage, runner) = offer.map(|offer| (offer.stage.clone(), offer.runner.clone())).unzip();
        let pilot = Pilot { claim, shape, stage, runner, fault };
        match self.spool.beat_pilot(&pilot) {
            Ok(now) => {
                (self.now, self.beaten, self.crowd) = (now, Some(Instant::now()), self.spool.crowd(&self.post.shape));
            }
            Err(error) => tracing::warn!("the store cannot be written: {error}"),
        }
    }
}

fn place(kind: &str) -> Result<Place, Failure> {
    kinds::find(kind).map(|kind| kind.place).ok_or_else(|| broken(format!("there is no kind `{kind}` on the node")))
}

fn cut_short() -> Failure {
    let message = "Slurm ended it before its end".to_owned();
    Failure { class: FailureClass::Interrupted, message, parameter: None }
}

fn out_of_memory(node: &str) -> Failure {
    let message = format!("memory ran out on {node}, where the kernel killed a process of the stage");
    Failure { class: FailureClass::OutOfMemory, message, parameter: None }
}

fn broken(message: String) -> Failure {
    Failure { class: FailureClass::Error, message, parameter: None }
}

/// Writes a line that the run reads; what is lost is progress on a screen.
fn tell(events: &Mutex<Option<File>>, notice: &Notice) {
    let (Ok(mut file), Ok(line)) = (events.lock(), serde_json::to_string(notice)) else { return };
    if let Some(file) = file.as_mut() {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Kills the children of this process but those that run one program, and theirs when they become its own.
fn end_children(spared: Option<&Path>) {
    for _ in 0..10 {
        let left = kill_children(spared);
        if left.is_empty() {
            return;
        }
        for child in left {
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
        }
    }
}

/// Kills them, and leaves it to whoever started them to hear of it.
fn kill_children(spared: Option<&Path>) -> Vec<Pid> {
    let left: Vec<_> = children().into_iter().filter(|child| !runs(*child, spared)).collect();
    for child in &left {
        // It may have ended this very moment.
        let _ = kill_process(*child, Signal::KILL);
    }
    left
}

fn runs(process: Pid, program: Option<&Path>) -> bool {
    let exe = std::fs::read_link(format!("/proc/{}/exe", process.as_raw_nonzero())).ok();
    let program = program.and_then(|program| program.canonicalize().ok());
    program.is_some() && exe == program
}

fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let parent = |process: i32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        Some(text.rsplit(')').next()?.split_whitespace().nth(1)? == own)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    processes.filter(|process| parent(*process) == Some(true)).filter_map(Pid::from_raw).collect()
}
