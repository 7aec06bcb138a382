//! What is done for one pilot that does not see the spool: its job is packed and sent, what it tells is written down, and
//! what it made is brought. Unaware of which pilots there are and of which job is next.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pacer_stages::job::{Job, Slot};
use pacer_stages::worker::{Failure, FailureClass};

use crate::cache::Cache;
use crate::cache::afar::Looker;
use crate::cache::pieces::{Piece, files_below};
use crate::cluster::complaint::Complaint;
use crate::cluster::mail::{Ending, Errand, Mail, Next, Report, SIGN_INTERVAL, Secret};
use crate::cluster::spool::{Attempt, Claim, Offer, Outcome, Pilot, Spool, StopHow, Stopped};
use crate::remote::{Failed, Meter, Remote};

/// How soon a pilot is told that its next job comes, where that takes so long, and how often then.
const COMING: [Duration; 2] = [Duration::from_millis(500), SIGN_INTERVAL];

/// What the threads of a relay have in common.
pub(super) struct Office {
    pub(super) cache: Cache,
    pub(super) letters: Remote,
    pub(super) spool: Spool,
    pub(super) session: String,
    pub(super) secret: Secret,
    pub(super) meter: Meter,
    /// What was said of endings that could not be taken over.
    pub(super) complaint: Mutex<Complaint>,
}

/// A pilot as the relay knows it.
pub(super) struct Known {
    pub(super) pilot: Pilot,
    /// How many jobs it was given.
    pub(super) given: u64,
    pub(super) at: At,
}

/// What a pilot is at.
pub(super) enum At {
    /// It has no job.
    Idle,
    /// A job is on its way to it, or its outputs are on theirs from it.
    Moving,
    /// It does a job.
    Work(Work),
}

/// A job that a pilot does.
pub(super) struct Work {
    pub(super) attempt: Attempt,
    /// Whether its pilot is known to have heard of it.
    pub(super) begun: bool,
    /// Bytes of what it told that were written down.
    told: u64,
    stopped: Option<StopHow>,
    /// The states that it put into the remote.
    states: Vec<Piece>,
}

impl Work {
    pub(super) fn of(attempt: Attempt) -> Self {
        Self { attempt, begun: false, told: 0, stopped: None, states: Vec::new() }
    }
}

impl Office {
    pub(super) fn mail(&self) -> Mail<'_> {
        Mail::new(&self.letters, &self.session, &self.secret)
    }

    fn looker(&self) -> Looker<'_> {
        Looker { meter: &self.meter, stop: &|| false }
    }

    /// A pilot that has just come, or was given a job by an earlier run.
    pub(super) fn meet(&self, report: &Report) -> Result<Known> {
        let (pilot, next) = (report.pilot.clone(), report.ended + 1);
        Ok(match self.mail().job(&pilot.claim.pilot, next)? {
            // One that did not come before its run ended never comes.
            None | Some(Next::Coming(_)) => Known { pilot, given: report.ended, at: At::Idle },
            Some(Next::Here(errand)) => {
                let attempt = Attempt { key: errand.key, number: errand.attempt };
                let told = fs::metadata(self.spool.events(&attempt)).map_or(0, |metadata| metadata.len());
                Known { pilot, given: next, at: At::Work(Work { told, begun: true, ..Work::of(attempt) }) }
            }
        })
    }

    /// Sends a job with all that it reads.
    pub(super) fn give(&self, pilot: &str, number: u64, attempt: &Attempt, offer: &Offer) -> Result<()> {
        let errand = self.announced(pilot, number, || self.pack(attempt, offer));
        let given = errand.and_then(|errand| self.mail().give(pilot, number, &Next::Here(Box::new(errand))));
        // What stays of it is written over by the next job.
        given.inspect_err(|_| drop(self.mail().forget(pilot, number)))
    }

    /// Tells a pilot again and again that its job comes while that is made ready, for it would take itself for idle.
    fn announced<T>(&self, pilot: &str, number: u64, make_ready: impl FnOnce() -> T) -> T {
        let (ready, is_ready) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut pause = COMING[0];
                for beat in 0.. {
                    // The other end is dropped when it is ready, or never will be.
                    if is_ready.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                    pause = COMING[1];
                    if let Err(error) = self.mail().give(pilot, number, &Next::Coming(beat)) {
                        tracing::debug!("{error:#}");
                    }
                }
            });
            let made = make_ready();
            drop(ready);
            made
        })
    }

    /// Puts what a job reads into the remote.
    fn pack(&self, attempt: &Attempt, offer: &Offer) -> Result<Errand> {
        let named = |path: &PathBuf| Some((path.to_str()?.to_owned(), path.clone()));
        let files = paths(&offer.job).into_iter().map(|path| named(path).context("a path of an input is not UTF-8"));
        let inputs = self.cache.send(&files.collect::<Result<Vec<_>>>()?, &self.looker())?;
        let states = self.cache.send(&files_below(&offer.job.partial), &self.looker())?;
        let (key, attempt) = (attempt.key, attempt.number);
        Ok(Errand { key, attempt, offer: offer.clone(), inputs, states })
    }

    /// Writes down what a job tells, and passes on that it shall end.
    pub(super) fn follow(&self, pilot: &str, number: u64, report: &Report, work: &mut Work) -> Result<bool> {
        if report.at != Some(number) {
            // It has not begun.
            return Ok(false);
        }
        work.begun = true;
        work.told = self.write_down(&work.attempt, work.told, report.events_from, &report.events);
        work.states.clone_from(&report.states);
        let asked = self.spool.stop_asked(&work.attempt);
        if let Some(how) = asked.filter(|how| work.stopped != Some(*how)) {
            self.mail().stop(pilot, number, how)?;
            work.stopped = Some(how);
            return Ok(true);
        }
        Ok(false)
    }

    /// Writes down what a job told from some byte on, of which so many were written before; how many are now.
    fn write_down(&self, attempt: &Attempt, told: u64, from: u64, events: &str) -> u64 {
        let new = events.get(told.saturating_sub(from) as usize..).unwrap_or_default();
        append(&self.spool.events(attempt), new);
        told.max(from + events.len() as u64)
    }

    pub(super) fn settle(&self, claim: &Claim, number: u64, work: Work) -> At {
        let taken = self.take_ending(&claim.pilot, number, Some(&work));
        let offer = self.spool.offered(&work.attempt);
        match taken {
            Ok(true) => At::Idle,
            // It did not come to an end. Why, Slurm says to who waits for it, once its pilot is known to be gone.
            Ok(false) => {
                let is_open = self.spool.outcome(&work.attempt).is_none();
                if let Some(offer) = offer.filter(|_| is_open) {
                    self.let_go(&claim.pilot, number, &work, &offer);
                }
                At::Idle
            }
            // The ending is still there: to begin anew what was done would be a waste, however long the remote is away.
            Err(error) if Failed::is(&error) => {
                let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
                complaint.say(&error.context("how a job ended cannot be taken over"), Instant::now());
                At::Work(work)
            }
            Err(error) => {
                self.refuse(&work.attempt, claim, &error);
                At::Idle
            }
        }
    }

    /// Lets go of a job whose pilot is gone and did not say how it ended.
    fn let_go(&self, pilot: &str, number: u64, work: &Work, offer: &Offer) {
        // One that nobody wants any more is not given to another.
        let done = if work.begun || self.spool.stop_asked(&work.attempt).is_some() {
            self.keep_states(&work.states, &offer.job.partial)
        } else {
            let forgotten = self.mail().forget(pilot, number);
            forgotten.and_then(|()| self.spool.give_back(&work.attempt).map_err(anyhow::Error::from))
        };
        if let Err(error) = done {
            tracing::warn!("what a pilot left of `{}` is not kept: {error:#}", offer.stage);
        }
    }

    /// Brings what a job made, and says in the spool how it ended; false where nobody has said that it did.
    pub(super) fn take_ending(&self, pilot: &str, number: u64, work: Option<&Work>) -> Result<bool> {
        let Some(ending) = self.mail().ending(pilot, number)? else { return Ok(false) };
        let Ending { key, attempt, outcome, out, states, events_from, events, log } = ending;
        let attempt = Attempt { key, number: attempt };
        // Of a job that nobody wants any more, nothing is left.
        if let Some(offer) = self.spool.offered(&attempt) {
            let folder = self.spool.out(&attempt);
            let out: Vec<_> = out.into_iter().map(|piece| (piece.clone(), folder.join(piece.name))).collect();
            self.cache.receive(&out, &self.looker()).context("what a node made could not be brought")?;
            self.keep_states(&states, &offer.job.partial)?;
            let told = work.filter(|work| work.attempt == attempt).map_or(0, |work| work.told);
            self.write_down(&attempt, told, events_from, &events);
            append(&offer.log, &log);
            self.spool.end(&attempt, &outcome)?;
        }
        // What stays is forgotten by the next run.
        let _ = self.mail().forget(pilot, number);
        // One of another attempt says nothing of this one.
        Ok(work.is_none_or(|work| work.attempt == attempt))
    }

    /// Ends a job that could not be given or whose end could not be taken over, so that nobody waits for it.
    pub(super) fn refuse(&self, attempt: &Attempt, claim: &Claim, error: &anyhow::Error) {
        let result = Err(Failure { class: FailureClass::Error, message: format!("{error:#}"), parameter: None });
        let stopped = Some(Stopped::Transfer);
        let outcome = Outcome { claim: claim.clone(), result, peak_bytes: None, seconds: 0.0, stopped };
        if let Err(error) = self.spool.end(attempt, &outcome) {
            tracing::warn!("the store cannot be written: {error}");
        }
    }

    /// Puts the states of a training where the next attempt looks for them, in place of older ones.
    fn keep_states(&self, states: &[Piece], partial: &Path) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = states.iter().map(|piece| (piece.clone(), partial.join(&piece.name))).collect();
        self.cache.receive(&wanted, &self.looker())?;
        let is_old = |name: &String| !states.iter().any(|piece| piece.name == *name);
        for (_, path) in files_below(partial).into_iter().filter(|(name, _)| is_old(name)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The files that a job reads.
fn paths(job: &Job) -> Vec<&PathBuf> {
    let of = job.inputs.values().map(|slot| match slot {
        Slot::One(path) => vec![path],
        Slot::Named(files) => files.values().collect(),
    });
    of.flatten().collect()
}

/// Adds to a file; what is lost is progress on a screen or the end of a log.
fn append(path: &Path, text: &str) {
    if !text.is_empty()
        && let Err(error) =
            File::options().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
    {
        tracing::warn!("`{}` cannot be written: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::afar::blob_name;
    use crate::cluster::spool::{claim, offered};
    use crate::profile::RemoteSettings;
    use crate::store::Store;

    fn office(folder: &Path) -> Office {
        let url = folder.join("remote").display().to_string();
        let open = || Remote::open(&RemoteSettings { url: url.clone(), ..RemoteSettings::default() }).unwrap();
        let store = Store::open(&folder.join("store")).unwrap();
        Office {
            spool: Spool::open(store.root()).unwrap(),
            cache: Cache { store, remote: Some(Arc::new(open())) },
            letters: open(),
            session: "s".into(),
            secret: Secret::new().unwrap(),
            meter: Meter::default(),
            complaint: Mutex::default(),
        }
    }

    /// How the job of a pilot ended: well, with an output.
    fn ending(office: &Office, attempt: Attempt, folder: &Path) -> Ending {
        fs::write(folder.join("text"), "made").unwrap();
        let out = office.cache.send(&[("text".into(), folder.join("text"))], &office.looker()).unwrap();
        let result = Ok(serde_json::Map::new());
        let outcome = Outcome { claim: claim("p"), result, peak_bytes: None, seconds: 1.0, stopped: None };
        let (events, log) = (String::new(), String::new());
        let Attempt { key, number } = attempt;
        Ending { key, attempt: number, outcome, out, states: Vec::new(), events_from: 0, events, log }
    }

    #[test]
    fn what_ended_well_is_taken_over_when_the_remote_has_got_over_its_faults() {
        let folder = tempfile::tempdir().unwrap();
        let office = office(folder.path());
        let (attempt, _) = offered(&office.spool, "r", "k", 0);
        let ending = ending(&office, attempt, folder.path());
        let settle = || office.settle(&claim("p"), 1, Work::of(attempt));
        office.mail().end("p", 1, &ending).unwrap();
        let remote = folder.path().join("remote");
        let (end, blob) = (remote.join("cluster/s/ends/p/1"), remote.join(blob_name(&ending.out[0].digest)));
        // What cannot be read to its end is a fault that may pass.
        for path in [&end, &blob] {
            let aside = folder.path().join("aside");
            fs::rename(path, &aside).unwrap();
            fs::create_dir(path).unwrap();
            assert!(matches!(settle(), At::Work(_)) && office.spool.outcome(&attempt).is_none());
            fs::remove_dir(path).unwrap();
            fs::rename(&aside, path).unwrap();
        }
        assert!(matches!(settle(), At::Idle));
        assert!(office.spool.outcome(&attempt).unwrap().result.is_ok());
        assert_eq!(fs::read_to_string(office.spool.out(&attempt).join("text")).unwrap(), "made");
    }

    #[test]
    fn an_ending_of_somebody_else_or_with_other_bytes_ends_the_attempt() {
        for damage in ["cluster/s/ends/p/1", "objects"] {
            let folder = tempfile::tempdir().unwrap();
            let office = office(folder.path());
            let (attempt, _) = offered(&office.spool, "r", "k", 0);
            let ending = ending(&office, attempt, folder.path());
            office.mail().end("p", 1, &ending).unwrap();
            let remote = folder.path().join("remote");
            let blob = remote.join(blob_name(&ending.out[0].digest));
            let path = if damage == "objects" { blob } else { remote.join(damage) };
            fs::remove_file(&path).unwrap();
            fs::write(&path, "else").unwrap();
            assert!(matches!(office.settle(&claim("p"), 1, Work::of(attempt)), At::Idle));
            let outcome = office.spool.outcome(&attempt).unwrap();
            assert_eq!(outcome.stopped, Some(Stopped::Transfer), "{damage}: {:?}", outcome.result);
        }
    }

    #[test]
    fn a_pilot_hears_that_a_job_comes_as_long_as_that_is_made_ready() {
        let folder = tempfile::tempdir().unwrap();
        let office = office(folder.path());
        let said = || office.mail().job("p", 1).unwrap();
        let hears = |wanted| {
            let began = std::time::Instant::now();
            while !matches!(said(), Some(Next::Coming(beat)) if beat == wanted) {
                assert!(began.elapsed() < Duration::from_secs(20), "it hears nothing");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        office.announced("p", 1, || [0, 1].map(hears));
        office.mail().forget("p", 1).unwrap();
        office.announced("p", 1, || {});
        assert!(said().is_none(), "what is ready at once needs no word");
    }
}
