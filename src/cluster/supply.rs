//! Sees to it that a run has pilots: of its jobs it knows how many are open. Unaware of stages.
//!
//! Pilots of one sort are a *lane*. Jobs begin in the first; one whose memory ran out goes on in the next, whose pilots
//! have twice as much.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Result;

use crate::cluster::batch::Batch;
use crate::cluster::pilot::BEGAN;
use crate::cluster::policy::{Asking, SILENT, Trials, further_pilots, is_there};
use crate::cluster::slurm::{self, Course, Listed, State, Trouble};
use crate::cluster::spool::{Pilot, Spool};
use crate::digest::Digest;
use crate::profile::Slurm;

/// So many arrays may fail as a whole, one after the other.
const STILLBORN: u32 = 3;

/// So many pilots are in one array; Slurm takes no larger ones unless its `MaxArraySize` was raised.
const MOST_AT_ONCE: usize = 1000;

/// Pilots that are alike.
#[derive(Debug)]
pub struct Lane {
    /// What pilots must have in common with this run to take its jobs.
    pub shape: String,
    /// What one of them asks for.
    profile: Slurm,
    /// The command line of one of them.
    command: Vec<String>,
    /// Jobs that want a pilot, or have one.
    open: AtomicUsize,
    /// How its jobs stand with Slurm, in words.
    queue: Mutex<Option<String>>,
    last: Mutex<Last>,
    asking: Mutex<Asking>,
}

/// The latest pilots of a lane.
#[derive(Debug, Default)]
struct Last {
    /// Their array, as long as it is not over.
    array: Option<String>,
    /// How many arrays in a row have failed as a whole.
    failed: u32,
}

/// The pilots of a run.
#[derive(Debug)]
pub struct Supply {
    /// The name of all pilots of the store.
    pub name: String,
    /// The lanes, the one with the least memory first.
    pub lanes: Vec<Lane>,
    most: usize,
    /// Pilots that gave signs of life lately.
    alive: AtomicUsize,
    /// Where nodes write what pilots say, up to the number of the job.
    logs: String,
    /// What its pilots showed of whether any can serve.
    trials: Mutex<Trials>,
    /// Why no job can be done.
    fault: Mutex<Option<String>>,
}

impl Supply {
    /// The lanes of a profile; `identity` is whatever else makes two runs need other pilots, `command` makes the
    /// command line of a pilot from the shape of its lane.
    pub fn new(
        profile: &Slurm,
        store: &str,
        logs: String,
        identity: &impl serde::Serialize,
        command: impl Fn(&str) -> Vec<String>,
    ) -> Result<Self> {
        let lane = |profile: Slurm| -> Result<Lane> {
            let shape = serde_json::to_string(&(&profile, identity))?;
            let shape = Digest::of(shape.as_bytes()).short().to_string();
            let (command, open, queue) = (command(&shape), AtomicUsize::new(0), Mutex::default());
            Ok(Lane { shape, profile, command, open, queue, last: Mutex::default(), asking: Mutex::default() })
        };
        let lanes = memories(profile).into_iter().map(|memory| lane(Slurm { memory, ..profile.clone() }));
        let lanes = lanes.collect::<Result<_>>()?;
        let name = format!("pacer-{}", Digest::of(store.as_bytes()).short());
        Ok(Self {
            name,
            lanes,
            most: profile.max_jobs,
            alive: AtomicUsize::new(0),
            trials: Mutex::default(),
            logs,
            fault: Mutex::default(),
        })
    }

    /// How often memory can be raised.
    pub fn most_raised(&self) -> usize {
        self.lanes.len() - 1
    }

    /// The lane of a job whose memory was raised so often.
    pub fn lane(&self, raised: usize) -> &Lane {
        &self.lanes[raised.min(self.most_raised())]
    }

    /// Why no job can be done, where none can.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many jobs are open.
    pub fn open(&self) -> usize {
        self.lanes.iter().map(|lane| lane.open.load(Ordering::Relaxed)).sum()
    }

    /// How many pilots live.
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Where pilots are wanted, asks Slurm how they stand, and for as many more as there are jobs, one list of them for
    /// all jobs.
    pub fn renew(&self, spool: &Spool, runner: &str, now: SystemTime) -> Result<(), Trouble> {
        let outcome = self.ask(spool, runner, now);
        if let Err(Trouble::Refused(message)) = &outcome {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message.clone());
        }
        outcome
    }

    fn ask(&self, spool: &Spool, runner: &str, now: SystemTime) -> Result<(), Trouble> {
        let is_ours = |pilot: &Pilot| self.lanes.iter().any(|lane| lane.shape == pilot.shape);
        let signs: Vec<_> = spool.pilots(now).into_iter().filter(|(pilot, _)| is_ours(pilot)).collect();
        let pilots: Vec<_> = signs.iter().filter(|(_, silent)| *silent < SILENT).map(|(pilot, _)| pilot).collect();
        self.alive.store(pilots.len(), Ordering::Relaxed);
        self.judge(&pilots, now)?;
        let is_had = |pilot: &Pilot| is_there(State::Running, pilot.runner.as_deref(), runner);
        let of = |lane: &Lane| pilots.iter().filter(|pilot| pilot.shape == lane.shape && is_had(pilot)).count();
        // Each is told, whatever the others say.
        let due = self.lanes.iter().filter(|lane| lane.asking().is_due(lane.wanted(self.most), of(lane))).count();
        if due == 0 {
            return Ok(());
        }
        // Also of those that are silent, which may be halted.
        let busy: BTreeMap<_, _> = signs
            .iter()
            .filter_map(|(pilot, _)| Some((pilot.claim.slurm.as_str(), pilot.runner.as_deref()?)))
            .collect();
        let submitted = self.supply(|pilot| is_there(pilot.state, busy.get(pilot.id.as_str()).copied(), runner));
        if !matches!(submitted, Ok(0)) {
            self.lanes.iter().for_each(|lane| *lane.asking() = Asking::default());
        }
        submitted.map(|_| ())
    }

    /// Heeds pilots that cannot serve, for one node alone may be so.
    fn judge(&self, pilots: &[&Pilot], now: SystemTime) -> Result<(), Trouble> {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        for Pilot { claim, fault, .. } in pilots {
            match fault {
                None => trials.serves(&claim.node),
                Some(fault) if trials.fails(&claim.pilot, &claim.node, now) => {
                    tracing::warn!(
                        "{fault} (on {}, which gets no further jobs of this run if there are others)",
                        claim.node
                    );
                }
                Some(_) => {}
            }
        }
        match pilots.iter().find_map(|pilot| pilot.fault.as_ref()) {
            Some(fault) if trials.are_hopeless(now) => Err(Trouble::Refused(hopeless(fault, &trials.nodes()))),
            _ => Ok(()),
        }
    }

    /// Submits the pilots that are missing beside those that the run has; how many.
    fn supply(&self, is_had: impl Fn(&Listed) -> bool) -> Result<usize, Trouble> {
        let listed = slurm::list(&self.name)?;
        let alive = |lane: &Lane| -> Vec<&Listed> {
            listed.iter().filter(|it| it.comment == lane.shape && !it.state.is_over()).collect()
        };
        let all: usize = self.lanes.iter().map(|lane| alive(lane).len()).sum();
        let had = |lane: &Lane| alive(lane).into_iter().filter(|pilot| is_had(pilot)).count();
        let mut room = self.most.saturating_sub(self.lanes.iter().map(had).sum());
        let mut submitted = 0;
        for lane in &self.lanes {
            let alive = alive(lane);
            if let Some(job) = lane.failed_again(&alive, &self.logs)? {
                return Err(Trouble::Refused(self.stillborn(&job)));
            }
            lane.say(in_words(&alive));
            let have = had(lane);
            let wanted = further_pilots(lane.open.load(Ordering::Relaxed), have + room, have);
            let wanted = wanted.min(MOST_AT_ONCE);
            let count = if wanted > 0 { self.submit(lane, wanted, all)? } else { 0 };
            (room, submitted) = (room - count, submitted + count);
        }
        Ok(submitted)
    }

    /// Submits some pilots, or fewer where a user may not have so many jobs; how many.
    fn submit(&self, lane: &Lane, count: usize, have: usize) -> Result<usize, Trouble> {
        let Lane { profile, shape, command, .. } = lane;
        let avoided = self.trials.lock().unwrap_or_else(PoisonError::into_inner).to_avoid();
        let batch =
            Batch { profile, count, name: &self.name, comment: shape, logs: &self.logs, command, avoided: &avoided };
        let submitted = match slurm::submit(&batch) {
            // There may be no other nodes.
            Err(trouble) if !avoided.is_empty() && !trouble.is_limit() => {
                slurm::submit(&Batch { avoided: &[], ..batch })
            }
            submitted => submitted,
        };
        match submitted {
            Ok(array) => {
                lane.last().array = Some(array);
                Ok(count)
            }
            Err(trouble) if !trouble.is_limit() => Err(trouble),
            Err(_) if count > 1 => self.submit(lane, count / 2, have),
            // Those that there are take one job after another.
            Err(_) if have > 0 => Ok(0),
            Err(trouble) => Err(trouble),
        }
    }

    /// What is said of pilots that end as soon as they begin.
    fn stillborn(&self, array: &str) -> String {
        let path = PathBuf::from(format!("{}{array}_0.log", self.logs));
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).map(|line| format!(": {line}"));
        let last = last.unwrap_or_else(|| format!("; their logs on the nodes are like `{}`", path.display()));
        format!("jobs fail on their nodes as soon as they begin, the last {STILLBORN} arrays as a whole{last}")
    }

    /// Cancels the pilots of this run but those that are alive; those of lanes that others live on stay.
    pub fn cancel(&self, alive: &[String], is_shared: impl Fn(&str) -> bool) -> Result<(), Trouble> {
        let own = |shape: &str| self.lanes.iter().any(|lane| lane.shape == shape) && !is_shared(shape);
        let listed = slurm::list(&self.name)?;
        let wanted = listed.into_iter().filter(|it| own(&it.comment) && !alive.contains(&it.id));
        slurm::cancel(&wanted.map(|pilot| pilot.id).collect::<Vec<_>>())
    }
}

impl Lane {
    /// Counts a job that wants a pilot, until what is returned is dropped.
    pub fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    /// How many pilots its jobs can use, of at most so many.
    fn wanted(&self, most: usize) -> usize {
        self.open.load(Ordering::Relaxed).min(most)
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its jobs stand with Slurm, in words; none where it has listed none yet.
    pub fn queue(&self) -> Option<String> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how the latest array ended, if it has; its number, if too many have failed one after the other.
    fn failed_again(&self, alive: &[&Listed], logs: &str) -> Result<Option<String>, Trouble> {
        let mut last = self.last();
        let has_begun = |array: &str| {
            let mut logs = (0..).map_while(|at| std::fs::read_to_string(format!("{logs}{array}_{at}.log")).ok());
            logs.any(|log| log.contains(BEGAN))
        };
        let is_over = |array: &String| !alive.iter().any(|pilot| pilot.id.split('_').next() == Some(array));
        let Some(array) = last.array.clone().filter(is_over) else { return Ok(None) };
        let course = slurm::course(&array)?;
        if course == Course::Open {
            // Nobody would find its jobs again, neither to count nor to cancel them.
            let _ = slurm::cancel(std::slice::from_ref(&array));
            return Err(Trouble::Refused(unlisted(&array)));
        }
        let failed = course == Course::Failed && !has_begun(&array);
        (last.array, last.failed) = (None, if failed { last.failed + 1 } else { 0 });
        Ok((last.failed >= STILLBORN).then_some(array))
    }

    fn say(&self, words: Option<String>) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Megabytes of one of its pilots.
    pub fn memory(&self) -> Option<u64> {
        self.profile.memory
    }
}

/// A job that is open.
pub struct Open<'a>(&'a Lane);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is said where no pilot could serve.
fn hopeless(fault: &str, nodes: &[&str]) -> String {
    match nodes {
        [node] => format!("{fault}; every job came to {node}: add `--exclude={node}` to `arguments` if others serve"),
        nodes => format!("{fault}; no job could serve on {} nodes, such as {}", nodes.len(), nodes[0]),
    }
}

/// What is said of jobs that Slurm has and does not list.
fn unlisted(array: &str) -> String {
    format!(
        "Slurm does not list jobs as they were sent, by which they are found again: `scontrol show job {array}` tells \
         whether name and comment are still those of pacer, which `arguments` of the executor or the site may change"
    )
}

/// The memory of each lane.
fn memories(profile: &Slurm) -> Vec<Option<u64>> {
    let (Some(first), Some(most)) = (profile.memory, profile.most_memory) else { return vec![profile.memory] };
    let mut memories: Vec<u64> =
        std::iter::successors(Some(first), |last| last.checked_mul(2)).take_while(|it| *it < most).collect();
    memories.push(most);
    memories.dedup();
    memories.into_iter().map(Some).collect()
}

/// What it is that a job without a pilot waits for.
fn in_words(pilots: &[&Listed]) -> Option<String> {
    let of = |state| pilots.iter().filter(move |pilot| pilot.state == state);
    let (pending, suspended) = (of(State::Pending).count(), of(State::Suspended).count());
    let running = pilots.len() - pending - suspended;
    let mut words = Vec::new();
    if let Some(first) = of(State::Pending).next() {
        let jobs = jobs(pending, "waits", "wait");
        words.push(format!("{jobs} in the queue of Slurm: {}", reason(&first.reason)));
    } else if running > 0 {
        words.push(format!("{} busy", jobs(running, "is", "are")));
    }
    if suspended > 0 {
        words.push(format!("{} suspended by Slurm", jobs(suspended, "is", "are")));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn jobs(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 job {one}") } else { format!("{count} jobs {many}") }
}

/// A reason of Slurm in words; what is not known here is given as it is.
fn reason(word: &str) -> String {
    let begins = |signs: &[&str]| signs.iter().any(|sign| word.starts_with(sign));
    let words = match word {
        "None" | "" => return "it has just come".to_owned(),
        "Resources" => "no node is free",
        "Priority" => "others come first",
        "BeginTime" => "it is not to begin yet",
        "PartitionTimeLimit" => "the partition never gives so much time",
        "PartitionNodeLimit" | "PartitionConfig" | "BadConstraints" | "ReqNodeNotAvail" => {
            "no node has what it asks for"
        }
        "PartitionDown" | "PartitionInactive" => "the partition is down",
        "JobHeldUser" | "JobHeldAdmin" => "it is held; `scontrol release` lets it go",
        "Licenses" => "no licence is free",
        _ if begins(&["QOS", "Assoc"]) => "a limit of the account is reached",
        _ if begins(&["ReqNodeNotAvail", "Nodes_required"]) => "its nodes are down or reserved",
        other => return other.to_owned(),
    };
    format!("{words} ({word})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(state: State, reason: &str) -> Listed {
        Listed { id: "1".into(), state, reason: reason.into(), comment: String::new() }
    }

    #[test]
    fn why_a_job_waits_is_told_in_words_with_that_of_slurm() {
        let (waiting, running) = (listed(State::Pending, "Resources"), listed(State::Running, "None"));
        assert_eq!(in_words(&[]), None);
        assert_eq!(in_words(&[&running, &running]).unwrap(), "2 jobs are busy");
        let words = "1 job waits in the queue of Slurm: no node is free (Resources)";
        assert_eq!(in_words(&[&running, &waiting]).unwrap(), words);
        let halted = listed(State::Suspended, "None");
        assert_eq!(in_words(&[&halted]).unwrap(), "1 job is suspended by Slurm");
        assert_eq!(in_words(&[&halted, &halted, &running]).unwrap(), "1 job is busy; 2 jobs are suspended by Slurm");
        assert_eq!(reason("QOSMaxJobsPerUserLimit"), "a limit of the account is reached (QOSMaxJobsPerUserLimit)");
        assert_eq!(reason("SomethingNew"), "SomethingNew");
    }

    #[test]
    fn memory_is_doubled_from_lane_to_lane_up_to_its_limit() {
        let lanes = |memory, most_memory| memories(&Slurm { memory, most_memory, ..Slurm::default() });
        assert_eq!(lanes(None, None), [None]);
        assert_eq!(lanes(Some(1000), None), [Some(1000)]);
        assert_eq!(lanes(Some(1000), Some(5000)), [1000, 2000, 4000, 5000].map(Some));
        assert_eq!(lanes(Some(1000), Some(4000)), [1000, 2000, 4000].map(Some));
        assert_eq!(lanes(Some(1000), Some(1000)), [Some(1000)]);
    }

    #[test]
    fn pilots_of_other_memory_or_of_another_sender_are_not_alike() {
        let profile = Slurm { memory: Some(1), most_memory: Some(2), ..Slurm::default() };
        let supply = |identity: &str| {
            Supply::new(&profile, "/store", "/logs/".into(), &identity, |shape| vec![shape.to_owned()]).unwrap()
        };
        let (one, other) = (supply("a"), supply("b"));
        assert_eq!((one.lanes.len(), one.most_raised()), (2, 1));
        assert_ne!(one.lane(0).shape, one.lane(1).shape);
        assert_ne!(one.lane(0).shape, other.lane(0).shape);
        assert_eq!(one.lane(7).command, [one.lane(1).shape.clone()]);
        let open = one.lane(1).open();
        assert_eq!(one.open(), 1);
        drop(open);
        assert_eq!(one.open(), 0);
    }
}
