//! Runs that go on, for those who listen: each is followed once, however many listen, and no longer than anybody does.
//! Unaware of HTTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};

use crate::cache::Cache;
use crate::history::Stands;
use crate::serve::follow::Follower;
use crate::serve::view;

/// How often it looks at what a run wrote.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// The runs that are followed.
#[derive(Default)]
pub struct Live {
    followed: Mutex<HashMap<String, Sender<Told>>>,
    is_closing: AtomicBool,
}

/// How a run stands, for listeners. Each tells all, so that none needs the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Names this state: who has it need not be told again.
    pub id: String,
    /// It, as HTML.
    pub html: Arc<str>,
    /// Whether more will come.
    pub phase: Phase,
}

/// Whether more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The run goes on.
    Going,
    /// It has ended.
    Ended,
    /// The server ends.
    Closing,
}

impl Live {
    /// Listens to a run; none where there is no such run.
    pub fn listen(self: &Arc<Self>, cache: &Cache, run: &str) -> Option<Receiver<Told>> {
        let mut followed = self.followed();
        if let Some(sender) = followed.get(run) {
            return Some(sender.subscribe());
        }
        let follower = Follower::new(cache, run)?;
        let told = Told::of(&follower);
        let goes_on = told.phase == Phase::Going;
        let (sender, receiver) = watch::channel(told);
        if goes_on {
            followed.insert(run.to_owned(), sender.clone());
            let live = Arc::clone(self);
            std::thread::spawn(move || live.follow(follower, &sender));
        }
        Some(receiver)
    }

    /// Tells all who listen that nothing more will come.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.followed().values().for_each(|sender| sender.send_modify(|told| told.phase = Phase::Closing));
    }

    fn follow(&self, mut follower: Follower, sender: &Sender<Told>) {
        let mut place = follower.place();
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            let now = follower.look();
            let is_last = follower.stands != Stands::Running || self.is_closing.load(Ordering::Relaxed);
            if now != place && !self.is_closing.load(Ordering::Relaxed) {
                sender.send_replace(Told::of(&follower));
                place = now;
            }
            // Under the lock, so that nobody begins to listen to a thread that ends.
            let mut followed = self.followed();
            if is_last || sender.receiver_count() == 0 {
                followed.remove(&follower.run);
                return;
            }
        }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<String, Sender<Told>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn of(follower: &Follower) -> Self {
        let phase = if follower.stands == Stands::Running { Phase::Going } else { Phase::Ended };
        Self { id: follower.place(), html: view::html(follower).into(), phase }
    }
}
