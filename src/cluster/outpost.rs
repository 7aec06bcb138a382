//! A pilot on a node that does not see the store of its run: jobs, inputs and results go through the remote. It does
//! each job on a store of its own. Unaware of who sends it jobs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pacer_stages::job::{Job, Slot};
use pacer_stages::worker::{Failure, FailureClass};

use crate::cache::Cache;
use crate::cache::afar::Looker;
use crate::cache::pieces::{Piece, files_below};
use crate::cluster::mail::{self, Ending, Errand, Mail, Next, Report, SIGN_INTERVAL, Secret};
use crate::cluster::pilot::{self, Post, Serving};
use crate::cluster::spool::{Attempt, Claim, Offer, Outcome, Pilot, Spool, Stopped};
use crate::digest::Digest;
use crate::remote::Meter;

/// The environment variable by which a pilot learns the secret of its run.
pub const SECRET: &str = "PACER_CLUSTER_SECRET";

/// How soon and how seldom an idle pilot asks for a job.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How often the states of a training are put into the remote while it goes on.
const STATES_INTERVAL: Duration = Duration::from_secs(30);

/// Bytes of a log, and of what a job tells, that are sent.
const TOLD_BYTES: usize = 64 << 10;

/// Where a pilot is with its jobs.
#[derive(Default)]
struct Now {
    at: Option<(u64, Attempt)>,
    ended: u64,
    fault: Option<String>,
    stage: Option<String>,
    runner: Option<String>,
    /// The folder of states, and those that were sent.
    partial: Option<PathBuf>,
    states: Vec<Piece>,
}

/// How long a pilot has waited in vain.
struct Waiting {
    since: Instant,
    /// What was said last of the job that comes.
    beat: Option<u32>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { since: Instant::now(), beat: None }
    }
}

impl Waiting {
    /// Hears that a job comes; in vain it waits only where that stays the same.
    fn hear(&mut self, beat: u32) {
        if self.beat.replace(beat) != Some(beat) {
            self.since = Instant::now();
        }
    }
}

/// What both threads of a pilot know.
struct Desk<'a> {
    mail: Mail<'a>,
    cache: &'a Cache,
    spool: Spool,
    claim: Claim,
    shape: String,
    meter: Meter,
    now: Mutex<Now>,
    over: AtomicBool,
}

/// Takes jobs by way of the remote until there are none, the end of its time is near, or Slurm ends it.
pub fn serve(post: &Post, cache: &Cache, session: &str, secret: &Secret) -> Result<()> {
    let remote = cache.remote.as_ref().context("a pilot that does not see the store needs a remote")?;
    let (letters, cache) = (mail::for_letters(remote)?, &mail::for_files(cache)?);
    // Apart from other pilots of this node, which may be at the same key for another store.
    let own = cache.store.root().join("cluster/outposts").join(pilot::claim().pilot);
    let spool = Spool::open(&own)
        .with_context(|| format!("the store `{}` cannot be written on this node", cache.store.root().display()))?;
    let mut serving = Serving::begin(post, spool.clone())?;
    let desk = Desk {
        mail: Mail::new(&letters, session, secret),
        cache,
        spool,
        claim: serving.claim().clone(),
        shape: post.shape.clone(),
        meter: Meter::default(),
        now: Mutex::new(Now { fault: serving.fault(), ..Now::default() }),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        // Apart, for states may be large, and who reports seldom counts as lost.
        let helpers = [scope.spawn(|| desk.carry()), scope.spawn(|| desk.carry_states())];
        desk.work(&mut serving, post);
        desk.over.store(true, Ordering::Relaxed);
        helpers.iter().for_each(|helper| helper.thread().unpark());
    });
    serving.end();
    let _ = fs::remove_dir_all(own);
    desk.mail.leave_pilot(&desk.claim.pilot)
}

impl Desk<'_> {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how the pilot stands and hears whether its job shall end, again and again.
    fn carry(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let at = self.now().at;
            if let Some((number, attempt)) = at
                && let Ok(Some(how)) = self.mail.stop_asked(&self.claim.pilot, number)
            {
                self.spool.stop(&attempt, how);
            }
            self.report();
            std::thread::park_timeout(SIGN_INTERVAL);
        }
    }

    fn report(&self) {
        let report = {
            let now = self.now();
            let (stage, runner, fault) = (now.stage.clone(), now.runner.clone(), now.fault.clone());
            let (events_from, events) = now.at.map(|(_, attempt)| self.told(&attempt)).unwrap_or_default();
            Report {
                pilot: Pilot { claim: self.claim.clone(), shape: self.shape.clone(), stage, runner, fault },
                at: now.at.map(|(number, _)| number),
                ended: now.ended,
                events_from,
                events,
                states: now.states.clone(),
            }
        };
        if let Err(error) = self.mail.report(&report) {
            tracing::warn!("{error:#}");
        }
    }

    /// The end of what a job has told, and where that begins.
    fn told(&self, attempt: &Attempt) -> (u64, String) {
        tail(&self.spool.events(attempt))
    }

    /// Puts the states of a training into the remote now and then, the more seldom the longer that takes.
    fn carry_states(&self) {
        let (mut waited, mut rest) = (Instant::now(), STATES_INTERVAL);
        while !self.over.load(Ordering::Relaxed) {
            std::thread::park_timeout(SIGN_INTERVAL);
            let (at, partial) = {
                let now = self.now();
                (now.at, now.partial.clone())
            };
            let Some(partial) = partial.filter(|_| waited.elapsed() > rest) else { continue };
            let began = Instant::now();
            match self.send_states(&partial) {
                // Another job may be under way by now.
                Ok(states) if self.now().at == at => self.now().states = states,
                Ok(_) => {}
                Err(error) => tracing::warn!("the states of a training are not in the remote: {error:#}"),
            }
            (waited, rest) = (Instant::now(), STATES_INTERVAL.max(began.elapsed() * 20));
        }
    }

    /// Copies of the states go, for a training may replace them meanwhile.
    fn send_states(&self, partial: &Path) -> Result<Vec<Piece>> {
        let folder = tempfile::tempdir_in(self.spool.logs())?;
        let mut copies = Vec::new();
        for (at, (name, path)) in files_below(partial).into_iter().enumerate() {
            let copy = folder.path().join(at.to_string());
            // One that is gone has been replaced by a newer one.
            if fs::copy(&path, &copy).is_ok() {
                copies.push((name, copy));
            }
        }
        self.cache.send(&copies, &self.looker())
    }

    fn looker(&self) -> Looker<'_> {
        Looker { meter: &self.meter, stop: &|| false }
    }

    fn work(&self, serving: &mut Serving<'_>, post: &Post) {
        let (mut waiting, mut pause) = (Waiting::default(), LOOKS[0]);
        let idle = post.idle.max(SIGN_INTERVAL * 2);
        if self.now().fault.is_some() {
            // Long enough for the run to read why.
            return std::thread::sleep(SIGN_INTERVAL * 3);
        }
        while serving.reason_to_stop().is_none() && waiting.since.elapsed() < idle {
            let number = self.now().ended + 1;
            match self.mail.job(&self.claim.pilot, number) {
                Ok(Some(Next::Here(errand))) => self.run(serving, number, *errand),
                other => {
                    if let Ok(Some(Next::Coming(beat))) = other {
                        waiting.hear(beat);
                    }
                    serving.trim();
                    std::thread::sleep(pause);
                    pause = pause.mul_f64(1.2).min(LOOKS[1]);
                    continue;
                }
            }
            if !post.share {
                break;
            }
            (waiting, pause) = (Waiting::default(), LOOKS[0]);
        }
    }

    /// Does one job, and puts what it made and how it ended into the remote.
    fn run(&self, serving: &mut Serving<'_>, number: u64, errand: Errand) {
        let attempt = Attempt { key: errand.key, number: errand.attempt };
        {
            let mut now = self.now();
            (now.at, now.stage) = (Some((number, attempt)), Some(errand.offer.stage.clone()));
            now.runner = Some(errand.offer.runner.clone());
        }
        // At once, for what a pilot that is gone had not begun is given to another as if nothing had been.
        self.report();
        match self.prepare(&attempt, errand) {
            Err(error) => {
                self.insist(serving, || self.mail.end(&self.claim.pilot, number, &self.failed(&attempt, &error)));
            }
            Ok(offer) => {
                self.now().partial = Some(offer.job.partial.clone());
                let outcome = serving.serve(&attempt, &offer);
                serving.clear();
                self.insist(serving, || {
                    let ending = self.ending(&attempt, &offer, outcome.clone())?;
                    self.mail.end(&self.claim.pilot, number, &ending)
                });
            }
        }
        let fault = self.now().fault.clone();
        *self.now() = Now { ended: number, fault, ..Now::default() };
        self.spool.forget(&attempt.key);
        self.report();
    }

    /// Tells how a job ended, again and again as long as there is time: what it made may have taken long.
    fn insist(&self, serving: &Serving<'_>, tell: impl Fn() -> Result<()>) {
        while let Err(error) = tell() {
            tracing::warn!("how a job ended cannot be told: {error:#}");
            if serving.reason_to_stop().is_some() {
                return;
            }
            std::thread::sleep(SIGN_INTERVAL);
        }
    }

    /// Brings what a job reads, and says it where that lies here.
    fn prepare(&self, attempt: &Attempt, errand: Errand) -> Result<Offer> {
        self.spool.prepare(attempt)?;
        let folder = self.spool.folder(attempt);
        let place = |piece: &Piece| folder.join("in").join(place_of(piece));
        let inputs: Vec<_> = errand.inputs.iter().map(|piece| (piece.clone(), place(piece))).collect();
        self.cache.receive(&inputs, &self.looker()).context("what the stage reads could not be brought")?;
        let paths: BTreeMap<_, _> = inputs.into_iter().map(|(piece, path)| (PathBuf::from(piece.name), path)).collect();
        // A folder for each course of training: jobs of several keys may share it.
        let course = Digest::of(errand.offer.job.partial.to_string_lossy().as_bytes());
        let partial = folder.join("states").join(course.hex());
        let states: Vec<_> = errand.states.into_iter().map(|piece| (piece.clone(), partial.join(piece.name))).collect();
        if let Err(error) = self.cache.receive(&states, &self.looker()) {
            tracing::warn!("`{}` begins anew, for its states could not be brought: {error:#}", errand.offer.stage);
            let _ = fs::remove_dir_all(&partial);
        }
        let job = errand.offer.job;
        let inputs = job.inputs.into_iter().map(|(name, slot)| (name, moved(slot, &paths))).collect();
        let job = Job { inputs, out: self.spool.out(attempt), partial, ..job };
        Ok(Offer { job, log: folder.join("log"), ..errand.offer })
    }

    fn ending(&self, attempt: &Attempt, offer: &Offer, outcome: Outcome) -> Result<Ending> {
        let (out, states) = match &outcome.result {
            Ok(_) => (self.cache.send(&outputs(&offer.job.out), &self.looker())?, Vec::new()),
            Err(_) => (Vec::new(), self.send_states(&offer.job.partial)?),
        };
        let ((events_from, events), (_, log)) = (self.told(attempt), tail(&offer.log));
        Ok(Ending { key: attempt.key, attempt: attempt.number, outcome, out, states, events_from, events, log })
    }

    /// The end of a job that could not be begun.
    fn failed(&self, attempt: &Attempt, error: &anyhow::Error) -> Ending {
        let message = format!("on {}: {error:#}", self.claim.node);
        let result = Err(Failure { class: FailureClass::Error, message, parameter: None });
        Ending {
            key: attempt.key,
            attempt: attempt.number,
            outcome: Outcome {
                claim: self.claim.clone(),
                result,
                peak_bytes: None,
                seconds: 0.0,
                stopped: Some(Stopped::Transfer),
            },
            out: Vec::new(),
            states: Vec::new(),
            events_from: 0,
            events: String::new(),
            log: String::new(),
        }
    }
}

/// What a job made; what lies deeper is a stray file of its program.
fn outputs(folder: &Path) -> Vec<(String, PathBuf)> {
    files_below(folder).into_iter().filter(|(name, _)| !name.contains('/')).collect()
}

/// Where an input lies within a job's folder: under its own name, by which some kinds know its format.
fn place_of(piece: &Piece) -> PathBuf {
    let name = Path::new(&piece.name).file_name().unwrap_or_default();
    Path::new(&Digest::of(piece.name.as_bytes()).short()).join(name)
}

/// A slot with the paths that its files have here.
fn moved(slot: Slot, paths: &BTreeMap<PathBuf, PathBuf>) -> Slot {
    let here = |path: PathBuf| paths.get(&path).cloned().unwrap_or(path);
    match slot {
        Slot::One(path) => Slot::One(here(path)),
        Slot::Named(files) => Slot::Named(files.into_iter().map(|(name, path)| (name, here(path))).collect()),
    }
}

/// The end of a file, by whole lines, and the byte at which that begins.
fn tail(path: &Path) -> (u64, String) {
    let bytes = fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(TOLD_BYTES);
    let begin = match from {
        0 => 0,
        from => bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| from + at + 1),
    };
    (begin as u64, String::from_utf8_lossy(&bytes[begin..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert_eq!(tail(&path), (0, String::new()));
        fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(tail(&path), (0, "a\nb\n".into()));
        let line = "x".repeat(1023) + "\n";
        fs::write(&path, line.repeat(70)).unwrap();
        let (from, text) = tail(&path);
        assert_eq!((from as usize + text.len(), from % 1024), (70 * 1024, 0));
        assert!(text.len() <= TOLD_BYTES);
    }

    #[test]
    fn who_hears_again_that_a_job_comes_has_not_waited_in_vain() {
        let mut waiting = Waiting::default();
        let began = waiting.since;
        waiting.hear(0);
        let heard = waiting.since;
        assert!(heard > began);
        waiting.hear(0);
        assert_eq!(waiting.since, heard, "nobody is at it any more");
        waiting.hear(1);
        assert!(waiting.since > heard);
    }

    #[test]
    fn inputs_lie_under_their_names_and_apart() {
        let piece = |name: &str| Piece { name: name.into(), digest: Digest::of(b""), bytes: 0 };
        let (one, other) = (place_of(&piece("/a/runs.json.gz")), place_of(&piece("/b/runs.json.gz")));
        assert!(one != other && one.file_name() == other.file_name());
        let paths = BTreeMap::from([(PathBuf::from("/a/x"), PathBuf::from("/n/x"))]);
        assert_eq!(moved(Slot::One("/a/x".into()), &paths), Slot::One("/n/x".into()));
        let named = Slot::Named(BTreeMap::from([("k".to_owned(), PathBuf::from("/a/x"))]));
        assert_eq!(moved(named, &paths), Slot::Named(BTreeMap::from([("k".to_owned(), PathBuf::from("/n/x"))])));
    }
}
