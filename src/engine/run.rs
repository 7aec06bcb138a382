//! The scheduler. Runs what must run, in order of the longest remaining path. Unaware of TOML and the terminal.
//!
//! A loop over messages: a stage whose producers are done is *settled* (its record is made and looked up); a
//! miss becomes ready; ready stages start as slots allow, each on a thread that claims the key, runs the job and
//! commits; its artifacts settle its consumers, which go on while the result gets to the disk.

mod afar;
mod beginning;
pub mod trials;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use pacer_stages::stage::Notice;
use pacer_stages::worker::{Failure, FailureClass};

use crate::cache::{Cache, Found, Hit};
use crate::cluster::runner::Cluster;
use crate::engine::courses::{Courses, Leg};
use crate::engine::reason::{self, Reason};
use crate::engine::records::{self, Known, Prepared, Results};
use crate::engine::run::afar::Pusher;
use crate::engine::run::beginning::{initial_states, remaining_paths, started};
use crate::engine::slots::{Held, Slots};
use crate::engine::task::{Message, Ran, Task};
use crate::event::Event;
use crate::executor::machine::Machine;
use crate::executor::{Pool, Stop};
use crate::graph::{DeviceWish, Graph, Origin, Resources, StageId};
use crate::index::Index;
use crate::journal::Journal;
use crate::stat_cache::StatCache;

/// How often the scheduler looks whether it shall stop, while jobs run.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Results on their way to the disk at once; so many a file system syncs together.
const MOST_COMMITTING: usize = 64;

/// What a job takes of a cluster.
const ONE_PLACE: Resources = Resources { threads: Some(1), gpus: 0.0, device: DeviceWish::Cpu };

/// How a run is to be done.
pub struct Options {
    /// Processor slots.
    pub jobs: usize,
    /// Whether stages that do not depend on a failed one still run.
    pub keep_going: bool,
    /// Stages to run even if their results are there.
    pub forced: Vec<StageId>,
    /// Which stages are needed.
    pub needed: Vec<bool>,
    /// Bytes of memory that worker processes may take together, judged by what earlier ones took; any where none is
    /// given.
    pub memory: Option<u64>,
    /// Whether trials that failed in an earlier run are tried again.
    pub retry_failed: bool,
    /// Whether stages start as soon as their inputs can be read, rather than when these are safe on the disk.
    pub hand_on: bool,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stages that ran.
    pub ran: usize,
    /// Stages whose results were reused.
    pub reused: usize,
    /// Stages that failed.
    pub failed: usize,
    /// Trials that failed, or had failed before, while others of their sweep succeeded.
    pub passed_over: usize,
    /// Stages that were not run.
    pub skipped: usize,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// How a stage stands.
enum State {
    /// Not needed for the targets.
    Unneeded,
    /// Waits for this many producers.
    Waiting(usize),
    /// Can start as soon as slots are free and it is next on its course.
    Ready(Box<Prepared>, Option<Leg>),
    /// Runs, holds these slots and goes along this course.
    Running(Held, Option<Leg>),
    /// Made: its consumers go on while its result gets to the disk.
    Committing(Option<Leg>),
    /// Ended: done, failed or skipped.
    Ended,
}

struct Scheduler<'a> {
    graph: &'a Graph,
    cache: &'a Cache,
    machine: &'a Machine,
    options: &'a Options,
    stop: &'a Stop,
    cluster: Option<&'a Cluster>,
    pool: &'a Pool,
    journal: Journal,
    show: &'a mut dyn FnMut(&Event),
    stats: StatCache,
    states: Vec<State>,
    remaining_path: Vec<usize>,
    ready: BinaryHeap<(usize, Reverse<usize>)>,
    slots: Slots,
    /// The most memory that workers took so far, by the name of their stage in the file.
    peaks: BTreeMap<String, u64>,
    courses: Courses,
    running: usize,
    committing: usize,
    results: Results,
    /// Stages that failed, in this run or before.
    failures: Vec<StageId>,
    /// Stages that failed, and those that could not be run for it.
    gone: BTreeSet<StageId>,
    index: Index,
    tally: Tally,
    /// Puts what is made into the remote.
    pusher: Option<Pusher>,
}

/// Runs a pipeline; every event is shown and written to the journal.
pub fn run(
    graph: &Graph,
    cache: &Cache,
    machine: &Machine,
    options: &Options,
    stop: &Stop,
    cluster: Option<&Cluster>,
    show: &mut dyn FnMut(&Event),
) -> (Tally, Results) {
    let began = Instant::now();
    let journal = Journal::begin(&cache.store, &graph.name, &graph.path);
    let pool = Pool::default();
    let mut scheduler = Scheduler {
        graph,
        cache,
        machine,
        options,
        stop,
        cluster,
        pool: &pool,
        journal,
        show,
        stats: StatCache::load(&cache.store),
        states: initial_states(graph, &options.needed),
        remaining_path: remaining_paths(graph),
        ready: BinaryHeap::new(),
        slots: Slots::new(options.jobs, machine.gpus(), options.memory),
        peaks: BTreeMap::new(),
        courses: Courses::default(),
        running: 0,
        committing: 0,
        results: Results::new(),
        failures: Vec::new(),
        gone: BTreeSet::new(),
        index: Index::load(&cache.store, &graph.name, &graph.path),
        tally: Tally::default(),
        pusher: Pusher::of(cache),
    };
    let run = scheduler.journal.run().to_owned();
    scheduler.emit(started(graph, &options.needed, run.clone()));
    scheduler.work();
    scheduler.count_failures();
    scheduler.stats.save(&cache.store);
    scheduler.finish_pushing();
    let Tally { ran, reused, failed, passed_over, skipped, interrupted } = scheduler.tally;
    let seconds = began.elapsed().as_secs_f64();
    let done = Event::Done { run, ran, reused, failed, passed_over, skipped, interrupted, seconds };
    scheduler.emit(done.clone());
    scheduler.index.save(Some(scheduler.journal.run()), &cache.store);
    scheduler.journal.finish(&cache.store, &done);
    (scheduler.tally, scheduler.results)
}

impl<'a> Scheduler<'a> {
    fn work(&mut self) {
        let (sender, receiver) = channel();
        let roots: Vec<_> = self.graph.order.iter().copied().filter(|id| self.is_waiting_for(*id, 0)).collect();
        self.index.look_ahead(self.cache);
        self.settle(roots);
        self.index.look_again();
        std::thread::scope(|scope| {
            loop {
                self.start_ready(scope, &sender);
                if self.running + self.committing == 0 {
                    break;
                }
                self.journal.flush();
                self.pool.trim();
                // Looks up now and then, for a signal sends no message.
                if let Ok(message) = receiver.recv_timeout(LOOK_INTERVAL) {
                    self.handle(message);
                }
            }
        });
        self.skip_the_rest();
    }

    fn is_waiting_for(&self, id: StageId, producers: usize) -> bool {
        matches!(self.states[id.index()], State::Waiting(count) if count == producers)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Waiting(id, process) => self.emit(Event::Waiting { stage: self.name(id), process }),
            Message::Notice(id, notice) => self.emit(Event::Notice { stage: self.name(id), notice }),
            Message::Made(id, hit) => self.made(id, hit),
            Message::Brought(id, brought, seconds) => self.brought(id, &brought, seconds),
            Message::Lacking(id, producers) => self.lacking(id, &producers),
            Message::Ended(id, outcome) => {
                let (leg, handed_on) = match std::mem::replace(&mut self.states[id.index()], State::Ended) {
                    State::Running(held, leg) => {
                        self.slots.give_back(held);
                        self.running -= 1;
                        (leg, false)
                    }
                    State::Committing(leg) => {
                        self.committing -= 1;
                        (leg, true)
                    }
                    _ => unreachable!("only a stage that was started can end"),
                };
                leg.into_iter().for_each(|leg| self.courses.end(leg));
                match *outcome {
                    Ok(ran) => self.done(id, ran, handed_on),
                    Err(failure) => {
                        let free = self.failed(id, failure);
                        self.settle(free);
                    }
                }
            }
        }
    }

    /// Lets the consumers of a stage go on while its result gets to the disk.
    fn made(&mut self, id: StageId, hit: Hit) {
        let state = std::mem::replace(&mut self.states[id.index()], State::Ended);
        let State::Running(held, leg) = state else { unreachable!("only a running stage makes something") };
        self.states[id.index()] = State::Committing(leg);
        self.slots.give_back(held);
        self.running -= 1;
        self.committing += 1;
        let mut free = self.provide(id, hit);
        free.reverse();
        self.settle(free);
    }

    /// Decides about stages whose producers are all done; a hit decides about its consumers in turn.
    fn settle(&mut self, mut queue: Vec<StageId>) {
        let mut unasked = Vec::new();
        // What is found stays until it stands in the journal, where a collection looks. A store that cannot be
        // locked is read-only, and nothing is collected there either.
        let _held_off = self.cache.store.hold_off_collections();
        queue.reverse();
        while let Some(id) = self.next_to_settle(&mut queue, &mut unasked) {
            if !self.has_trials(id) {
                queue.extend(self.lose(id));
                continue;
            }
            let stage = &self.graph.stages[id].name;
            let known = Known { results: &self.results, gone: &self.gone };
            let prepared = records::prepare(self.graph, id, &known, &mut self.stats, self.machine);
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    let message = format!("{error:#}");
                    let failure = Failure { class: FailureClass::Error, message, parameter: None };
                    queue.extend(self.failed(id, failure));
                    continue;
                }
            };
            match self.index.find(stage, &prepared.key, self.cache) {
                Found::Hit(hit) if !self.options.forced.contains(&id) => {
                    self.states[id.index()] = State::Ended;
                    self.tally.reused += 1;
                    self.emit(Event::Reused { stage: self.name(id), key: hit.key, afar: hit.afar });
                    queue.extend(self.provide(id, hit));
                }
                _ if self.could_ask(id, &prepared.key) => unasked.push((id, prepared.key)),
                _ => {
                    if let Some(known) = self.known_failure(id, &prepared.key) {
                        queue.extend(self.failed_before(id, known));
                        continue;
                    }
                    let leg = records::leg(&self.graph.stages[id], &prepared);
                    leg.into_iter().for_each(|leg| self.courses.wait(leg, id));
                    self.states[id.index()] = State::Ready(Box::new(prepared), leg);
                    self.ready.push((self.remaining_path[id.index()], Reverse(id.index())));
                }
            }
        }
        self.journal.flush();
    }

    /// Keeps a result and returns the consumers that wait for nothing more, the last first.
    fn provide(&mut self, id: StageId, hit: Hit) -> Vec<StageId> {
        self.results.insert(id, hit);
        let mut free: Vec<_> = self.graph.consumers(id).collect();
        free.retain(|consumer| match &mut self.states[consumer.index()] {
            State::Waiting(count) => {
                *count -= 1;
                *count == 0
            }
            _ => false,
        });
        free.sort_by_key(|id| Reverse(id.index()));
        free
    }

    fn start_ready<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>)
    where
        'a: 'scope,
    {
        let mut postponed = Vec::new();
        let ended = self.stop.requested() || self.has_to_end();
        while !ended && self.slots.any_thread_free() && self.committing < MOST_COMMITTING {
            let Some((path, Reverse(at))) = self.ready.pop() else { break };
            let id = StageId::new(at);
            let State::Ready(_, leg) = self.states[id.index()] else { continue };
            if leg.is_some_and(|leg| !self.courses.is_next(leg, id)) {
                postponed.push((path, Reverse(at)));
                continue;
            }
            // Of a cluster, each job takes a place, and what it asks for stands in the profile.
            let resources = if self.cluster.is_some() { &ONE_PLACE } else { &self.graph.stages[id].resources };
            let on_gpu = records::runs_on_gpu(resources.device, resources.gpus, self.machine);
            let memory = self.expected_memory(id);
            match self.slots.take(resources, on_gpu, self.ready.len(), memory) {
                Some(held) => self.start(id, held, scope, sender),
                None => postponed.push((path, Reverse(at))),
            }
        }
        self.ready.extend(postponed);
    }

    fn start<'scope>(&mut self, id: StageId, held: Held, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>)
    where
        'a: 'scope,
    {
        let state = std::mem::replace(&mut self.states[id.index()], State::Ended);
        let State::Ready(prepared, leg) = state else { unreachable!("only ready stages are started") };
        self.states[id.index()] = State::Running(held, leg);
        leg.into_iter().for_each(|leg| self.courses.start(leg, id));
        self.running += 1;
        let reason = self.reason(id, &prepared);
        let stage = &self.graph.stages[id];
        self.emit(Event::Running {
            stage: stage.name.clone(),
            kind: stage.kind.name.to_owned(),
            key: prepared.key,
            reason: reason.to_string(),
            device: match held.gpu {
                _ if self.cluster.is_some() => "the cluster".to_owned(),
                Some((gpu, _)) => format!("gpu {gpu}"),
                None => "cpu".to_owned(),
            },
        });
        let task = Task {
            stage,
            cache: self.cache,
            worker: self.machine.worker.as_deref(),
            pool: self.pool,
            stop: self.stop,
            cluster: self.cluster,
            id,
            held,
            forced: self.options.forced.contains(&id),
            hand_on: self.options.hand_on,
            log: self.journal.log_path(&stage.name),
            run: self.journal.run().to_owned(),
            course: leg.map(|leg| leg.course),
            sender: sender.clone(),
            afar: records::afar(self.graph, id, &self.results, self.cache),
        };
        // Before it starts to make it, a collection must know that it does.
        self.journal.flush();
        let inputs = records::paths(self.graph, id, &self.results, &self.cache.store);
        scope.spawn(move || task.run(*prepared, inputs));
    }

    fn reason(&mut self, id: StageId, prepared: &Prepared) -> Reason {
        if self.options.forced.contains(&id) {
            return Reason::Forced;
        }
        reason::explain(self.graph, id, prepared, &mut self.index, self.cache)
    }

    fn done(&mut self, id: StageId, ran: Ran, handed_on: bool) {
        let stage = self.name(id);
        let Hit { key, seconds, .. } = ran.hit;
        self.index.learn(&stage, &ran.hit);
        self.learn_peak(id, ran.peak_bytes);
        if !ran.diverged.is_empty() {
            let names = ran.diverged.join("`, `");
            let message = format!(
                "ran again with the same key and wrote other bytes into `{names}`; the first result stays, so this \
                 stage is not deterministic"
            );
            self.emit(Event::Notice { stage: stage.clone(), notice: Notice::Warning { message } });
        }
        match ran.metrics {
            None => {
                self.tally.reused += 1;
                self.emit(Event::Reused { stage, key, afar: false });
            }
            Some(metrics) => {
                self.tally.ran += 1;
                self.pusher.iter().for_each(|pusher| pusher.push(key));
                self.emit(Event::Finished { stage, key, seconds, metrics });
            }
        }
        if !handed_on {
            let mut free = self.provide(id, ran.hit);
            free.reverse();
            self.settle(free);
        }
    }

    /// Tells of a failure; returns the stages that go on without this one.
    fn failed(&mut self, id: StageId, failure: Failure) -> Vec<StageId> {
        self.states[id.index()] = State::Ended;
        let stage = self.name(id);
        if failure.class == FailureClass::Interrupted && self.stop.requested() {
            self.tally.skipped += 1;
            self.emit(Event::Skipped { stage, because: failure.message });
            return Vec::new();
        }
        // Somebody else stopped the worker, so that the run is not done.
        let message = match failure.class {
            FailureClass::Interrupted => "its worker was stopped from outside; run again to go on".to_owned(),
            _ => failure.message,
        };
        self.failures.push(id);
        let log = self.journal.log_path(&stage);
        let place = failure.parameter.and_then(|parameter| {
            let origins = &self.graph.stages[id].origins;
            let path = format!("params.{parameter}");
            origins.iter().find(|(known, _)| *known == path).map(|(_, origin)| match origin {
                Origin::Line(line) => format!("{}:{line}", self.graph.path.display()),
                Origin::Argument(text) => text.clone(),
            })
        });
        self.emit(Event::Failed {
            stage,
            class: class_name(failure.class),
            message,
            place,
            log: log.is_file().then(|| log.display().to_string()),
            earlier_run: None,
        });
        self.lose(id)
    }

    /// Stages that never became ready, or were ready when the run had to end.
    fn skip_the_rest(&mut self) {
        self.tally.interrupted = self.stop.requested();
        for &id in &self.graph.order {
            if matches!(self.states[id.index()], State::Waiting(_) | State::Ready(..)) {
                self.states[id.index()] = State::Ended;
                self.tally.skipped += 1;
                let because = match self.tally.interrupted {
                    true => "the run was interrupted",
                    false => "a stage failed",
                };
                self.emit(Event::Skipped { stage: self.name(id), because: because.to_owned() });
            }
        }
    }

    fn name(&self, id: StageId) -> String {
        self.graph.stages[id].name.clone()
    }

    fn emit(&mut self, event: Event) {
        self.journal.record(&event);
        // Whoever is told that a stage has finished finds it in the journal, whatever happens next.
        if let Event::Finished { .. } = event {
            self.journal.flush();
        }
        (self.show)(&event);
    }
}

/// What a failure's class is called in events and records.
pub fn class_name(class: FailureClass) -> String {
    serde_json::to_value(class).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
