//! What a run decides about its pilots: how many it asks for, when one counts as gone, and whether its job is offered
//! again. Knows no file, no command and no clock; a simulation decides by the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::cluster::slurm::State;

/// How often a run gives a sign of life, and asks Slurm while something waits.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A pilot that has been silent for so long is asked about.
pub const SILENT: Duration = Duration::from_secs(8);

/// One that has been silent for so long is gone, whatever Slurm says.
pub const GONE: Duration = Duration::from_secs(60);

/// How many further pilots a run asks for, of at most so many.
pub fn further_pilots(open_jobs: usize, most: usize, have: usize) -> usize {
    open_jobs.min(most).saturating_sub(have)
}

/// Whether a pilot, as it stands with Slurm, is one of those that a run has: one that is busy for another run will not
/// take its job before that is done, and one that is halted takes none; a job that it has begun stays with it.
pub fn is_there(state: State, busy_for: Option<&str>, runner: &str) -> bool {
    busy_for.map_or(state != State::Suspended, |other| other == runner)
}

/// Why a pilot no longer serves its job; `None` while it may. `silence` is how long it has given no sign of life, and
/// none where it said that it ends; `state` asks Slurm. One that Slurm has halted is silent for as long as that takes.
pub fn end_of_pilot(silence: Option<Duration>, state: impl FnOnce() -> Option<State>) -> Option<State> {
    match silence {
        None => Some(state().unwrap_or(State::Ended)),
        Some(silent) if silent > GONE => match state() {
            Some(State::Suspended) => None,
            state => Some(state.filter(|state| state.is_over()).unwrap_or(State::NodeFail)),
        },
        Some(silent) if silent > SILENT => state().filter(|state| state.is_over()),
        Some(_) => None,
    }
}

/// How long an idle pilot waits between two looks for a job. Few look often; many share 200 looks a second, and each
/// looks once a second at least.
pub fn idle_pause(pilots: usize) -> Duration {
    (Duration::from_millis(5) * count(pilots)).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// How long a run waits at most between two looks for an outcome while so many jobs are open, and a busy pilot of as
/// many between two looks whether it shall stop: above 50, about a thousand looks a second for all of them.
pub fn follow_pause(many: usize) -> Duration {
    (Duration::from_millis(1) * count(many)).clamp(Duration::from_millis(50), Duration::from_secs(2))
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX).min(10_000)
}

/// How long a run waits between two looks whether a pilot lives that has been silent for so long; each may ask Slurm.
pub fn check_pause(silent: Duration) -> Duration {
    (silent / 4).max(INTERVAL)
}

/// When a run asks Slurm for the list of its pilots: at once when what it sees itself has changed, ever more seldom while
/// that stays, and not at all while it has the pilots that it wants.
#[derive(Debug, Default)]
pub struct Asking {
    /// The pilots that were wanted and those that lived when it asked last.
    seen: Option<(usize, usize)>,
    /// How many chances to ask it lets pass after each question, and how many are left.
    passes: u32,
    left: u32,
}

impl Asking {
    /// The most chances that it lets pass.
    const MOST_PASSES: u32 = 15;

    /// Whether to ask, while so many pilots are wanted and so many live; to be called once in each interval.
    pub fn is_due(&mut self, wanted: usize, alive: usize) -> bool {
        if alive >= wanted {
            *self = Self::default();
            return false;
        }
        if self.seen != Some((wanted, alive)) {
            *self = Self { seen: Some((wanted, alive)), ..Self::default() };
            return true;
        }
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.passes = (2 * self.passes + 1).min(Self::MOST_PASSES);
        self.left = self.passes;
        true
    }
}

/// What the pilots of a run showed of whether any can serve. On a bad node many fail, and at once, while those on good
/// nodes still get ready.
#[derive(Debug, Default)]
pub struct Trials {
    /// Those that cannot, each with its node.
    faulty: BTreeMap<String, String>,
    /// When the first was seen.
    began: Option<SystemTime>,
    /// The nodes of those that can.
    serving: BTreeSet<String>,
}

impl Trials {
    /// So many must fail, and so long after the first, before the others are taken to be like them.
    const LEAST: usize = 3;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Notes that a pilot can serve.
    pub fn serves(&mut self, node: &str) {
        if !self.serving.contains(node) {
            self.serving.insert(node.to_owned());
        }
    }

    /// Notes that a pilot cannot; whether it is the first on its node, which is then left out.
    pub fn fails(&mut self, pilot: &str, node: &str, now: SystemTime) -> bool {
        let is_first = !self.faulty.values().any(|known| known == node);
        self.faulty.insert(pilot.to_owned(), node.to_owned());
        self.began.get_or_insert(now);
        is_first
    }

    /// Whether no pilot is to be expected any more that can serve.
    pub fn are_hopeless(&self, now: SystemTime) -> bool {
        let is_long = |began| now.duration_since(began).is_ok_and(|long| long >= Self::PATIENCE);
        self.serving.is_empty() && self.faulty.len() >= Self::LEAST && self.began.is_some_and(is_long)
    }

    /// The nodes of those that cannot.
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<_> = self.faulty.values().map(String::as_str).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The nodes on which pilots failed and none served: a free one would draw one job after another.
    pub fn to_avoid(&self) -> Vec<String> {
        self.nodes().into_iter().filter(|node| !self.serving.contains(*node)).map(str::to_owned).collect()
    }
}

/// Why an attempt at a job came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Its node was lost, or its pilot died.
    Node,
    /// It gave way to another job.
    Preempted,
    /// Its time was over.
    Limit {
        /// Whether it left a state behind that the next attempt begins with.
        progressed: bool,
    },
    /// Its time was over, of which other jobs had taken a part, and it left no state behind.
    CutShort,
    /// Somebody cancelled it.
    Cancelled,
    /// It was killed, perhaps for its memory, which nobody said.
    Killed,
    /// It took more memory than it was given.
    Memory,
}

impl Loss {
    /// What it means that Slurm ended a job so.
    pub fn of(state: State, progressed: bool) -> Self {
        match state {
            State::OutOfMemory => Self::Memory,
            State::Preempted => Self::Preempted,
            State::Timeout => Self::Limit { progressed },
            State::Cancelled => Self::Cancelled,
            State::Killed => Self::Killed,
            State::NodeFail | State::Pending | State::Running | State::Suspended | State::Ended => Self::Node,
        }
    }

    /// What it means to a job before which its pilot had served others: a whole time may well be enough for it.
    #[must_use]
    pub fn after_others(self, served: u64) -> Self {
        if served > 0 && self == (Self::Limit { progressed: false }) { Self::CutShort } else { self }
    }

    /// How often in a row it is borne. To give way is nobody's fault, nor is it to begin late in a pilot's time, and a
    /// long training takes many limits; memory is counted by how often it can be raised.
    fn most(self) -> u32 {
        match self {
            Self::Node | Self::Killed | Self::Cancelled | Self::Limit { progressed: false } => 4,
            Self::Preempted | Self::CutShort => 50,
            Self::Limit { progressed: true } => 1000,
            Self::Memory => u32::MAX,
        }
    }
}

/// The losses of one job.
#[derive(Debug, Default)]
pub struct Losses {
    last: Option<Loss>,
    in_a_row: u32,
    /// How often its memory was raised.
    raised: usize,
    /// Whether it was killed the last time.
    killed: bool,
}

impl Losses {
    /// Those of a job whose memory earlier runs raised so often, of so many times that it can be.
    pub fn of_raised(raised: usize, most_raised: usize) -> Self {
        Self { raised: raised.min(most_raised), ..Self::default() }
    }

    /// What a loss counts as. Whoever is killed may have met with chance; twice in a row, it was for its memory.
    pub fn weigh(&mut self, loss: Loss) -> Loss {
        let was_killed = std::mem::replace(&mut self.killed, loss == Loss::Killed);
        match loss {
            Loss::Killed if was_killed => {
                self.killed = false;
                Loss::Memory
            }
            Loss::Killed => Loss::Node,
            other => other,
        }
    }

    /// Whether a job is offered again after a loss, whose memory can be raised so often.
    pub fn bears(&mut self, loss: Loss, most_raised: usize) -> bool {
        if loss == Loss::Memory {
            self.raised += 1;
            return self.raised <= most_raised;
        }
        self.in_a_row = if self.last == Some(loss) { self.in_a_row + 1 } else { 1 };
        self.last = Some(loss);
        self.in_a_row <= loss.most()
    }

    /// How often the memory of the next attempt is doubled.
    pub fn raised(&self) -> usize {
        self.raised
    }

    /// How often in a row it was lost so.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pilots_are_asked_for_as_jobs_can_use() {
        assert_eq!(further_pilots(10, 4, 1), 3);
        assert_eq!(further_pilots(2, 4, 1), 1);
        assert_eq!(further_pilots(2, 4, 3), 0);
    }

    #[test]
    fn a_pilot_that_is_busy_for_another_run_or_halted_while_idle_is_none_that_a_run_has() {
        let [running, halted] = [State::Running, State::Suspended]
            .map(|state| [None, Some("me"), Some("other")].map(|busy_for| is_there(state, busy_for, "me")));
        assert_eq!((running, halted), ([true, true, false], [false, true, false]));
    }

    #[test]
    fn few_look_often_and_many_seldom() {
        let ms = |pause: Duration| pause.as_millis();
        assert_eq!([1, 4, 100, 1_000].map(|pilots| ms(idle_pause(pilots))), [20, 20, 500, 1_000]);
        assert_eq!([1, 200, 1_000, 1_000_000].map(|jobs| ms(follow_pause(jobs))), [50, 200, 1_000, 2_000]);
        assert_eq!([2, 40].map(|silent| check_pause(Duration::from_secs(silent)).as_secs()), [1, 10]);
    }

    #[test]
    fn slurm_is_asked_when_something_changes_and_seldom_while_it_stays() {
        let mut asking = Asking::default();
        assert!(!asking.is_due(3, 3), "there is nothing to ask for");
        assert!(asking.is_due(4, 3) && asking.is_due(5, 3) && asking.is_due(5, 4));
        let asked: Vec<u32> = (1..64).filter(|_| asking.is_due(5, 4)).collect();
        assert_eq!(asked, [1, 3, 7, 15, 31, 47, 63]);
        assert!(asking.is_due(5, 3), "a pilot has ended");
        assert!(!asking.is_due(2, 3) && asking.is_due(5, 3), "and jobs came anew");
    }

    #[test]
    fn a_pilot_is_gone_when_slurm_says_so_or_nobody_has_heard_of_it_for_long() {
        let silent = |seconds| Some(Duration::from_secs(seconds));
        let nobody = || -> Option<State> { panic!("nobody is asked") };
        assert_eq!(end_of_pilot(silent(1), nobody), None);
        assert_eq!(end_of_pilot(silent(9), || Some(State::Running)), None);
        assert_eq!(end_of_pilot(silent(9), || Some(State::Preempted)), Some(State::Preempted));
        assert_eq!(end_of_pilot(silent(9), || None), None, "the controller is down");
        assert_eq!(end_of_pilot(silent(61), || Some(State::Running)), Some(State::NodeFail));
        assert_eq!(end_of_pilot(silent(61), || Some(State::Timeout)), Some(State::Timeout));
        assert_eq!(end_of_pilot(silent(99_999), || Some(State::Suspended)), None, "it goes on later");
        assert_eq!(end_of_pilot(None, || None), Some(State::Ended));
    }

    #[test]
    fn a_bad_node_is_no_reason_to_give_up_before_good_ones_had_time_and_never_once_one_serves() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut trials = Trials::default();
        assert!(trials.fails("1_0", "n2", at(0)) && trials.fails("1_1", "n1", at(0)), "each node is told");
        assert!(!trials.fails("1_1", "n1", at(1)) && !trials.are_hopeless(at(99)), "there were but two");
        trials.fails("1_2", "n1", at(2));
        assert!(!trials.are_hopeless(at(2)) && trials.are_hopeless(at(20)));
        assert_eq!((trials.nodes(), trials.to_avoid()), (vec!["n1", "n2"], vec!["n1".to_owned(), "n2".to_owned()]));
        trials.serves("n2");
        assert_eq!((trials.are_hopeless(at(99)), trials.to_avoid()), (false, vec!["n1".to_owned()]));
    }

    #[test]
    fn a_job_that_gets_on_is_borne_longer_than_one_that_is_lost_again_and_again() {
        let borne = |loss: Loss| {
            let mut losses = Losses::default();
            (1..).find(|_| !losses.bears(loss, 2)).unwrap()
        };
        assert_eq!((borne(Loss::Node), borne(Loss::Limit { progressed: false })), (5, 5));
        assert_eq!((borne(Loss::Preempted), borne(Loss::Limit { progressed: true })), (51, 1001));
        assert_eq!(borne(Loss::Memory), 3, "twice it is given more");
        let limit = Loss::Limit { progressed: false };
        assert_eq!((borne(limit.after_others(1)), limit.after_others(0)), (51, limit));
        assert_eq!(Loss::Node.after_others(1), Loss::Node);
        let mut taken_up = Losses::of_raised(1, 2);
        assert!(taken_up.raised() == 1 && taken_up.bears(Loss::Memory, 2) && !taken_up.bears(Loss::Memory, 2));
        assert_eq!(Losses::of_raised(7, 2).raised(), 2, "of a profile that gave more");
        let mut losses = Losses::default();
        let killed = [Loss::Killed; 5].map(|loss| losses.weigh(loss));
        assert_eq!(killed, [Loss::Node, Loss::Memory, Loss::Node, Loss::Memory, Loss::Node]);
        let between = [Loss::Preempted, Loss::Killed].map(|loss| losses.weigh(loss));
        assert_eq!(between, [Loss::Preempted, Loss::Node], "not twice in a row");
        let mut losses = Losses::default();
        for _ in 0..20 {
            assert!(losses.bears(Loss::Node, 0) && losses.bears(Loss::Preempted, 0), "never the same twice");
        }
    }
}
