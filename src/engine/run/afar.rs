//! What the scheduler does about a remote: asks it for many results at once, makes anew what it cannot give, and puts
//! there what was made. Unaware of how bytes get there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cache::Cache;
use crate::cache::afar::{Brought, Looker};
use crate::cache::push::{Pushed, Trust};
use crate::digest::Digest;
use crate::engine::run::Scheduler;
use crate::event::Event;
use crate::graph::{Stage, StageId};
use crate::remote::Meter;
use pacer_stages::stage::Notice;

/// Results that are put at once.
const PUSHERS: usize = 4;

/// How often it looks whether all is put.
const TICK: Duration = Duration::from_millis(5);

/// How often it is told how far that is.
const NEWS: Duration = Duration::from_secs(1);

/// Puts results into the remote while the run goes on.
pub(super) struct Pusher {
    keys: Sender<Digest>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the threads of a pusher know.
struct Shared {
    cache: Cache,
    keys: Mutex<Receiver<Digest>>,
    /// Results that wait or are under way.
    waiting: AtomicUsize,
    left: AtomicUsize,
    stop: AtomicBool,
    pushed: Mutex<Pushed>,
    meter: Meter,
}

impl Pusher {
    /// Begins to wait for results, where the remote shall have them.
    pub(super) fn of(cache: &Cache) -> Option<Self> {
        cache.remote.as_ref().filter(|remote| remote.is_pushed_to())?;
        let (keys, receiver) = channel();
        let shared = Arc::new(Shared {
            cache: cache.clone(),
            keys: Mutex::new(receiver),
            waiting: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            pushed: Mutex::default(),
            meter: Meter::default(),
        });
        let start = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        let threads = (0..PUSHERS).map(start).collect();
        Some(Self { keys, threads, shared })
    }

    /// Puts a result there before long.
    pub(super) fn push(&self, key: Digest) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        // The receiver lives as long as this does.
        let _ = self.keys.send(key);
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let next = self.keys.lock().expect("nothing panics with it").recv();
            let Ok(key) = next else { break };
            let looker = Looker { meter: &self.meter, stop: &|| self.stop.load(Ordering::Relaxed) };
            let outcome = match self.stop.load(Ordering::Relaxed) {
                true => None,
                false => Some(self.push(&key, &looker)),
            };
            match outcome {
                Some(Ok(pushed)) => self.pushed.lock().expect("nothing panics with it").add(pushed),
                Some(Err(error)) => {
                    self.left.fetch_add(1, Ordering::Relaxed);
                    if let Some(remote) = self.cache.remote.as_ref().filter(|_| !(looker.stop)()) {
                        remote.warn_once(&error);
                    }
                }
                None => {
                    self.left.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn push(&self, key: &Digest, looker: &Looker<'_>) -> Result<Pushed> {
        // First, for a server that lists nothing tells what is absent only to whom it has shown something.
        self.cache.remote.as_ref().map_or(Ok(()), |remote| remote.ensure_format())?;
        self.cache.push(key, Trust::Result, looker)
    }
}

impl Scheduler<'_> {
    /// The next stage to be decided about. Those that are not here wait until nothing else is to be decided, so that
    /// the remote is asked for all of them at once.
    pub(super) fn next_to_settle(
        &self,
        queue: &mut Vec<StageId>,
        unasked: &mut Vec<(StageId, Digest)>,
    ) -> Option<StageId> {
        if queue.is_empty() && !unasked.is_empty() {
            let (ids, keys): (Vec<_>, Vec<_>) = unasked.drain(..).rev().unzip();
            self.cache.ask(&keys);
            *queue = ids;
        }
        queue.pop()
    }

    /// Whether the remote may have what is not here.
    pub(super) fn could_ask(&self, id: StageId, key: &Digest) -> bool {
        !self.options.forced.contains(&id) && self.cache.could_ask(key)
    }

    /// Tells of inputs that came.
    pub(super) fn brought(&mut self, id: StageId, brought: &Brought, seconds: f64) {
        let (artifacts, bytes) = (brought.blobs, brought.bytes);
        self.emit(Event::Brought { stage: self.name(id), artifacts, bytes, seconds });
    }

    /// Makes anew what a stage reads and the remote cannot give: its producers run here, and then it is decided about
    /// once more, and with it whoever else waits for them.
    pub(super) fn lacking(&mut self, id: StageId, producers: &[(StageId, String)]) {
        let mut again = Vec::new();
        for (producer, why) in producers {
            let stage = self.name(*producer);
            let message = format!("it runs here, for an artifact could not be brought: {why}");
            // Another stage may have found the same before.
            if let Some(hit) = self.results.get(producer).filter(|hit| hit.afar).cloned() {
                self.emit(Event::Notice { stage, notice: Notice::Warning { message } });
                self.cache.disown(&hit.key);
                self.results.remove(producer);
                self.tally.reused -= 1;
                again.push(*producer);
            }
        }
        let gone = &self.gone;
        let is_lost = |producer: StageId, of: &Stage| gone.contains(&producer) && !of.spares(producer);
        let mut free = self.agenda.lacking(id, &again, is_lost);
        free.reverse();
        self.settle(free);
    }

    /// Waits until all that was made is in the remote, or somebody asks to stop.
    pub(super) fn finish_pushing(&mut self) {
        let Some(Pusher { keys, threads, shared }) = self.pusher.take() else { return };
        drop(keys);
        let mut told = Instant::now();
        while shared.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(TICK);
            if self.stop.requested() {
                shared.stop.store(true, Ordering::Relaxed);
                shared.meter.end();
            }
            if told.elapsed() >= NEWS {
                told = Instant::now();
                let (results, bytes) = (shared.waiting.load(Ordering::Relaxed), shared.meter.moved());
                (self.show)(&Event::Pushing { results, bytes });
            }
        }
        for thread in threads {
            let _ = thread.join();
        }
        let Pushed { results, bytes, diverged, .. } = shared.pushed.lock().expect("nothing panics with it").clone();
        let left = shared.left.load(Ordering::Relaxed);
        for key in diverged {
            tracing::warn!(
                "the remote has a result of key {}… with other bytes, which stays: its stage is not deterministic",
                key.short()
            );
        }
        if results + left > 0 {
            self.emit(Event::Pushed { results, bytes, left });
        }
    }
}
