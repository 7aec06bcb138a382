//! Orders trainings that go along one course: one at a time, the shortest first, so that each goes on from where the
//! one before it ended. Unaware of slots and of what is trained.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::graph::StageId;

/// The trainings that wait, by course, and the courses that are under way.
#[derive(Debug, Default)]
pub struct Courses {
    waiting: BTreeMap<Digest, BTreeSet<(u64, StageId)>>,
    under_way: BTreeSet<Digest>,
}

/// The place of a training on its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The course.
    pub course: Digest,
    /// How far this one goes, in epochs.
    pub epochs: u64,
}

impl Courses {
    /// A training could start.
    pub fn wait(&mut self, leg: Leg, id: StageId) {
        self.waiting.entry(leg.course).or_default().insert((leg.epochs, id));
    }

    /// Whether a training that waits is next on its course.
    pub fn is_next(&self, leg: Leg, id: StageId) -> bool {
        let first = self.waiting.get(&leg.course).and_then(BTreeSet::first);
        !self.under_way.contains(&leg.course) && first == Some(&(leg.epochs, id))
    }

    /// A training starts.
    pub fn start(&mut self, leg: Leg, id: StageId) {
        if let Some(waiting) = self.waiting.get_mut(&leg.course) {
            waiting.remove(&(leg.epochs, id));
        }
        self.under_way.insert(leg.course);
    }

    /// A training that waits could not start after all.
    pub fn leave(&mut self, leg: Leg, id: StageId) {
        if let Some(waiting) = self.waiting.get_mut(&leg.course) {
            waiting.remove(&(leg.epochs, id));
        }
    }

    /// A training ended, well or not.
    pub fn end(&mut self, leg: Leg) {
        self.under_way.remove(&leg.course);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_goes_first_and_the_others_wait_for_its_end() {
        let mut courses = Courses::default();
        let leg = |course: &str, epochs| Leg { course: Digest::of(course.as_bytes()), epochs };
        let (long, short, other) = (leg("a", 60), leg("a", 30), leg("b", 60));
        for (at, leg) in [long, short, other].into_iter().enumerate() {
            courses.wait(leg, StageId::new(at));
        }
        let next = |courses: &Courses| {
            [long, short, other]
                .into_iter()
                .zip(0..)
                .map(|(leg, at)| courses.is_next(leg, StageId::new(at)))
                .collect::<Vec<_>>()
        };
        assert_eq!(next(&courses), [false, true, true]);
        courses.start(short, StageId::new(1));
        assert_eq!(next(&courses), [false, false, true]);
        courses.end(short);
        assert_eq!(next(&courses), [true, false, true]);
    }
}
