//! What is to be done next: how each stage stands, which ones start, and whom an end sets free. Decides and does
//! nothing. Unaware of keys and caches, of threads, of the clock, of events and of how a stage is run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::engine::courses::{Courses, Leg};
use crate::engine::slots::{Held, Slots, Wish};
use crate::engine::urgency::{self, Urgency};
use crate::graph::{Graph, Stage, StageId};

/// Results on their way to the disk at once; so many a file system syncs together.
const MOST_COMMITTING: usize = 64;

/// How a stage stands.
#[derive(Clone, Copy)]
enum State {
    /// Not needed for the targets.
    Unneeded,
    /// Waits for this many producers.
    Waiting(usize),
    /// Can start as soon as slots are free and it is next on its course.
    Ready(Option<Leg>),
    /// Runs, holds these slots and goes along this course.
    Running(Held, Option<Leg>),
    /// Made: its consumers go on while its result gets to the disk.
    Committing(Option<Leg>),
    /// Ended: done, failed or skipped.
    Ended,
    /// Ended, and its consumers had gone on before; whatever its end was, nobody loses what they read.
    HandedOn,
}

/// A stage that can start: the most urgent first, then the order of the file.
type Place = (Urgency, Reverse<usize>);

/// The stages of a run, and what is free for them.
pub struct Agenda<'a> {
    graph: &'a Graph,
    states: Vec<State>,
    urgency: Vec<Urgency>,
    /// Stages that can start, by the cluster that they run on; where that has no room, none of them is looked at.
    ready: BTreeMap<Option<usize>, BinaryHeap<Place>>,
    /// Those that were next and could not start; they are looked at again when something else has changed.
    postponed: Vec<(Option<usize>, Place)>,
    slots: Slots,
    courses: Courses,
    running: usize,
    committing: usize,
}

/// What the loss of a stage means for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Stages that cannot be run any more, each with the producer that it lacks.
    pub with_it: Vec<(StageId, StageId)>,
    /// Stages that do without it and wait for nothing more.
    pub free: Vec<StageId>,
}

impl<'a> Agenda<'a> {
    /// The stages that are needed, of which none has begun, and the seconds that each took at another time.
    pub fn new(graph: &'a Graph, needed: &[bool], seconds: &[Option<f64>], slots: Slots) -> Self {
        let state = |id: StageId| match needed[id.index()] {
            true => State::Waiting(graph.producers(id).count()),
            false => State::Unneeded,
        };
        Self {
            graph,
            states: graph.stages.node_indices().map(state).collect(),
            urgency: urgency::of_all(graph, seconds),
            ready: BTreeMap::new(),
            postponed: Vec::new(),
            slots,
            courses: Courses::default(),
            running: 0,
            committing: 0,
        }
    }

    /// The stages that wait for nothing, in the order of the graph.
    pub fn roots(&self) -> Vec<StageId> {
        self.graph.order.iter().copied().filter(|id| self.waits_for_nothing(*id)).collect()
    }

    fn waits_for_nothing(&self, id: StageId) -> bool {
        matches!(self.states[id.index()], State::Waiting(0))
    }

    /// Whether anything runs or gets to the disk.
    pub fn is_busy(&self) -> bool {
        self.running + self.committing > 0
    }

    /// A stage that waits for nothing is to be run, here or on a cluster.
    pub fn ready(&mut self, id: StageId, cluster: Option<usize>, leg: Option<Leg>) {
        leg.into_iter().for_each(|leg| self.courses.wait(leg, id));
        self.states[id.index()] = State::Ready(leg);
        let place = (self.urgency[id.index()], Reverse(id.index()));
        self.ready.entry(cluster).or_default().push(place);
    }

    /// Starts the next stage for which there is room. It is asked anew what a stage wishes each time that it is next.
    pub fn next(&mut self, mut wish: impl FnMut(StageId) -> Wish) -> Option<(StageId, Held)> {
        while self.committing < MOST_COMMITTING {
            let open = self.ready.iter_mut().filter(|(cluster, _)| self.slots.has_room(**cluster));
            let Some((&cluster, ready)) = open.max_by_key(|(_, ready)| ready.peek().copied()) else { break };
            let Some(place) = ready.pop() else { break };
            let waiting = ready.len();
            let id = StageId::new(place.1.0);
            let State::Ready(leg) = self.states[id.index()] else { continue };
            let may = leg.is_none_or(|leg| self.courses.is_next(leg, id));
            match may.then(|| self.slots.take(&wish(id), waiting)).flatten() {
                None => self.postponed.push((cluster, place)),
                Some(held) => {
                    self.states[id.index()] = State::Running(held, leg);
                    leg.into_iter().for_each(|leg| self.courses.start(leg, id));
                    self.running += 1;
                    return Some((id, held));
                }
            }
        }
        for (cluster, place) in self.postponed.drain(..) {
            self.ready.entry(cluster).or_default().push(place);
        }
        None
    }

    /// A stage has made what its consumers read; its result gets to the disk.
    pub fn made(&mut self, id: StageId) {
        let leg = self.stops_running(id);
        self.states[id.index()] = State::Committing(leg);
        self.committing += 1;
    }

    /// A stage that was started has ended; whether its consumers had gone on before.
    pub fn ended(&mut self, id: StageId) -> bool {
        let (leg, ended) = match self.states[id.index()] {
            State::Committing(leg) => {
                self.committing -= 1;
                (leg, State::HandedOn)
            }
            _ => (self.stops_running(id), State::Ended),
        };
        self.states[id.index()] = ended;
        leg.into_iter().for_each(|leg| self.courses.end(leg));
        matches!(ended, State::HandedOn)
    }

    /// Gives back what a stage holds, and tells its course.
    fn stops_running(&mut self, id: StageId) -> Option<Leg> {
        let State::Running(held, leg) = self.states[id.index()] else {
            unreachable!("only a stage that was started can come to something")
        };
        self.slots.give_back(held);
        self.running -= 1;
        leg
    }

    /// A stage is over that was not started.
    pub fn close(&mut self, id: StageId) {
        self.states[id.index()] = State::Ended;
    }

    /// Closes all stages that were not started, and returns them.
    pub fn close_the_rest(&mut self) -> Vec<StageId> {
        let is_left = |id: &StageId| matches!(self.states[id.index()], State::Waiting(_) | State::Ready(_));
        let left: Vec<_> = self.graph.order.iter().copied().filter(is_left).collect();
        left.iter().for_each(|id| self.close(*id));
        left
    }

    /// What a stage makes is there; the consumers that wait for nothing more, the last first.
    pub fn provide(&mut self, id: StageId) -> Vec<StageId> {
        let mut free: Vec<_> = self.graph.consumers(id).collect();
        free.retain(|consumer| self.waits_no_longer_for_one(*consumer));
        free.sort_by_key(|id| Reverse(id.index()));
        free
    }

    /// One of the producers that a stage waits for is decided about; whether it was the last.
    fn waits_no_longer_for_one(&mut self, id: StageId) -> bool {
        let State::Waiting(count) = &mut self.states[id.index()] else { return false };
        *count -= 1;
        *count == 0
    }

    /// What a stage makes will not be there: closes those that cannot do without it. None where its consumers have gone
    /// on with it, and so do not wait for it any more.
    pub fn lose(&mut self, id: StageId) -> Option<Lost> {
        if matches!(self.states[id.index()], State::HandedOn) {
            return None;
        }
        let graph = self.graph;
        let mut lost = Lost::default();
        let mut gone = vec![id];
        while let Some(producer) = gone.pop() {
            for consumer in graph.consumers(producer) {
                if !matches!(self.states[consumer.index()], State::Waiting(_)) {
                    continue;
                }
                let waits_for_nothing = self.waits_no_longer_for_one(consumer);
                if !graph.stages[consumer].spares(producer) {
                    self.close(consumer);
                    lost.with_it.push((consumer, producer));
                    gone.push(consumer);
                } else if waits_for_nothing {
                    lost.free.push(consumer);
                }
            }
        }
        Some(lost)
    }

    /// A stage that was started cannot begin: some of its producers have to run `again`. Returns the stages that wait for
    /// nothing now. Who reads what is lost waits to the end.
    pub fn lacking(
        &mut self,
        id: StageId,
        again: &[StageId],
        is_lost: impl Fn(StageId, &Stage) -> bool,
    ) -> Vec<StageId> {
        let leg = self.stops_running(id);
        leg.into_iter().for_each(|leg| self.courses.end(leg));
        let graph = self.graph;
        let anew: Vec<StageId> = again.iter().copied().chain([id]).collect();
        anew.iter().for_each(|id| self.states[id.index()] = State::Waiting(0));
        // Also for those that run again since another stage lacked them.
        for id in &anew {
            let awaited = |producer: &StageId| self.is_awaited(*producer) || is_lost(*producer, &graph.stages[*id]);
            self.states[id.index()] = State::Waiting(graph.producers(*id).filter(awaited).count());
        }
        let known: BTreeSet<StageId> = anew.iter().copied().collect();
        let others = again.iter().flat_map(|producer| graph.consumers(*producer)).filter(|it| !known.contains(it));
        others.for_each(|consumer| self.wait_for_one_more(consumer));
        anew.into_iter().filter(|id| self.waits_for_nothing(*id)).collect()
    }

    /// Whether what a stage makes is still to come.
    fn is_awaited(&self, id: StageId) -> bool {
        matches!(self.states[id.index()], State::Waiting(_) | State::Ready(_) | State::Running(..))
    }

    /// Lets a stage that was not started wait for one of its producers once more.
    fn wait_for_one_more(&mut self, consumer: StageId) {
        let state = &mut self.states[consumer.index()];
        match state {
            State::Waiting(count) => *count += 1,
            State::Ready(leg) => {
                leg.iter().for_each(|leg| self.courses.leave(*leg, consumer));
                *state = State::Waiting(1);
            }
            State::Unneeded | State::Running(..) | State::Committing(_) | State::Ended | State::HandedOn => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::engine::sample::graph;

    fn agenda(graph: &Graph, slots: usize) -> Agenda<'_> {
        let stages = graph.stages.node_count();
        Agenda::new(graph, &vec![true; stages], &vec![None; stages], Slots::new(slots, &[], None))
    }

    fn ready(agenda: &mut Agenda<'_>, ids: &[StageId]) {
        ids.iter().for_each(|id| agenda.ready(*id, None, None));
    }

    /// All that starts now.
    fn start(agenda: &mut Agenda<'_>) -> Vec<usize> {
        let next = || Some(agenda.next(|_| Wish { cluster: None, threads: Some(1), gpu: None, memory: 0 })?.0.index());
        std::iter::from_fn(next).collect()
    }

    fn id(at: usize) -> StageId {
        StageId::new(at)
    }

    #[test]
    fn the_longest_way_to_go_starts_first_and_then_the_order_of_the_file() {
        let graph = graph(5, &[(3, 4)], &[]);
        let mut agenda = agenda(&graph, 3);
        let roots = agenda.roots();
        ready(&mut agenda, &roots);
        assert_eq!(start(&mut agenda), [3, 0, 1]);
        agenda.ended(id(3));
        assert_eq!(agenda.provide(id(3)), [id(4)]);
        assert_eq!(start(&mut agenda), [2], "the other waits to be decided about");
    }

    #[test]
    fn while_a_cluster_is_full_nobody_who_waits_for_it_is_looked_at() {
        let graph = graph(4, &[], &[]);
        let slots = Slots::new(1, &[], None).and_places(vec![1]);
        let mut agenda = Agenda::new(&graph, &[true; 4], &[None; 4], slots);
        for at in [3, 2, 1] {
            agenda.ready(id(at), Some(0), None);
        }
        agenda.ready(id(0), None, None);
        let mut asked = Vec::new();
        let mut wish = |id: StageId| {
            asked.push(id.index());
            Wish { cluster: (id.index() > 0).then_some(0), threads: Some(1), gpu: None, memory: 0 }
        };
        let started = std::iter::from_fn(|| Some(agenda.next(&mut wish)?.0.index())).collect::<Vec<_>>();
        assert_eq!((started, asked), (vec![0, 1], vec![0, 1]));
        agenda.ended(id(1));
        assert!(agenda.next(|_| Wish { cluster: Some(0), threads: None, gpu: None, memory: 0 }).is_some());
    }

    #[test]
    fn what_is_made_sets_its_slots_and_its_consumers_free_once() {
        let graph = graph(2, &[(0, 1)], &[]);
        let mut agenda = agenda(&graph, 1);
        ready(&mut agenda, &[id(0)]);
        start(&mut agenda);
        agenda.made(id(0));
        let free = agenda.provide(id(0));
        ready(&mut agenda, &free);
        assert_eq!(start(&mut agenda), [1]);
        assert!(agenda.ended(id(0)), "its consumer has gone on");
        assert!(agenda.is_busy() && !agenda.ended(id(1)) && !agenda.is_busy());
    }

    #[test]
    fn only_the_shortest_of_a_course_starts_and_the_next_at_its_end() {
        let graph = graph(3, &[], &[]);
        let mut agenda = agenda(&graph, 3);
        let leg = |epochs| Some(Leg { course: Digest::of(b"c"), epochs });
        agenda.ready(id(0), None, leg(60));
        agenda.ready(id(1), None, leg(30));
        agenda.ready(id(2), None, None);
        assert_eq!(start(&mut agenda), [1, 2]);
        agenda.made(id(1));
        assert_eq!(start(&mut agenda), [0; 0], "what it keeps is not on the disk yet");
        agenda.ended(id(1));
        assert_eq!(start(&mut agenda), [0]);
    }

    #[test]
    fn a_loss_closes_those_that_cannot_do_without_it_and_frees_who_gathers() {
        let graph = graph(5, &[(0, 2), (1, 3), (2, 4), (3, 4)], &[4]);
        let mut agenda = agenda(&graph, 2);
        agenda.close(id(0));
        assert_eq!(agenda.lose(id(0)), Some(Lost { with_it: vec![(id(2), id(0))], free: vec![] }));
        agenda.close(id(1));
        assert_eq!(agenda.lose(id(1)), Some(Lost { with_it: vec![(id(3), id(1))], free: vec![id(4)] }));
        assert_eq!(agenda.close_the_rest(), [id(4)]);
    }

    #[test]
    fn what_was_handed_on_and_then_fails_is_waited_for_once() {
        let graph = graph(3, &[(0, 2), (1, 2)], &[2]);
        let mut agenda = agenda(&graph, 2);
        ready(&mut agenda, &[id(0), id(1)]);
        assert_eq!(start(&mut agenda), [0, 1]);
        agenda.made(id(0));
        assert_eq!(agenda.provide(id(0)), []);
        assert!(agenda.ended(id(0)));
        assert_eq!(agenda.lose(id(0)), None, "who gathers it has it, and waits for the other");
        agenda.made(id(1));
        assert_eq!(agenda.provide(id(1)), [id(2)]);
    }

    #[test]
    fn who_lacks_something_waits_for_it_to_be_made_again() {
        let graph = graph(4, &[(0, 1), (0, 2), (1, 2), (0, 3)], &[]);
        let mut agenda = agenda(&graph, 1);
        for at in [0, 1] {
            agenda.close(id(at));
            agenda.provide(id(at));
        }
        ready(&mut agenda, &[id(2), id(3)]);
        assert_eq!(start(&mut agenda), [2]);
        assert_eq!(
            agenda.lacking(id(2), &[id(0), id(1)], |_, _| false),
            [id(0)],
            "of those made again one reads the other"
        );
        ready(&mut agenda, &[id(0)]);
        assert_eq!(start(&mut agenda), [0], "the slot is free again, and who was ready waits too");
        agenda.ended(id(0));
        assert_eq!(agenda.provide(id(0)), [id(3), id(1)]);
    }

    #[test]
    fn what_runs_again_waits_for_what_runs_again_since_before() {
        let graph = graph(4, &[(0, 1), (0, 2), (1, 3)], &[]);
        let mut agenda = agenda(&graph, 2);
        for at in [0, 1] {
            agenda.close(id(at));
            agenda.provide(id(at));
        }
        ready(&mut agenda, &[id(2), id(3)]);
        assert_eq!(start(&mut agenda), [2, 3]);
        let nothing_is_lost = |_: StageId, _: &Stage| false;
        assert_eq!(agenda.lacking(id(2), &[id(0)], nothing_is_lost), [id(0)]);
        assert_eq!(agenda.lacking(id(3), &[id(1)], nothing_is_lost), [], "it reads what is not made yet");
        ready(&mut agenda, &[id(0)]);
        assert_eq!(start(&mut agenda), [0]);
        agenda.ended(id(0));
        assert_eq!(agenda.provide(id(0)), [id(2), id(1)]);
    }

    #[test]
    fn what_runs_again_and_reads_what_is_lost_waits_to_the_end() {
        let graph = graph(3, &[(0, 1), (1, 2)], &[]);
        let mut agenda = agenda(&graph, 1);
        [0, 1].into_iter().for_each(|at| agenda.close(id(at)));
        ready(&mut agenda, &[id(2)]);
        assert_eq!(start(&mut agenda), [2]);
        assert_eq!(agenda.lacking(id(2), &[id(1)], |producer, _| producer == id(0)), []);
        assert_eq!(agenda.close_the_rest(), [id(1), id(2)]);
    }
}
