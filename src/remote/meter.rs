//! Counts what is moved, for those who look on, and lets them end it. Unaware of who moves what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much was moved, for those who look on. Clones are one meter.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    moved: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Meter {
    /// Adds bytes.
    pub fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Asks what is being sent to break off.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether what is being sent shall break off.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}
