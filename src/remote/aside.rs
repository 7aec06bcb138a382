//! Does on a thread of its own what may never come to an end, as a call to a file system whose server is gone. Unaware
//! of what it is.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often it is looked whether the work gets on.
const TICK: Duration = Duration::from_millis(50);

/// What some work gives that never stands still for so long; how far it is, `progress` tells. The thread of work that does
/// is left to itself and ends with the program.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    progress: impl Fn() -> u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, answer) = channel();
    std::thread::spawn(move || {
        // Nobody waits any more for what comes late.
        let _ = sender.send(work());
    });
    let (mut seen, mut since) = (progress(), Instant::now());
    loop {
        match answer.recv_timeout(TICK.min(limit)) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if progress() != seen => (seen, since) = (progress(), Instant::now()),
            // Where this thread itself had to wait, the answer may have come meanwhile.
            Err(RecvTimeoutError::Timeout) if since.elapsed() >= limit => return answer.try_recv().ok(),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn who_stands_still_is_left_and_who_gets_on_is_waited_for() {
        let limit = Duration::from_secs(1);
        assert_eq!(within(limit, || 0, || 7), Some(7));
        let began = Instant::now();
        assert_eq!(within(limit, || 0, || std::thread::sleep(Duration::from_secs(60))), None);
        assert!(began.elapsed() < Duration::from_secs(30));
        let steps = Arc::new(AtomicU64::new(0));
        let done = Arc::clone(&steps);
        let work = move || {
            for _ in 0..50 {
                std::thread::sleep(limit / 25);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(within(limit, || steps.load(Ordering::Relaxed), work), Some(()), "it took twice as long");
    }
}
