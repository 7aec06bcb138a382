//! What a run decides about its pilots: how many it asks for, when one counts as gone, and whether its job is offered
//! again. Knows no file, no command and no clock; a simulation decides by the same rules.

use std::time::Duration;

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

/// Why a pilot no longer serves its job; `None` while it may. `silence` is how long it has given no sign of life, and
/// none where it said that it ends; `state` asks Slurm.
pub fn end_of_pilot(silence: Option<Duration>, state: impl FnOnce() -> Option<State>) -> Option<State> {
    match silence {
        None => Some(state().unwrap_or(State::Ended)),
        Some(silent) if silent > GONE => Some(state().filter(|state| state.is_over()).unwrap_or(State::NodeFail)),
        Some(silent) if silent > SILENT => state().filter(|state| state.is_over()),
        Some(_) => None,
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
    /// Somebody cancelled it.
    Cancelled,
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
            State::NodeFail | State::Pending | State::Running | State::Ended => Self::Node,
        }
    }

    /// How often in a row it is borne. To give way is nobody's fault, and a long training takes many limits; memory is
    /// counted by how often it can be raised.
    fn most(self) -> u32 {
        match self {
            Self::Node | Self::Cancelled | Self::Limit { progressed: false } => 4,
            Self::Preempted => 50,
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
}

impl Losses {
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
    fn a_pilot_is_gone_when_slurm_says_so_or_nobody_has_heard_of_it_for_long() {
        let silent = |seconds| Some(Duration::from_secs(seconds));
        let nobody = || -> Option<State> { panic!("nobody is asked") };
        assert_eq!(end_of_pilot(silent(1), nobody), None);
        assert_eq!(end_of_pilot(silent(9), || Some(State::Running)), None);
        assert_eq!(end_of_pilot(silent(9), || Some(State::Preempted)), Some(State::Preempted));
        assert_eq!(end_of_pilot(silent(9), || None), None, "the controller is down");
        assert_eq!(end_of_pilot(silent(61), || Some(State::Running)), Some(State::NodeFail));
        assert_eq!(end_of_pilot(silent(61), || Some(State::Timeout)), Some(State::Timeout));
        assert_eq!(end_of_pilot(None, || None), Some(State::Ended));
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
        let mut losses = Losses::default();
        for _ in 0..20 {
            assert!(losses.bears(Loss::Node, 0) && losses.bears(Loss::Preempted, 0), "never the same twice");
        }
    }
}
