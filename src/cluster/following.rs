//! One job of a run on a cluster: it is offered, followed to its outcome, and offered again where it was lost. Unaware
//! of how pilots come to be.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use pacer_stages::job::Job;
use pacer_stages::stage::Notice;
use pacer_stages::worker::{Failure, FailureClass};

use crate::cache::pieces::files_below;
use crate::cluster::policy::{self, INTERVAL, Loss, Losses, SILENT};
use crate::cluster::runner::{Shared, Whereabouts};
use crate::cluster::slurm::{self, State};
use crate::cluster::spool::{Attempt, Claim, Offer, Outcome, Spool, StopHow, Stopped};
use crate::cluster::supply::Lane;
use crate::digest::Digest;
use crate::executor::{Output, Surroundings};
use crate::fresh::open;
use crate::stat_cache::Stamp;

/// How soon and how seldom a job's outcome is looked for.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// A job that has waited no longer than this is not said to wait, and longer as long as nobody can say why.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// How long a job that was told to end at once may still take.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// So long Slurm is asked again and again what it ended a job for.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How an attempt went.
enum End {
    /// The node told.
    Outcome(Outcome),
    /// Nobody is at it any more, and another try may end well.
    Lost(Loss, String),
    /// It is not to be tried again.
    Failed(Failure),
}

/// An attempt that is under way.
struct Way<'a> {
    attempt: Attempt,
    /// The offer, unless an earlier run made it.
    offered: Option<PathBuf>,
    /// The folder that takes its states, and when something was last written there before.
    partial: &'a Path,
    written: Option<SystemTime>,
    lane: &'a Lane,
}

impl Shared {
    /// Runs a job to its end, or takes over what an earlier run left of it.
    pub(super) fn run(
        &self,
        key: Digest,
        stage: &str,
        job: &Job,
        read: &[Stamp],
        around: &Surroundings<'_>,
        tell: &dyn Fn(Whereabouts),
    ) -> Result<Output, Failure> {
        let mut left = self.left_behind(&key, read);
        let mut losses = self.earlier_losses(&key);
        loop {
            let raised = losses.raised();
            let lane = self.supply.lane(raised);
            let written = newest(&job.partial);
            let adopted = left.take();
            // One that an earlier run offered has its pilot, which may be of another shape.
            let _open = adopted.is_none().then(|| lane.open());
            let (attempt, offered) = match adopted {
                Some(attempt) => (attempt, None),
                None => match self.offer(raised, key, stage, job, read, around.log) {
                    Ok((attempt, offered)) => (attempt, Some(offered)),
                    Err(error) => return Err(error_of(format!("the job cannot be offered to the cluster: {error}"))),
                },
            };
            let way = Way { attempt, offered, partial: &job.partial, written, lane };
            let end = match self.follow(&way, around, tell) {
                End::Outcome(outcome) => self.judge(&way, outcome),
                end => end,
            };
            let (loss, why) = match end {
                End::Failed(failure) => {
                    self.spool.forget(&key);
                    return Err(failure);
                }
                End::Outcome(Outcome { result, peak_bytes, seconds, .. }) => {
                    // Should this run die now, the next one must not take what is half moved for whole.
                    self.spool.stop(&attempt, StopHow::Kill);
                    let taken = result.map(|metrics| (metrics, take_over(&self.spool.out(&attempt), &job.out)));
                    self.spool.forget(&key);
                    let (metrics, taken) = taken?;
                    taken.map_err(|error| error_of(format!("what the node wrote cannot be taken over: {error}")))?;
                    return Ok(Output { metrics, peak_bytes, seconds: Some(seconds) });
                }
                End::Lost(loss, why) => {
                    // Should its pilot come to life again, it must not write beside the next one.
                    self.spool.stop(&attempt, StopHow::Kill);
                    (loss, why)
                }
            };
            if around.stop.requested() {
                return Err(interrupted());
            }
            let message = self.again(&mut losses, loss, &why, lane)?;
            // Of the moment and not of the result, which is the same after any number of tries.
            tracing::warn!("`{stage}` is {message}");
            (around.sink)(Notice::Log { message });
        }
    }

    /// What is told of a job that is offered again after a loss; the failure of one that was lost too often.
    fn again(&self, losses: &mut Losses, loss: Loss, why: &str, lane: &Lane) -> Result<String, Failure> {
        // Where its log can be read, that says so when it was for its memory.
        let is_told = self.adopted.get().is_none() || lane.memory().is_none();
        let weighed = losses.weigh(if is_told && loss == Loss::Killed { Loss::Node } else { loss });
        let guess = if weighed == loss || weighed != Loss::Memory { "" } else { " again, perhaps for its memory" };
        let why = format!("{why}{guess}");
        if !losses.bears(weighed, self.supply.most_raised()) {
            return Err(self.too_often(weighed, &why, losses.in_a_row(), lane));
        }
        let more = match weighed {
            Loss::Memory => format!(", with {} MB", self.supply.lane(losses.raised()).memory().unwrap_or_default()),
            _ => String::new(),
        };
        Ok(format!("offered to the cluster again{more}: {why}"))
    }

    /// What earlier runs found out about the memory of a job, each time by losing it.
    fn earlier_losses(&self, key: &Digest) -> Losses {
        let offer = self.spool.latest(key).and_then(|latest| self.spool.offered(&latest));
        Losses::of_raised(offer.map_or(0, |offer| offer.raised), self.supply.most_raised())
    }

    /// The failure of a job that was lost too often.
    fn too_often(&self, loss: Loss, why: &str, times: u32, lane: &Lane) -> Failure {
        if loss != Loss::Memory {
            return error_of(format!("{why}, {times} times in a row; run again to go on"));
        }
        let had = lane.memory().map_or_else(String::new, |memory| format!("; jobs of this executor have {memory} MB"));
        let message =
            format!("{why}{had}: raise its `memory`, or let it be doubled up to `most_memory`, and run again");
        Failure { class: FailureClass::OutOfMemory, message, parameter: None }
    }

    /// What an earlier run left of a job: its outcome, or a pilot that is at it.
    fn left_behind(&self, key: &Digest, read: &[Stamp]) -> Option<Attempt> {
        // Where nothing was tried nothing is offered, and the queue can be long.
        let attempt = self.spool.latest(key)?;
        self.spool.withdraw_all(key);
        if !reads(&self.spool, &attempt, read) {
            self.spool.stop(&attempt, StopHow::Kill);
            return None;
        }
        let asked = self.spool.stop_asked(&attempt);
        if let Some(outcome) = self.spool.outcome(&attempt) {
            return (outcome.result.is_ok() && asked != Some(StopHow::Kill)).then_some(attempt);
        }
        let silent = self.spool.silence(&self.spool.claim(&attempt)?.pilot, self.now())?;
        let is_known = self.adopted.get().is_none_or(|adopted| adopted.contains(&attempt));
        // One that was asked to stop will not come to the end.
        (silent < SILENT && asked.is_none() && is_known).then_some(attempt)
    }

    fn offer(
        &self,
        raised: usize,
        key: Digest,
        stage: &str,
        job: &Job,
        read: &[Stamp],
        log: &Path,
    ) -> io::Result<(Attempt, PathBuf)> {
        // Never one that was before, for who is still at that would write into the same folder.
        let seconds = self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let latest = self.spool.latest(&key).map_or(0, |attempt| attempt.number);
        let number = (latest + 1).max(u32::try_from(seconds).unwrap_or(u32::MAX));
        let attempt = Attempt { key, number };
        self.spool.prepare(&attempt)?;
        let job = Job { out: std::path::absolute(self.spool.out(&attempt))?, ..job.clone() };
        let log = std::path::absolute(log)?;
        let (runner, stage, read) = (self.runner.clone(), stage.to_owned(), read.to_vec());
        let offer = Offer { runner, stage, job, read, log, raised };
        let place = self.place.fetch_add(1, Ordering::Relaxed);
        let offered = self.spool.offer(&self.supply.lane(raised).shape, place, &attempt, &offer)?;
        Ok((attempt, offered))
    }

    /// Waits for the end of an attempt, and hands on what it tells meanwhile.
    fn follow(&self, way: &Way<'_>, around: &Surroundings<'_>, tell: &dyn Fn(Whereabouts)) -> End {
        let (attempt, offered) = (&way.attempt, way.offered.as_deref());
        let mut events = Tail { path: self.spool.events(attempt), read: 0 };
        let mut pause = LOOKS[0];
        let (began, mut looked) = (Instant::now(), Instant::now());
        let mut rest = INTERVAL;
        let mut killed: Option<Instant> = None;
        let mut asked = false;
        let mut told = None;
        let mut halted = false;
        let mut gone = None;
        loop {
            // First, so that all that was told before it is told.
            let outcome = self.spool.outcome(attempt);
            self.tell_where(way, began.elapsed(), halted, &mut told, tell);
            events.read().into_iter().for_each(around.sink);
            if let Some(outcome) = outcome {
                return End::Outcome(outcome);
            }
            let withdrawn = || offered.is_some_and(|offered| self.spool.withdraw(offered));
            if around.stop.requested() && !asked {
                if withdrawn() {
                    return End::Failed(interrupted());
                }
                self.spool.stop(attempt, StopHow::Orderly);
                asked = true;
            } else if let Some(message) = self.supply.fault()
                && withdrawn()
            {
                return End::Failed(error_of(format!("{message}; when that is mended, run again")));
            }
            if around.stop.kill() && killed.is_none() {
                self.spool.stop(attempt, StopHow::Kill);
                killed = Some(Instant::now());
            }
            if killed.is_some_and(|killed| killed.elapsed() > KILL_WAIT) {
                return End::Failed(interrupted());
            }
            if looked.elapsed() > rest {
                // The pilot that it was given to has left without beginning it.
                told.take_if(|told| matches!(told, Whereabouts::On { .. }) && offered.is_some_and(Path::exists));
                match self.look_after(way, &mut gone, &mut halted) {
                    ControlFlow::Break(end) => return end,
                    ControlFlow::Continue(silent) => (looked, rest) = (Instant::now(), policy::check_pause(silent)),
                }
            }
            std::thread::sleep(pause);
            pause = pause.mul_f64(1.3).min(policy::follow_pause(self.supply.open()));
        }
    }

    /// Tells where a job is, where that is news; that it waits only when it has for a while.
    fn tell_where(
        &self,
        way: &Way<'_>,
        waited: Duration,
        halted: bool,
        told: &mut Option<Whereabouts>,
        tell: &dyn Fn(Whereabouts),
    ) {
        if matches!(told, Some(Whereabouts::On { .. })) && !halted {
            return;
        }
        let now = match self.spool.claim(&way.attempt) {
            Some(_) if halted => Whereabouts::Queued("its job is suspended by Slurm, to go on later".to_owned()),
            Some(Claim { node, slurm: job, .. }) => Whereabouts::On { node, job },
            None if waited < PATIENCE[0] => return,
            None => match way.lane.queue() {
                Some(words) => Whereabouts::Queued(words),
                None if waited < PATIENCE[1] => return,
                None => Whereabouts::Queued("Slurm has not listed its job yet".to_owned()),
            },
        };
        if told.as_ref() != Some(&now) {
            tell(now.clone());
            *told = Some(now);
        }
    }

    /// How long the pilot of an attempt has been silent, and whether Slurm has halted it; how the attempt ended where
    /// nobody is at it any more.
    fn look_after(&self, way: &Way<'_>, gone: &mut Option<Instant>, halted: &mut bool) -> ControlFlow<End, Duration> {
        let (attempt, now) = (&way.attempt, self.now());
        let Some(claim) = self.spool.claim(attempt) else {
            // Between taking an offer and saying so lies a moment, in which a pilot can die too; and another run takes an
            // offer away whose own run it thinks dead.
            let is_gone = way.offered.as_ref().is_none_or(|offered| open(offered).is_err());
            let why = || End::Lost(Loss::Node, "its offer was lost before a pilot began".to_owned());
            if !is_gone {
                *gone = None;
            }
            return match is_gone && gone.get_or_insert_with(Instant::now).elapsed() > SILENT {
                true => ControlFlow::Break(why()),
                false => ControlFlow::Continue(Duration::ZERO),
            };
        };
        let silence = self.spool.silence(&claim.pilot, now);
        // It may have written the outcome this very moment.
        if silence.is_none() && self.spool.outcome(attempt).is_some() {
            return ControlFlow::Continue(Duration::ZERO);
        }
        // One that gives signs of life again is asked about no more.
        *halted = false;
        let ask = || slurm::state(&claim.slurm).ok().inspect(|state| *halted = *state == State::Suspended);
        let Some(state) = policy::end_of_pilot(silence, ask) else {
            return ControlFlow::Continue(silence.unwrap_or_default());
        };
        // One that left by itself may do so because Slurm is about to end it.
        let is_early = silence.is_none() && matches!(state, State::Running | State::Ended);
        let late = || if is_early { last_words(&claim.slurm) } else { None };
        let state = self.cause(&claim.slurm).or_else(late).unwrap_or(state);
        self.spool.leave_pilot(&claim.pilot);
        ControlFlow::Break(way.lost(state, &claim))
    }

    /// Why Slurm ended a pilot, as it wrote beside it.
    fn cause(&self, job: &str) -> Option<State> {
        let log = fs::read(self.spool.logs().join(format!("{job}.log"))).ok()?;
        slurm::cause(&String::from_utf8_lossy(&log))
    }

    /// What an outcome comes to: one that Slurm or a lack of memory brought about is a loss.
    fn judge(&self, way: &Way<'_>, outcome: Outcome) -> End {
        let Err(failure) = &outcome.result else { return End::Outcome(outcome) };
        let claim = &outcome.claim;
        match outcome.stopped {
            Some(Stopped::Limit) => way.lost(State::Timeout, claim),
            Some(Stopped::Transfer) => End::Lost(Loss::Node, failure.message.clone()),
            Some(Stopped::Terminated) => {
                let job = &claim.slurm;
                let state = self.cause(job).or_else(|| last_words(job)).unwrap_or(State::Cancelled);
                way.lost(state, claim)
            }
            _ if lacks_memory(failure) => End::Lost(Loss::Memory, failure.message.clone()),
            _ => End::Outcome(outcome),
        }
    }
}

impl Way<'_> {
    /// What it means for the attempt that Slurm ended its pilot so.
    fn lost(&self, state: State, claim: &Claim) -> End {
        let Claim { node, served, .. } = claim;
        let progressed = newest(self.partial) > self.written;
        let why = match state {
            State::OutOfMemory => format!("memory ran out on {node}"),
            State::NodeFail => format!("its node {node} was lost"),
            State::Preempted => format!("its job on {node} gave way to another"),
            State::Timeout => format!("its time on {node} was over"),
            State::Cancelled => format!("its job on {node} was cancelled"),
            State::Killed => format!("its pilot on {node} was killed"),
            State::Pending | State::Running | State::Suspended | State::Ended => format!("its pilot on {node} ended"),
        };
        End::Lost(Loss::of(state, progressed).after_others(*served), why)
    }
}

/// Whether the files that an attempt was to read are as they were. One that was another for a while may have been read
/// just then, and its bytes do not tell.
fn reads(spool: &Spool, attempt: &Attempt, now: &[Stamp]) -> bool {
    spool.offered(attempt).map_or(Vec::new(), |offer| offer.read) == now
}

/// Whether a job failed for want of the memory that Slurm gives, which can be raised; that of a GPU cannot.
fn lacks_memory(failure: &Failure) -> bool {
    failure.class == FailureClass::OutOfMemory && !failure.message.contains("CUDA")
}

/// Why Slurm ended a job whose programs were told so before Slurm says it, where it says so soon.
fn last_words(job: &str) -> Option<State> {
    let began = Instant::now();
    loop {
        match slurm::state(job) {
            Ok(state) if state.is_over() && state != State::Ended => return Some(state),
            // A job that dies is first said to end, whatever it dies of.
            Ok(State::Running | State::Ended) if began.elapsed() < LAST_WORDS => std::thread::sleep(LOOKS[1]),
            _ => return None,
        }
    }
}

/// When something below a folder was last written.
fn newest(folder: &Path) -> Option<SystemTime> {
    let written = files_below(folder).into_iter().filter_map(|(_, path)| fs::metadata(path).ok()?.modified().ok());
    written.max()
}

/// The end of a file that grows by whole lines.
struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    fn read(&mut self) -> Vec<Notice> {
        let mut text = String::new();
        let read = open(&self.path).and_then(|mut file| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::spool::offered;

    #[test]
    fn an_attempt_whose_input_was_written_since_it_was_offered_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let input = folder.path().join("input");
        let write = |text: &str| {
            fs::write(&input, text).unwrap();
            [Stamp::read(&input).unwrap()]
        };
        let read = write("a");
        let (attempt, _) = offered(&spool, "r", "k", 0);
        assert!(reads(&spool, &attempt, &[]) && !reads(&spool, &attempt, &read));
        let offer = Offer { read: read.to_vec(), ..spool.offered(&attempt).unwrap() };
        spool.offer("s", 0, &attempt, &offer).unwrap();
        assert!(reads(&spool, &attempt, &read));
        let mut restored = read;
        // The clock of a file system may tick seldom.
        while restored == read {
            write("b");
            restored = write("a");
        }
        assert!(!reads(&spool, &attempt, &restored), "for a while it was another");
    }

    #[test]
    fn memory_that_a_gpu_lacks_is_not_what_slurm_gives() {
        let failed = |class, message: &str| Failure { class, message: message.to_owned(), parameter: None };
        let host = failed(FailureClass::OutOfMemory, "DefaultCPUAllocator: can't allocate memory");
        let gpu = failed(FailureClass::OutOfMemory, "CUDA out of memory. Tried to allocate 2.00 GiB");
        assert!(lacks_memory(&host) && !lacks_memory(&gpu));
        assert!(!lacks_memory(&failed(FailureClass::Error, "can't allocate memory")), "it is not what it failed for");
    }
}
