//! The scheduler. Runs what must run, what has the longest way to go first. Unaware of TOML and the terminal.
//!
//! A loop over messages: a stage whose producers are done is *settled* (its record is made and looked up); a
//! miss becomes ready; ready stages start as the [`agenda`](crate::engine::agenda) decides, each on a thread that
//! claims the key, runs the job and commits; its artifacts settle its consumers, which go on while the result gets to
//! the disk.

mod afar;
mod beginning;
mod memory;
pub mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use pacer_stages::stage::Notice;
use pacer_stages::worker::{Failure, FailureClass};

use crate::cache::{Cache, Found, Hit};
use crate::cluster::runner::{Cluster, Whereabouts};
use crate::engine::agenda::Agenda;
use crate::engine::reason::{self, Reason};
use crate::engine::records::{self, Known, Prepared, Results};
use crate::engine::run::afar::Pusher;
use crate::engine::run::beginning::started;
use crate::engine::run::memory::Peaks;
use crate::engine::slots::{Held, Slots, Wish};
use crate::engine::task::{Message, Ran, Task};
use crate::event::Event;
use crate::executor::machine::Machine;
use crate::executor::{Pool, Stop};
use crate::graph::{Graph, Origin, Resources, StageId};
use crate::index::Index;
use crate::journal::Journal;
use crate::stat_cache::StatCache;

/// How often the scheduler looks whether it shall stop, while jobs run.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

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

struct Scheduler<'a> {
    graph: &'a Graph,
    cache: &'a Cache,
    machine: &'a Machine,
    options: &'a Options,
    stop: &'a Stop,
    clusters: &'a BTreeMap<String, Cluster>,
    pool: &'a Pool,
    journal: Journal,
    show: &'a mut dyn FnMut(&Event),
    stats: StatCache,
    agenda: Agenda<'a>,
    /// What the stages are made from that can start.
    prepared: BTreeMap<StageId, Prepared>,
    peaks: Peaks,
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
    clusters: &BTreeMap<String, Cluster>,
    show: &mut dyn FnMut(&Event),
) -> (Tally, Results) {
    let began = Instant::now();
    let journal = Journal::begin(&cache.store, &graph.name, &graph.path);
    let pool = Pool::default();
    let index = Index::load(&cache.store, &graph.name, &graph.path);
    let seconds: Vec<_> = graph.stages.node_weights().map(|stage| index.seconds(&stage.name)).collect();
    let mut scheduler = Scheduler {
        graph,
        cache,
        machine,
        options,
        stop,
        clusters,
        pool: &pool,
        journal,
        show,
        stats: StatCache::load(&cache.store),
        agenda: Agenda::new(
            graph,
            &options.needed,
            &seconds,
            Slots::new(options.jobs, &machine.gpus(), options.memory)
                .and_places(clusters.values().map(Cluster::jobs).collect()),
        ),
        prepared: BTreeMap::new(),
        peaks: Peaks::default(),
        results: Results::new(),
        failures: Vec::new(),
        gone: BTreeSet::new(),
        index,
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
        self.index.look_ahead(self.cache);
        self.settle(self.agenda.roots());
        self.index.look_again();
        std::thread::scope(|scope| {
            loop {
                self.start_ready(scope, &sender);
                if !self.agenda.is_busy() {
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

    fn handle(&mut self, message: Message) {
        match message {
            Message::Waiting(id, process) => self.emit(Event::Waiting { stage: self.name(id), process }),
            Message::Where(id, whereabouts) => self.emit(place(self.name(id), whereabouts)),
            Message::Notice(id, notice) => self.emit(Event::Notice { stage: self.name(id), notice }),
            Message::Made(id, hit) => self.made(id, hit),
            Message::Brought(id, brought, seconds) => self.brought(id, &brought, seconds),
            Message::Lacking(id, producers) => self.lacking(id, &producers),
            Message::Ended(id, outcome) => {
                let handed_on = self.agenda.ended(id);
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
        self.agenda.made(id);
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
                    self.agenda.close(id);
                    queue.extend(self.failed(id, failure));
                    continue;
                }
            };
            assert!(prepared.is_known, "a stage is decided about when what it reads is there or lost");
            match self.index.find(stage, &prepared.key, self.cache) {
                Found::Hit(hit) if !self.options.forced.contains(&id) => {
                    self.agenda.close(id);
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
                    let stage = &self.graph.stages[id];
                    let cluster = find(self.clusters, &stage.resources).map(|(at, _)| at);
                    self.agenda.ready(id, cluster, records::leg(stage, &prepared));
                    self.prepared.insert(id, prepared);
                }
            }
        }
        self.journal.flush();
    }

    /// Keeps a result and returns the consumers that wait for nothing more, the last first.
    fn provide(&mut self, id: StageId, hit: Hit) -> Vec<StageId> {
        self.results.insert(id, hit);
        self.agenda.provide(id)
    }

    fn start_ready<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>)
    where
        'a: 'scope,
    {
        if self.stop.requested() || self.has_to_end() {
            return;
        }
        while let Some((id, held)) = self.next_to_start() {
            self.start(id, held, scope, sender);
        }
    }

    fn next_to_start(&mut self) -> Option<(StageId, Held)> {
        self.agenda.next(|id| {
            let resources = &self.graph.stages[id].resources;
            let on_gpu = records::runs_on_gpu(resources, self.machine);
            // Of a cluster, each job takes a place, and what it asks for stands in the profile.
            if let Some((at, cluster)) = find(self.clusters, resources) {
                let gpu = on_gpu.then_some(1.0);
                return Wish { cluster: Some(at), threads: Some(cluster.threads()), gpu, memory: 0 };
            }
            let memory = self.peaks.expected(self.graph, id, &self.results, &mut self.index, self.cache);
            Wish { cluster: None, threads: resources.threads, gpu: on_gpu.then_some(resources.gpus), memory }
        })
    }

    fn start<'scope>(&mut self, id: StageId, held: Held, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>)
    where
        'a: 'scope,
    {
        let prepared = self.prepared.remove(&id).expect("a stage that can start was prepared");
        let reason = self.reason(id, &prepared);
        let stage = &self.graph.stages[id];
        let cluster = find(self.clusters, &stage.resources).map(|(_, cluster)| cluster);
        self.emit(Event::Running {
            stage: stage.name.clone(),
            kind: stage.kind.name.to_owned(),
            key: prepared.key,
            reason: reason.to_string(),
            device: match (stage.resources.cluster(), held.gpu) {
                (Some(name), None) => name.to_owned(),
                (Some(name), Some(_)) => format!("{name}, gpu"),
                (None, Some((gpu, _))) => format!("gpu {gpu}"),
                (None, None) => "cpu".to_owned(),
            },
        });
        let task = Task {
            stage,
            cache: self.cache,
            worker: self.machine.worker.as_deref(),
            pool: self.pool,
            stop: self.stop,
            cluster,
            id,
            held,
            forced: self.options.forced.contains(&id),
            hand_on: self.options.hand_on,
            log: self.journal.log_path(&stage.name),
            run: self.journal.run().to_owned(),
            course: records::leg(stage, &prepared).map(|leg| leg.course),
            sender: sender.clone(),
            afar: records::afar(self.graph, id, &self.results, self.cache),
        };
        // Before it starts to make it, a collection must know that it does.
        self.journal.flush();
        let inputs = records::paths(self.graph, id, &self.results, &self.cache.store);
        scope.spawn(move || task.run(prepared, inputs));
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
        if let Some(peak) = ran.peak_bytes {
            self.peaks.learn(self.graph.stages[id].written_name(), peak);
        }
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
        let because = match self.tally.interrupted {
            true => "the run was interrupted",
            false => "a stage failed",
        };
        for id in self.agenda.close_the_rest() {
            self.skip(id, because.to_owned());
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

/// The cluster that a stage runs on, and which one it is.
fn find<'a>(clusters: &'a BTreeMap<String, Cluster>, wished: &Resources) -> Option<(usize, &'a Cluster)> {
    let name = wished.cluster()?;
    clusters.iter().enumerate().find_map(|(at, (known, cluster))| (known == name).then_some((at, cluster)))
}

fn place(stage: String, whereabouts: Whereabouts) -> Event {
    match whereabouts {
        Whereabouts::Queued(because) => Event::Queued { stage, because },
        Whereabouts::On { node, job } => Event::Placed { stage, node, job },
    }
}

/// What a failure's class is called in events and records.
pub fn class_name(class: FailureClass) -> String {
    serde_json::to_value(class).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
