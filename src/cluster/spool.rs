//! The spool: the files in the store by which a run and the jobs of a cluster talk. Unaware of Slurm and of stages.
//!
//! ```text
//! cluster/queue/<shape>/<runner>/<heap>/<place>-<key>.<attempt>   an offer; whoever renames it has it
//! cluster/jobs/<key>/<attempt>/   job.json, taken, claim.json, events.jsonl, outcome.json, stop, out/
//! cluster/pilots/<pilot>  cluster/runners/<runner>         written again and again by those who live
//! ```
//!
//! Nothing here is ever read half-written, for every file comes into its place by a rename; nothing is synced, for what
//! is lost with the power is done again. Ages are differences of two time stamps of this file system, so the clocks of
//! the machines need not agree.

mod files;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pacer_stages::job::Job;
use pacer_stages::stage::Metrics;
use pacer_stages::worker::Failure;
use serde::{Deserialize, Serialize};

use crate::cluster::spool::files::{
    age, beat, folders, into_heap, make_private, names, read, read_json, write_json, write_whole,
};
use crate::digest::Digest;
use crate::fresh::open;
use crate::stat_cache::Stamp;

/// Version of the files of the spool; part of the shape, so that no two versions meet.
pub const SPOOL_VERSION: u32 = 3;

/// Offers of one folder, so that a pilot that takes one reads no more names than these.
const HEAP: u64 = 100;

/// A runner that has not written for so long is gone.
pub const RUNNER_LOST: Duration = Duration::from_secs(15);

/// The files of an attempt.
const JOB: &str = "job.json";
const TAKEN: &str = "taken";
const CLAIM: &str = "claim.json";
const OUTCOME: &str = "outcome.json";
const STOP: &str = "stop";

/// One try of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The key of the result that it makes.
    pub key: Digest,
    /// Which try it is, from 1.
    pub number: u32,
}

/// A job with all that a node needs beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The run that wants it.
    pub runner: String,
    /// The stage, for people.
    pub stage: String,
    /// The job.
    pub job: Job,
    /// The stamps of the files that it reads and no stage made.
    #[serde(default)]
    pub read: Vec<Stamp>,
    /// Where its log goes.
    pub log: PathBuf,
    /// How often its memory was raised.
    #[serde(default)]
    pub raised: usize,
}

/// Who took a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The pilot's name among the heartbeats.
    pub pilot: String,
    /// Its job, as Slurm counts.
    pub slurm: String,
    /// Its machine.
    pub node: String,
    /// Jobs that it served before this one, which took of its time.
    #[serde(default)]
    pub served: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Who made it.
    pub claim: Claim,
    /// Its figures, or how it failed.
    pub result: Result<Metrics, Failure>,
    /// The most memory that its process held.
    pub peak_bytes: Option<u64>,
    /// Seconds that it took on the node.
    pub seconds: f64,
    /// Why it was stopped, where it was.
    pub stopped: Option<Stopped>,
}

/// Why a pilot stopped its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// Its runner asked for it.
    Asked,
    /// The end of the time that Slurm gives was near.
    Limit,
    /// Slurm ends the job, because somebody cancelled it or it gives way to another.
    Terminated,
    /// What it reads or what it made could not be carried to or fro.
    Transfer,
}

/// A pilot's sign of life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pilot {
    /// Who it is.
    pub claim: Claim,
    /// What it takes.
    pub shape: String,
    /// The stage that it serves now.
    pub stage: Option<String>,
    /// The run that offered it.
    pub runner: Option<String>,
    /// Why it cannot serve at all.
    pub fault: Option<String>,
}

/// How a job is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopHow {
    /// Keep what there is, then end.
    Orderly,
    /// End now.
    Kill,
}

/// The spool of a store.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
}

impl Attempt {
    fn name(&self) -> String {
        format!("{}.{}", self.key, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (key, number) = name.split_once('.')?;
        Some(Self { key: key.parse().ok()?, number: number.parse().ok()? })
    }
}

impl Spool {
    /// Opens the spool of the store in a folder, making it where it is missing.
    pub fn open(store: &Path) -> io::Result<Self> {
        let root = store.join("cluster");
        for name in ["queue", "jobs", "pilots", "runners", "logs"] {
            make_private(&root.join(name))?;
        }
        Ok(Self { root })
    }

    /// The folder for what Slurm writes down of a pilot.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder of an attempt.
    pub fn folder(&self, attempt: &Attempt) -> PathBuf {
        self.root.join("jobs").join(attempt.key.hex()).join(attempt.number.to_string())
    }

    /// The folder that takes the outputs of an attempt.
    pub fn out(&self, attempt: &Attempt) -> PathBuf {
        self.folder(attempt).join("out")
    }

    /// The file of an attempt's progress and warnings.
    pub fn events(&self, attempt: &Attempt) -> PathBuf {
        self.folder(attempt).join("events.jsonl")
    }

    /// The latest attempt of a key.
    pub fn latest(&self, key: &Digest) -> Option<Attempt> {
        let numbers = names(&self.root.join("jobs").join(key.hex()));
        let number = numbers.iter().filter_map(|name| name.parse().ok()).max()?;
        Some(Attempt { key: *key, number })
    }

    /// Makes the folders of an attempt, which nobody can see yet.
    pub fn prepare(&self, attempt: &Attempt) -> io::Result<()> {
        make_private(&self.out(attempt))
    }

    /// Offers a job to whoever takes jobs of a shape; the lower its place, the sooner.
    pub fn offer(&self, shape: &str, place: u64, attempt: &Attempt, offer: &Offer) -> io::Result<PathBuf> {
        write_json(&self.folder(attempt).join(JOB), offer)?;
        let heap = self.root.join("queue").join(shape).join(&offer.runner).join(format!("{:08}", place / HEAP));
        let path = heap.join(format!("{place:010}-{}", attempt.name()));
        // It says where it lies, so that whoever took it can give it back.
        let own = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
        into_heap(&heap, || fs::write(&path, &own)).map(|()| path)
    }

    /// Puts an offer back where it lay, which somebody took for a pilot that then did not begin it.
    pub fn give_back(&self, attempt: &Attempt) -> io::Result<()> {
        let folder = self.folder(attempt);
        let path = self.root.join(fs::read_to_string(folder.join(TAKEN))?);
        let heap = path.parent().ok_or(io::ErrorKind::InvalidData)?;
        // First, for the next who takes it writes another.
        fs::remove_file(folder.join(CLAIM))?;
        into_heap(heap, || fs::rename(folder.join(TAKEN), &path))
    }

    /// Takes an offer back; false where somebody has taken it already.
    pub fn withdraw(&self, offered: &Path) -> bool {
        fs::remove_file(offered).is_ok()
    }

    /// Takes the first offer of a shape whose runner is alive.
    pub fn take(&self, shape: &str, claim: &Claim, now: SystemTime) -> Option<(Attempt, Offer)> {
        let queue = self.root.join("queue").join(shape);
        for runner in names(&queue).iter().filter(|runner| self.is_fresh(runner, now)) {
            for heap in folders(&queue.join(runner)) {
                if let Some(taken) = names(&heap).iter().find_map(|name| self.take_one(&heap, name, claim)) {
                    return Some(taken);
                }
                // Fails where its runner goes on to fill it.
                let _ = fs::remove_dir(heap);
            }
        }
        None
    }

    fn take_one(&self, heap: &Path, name: &str, claim: &Claim) -> Option<(Attempt, Offer)> {
        let attempt = Attempt::parse(name.split_once('-')?.1)?;
        let folder = self.folder(&attempt);
        // Of all who rename it, one does.
        fs::rename(heap.join(name), folder.join(TAKEN)).ok()?;
        let offer = read_json::<Offer>(&folder.join(JOB))?;
        write_json(&folder.join(CLAIM), claim).ok()?;
        Some((attempt, offer))
    }

    /// Takes back whatever is offered for a key, also by runners that are gone.
    pub fn withdraw_all(&self, key: &Digest) {
        let sign = format!("-{key}.");
        let runners = folders(&self.root.join("queue")).into_iter().flat_map(|shape| folders(&shape));
        for heap in runners.flat_map(|runner| folders(&runner)) {
            let offers = names(&heap).into_iter().filter(|name| name.contains(&sign));
            offers.for_each(|name| drop(fs::remove_file(heap.join(name))));
        }
    }

    /// Who has taken an attempt.
    pub fn claim(&self, attempt: &Attempt) -> Option<Claim> {
        read_json(&self.folder(attempt).join(CLAIM))
    }

    /// Whether any runner that lives has a place in the queue of a shape.
    pub fn has_offers(&self, shape: &str, now: SystemTime) -> bool {
        names(&self.root.join("queue").join(shape)).iter().any(|runner| self.is_fresh(runner, now))
    }

    /// What was offered as an attempt.
    pub fn offered(&self, attempt: &Attempt) -> Option<Offer> {
        read_json(&self.folder(attempt).join(JOB))
    }

    /// How an attempt ended.
    pub fn outcome(&self, attempt: &Attempt) -> Option<Outcome> {
        read_json(&self.folder(attempt).join(OUTCOME))
    }

    /// Tells how an attempt ended, once all its outputs are written.
    pub fn end(&self, attempt: &Attempt, outcome: &Outcome) -> io::Result<()> {
        write_json(&self.folder(attempt).join(OUTCOME), outcome)
    }

    /// Asks whoever serves an attempt to stop.
    pub fn stop(&self, attempt: &Attempt, how: StopHow) {
        let word = if how == StopHow::Kill { "kill" } else { "stop" };
        // Where it cannot be written the job goes on to its end, which does no harm.
        let _ = write_whole(&self.folder(attempt).join(STOP), word.as_bytes());
    }

    /// Whether an attempt shall stop; one whose folder is gone is wanted by nobody.
    pub fn stop_asked(&self, attempt: &Attempt) -> Option<StopHow> {
        let folder = self.folder(attempt);
        match read(&folder.join(STOP)) {
            Ok(word) if word == "kill" => Some(StopHow::Kill),
            Ok(_) => Some(StopHow::Orderly),
            Err(error) if error.kind() == io::ErrorKind::NotFound && open(&folder).is_err() => Some(StopHow::Kill),
            Err(_) => None,
        }
    }

    /// Forgets a key, with all that was tried for it.
    pub fn forget(&self, key: &Digest) {
        // What stays is taken away by the next run that wants the key.
        let _ = fs::remove_dir_all(self.root.join("jobs").join(key.hex()));
    }

    /// Gives a sign of life as a runner that knows of so many pilots; the time of this file system.
    pub fn beat_runner(&self, runner: &str, pilots: usize) -> io::Result<SystemTime> {
        beat(&self.root.join("runners").join(runner), pilots.to_string().as_bytes())
    }

    /// How many pilots take jobs of a shape, as its runners say.
    pub fn crowd(&self, shape: &str) -> usize {
        let said = |runner: String| read(&self.root.join("runners").join(runner)).ok()?.parse().ok();
        names(&self.root.join("queue").join(shape)).into_iter().filter_map(said).max().unwrap_or(0)
    }

    /// Takes away all that a runner had here.
    pub fn leave(&self, runner: &str) {
        for shape in names(&self.root.join("queue")) {
            let _ = fs::remove_dir_all(self.root.join("queue").join(&shape).join(runner));
            // Fails while others offer there.
            let _ = fs::remove_dir(self.root.join("queue").join(shape));
        }
        let _ = fs::remove_file(self.root.join("runners").join(runner));
    }

    /// Takes away what runners left that are gone.
    pub fn tidy(&self, now: SystemTime) {
        let known = names(&self.root.join("runners")).into_iter();
        known.filter(|runner| !self.is_fresh(runner, now)).for_each(|runner| self.leave(&runner));
    }

    /// Whether a runner lives.
    pub fn is_fresh(&self, runner: &str, now: SystemTime) -> bool {
        age(&self.root.join("runners").join(runner), now).is_some_and(|age| age < RUNNER_LOST)
    }

    /// Gives a sign of life as a pilot; the time of this file system.
    pub fn beat_pilot(&self, pilot: &Pilot) -> io::Result<SystemTime> {
        beat(&self.root.join("pilots").join(&pilot.claim.pilot), &serde_json::to_vec(pilot)?)
    }

    /// Says that a pilot ends.
    pub fn leave_pilot(&self, pilot: &str) {
        let _ = fs::remove_file(self.root.join("pilots").join(pilot));
    }

    /// How long a pilot has given no sign of life; `None` where it has ended.
    pub fn silence(&self, pilot: &str, now: SystemTime) -> Option<Duration> {
        age(&self.root.join("pilots").join(pilot), now)
    }

    /// Every pilot that has not said that it ends, with its silence.
    pub fn pilots(&self, now: SystemTime) -> Vec<(Pilot, Duration)> {
        let folder = self.root.join("pilots");
        let read = |name: String| Some((read_json(&folder.join(&name))?, age(&folder.join(&name), now)?));
        names(&folder).into_iter().filter_map(read).collect()
    }
}

#[cfg(test)]
pub(super) use tests::{claim, offered};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use pacer_stages::job::{Checkpoints, Device, JOB_VERSION};

    pub fn offered(spool: &Spool, runner: &str, key: &str, place: u64) -> (Attempt, PathBuf) {
        let attempt = Attempt { key: Digest::of(key.as_bytes()), number: 1 };
        spool.prepare(&attempt).unwrap();
        let job = Job {
            v: JOB_VERSION,
            kind: "command".into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: BTreeMap::new(),
            out: spool.out(&attempt),
            partial: PathBuf::new(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        let (runner, stage) = (runner.to_owned(), key.to_owned());
        let offer = Offer { runner, stage, job, read: Vec::new(), log: PathBuf::new(), raised: 0 };
        (attempt, spool.offer("s", place, &attempt, &offer).unwrap())
    }

    pub fn claim(pilot: &str) -> Claim {
        Claim { pilot: pilot.into(), slurm: "1_0".into(), node: "n".into(), served: 0 }
    }

    #[test]
    fn an_offer_is_taken_once_in_order_and_only_of_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let now = spool.beat_runner("alive", 0).unwrap();
        let (second, _) = offered(&spool, "alive", "b", 2);
        let (first, _) = offered(&spool, "alive", "a", 1);
        offered(&spool, "dead", "c", 0);
        assert_eq!(spool.take("s", &claim("p"), now).unwrap().0, first);
        assert_eq!(spool.take("other", &claim("p"), now).map(|it| it.0), None);
        assert_eq!(spool.take("s", &claim("q"), now).unwrap().0, second);
        assert_eq!(spool.take("s", &claim("p"), now).map(|it| it.0), None);
        assert_eq!(spool.claim(&second).unwrap().pilot, "q");
        assert!(spool.has_offers("s", now));
        spool.leave("alive");
        assert!(!spool.has_offers("s", now), "what a dead runner left is nobody's");
    }

    #[test]
    fn offers_of_many_heaps_are_taken_in_order_and_what_is_empty_goes() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let now = spool.beat_runner("r", 7).unwrap();
        let places = [3 * HEAP, 2, HEAP - 1, HEAP];
        let attempts = places.map(|place| offered(&spool, "r", &place.to_string(), place).0);
        assert_eq!(spool.crowd("s"), 7);
        let take = || spool.take("s", &claim("p"), now).map(|taken| taken.0);
        for at in [1, 2, 3, 0] {
            assert_eq!(take(), Some(attempts[at]));
        }
        assert!(take().is_none());
        assert_eq!(names(&folder.path().join("cluster/queue/s/r")), [""; 0]);
        let (again, _) = offered(&spool, "r", "x", 3 * HEAP + 1);
        spool.withdraw_all(&attempts[0].key);
        assert_eq!(take(), Some(again));
    }

    #[test]
    fn offers_are_made_while_pilots_remove_the_heaps_that_they_empty() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let now = spool.beat_runner("r", 1).unwrap();
        let (attempt, _) = offered(&spool, "r", "x", 0);
        let offer = spool.offered(&attempt).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        spool.take("s", &claim("p"), now);
                    }
                });
            }
            let failed = (0..1000).find_map(|place| spool.offer("s", place, &attempt, &offer).err());
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn an_offer_is_withdrawn_or_taken_but_not_both() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let now = spool.beat_runner("r", 0).unwrap();
        let (_, path) = offered(&spool, "r", "a", 0);
        assert!(spool.withdraw(&path));
        assert!(spool.take("s", &claim("p"), now).is_none());
        let (attempt, path) = offered(&spool, "r", "b", 0);
        assert!(spool.take("s", &claim("p"), now).is_some());
        assert!(!spool.withdraw(&path) && spool.claim(&attempt).is_some());
    }

    #[test]
    fn an_offer_that_is_given_back_is_nobodys_and_lies_where_it_lay() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let now = spool.beat_runner("r", 0).unwrap();
        let (first, path) = offered(&spool, "r", "a", 0);
        offered(&spool, "r", "b", 1);
        assert_eq!(spool.take("s", &claim("p"), now).unwrap().0, first);
        spool.give_back(&first).unwrap();
        assert!(spool.claim(&first).is_none() && path.exists());
        assert!(spool.give_back(&first).is_err(), "nobody has it");
        assert_eq!(spool.take("s", &claim("q"), now).unwrap().0, first);
        assert_eq!(spool.claim(&first).unwrap().pilot, "q");
    }

    #[test]
    fn a_job_whose_folder_is_gone_shall_stop_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let (attempt, _) = offered(&spool, "r", "a", 0);
        assert_eq!(spool.stop_asked(&attempt), None);
        spool.stop(&attempt, StopHow::Orderly);
        assert_eq!(spool.stop_asked(&attempt), Some(StopHow::Orderly));
        spool.forget(&attempt.key);
        assert_eq!(spool.stop_asked(&attempt), Some(StopHow::Kill));
    }
}
