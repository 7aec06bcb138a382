//! Stands between the spool of a run and pilots that do not see it: for each of them it takes offers, sends them by way
//! of the remote, and writes into the spool what comes back. So to the run they are pilots like others. Unaware of why
//! a job is offered.

mod office;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::cluster::complaint::Complaint;
use crate::cluster::mail::{self, Report, SIGN_LOST, Secret};
use crate::cluster::relay::office::{At, Known, Office, Work};
use crate::cluster::spool::{Attempt, Claim, Spool};
use crate::remote::{Meter, side_by_side};

/// How soon and how seldom the remote is asked for news.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Reports that are read at once.
const READERS: usize = 16;

/// A relay at work.
pub struct Relay {
    office: Arc<Office>,
    pilots: BTreeMap<String, Known>,
    moved: (Sender<Moved>, Receiver<Moved>),
    complaint: Complaint,
}

/// A transfer that has ended.
struct Moved {
    pilot: String,
    /// How many jobs its pilot was given now.
    given: u64,
    /// What it is at.
    at: At,
}

impl Relay {
    /// A relay for the pilots of a session, with those that an earlier run left.
    pub fn open(cache: &Cache, spool: &Spool, session: &str, secret: &Secret) -> Result<Self> {
        let remote = cache.remote.as_ref().context("a relay needs a remote")?;
        let (letters, cache) = (mail::for_letters(remote)?, mail::for_files(cache)?);
        let (spool, session, secret) = (spool.clone(), session.to_owned(), secret.clone());
        let office = Arc::new(Office {
            cache,
            letters,
            spool,
            session,
            secret,
            meter: Meter::default(),
            complaint: Mutex::default(),
        });
        let mut relay = Self { office, pilots: BTreeMap::new(), moved: channel(), complaint: Complaint::default() };
        relay.look(None).context("pilots that do not see the store are reached through the remote")?;
        relay.take_up()?;
        Ok(relay)
    }

    /// Takes over what came to an end while no run looked, and takes away what pilots left that are gone.
    fn take_up(&mut self) -> Result<()> {
        let (office, mail) = (&self.office, self.office.mail());
        for (pilot, number) in mail.endings()? {
            match office.take_ending(&pilot, number, None) {
                Err(error) => tracing::warn!("what a node made before is left: {error:#}"),
                Ok(_) => {
                    let known = self.pilots.get_mut(&pilot).filter(|known| known.given == number);
                    known.into_iter().for_each(|known| known.at = At::Idle);
                }
            }
        }
        let gone = mail.jobs()?.into_iter().filter(|(pilot, _)| !self.pilots.contains_key(pilot));
        gone.into_iter().try_for_each(|(pilot, number)| mail.forget(&pilot, number))
    }

    /// The attempts that pilots are at.
    pub fn at_work(&self) -> BTreeSet<Attempt> {
        let at = |known: &Known| if let At::Work(work) = &known.at { Some(work.attempt) } else { None };
        self.pilots.values().filter_map(at).collect()
    }

    /// Goes to and fro until the run has ended.
    pub fn work(mut self, now: impl Fn() -> SystemTime, ended: &AtomicBool) {
        let mut pause = LOOKS[0];
        while !ended.load(Ordering::Relaxed) {
            match self.look(Some(now())) {
                Ok(news) => {
                    pause = if news { LOOKS[0] } else { pause.mul_f64(1.3).min(LOOKS[1]) };
                    self.complaint = Complaint::default();
                }
                Err(error) => {
                    self.complaint.say(&error, Instant::now());
                    pause = LOOKS[1];
                    // As long as nobody can be heard, nobody is known to be gone.
                    self.pilots.values().for_each(|known| drop(self.office.spool.beat_pilot(&known.pilot)));
                }
            }
            std::thread::sleep(pause);
        }
    }

    /// Hears how all pilots stand, and gives jobs to those that have none, if it is told the time; whether there was
    /// news.
    fn look(&mut self, now: Option<SystemTime>) -> Result<bool> {
        let mut news = false;
        while let Ok(moved) = self.moved.1.try_recv() {
            news = true;
            if let Some(known) = self.pilots.get_mut(&moved.pilot) {
                (known.given, known.at) = (moved.given, moved.at);
            }
        }
        let office = Arc::clone(&self.office);
        let mail = office.mail();
        let fresh: Vec<String> =
            mail.pilots()?.into_iter().filter(|(_, silent)| *silent < SIGN_LOST).map(|(pilot, _)| pilot).collect();
        self.bury(&fresh);
        for report in side_by_side(&fresh, READERS, |pilot| mail.report_of(pilot)) {
            match report {
                Ok(Some(report)) => news |= self.heed(&report, now)?,
                // One that has just said that it ends has none.
                Ok(None) => {}
                // The others are heard all the same.
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        Ok(news)
    }

    /// Gives up pilots that have ended or are silent for long, once what they left is taken over.
    fn bury(&mut self, fresh: &[String]) {
        let mut gone = Vec::new();
        for (name, known) in self.pilots.iter_mut().filter(|(name, _)| !fresh.contains(name)) {
            match std::mem::replace(&mut known.at, At::Moving) {
                At::Idle => gone.push(name.clone()),
                At::Work(work) => settle(&self.office, &self.moved.0, known, work),
                At::Moving => {}
            }
            // The run shall wait for what it left.
            let _ = self.office.spool.beat_pilot(&known.pilot);
        }
        for name in gone {
            self.pilots.remove(&name);
            self.office.spool.leave_pilot(&name);
        }
    }

    fn heed(&mut self, report: &Report, now: Option<SystemTime>) -> Result<bool> {
        let office = Arc::clone(&self.office);
        office.spool.beat_pilot(&report.pilot)?;
        let pilot = report.pilot.claim.pilot.clone();
        if !self.pilots.contains_key(&pilot) {
            self.pilots.insert(pilot.clone(), office.meet(report)?);
        }
        let known = self.pilots.get_mut(&pilot).expect("it was put there");
        known.pilot.clone_from(&report.pilot);
        match &mut known.at {
            At::Moving => return Ok(false),
            At::Work(_) if report.ended >= known.given => {
                if let At::Work(mut work) = std::mem::replace(&mut known.at, At::Moving) {
                    work.begun = true;
                    settle(&office, &self.moved.0, known, work);
                }
                return Ok(true);
            }
            At::Work(work) => return office.follow(&pilot, known.given, report, work),
            At::Idle => {}
        }
        let is_free = report.pilot.fault.is_none() && report.at.is_none() && report.ended == known.given;
        let claim = Claim { served: known.given, ..known.pilot.claim.clone() };
        let taken = now.filter(|_| is_free).and_then(|now| office.spool.take(&report.pilot.shape, &claim, now));
        let Some((attempt, offer)) = taken else { return Ok(false) };
        known.given += 1;
        known.at = At::Moving;
        let (sender, given, claim) = (self.moved.0.clone(), known.given, claim);
        std::thread::spawn(move || {
            let (given, at) = match office.give(&claim.pilot, given, &attempt, &offer) {
                Ok(()) => (given, At::Work(Work::of(attempt))),
                Err(error) => {
                    office.refuse(&attempt, &claim, &error);
                    (given - 1, At::Idle)
                }
            };
            let _ = sender.send(Moved { pilot: claim.pilot, given, at });
        });
        Ok(true)
    }
}

/// Takes over, on a thread of its own, how the job of a pilot ended, or what it left where it did not come to an end.
fn settle(office: &Arc<Office>, moved: &Sender<Moved>, known: &Known, work: Work) {
    let (office, moved, given, claim) = (Arc::clone(office), moved.clone(), known.given, known.pilot.claim.clone());
    std::thread::spawn(move || {
        let at = office.settle(&claim, given, work);
        if let At::Work(_) = at {
            std::thread::sleep(LOOKS[1]);
        }
        // Nobody is left to hear it when the run has ended.
        let _ = moved.send(Moved { pilot: claim.pilot, given, at });
    });
}
