//! Does on a thread of its own what may never come to an end, as a call to a file system whose server is gone. Unaware
//! of what it is.

use std::sync::mpsc::channel;
use std::time::Duration;

/// What some work gives within a time; the thread of work that takes longer is left to itself and ends with the program.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, answer) = channel();
    std::thread::spawn(move || {
        // Nobody waits any more for what comes late.
        let _ = sender.send(work());
    });
    answer.recv_timeout(limit).ok()
}
