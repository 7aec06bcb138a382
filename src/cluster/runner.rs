//! The run's side: offers jobs, sees to it that there are pilots, follows each job to its outcome. Unaware of stages
//! and of where results go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use pacer_stages::job::Job;
use pacer_stages::stage::Notice;
use pacer_stages::worker::{Failure, FailureClass};

use crate::cluster::code;
use crate::cluster::slurm::{self, Batch, Listed, State, Trouble};
use crate::cluster::spool::{Attempt, Claim, Offer, Outcome, Spool, StopHow, Stopped};
use crate::digest::Digest;
use crate::executor::{Output, Surroundings};
use crate::profile::Slurm;

/// How often a run gives a sign of life, and asks Slurm while something waits.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the run looks whether pilots are wanted; jobs that become ready together are asked for together.
const DEMAND_INTERVAL: Duration = Duration::from_millis(40);

/// How soon and how seldom a job's outcome is looked for.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// A pilot that has been silent for so long is asked about.
const SILENT: Duration = Duration::from_secs(8);

/// One that has been silent for so long is gone, whatever Slurm says.
const GONE: Duration = Duration::from_secs(60);

/// How long a job that was told to end at once may still take.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// How often a job is offered again after its pilot was lost or its time was over.
const MOST_TRIES: u32 = 5;

/// A cluster as one run uses it.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    spool: Spool,
    profile: Slurm,
    /// What pilots must have in common with this run to take its jobs.
    shape: String,
    runner: String,
    /// The name of all pilots of the store.
    name: String,
    command: Vec<String>,
    /// Jobs that want a pilot, or have one.
    open: AtomicUsize,
    /// The order of offers.
    place: AtomicU64,
    ended: AtomicBool,
    /// The time of the store's file system.
    now: Mutex<SystemTime>,
    /// Why no job can be done.
    fault: Mutex<Option<String>>,
    /// The pilots as Slurm listed them last.
    listed: Mutex<Vec<Listed>>,
}

/// How an attempt went.
enum End {
    /// The node told.
    Outcome(Outcome),
    /// Nobody is at it any more, and another try may end well.
    Lost(String),
    /// It is not to be tried again.
    Failed(Failure),
}

impl Cluster {
    /// Opens the cluster of a profile for one run. Beside the store and the environment that stages declare, whatever
    /// differs between two runs makes their pilots differ.
    pub fn open(
        profile: &Slurm,
        store: &Path,
        environment: &BTreeMap<String, Option<String>>,
        interrupted: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self> {
        if slurm::find().is_none() {
            bail!("`sbatch` is not on the PATH: run where Slurm is installed, or without --executor");
        }
        let store = std::path::absolute(store)?;
        let folder = std::env::current_dir().context("the current folder is gone")?;
        let program = std::env::current_exe().context("this program cannot be found")?;
        let spool = Spool::open(&store).with_context(|| format!("`{}` cannot be written", store.display()))?;
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path of the cluster is not UTF-8");
        let shape = serde_json::to_string(&(profile, code(), &folder, &program, environment))?;
        let shape = Digest::of(shape.as_bytes()).short().to_string();
        let code = code();
        let idle = profile.pilot_idle.to_string();
        let mut command: Vec<String> = vec![text(&program)?, "--store".into(), text(&store)?, "node".into()];
        let folder = text(&folder)?;
        for (name, value) in [("shape", &shape), ("code", &code), ("folder", &folder), ("idle", &idle)] {
            command.extend([format!("--{name}"), value.clone()]);
        }
        command.extend(profile.share.then(|| "--share".to_owned()));
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let runner = format!("{}-{}", started.as_millis(), std::process::id());
        let name = format!("pacer-{}", Digest::of(text(&store)?.as_bytes()).short());
        let now = spool.beat_runner(&runner).with_context(|| format!("`{}` cannot be written", store.display()))?;
        spool.tidy(now);
        let shared = Arc::new(Shared {
            spool,
            profile: profile.clone(),
            shape,
            runner,
            name,
            command,
            open: AtomicUsize::new(0),
            place: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            now: Mutex::new(now),
            fault: Mutex::new(None),
            listed: Mutex::new(Vec::new()),
        });
        let (beating, asking) = (Arc::clone(&shared), Arc::clone(&shared));
        // Apart, for a controller that is down takes seconds to say so.
        let threads =
            vec![std::thread::spawn(move || beating.beat()), std::thread::spawn(move || asking.ask(&interrupted))];
        Ok(Self { shared, threads })
    }

    /// Jobs at once.
    pub fn jobs(&self) -> usize {
        self.shared.profile.max_jobs
    }

    /// Threads of a job.
    pub fn threads(&self) -> usize {
        self.shared.profile.cpus
    }

    /// Runs a job to its end, or takes over what an earlier run left of it.
    pub fn run(&self, key: Digest, stage: &str, job: &Job, around: &Surroundings<'_>) -> Result<Output, Failure> {
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        let outcome = self.shared.run(key, stage, job, around);
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Ends the run's part. Pilots end by themselves when they have been idle; those that give no sign of life, and after
    /// an interruption all, are cancelled. Slurm may take one for running that waits on a lost node, to begin later.
    pub fn finish(self, interrupted: bool) {
        if interrupted {
            slurm::hurry();
        }
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        let Shared { spool, runner, shape, name, .. } = &*self.shared;
        spool.leave(runner);
        // Another run of the same shape lives on the same pilots.
        let now = *self.shared.now.lock().unwrap_or_else(PoisonError::into_inner);
        if spool.has_offers(shape, now) {
            return;
        }
        let pilots = spool.pilots(now).into_iter().filter(|(_, silent)| *silent < SILENT);
        let alive: Vec<_> = pilots.map(|(pilot, _)| pilot.claim.slurm).collect();
        let cancelled = slurm::list(name).and_then(|listed| {
            let ours = listed.into_iter().filter(|pilot| pilot.comment == *shape);
            let wanted = ours.filter(|pilot| interrupted || !alive.contains(&pilot.id));
            slurm::cancel(&wanted.map(|pilot| pilot.id).collect::<Vec<_>>())
        });
        if cancelled.is_err() {
            tracing::warn!("Slurm does not answer; pilots on the cluster end by themselves when idle");
        }
    }
}

impl Shared {
    fn beat(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            match self.spool.beat_runner(&self.runner) {
                Ok(now) => *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now,
                Err(error) => tracing::warn!("the store cannot be written: {error}"),
            }
            let began = Instant::now();
            while began.elapsed() < INTERVAL && !self.ended.load(Ordering::Relaxed) {
                std::thread::sleep(DEMAND_INTERVAL);
            }
        }
    }

    /// Asks Slurm for as many pilots as there are jobs, one list of them for all jobs.
    fn ask(&self, interrupted: &dyn Fn() -> bool) {
        let mut asked: Option<Instant> = None;
        let mut warned = false;
        while !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(DEMAND_INTERVAL);
            let open = self.open.load(Ordering::Relaxed);
            if open == 0 || interrupted() || asked.is_some_and(|asked| asked.elapsed() < INTERVAL) {
                continue;
            }
            let outcome = self.supply(open);
            asked = Some(Instant::now());
            match outcome {
                Ok(()) => warned = false,
                Err(Trouble::Unreachable(message)) if !warned => {
                    warned = true;
                    tracing::warn!("{message}; the run goes on with the pilots that it has, and asks again");
                }
                Err(Trouble::Unreachable(_)) => {}
                Err(Trouble::Refused(message)) => {
                    self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
                }
            }
        }
    }

    fn supply(&self, open: usize) -> Result<(), Trouble> {
        let listed = slurm::list(&self.name)?;
        let ours: Vec<_> = listed.into_iter().filter(|it| it.comment == self.shape && !it.state.is_over()).collect();
        let have = ours.len();
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = ours;
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = self.spool.pilots(now).into_iter().filter(|(pilot, _)| pilot.shape == self.shape);
        if let Some(fault) = fault.filter(|(_, silent)| *silent < SILENT).find_map(|(pilot, _)| pilot.fault) {
            return Err(Trouble::Refused(fault));
        }
        let wanted = open.min(self.profile.max_jobs).saturating_sub(have);
        if wanted > 0 {
            slurm::submit(&Batch {
                profile: &self.profile,
                count: wanted,
                name: &self.name,
                comment: &self.shape,
                logs: &self.spool.logs(),
                command: &self.command,
            })?;
        }
        Ok(())
    }

    fn run(&self, key: Digest, stage: &str, job: &Job, around: &Surroundings<'_>) -> Result<Output, Failure> {
        let mut left = self.left_behind(&key);
        for tries in 1.. {
            let (attempt, offered) = match left.take() {
                Some(attempt) => (attempt, None),
                None => match self.offer(key, stage, job, around.log) {
                    Ok((attempt, offered)) => (attempt, Some(offered)),
                    Err(error) => return Err(error_of(format!("the job cannot be offered to the cluster: {error}"))),
                },
            };
            let why = match self.follow(&attempt, offered.as_deref(), around) {
                End::Failed(failure) => return Err(failure),
                End::Lost(why) => {
                    // Should its pilot come to life again, it must not write beside the next one.
                    self.spool.stop(&attempt, StopHow::Kill);
                    why
                }
                End::Outcome(Outcome { result: Ok(metrics), peak_bytes, .. }) => {
                    let taken = take_over(&self.spool.out(&attempt), &job.out);
                    self.spool.forget(&key);
                    taken.map_err(|error| error_of(format!("what the node wrote cannot be taken over: {error}")))?;
                    return Ok(Output { metrics, peak_bytes });
                }
                End::Outcome(Outcome { result: Err(failure), stopped, claim, .. }) => match stopped {
                    Some(Stopped::Limit) => format!("its time on {} was over", claim.node),
                    Some(Stopped::Terminated) => self.terminated(&claim),
                    _ => {
                        self.spool.forget(&key);
                        return Err(failure);
                    }
                },
            };
            if around.stop.requested() {
                return Err(interrupted());
            }
            if tries >= MOST_TRIES {
                return Err(error_of(format!("{why}, {tries} times; run again to go on")));
            }
            // Of the moment and not of the result, which is the same after any number of tries.
            tracing::warn!("`{stage}` is offered to the cluster again: {why}");
            (around.sink)(Notice::Log { message: format!("offered to the cluster again: {why}") });
        }
        unreachable!("the last try returns")
    }

    /// Why Slurm ended the job of a pilot that could still tell that it did.
    fn terminated(&self, claim: &Claim) -> String {
        let log = fs::read(self.spool.logs().join(format!("{}.log", claim.slurm))).unwrap_or_default();
        match slurm::cause(&String::from_utf8_lossy(&log)).map(|state| ended(state, &claim.node)) {
            Some(End::Lost(why)) => why,
            _ => format!("Slurm ended its job on {}", claim.node),
        }
    }

    /// What an earlier run left of a job: its outcome, or a pilot that is at it.
    fn left_behind(&self, key: &Digest) -> Option<Attempt> {
        self.spool.withdraw_all(key);
        let attempt = self.spool.latest(key)?;
        if let Some(outcome) = self.spool.outcome(&attempt) {
            return outcome.result.is_ok().then_some(attempt);
        }
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = self.spool.silence(&self.spool.claim(&attempt)?.pilot, now)?;
        // One that was asked to stop will not come to the end.
        (silent < SILENT && self.spool.stop_asked(&attempt).is_none()).then_some(attempt)
    }

    fn offer(&self, key: Digest, stage: &str, job: &Job, log: &Path) -> io::Result<(Attempt, PathBuf)> {
        let number = self.spool.latest(&key).map_or(1, |attempt| attempt.number + 1);
        let attempt = Attempt { key, number };
        self.spool.prepare(&attempt)?;
        let job = Job { out: std::path::absolute(self.spool.out(&attempt))?, ..job.clone() };
        let log = std::path::absolute(log)?;
        let offer = Offer { runner: self.runner.clone(), stage: stage.to_owned(), job, log };
        let place = self.place.fetch_add(1, Ordering::Relaxed);
        let offered = self.spool.offer(&self.shape, place, &attempt, &offer)?;
        Ok((attempt, offered))
    }

    /// Waits for the end of an attempt, and hands on what it tells meanwhile.
    fn follow(&self, attempt: &Attempt, offered: Option<&Path>, around: &Surroundings<'_>) -> End {
        let mut events = Tail { path: self.spool.events(attempt), read: 0 };
        let mut pause = LOOKS[0];
        let mut looked = Instant::now();
        let mut killed: Option<Instant> = None;
        let mut asked = false;
        loop {
            // First, so that all that was told before it is told.
            let outcome = self.spool.outcome(attempt);
            events.read().into_iter().for_each(around.sink);
            if let Some(outcome) = outcome {
                return End::Outcome(outcome);
            }
            let fault = || self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if around.stop.requested() && !asked {
                if offered.is_some_and(|offered| self.spool.withdraw(offered)) {
                    self.spool.forget(&attempt.key);
                    return End::Failed(interrupted());
                }
                self.spool.stop(attempt, StopHow::Orderly);
                asked = true;
            } else if let Some(message) = fault()
                && offered.is_some_and(|offered| self.spool.withdraw(offered))
            {
                self.spool.forget(&attempt.key);
                return End::Failed(error_of(message));
            }
            if around.stop.kill() && killed.is_none() {
                self.spool.stop(attempt, StopHow::Kill);
                killed = Some(Instant::now());
            }
            if killed.is_some_and(|killed| killed.elapsed() > KILL_WAIT) {
                return End::Failed(interrupted());
            }
            if looked.elapsed() > INTERVAL {
                if let Some(end) = self.lost(attempt, offered) {
                    return end;
                }
                looked = Instant::now();
            }
            std::thread::sleep(pause);
            pause = pause.mul_f64(1.3).min(LOOKS[1]);
        }
    }

    /// How an attempt ended that somebody took and nobody is at any more; none while somebody is.
    fn lost(&self, attempt: &Attempt, offered: Option<&Path>) -> Option<End> {
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(claim) = self.spool.claim(attempt) else {
            // Between taking an offer and saying so lies a moment, in which a pilot can die too.
            let is_taken = offered.is_none_or(|offered| !offered.exists());
            let silent = self.spool.taken_since(attempt, now).unwrap_or_default();
            return (is_taken && silent > SILENT).then(|| End::Lost("its pilot was lost as it began".to_owned()));
        };
        let state = match self.spool.silence(&claim.pilot, now) {
            // It may have written the outcome this very moment.
            None if self.spool.outcome(attempt).is_some() => return None,
            None => slurm::state(&claim.slurm).unwrap_or(State::Ended),
            Some(silent) if silent > GONE => State::NodeFail,
            Some(silent) if silent > SILENT => slurm::state(&claim.slurm).ok().filter(|state| state.is_over())?,
            Some(_) => return None,
        };
        self.spool.leave_pilot(&claim.pilot);
        Some(ended(state, &claim.node))
    }
}

/// What it means for a job that its pilot ended without a word.
fn ended(state: State, node: &str) -> End {
    match state {
        State::OutOfMemory => {
            let message = format!(
                "memory ran out on {node}: give jobs more of it (`memory` of the executor) or make batches smaller"
            );
            End::Failed(Failure { class: FailureClass::OutOfMemory, message, parameter: None })
        }
        State::NodeFail => End::Lost(format!("its node {node} was lost")),
        State::Preempted => End::Lost(format!("its job on {node} gave way to another")),
        State::Timeout => End::Lost(format!("its time on {node} was over")),
        State::Cancelled => End::Lost(format!("its job on {node} was cancelled")),
        State::Pending | State::Running | State::Ended => End::Lost(format!("its pilot on {node} ended")),
    }
}

/// The end of a file that grows by whole lines.
struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    fn read(&mut self) -> Vec<Notice> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_string(&mut text)
        });
        // Not there yet, or half a letter at its end: the next look finds it.
        if read.is_err() {
            return Vec::new();
        }
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        text[..whole].lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Moves all that lies in one folder into another.
fn take_over(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn interrupted() -> Failure {
    Failure { class: FailureClass::Interrupted, message: "interrupted".to_owned(), parameter: None }
}

fn error_of(message: String) -> Failure {
    Failure { class: FailureClass::Error, message, parameter: None }
}
