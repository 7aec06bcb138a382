//! A fake cluster on a fake clock: the agenda and the rules of real runs drive simulated nodes, a simulated Slurm and
//! jobs that take their time. Measures nothing of this machine: the same world comes to the same figures.
//!
//! A loop over events in the order of their times. The run's side is real but for its files and commands; what Slurm
//! and nodes do is told by the constants below and by the [`World`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use pacer::cluster::policy::{self, Asking, Loss, Losses};
use pacer::cluster::slurm::State;
use pacer::engine::agenda::Agenda;
use pacer::engine::slots::{Slots, Wish};
use pacer::graph::StageId;
use pacer::profile::Slurm;

use super::world::{DAY, HOUR, Job, Ms, SECOND, Work, World, lower_bound};

/// How long `sbatch` takes until Slurm knows of the pilots.
const SUBMISSION: Ms = 200;
/// How often Slurm looks whom it can start, and how many at most: its `default_queue_depth`.
const TICK: Ms = SECOND;
const STARTED_AT_ONCE: usize = 100;
/// From the start of a pilot to its first look for a job.
const BOOT: Ms = 500;
/// How long Slurm waits for a node that is silent: its `SlurmdTimeout`.
const NODE_TIMEOUT: Ms = 300 * SECOND;
/// How long a lost node stays away, and how long a job for which a pilot gave way.
const REPAIR: Ms = 2 * HOUR;
const OTHERS: Ms = HOUR / 2;
/// How long a result takes to get to the disk.
const COMMIT: Ms = 50;

/// What a run came to on a simulated cluster.
#[derive(Debug, Default)]
pub struct Figures {
    /// When the last job was done.
    pub makespan: Ms,
    /// A run cannot end sooner.
    pub lower_bound: Ms,
    /// How often each job was done, by its place.
    pub done: Vec<u32>,
    /// Node time of work that results came of.
    pub useful: Ms,
    /// Node time of work that was lost.
    pub lost: Ms,
    /// Node time for which jobs ran.
    pub busy: Ms,
    /// Node time that pilots held.
    pub held: Ms,
    /// How often jobs were offered again, by why.
    pub again: BTreeMap<Loss, usize>,
    /// Jobs that were given up, and those that could not be run for it.
    pub failed: usize,
    /// The most offers that waited at once.
    pub longest_queue: usize,
    /// Commands of Slurm by name.
    pub commands: BTreeMap<&'static str, usize>,
    /// The most commands in one second.
    pub most_commands: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The run looks whether pilots are wanted.
    Ask,
    /// Slurm knows of so many further pilots.
    Submitted(usize),
    /// Slurm starts whom it can.
    Tick,
    /// A pilot looks for a job.
    Look(usize),
    /// A pilot has done the job that it took as its so manieth.
    Done(usize, u32),
    /// The end of a pilot's time is near.
    Limit(usize),
    /// A pilot gives way.
    Preempted(usize),
    /// A node is lost, with whatever runs on it.
    NodeLost(usize),
    /// Slurm has noticed that the node of a pilot is lost.
    Noticed(usize),
    /// A node is there again.
    NodeBack(usize),
    /// Many nodes are lost.
    Burst(usize),
    /// The run finds that a job is done.
    Seen(StageId),
    /// The run finds that a pilot stopped a job.
    Stopped(StageId, Loss),
    /// The run looks whether a pilot still serves a job.
    Check(StageId, usize),
    /// A result is on the disk.
    Committed(StageId),
}

struct Pilot {
    node: usize,
    began: Ms,
    /// Jobs that it took.
    taken: u32,
    job: Option<(StageId, Ms)>,
    idle_since: Ms,
    /// When it ended, or was lost with its node.
    over: Option<Ms>,
    /// When Slurm noticed.
    noticed: Option<Ms>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Free,
    Held(usize),
    Away,
}

struct Simulation<'a> {
    world: &'a World,
    profile: Slurm,
    jobs: &'a [Job],
    /// What is left to do of each job.
    left: Vec<Ms>,
    losses: Vec<Losses>,
    agenda: Agenda<'a>,
    now: Ms,
    events: BinaryHeap<Reverse<(Ms, u64, Event)>>,
    /// Events so far, which orders those of one moment; draws are told apart by it too.
    count: u64,
    nodes: Vec<Node>,
    pilots: Vec<Pilot>,
    /// Pilots that Slurm has not started.
    pending: usize,
    queue: BTreeMap<u64, StageId>,
    place: u64,
    open: usize,
    asking: Asking,
    /// Pilots that run, as Slurm knows.
    listed: Vec<usize>,
    /// The second of the latest command, and how many it had.
    busiest: (Ms, usize),
    figures: Figures,
}

/// Runs all work on a cluster.
pub fn run(work: &Work, world: &World) -> Figures {
    let needed = vec![true; work.jobs.len()];
    let seconds: Vec<_> = work.jobs.iter().map(|job| Some(job.took? as f64 / SECOND as f64)).collect();
    let slots = Slots::new(1, &[], None).and_places(vec![world.nodes]);
    let mut simulation = Simulation {
        world,
        profile: Slurm { max_jobs: world.nodes, ..Slurm::default() },
        jobs: &work.jobs,
        left: work.jobs.iter().map(|job| job.duration).collect(),
        losses: work.jobs.iter().map(|_| Losses::default()).collect(),
        agenda: Agenda::new(&work.graph, &needed, &seconds, slots),
        now: 0,
        events: BinaryHeap::new(),
        count: 0,
        nodes: vec![Node::Free; world.nodes],
        pilots: Vec::new(),
        pending: 0,
        queue: BTreeMap::new(),
        place: 0,
        open: 0,
        asking: Asking::default(),
        listed: Vec::new(),
        busiest: (0, 0),
        figures: Figures { done: vec![0; work.jobs.len()], ..Figures::default() },
    };
    simulation.figures.lower_bound = lower_bound(work, world.nodes);
    simulation.begin();
    while simulation.agenda.is_busy() {
        let Reverse((at, _, event)) = simulation.events.pop().expect("the run asks again and again");
        simulation.now = at;
        assert!(at < 10 * simulation.figures.lower_bound + DAY, "a job is lost, for the run does not come to its end");
        simulation.handle(event);
    }
    simulation.end();
    simulation.figures
}

impl Simulation<'_> {
    fn begin(&mut self) {
        self.after(0, Event::Ask);
        self.after(TICK, Event::Tick);
        for node in 0..self.world.nodes {
            self.node_will_be_lost(node);
        }
        if let Some((at, nodes)) = self.world.burst {
            self.after(at, Event::Burst(nodes));
        }
        let roots = self.agenda.roots();
        self.go_on(roots);
    }

    fn after(&mut self, wait: Ms, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now + wait, self.count, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Ask => self.ask(),
            Event::Submitted(pilots) => self.pending += pilots,
            Event::Tick => self.tick(),
            Event::Look(pilot) => self.look(pilot),
            Event::Done(pilot, taken) => self.done(pilot, taken),
            Event::Limit(pilot) => {
                self.stop(pilot, State::Timeout);
            }
            Event::Preempted(pilot) => {
                let node = self.pilots[pilot].node;
                if self.stop(pilot, State::Preempted) {
                    self.nodes[node] = Node::Away;
                    self.after(OTHERS, Event::NodeBack(node));
                }
            }
            Event::NodeLost(node) => {
                self.node_lost(node);
                self.node_will_be_lost(node);
            }
            Event::Noticed(pilot) => self.pilots[pilot].noticed = Some(self.now),
            Event::NodeBack(node) => self.nodes[node] = Node::Free,
            Event::Burst(nodes) => (0..nodes).for_each(|node| self.node_lost(node)),
            Event::Seen(id) => self.seen(id),
            Event::Stopped(id, loss) => {
                if loss == Loss::Preempted {
                    // Why a pilot was told to end, Slurm alone can tell.
                    self.command("scontrol");
                }
                self.lost(id, loss);
            }
            Event::Check(id, pilot) => self.check(id, pilot),
            Event::Committed(id) => {
                self.agenda.ended(id);
                self.go_on(Vec::new());
            }
        }
    }

    // What the run does.

    /// Decides about stages that wait for nothing, which nobody has made yet, and offers those that start.
    fn go_on(&mut self, free: Vec<StageId>) {
        free.into_iter().for_each(|id| self.agenda.ready(id, Some(0), None));
        while let Some((id, _)) =
            self.agenda.next(|_| Wish { cluster: Some(0), threads: Some(1), gpu: None, memory: 0 })
        {
            self.open += 1;
            self.offer(id);
        }
    }

    fn offer(&mut self, id: StageId) {
        self.queue.insert(self.place, id);
        self.place += 1;
        self.figures.longest_queue = self.figures.longest_queue.max(self.queue.len());
    }

    fn ask(&mut self) {
        let wanted = self.open.min(self.profile.max_jobs);
        self.listed.retain(|at| self.pilots[*at].noticed.is_none());
        let silent = |at: &&usize| self.pilots[**at].over.map_or(0, |over| self.now - over) > ms(policy::SILENT);
        let alive = self.listed.len() - self.listed.iter().filter(silent).count();
        if self.asking.is_due(wanted, alive) {
            self.command("squeue");
            let further = policy::further_pilots(self.open, self.profile.max_jobs, self.listed.len() + self.pending);
            if further > 0 {
                self.command("sbatch");
                self.asking = Asking::default();
                self.after(SUBMISSION, Event::Submitted(further));
            }
        }
        self.after(ms(policy::INTERVAL), Event::Ask);
    }

    fn seen(&mut self, id: StageId) {
        self.open -= 1;
        self.figures.done[id.index()] += 1;
        self.figures.useful += self.jobs[id.index()].duration;
        self.figures.makespan = self.now;
        self.agenda.made(id);
        self.after(COMMIT, Event::Committed(id));
        let mut free = self.agenda.provide(id);
        free.reverse();
        self.go_on(free);
    }

    fn check(&mut self, id: StageId, pilot: usize) {
        let Pilot { over, noticed, .. } = self.pilots[pilot];
        let silent = Duration::from_millis(self.now - over.unwrap_or(self.now));
        let end = policy::end_of_pilot(Some(silent), || {
            self.command("scontrol");
            Some(if noticed.is_some() { State::NodeFail } else { State::Running })
        });
        match end {
            Some(state) => self.lost(id, Loss::of(state, false)),
            None => self.after(ms(policy::check_pause(silent)), Event::Check(id, pilot)),
        }
    }

    fn lost(&mut self, id: StageId, loss: Loss) {
        if self.losses[id.index()].bears(loss, 0) {
            *self.figures.again.entry(loss).or_default() += 1;
            return self.offer(id);
        }
        self.open -= 1;
        self.agenda.ended(id);
        let lost = self.agenda.lose(id).unwrap_or_default();
        self.figures.failed += 1 + lost.with_it.len();
        self.go_on(lost.free);
    }

    fn command(&mut self, name: &'static str) {
        *self.figures.commands.entry(name).or_default() += 1;
        let second = self.now / SECOND;
        self.busiest = (second, if self.busiest.0 == second { self.busiest.1 + 1 } else { 1 });
        self.figures.most_commands = self.figures.most_commands.max(self.busiest.1);
    }

    // What pilots do.

    fn look(&mut self, at: usize) {
        if self.pilots[at].over.is_some() {
            return;
        }
        if let Some((_, id)) = self.queue.pop_first() {
            let pilot = &mut self.pilots[at];
            pilot.taken += 1;
            pilot.job = Some((id, self.now));
            let done = Event::Done(at, pilot.taken);
            self.after(self.left[id.index()], done);
        } else if self.now - self.pilots[at].idle_since >= (self.profile.pilot_idle * SECOND as f64) as Ms {
            self.leave(at);
        } else {
            self.after(ms(policy::idle_pause(self.held())), Event::Look(at));
        }
    }

    fn held(&self) -> usize {
        self.nodes.iter().filter(|node| matches!(node, Node::Held(_))).count()
    }

    fn done(&mut self, at: usize, taken: u32) {
        let pilot = &mut self.pilots[at];
        if pilot.over.is_some() || pilot.taken != taken {
            return;
        }
        let (id, since) = pilot.job.take().expect("it does the job that it took last");
        pilot.idle_since = self.now;
        self.figures.busy += self.now - since;
        self.told(Event::Seen(id));
        self.look(at);
    }

    /// The run finds what a pilot has written within a pause between two looks.
    fn told(&mut self, event: Event) {
        let part = self.world.draw("look", self.count);
        self.after((part * ms(policy::follow_pause(self.open)) as f64) as Ms, event);
    }

    /// Lets a pilot keep what it has and end; false where it has ended already.
    fn stop(&mut self, at: usize, why: State) -> bool {
        if self.pilots[at].over.is_some() {
            return false;
        }
        if let Some((id, since)) = self.pilots[at].job.take() {
            let kept = if self.jobs[id.index()].checkpoints.is_some() { self.now - since } else { 0 };
            self.keep(id, since, kept);
            self.told(Event::Stopped(id, Loss::of(why, kept > 0)));
        }
        self.leave(at);
        true
    }

    /// Of what was done of a job, so much need not be done again.
    fn keep(&mut self, id: StageId, since: Ms, kept: Ms) {
        self.left[id.index()] -= kept;
        self.figures.busy += self.now - since;
        self.figures.lost += self.now - since - kept;
    }

    fn leave(&mut self, at: usize) {
        self.ends(at);
        self.pilots[at].noticed = Some(self.now);
        self.nodes[self.pilots[at].node] = Node::Free;
    }

    fn ends(&mut self, at: usize) {
        self.pilots[at].over = Some(self.now);
        self.figures.held += self.now - self.pilots[at].began;
    }

    // What Slurm and nodes do.

    fn tick(&mut self) {
        self.after(TICK, Event::Tick);
        if self.pending == 0 {
            return;
        }
        let free: Vec<_> = (0..self.nodes.len()).filter(|node| self.nodes[*node] == Node::Free).collect();
        for node in free.into_iter().take(self.pending.min(STARTED_AT_ONCE)) {
            self.pending -= 1;
            let at = self.pilots.len();
            self.nodes[node] = Node::Held(at);
            self.listed.push(at);
            let (began, idle_since) = (self.now, self.now + BOOT);
            self.pilots.push(Pilot { node, began, taken: 0, job: None, idle_since, over: None, noticed: None });
            self.after(BOOT, Event::Look(at));
            self.after(self.world.limit - self.profile.stop_before * SECOND, Event::Limit(at));
            if let Some(mean) = self.world.between_preemptions {
                self.after(self.world.wait(mean, "preemption", at as u64), Event::Preempted(at));
            }
        }
    }

    fn node_will_be_lost(&mut self, node: usize) {
        if let Some(mean) = self.world.between_losses {
            let wait = self.world.wait(mean, "loss", self.now + ((node as u64) << 40));
            self.after(wait, Event::NodeLost(node));
        }
    }

    fn node_lost(&mut self, node: usize) {
        let held = std::mem::replace(&mut self.nodes[node], Node::Away);
        if held != Node::Away {
            self.after(REPAIR, Event::NodeBack(node));
        }
        let Node::Held(at) = held else { return };
        self.ends(at);
        self.after(NODE_TIMEOUT, Event::Noticed(at));
        if let Some((id, since)) = self.pilots[at].job.take() {
            let rhythm = self.jobs[id.index()].checkpoints;
            self.keep(id, since, rhythm.map_or(0, |rhythm| (self.now - since) / rhythm * rhythm));
            self.after(ms(policy::INTERVAL), Event::Check(id, at));
        }
    }

    /// Cancels what has not begun; those that idle end by themselves.
    fn end(&mut self) {
        self.command("squeue");
        if self.pending > 0 {
            self.command("scancel");
        }
        let idle = (self.profile.pilot_idle * SECOND as f64) as Ms;
        for at in 0..self.pilots.len() {
            let ends = self.now.max(self.pilots[at].idle_since + idle);
            if self.pilots[at].over.is_none() {
                self.figures.held += ends - self.pilots[at].began;
            }
        }
    }
}

fn ms(duration: Duration) -> Ms {
    duration.as_millis() as Ms
}
