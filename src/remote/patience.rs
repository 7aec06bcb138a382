//! How often a remote is tried, how long it is waited for, and when nobody asks it any more. Unaware of what it is asked
//! for.
//!
//! A run must not be held up: it tries a few times within seconds, and then does without the remote. A push, a pull and
//! the files of a cluster have nothing else to do than to wait: once the remote has answered, they go on until it was
//! away for a minute, as one may be that is started anew.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::remote::{Fault, INTERRUPTED};

/// How often a call is tried that found nobody, and one that failed for a passing reason.
const TRIES: (u32, u32) = (2, 4);

/// About how long the pause before the second try is, and the longest; it doubles from one to the next.
const PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(15)];

/// Who does not wait for a remote bears at most so long a rest that it asks for.
const SHORT_REST: Duration = Duration::from_secs(2);

/// Whoever waits says so before a pause of this length.
const TOLD: Duration = Duration::from_secs(1);

/// So long without any success is waited for a remote that was there, where one waits at all.
const AWAY: Duration = Duration::from_secs(60);

/// So long a single call is tried, though others have success.
const LONGEST: Duration = Duration::from_secs(300);

/// Calls in a row that failed after all their tries before the remote is taken to be down.
const MOST_FAILURES: usize = 3;

/// For so long nobody is asked after a remote was found to be down.
const REST: Duration = Duration::from_secs(300);

/// How often a pause looks whether it shall end.
const TICK: Duration = Duration::from_millis(20);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A question with a short answer.
    Ask,
    /// An object is brought, which may be large.
    Fetch,
    /// Something is changed.
    Write,
}

/// Asked again and again whether nobody waits any more.
type Stop = Box<dyn Fn() -> bool + Send + Sync>;

/// A fault of a remote, and not of what it holds or of this machine.
#[derive(Debug)]
pub struct Failed {
    words: String,
    fault: Fault,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failed {}

impl Failed {
    /// A passing fault in these words.
    pub fn told(words: String) -> Self {
        Self { fault: Fault::Passing(words.clone()), words }
    }

    /// A fault in these words that does not pass by itself.
    pub fn refusal(words: String) -> Self {
        Self { fault: Fault::Refused(words.clone()), words }
    }

    /// Whether an error is one.
    pub fn is(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some()
    }

    /// Whether an error is one that does not pass by itself.
    pub fn is_refusal(error: &anyhow::Error) -> bool {
        let fault = error.downcast_ref::<Self>().map(|failed| &failed.fault);
        matches!(fault, Some(Fault::Refused(_) | Fault::Hidden(_)))
    }

    /// Whether an error says that it is not told whether something is there.
    pub(super) fn is_hidden(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some_and(|failed| matches!(failed.fault, Fault::Hidden(_)))
    }
}

/// What is known of how a remote answers, and how long it is waited for.
pub(super) struct Patience {
    /// So long it is not asked when it did not answer.
    pub rest: Duration,
    away: Duration,
    pauses: [Duration; 2],
    failures: AtomicUsize,
    down_since: Mutex<Option<Instant>>,
    /// When it last answered.
    answered: Mutex<Option<Instant>>,
    /// Whoever waits for it, if anybody does.
    waiting: OnceLock<Stop>,
    told: AtomicBool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            rest: REST,
            away: AWAY,
            pauses: PAUSES,
            failures: AtomicUsize::new(0),
            down_since: Mutex::new(None),
            answered: Mutex::new(None),
            waiting: OnceLock::new(),
            told: AtomicBool::new(false),
        }
    }
}

impl Patience {
    /// Waits for a remote that was there, until this says that nobody waits any more.
    pub(super) fn wait(&self, stop: Stop) {
        // Whoever waited first waits on.
        let _ = self.waiting.set(stop);
    }

    /// Notes that the remote is there.
    pub(super) fn note_answer(&self) {
        self.failures.store(0, Ordering::Relaxed);
        *self.answered.lock().expect("nothing panics with it") = Some(Instant::now());
    }

    /// Whether it was found to be down a while ago.
    pub(super) fn is_down(&self) -> bool {
        let since = *self.down_since.lock().expect("nothing panics with it");
        since.is_some_and(|since| since.elapsed() < self.rest)
    }

    /// Tries something again and again, as its faults let hope.
    pub(super) fn attempt<T>(&self, url: &str, act: Act, call: impl Fn() -> Result<T, Fault>) -> Result<T, Failed> {
        if self.is_down() {
            return Err(Failed::told(format!("the remote `{url}` is down")));
        }
        let (began, mut tried) = (Instant::now(), 0);
        loop {
            tried += 1;
            let fault = match call() {
                Ok(value) => {
                    self.note_answer();
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            if !self.goes_on(&fault, tried, began) {
                return Err(self.give_up(url, act, &fault));
            }
            let pause = match fault {
                Fault::Busy(_, rest) => self.pause(tried).max(rest.min(self.away)),
                _ => self.pause(tried),
            };
            if pause > TOLD && !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!("the remote `{url}` cannot be used: {}; waiting for it", fault.why());
            }
            if self.is_ended_within(pause) {
                return Err(self.give_up(url, act, &Fault::Passing(INTERRUPTED.to_owned())));
            }
        }
    }

    /// Whether there is hope after some tries of a call that began at some time.
    fn goes_on(&self, fault: &Fault, tried: u32, began: Instant) -> bool {
        let few = match fault {
            Fault::Unreachable(_) | Fault::Slow(_) => TRIES.0,
            Fault::Passing(why) if why == INTERRUPTED => return false,
            Fault::Busy(_, rest) if *rest > SHORT_REST => 0,
            Fault::Passing(_) | Fault::Busy(..) => TRIES.1,
            Fault::Refused(_) | Fault::Hidden(_) => return false,
        };
        if tried < few {
            return true;
        }
        // One that never answered may have another address.
        let answered = *self.answered.lock().expect("nothing panics with it");
        let Some(answered) = answered.filter(|_| self.waiting.get().is_some()) else { return false };
        began.max(answered).elapsed() < self.away && began.elapsed() < LONGEST
    }

    /// A pause after some tries, of another length for each who waits: else all would come back at once.
    fn pause(&self, tried: u32) -> Duration {
        let [first, longest] = self.pauses;
        let pause = (first * 2_u32.pow((tried - 1).min(16))).min(longest);
        let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        pause.mul_f64(0.75 + random / 2.0)
    }

    /// Waits; whether nobody waits any more.
    fn is_ended_within(&self, pause: Duration) -> bool {
        let (began, ended) = (Instant::now(), || self.waiting.get().is_some_and(|stop| stop()));
        while began.elapsed() < pause && !ended() {
            std::thread::sleep(TICK.min(pause.saturating_sub(began.elapsed())));
        }
        ended()
    }

    /// Notes that a call failed; after enough of them the remote rests.
    fn give_up(&self, url: &str, act: Act, fault: &Fault) -> Failed {
        let counts = match fault {
            // Who may not write may well read.
            Fault::Refused(_) => act != Act::Write,
            // Another may be told of.
            Fault::Hidden(_) => false,
            Fault::Unreachable(_) | Fault::Slow(_) | Fault::Passing(_) | Fault::Busy(..) => true,
        };
        let failures = self.failures.fetch_add(usize::from(counts), Ordering::Relaxed) + 1;
        let is_gone = match fault {
            Fault::Unreachable(_) => true,
            // What is large may take its time; a question may not.
            Fault::Slow(_) => act == Act::Ask,
            // It said so itself.
            Fault::Busy(_, rest) => *rest > SHORT_REST,
            Fault::Passing(_) | Fault::Refused(_) | Fault::Hidden(_) => false,
        };
        if is_gone || (counts && failures >= MOST_FAILURES) {
            *self.down_since.lock().expect("nothing panics with it") = Some(Instant::now());
        }
        let words = format!("the remote `{url}` cannot be used: {}", fault.why());
        Failed { words, fault: fault.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a call is made that always ends so, and whether the remote then is down.
    fn calls(act: Act, times: usize, fault: &Fault) -> (usize, bool) {
        let (patience, made) = (Patience::default(), AtomicUsize::new(0));
        for _ in 0..times {
            let call = || -> Result<(), Fault> {
                made.fetch_add(1, Ordering::Relaxed);
                Err(fault.clone())
            };
            assert!(patience.attempt("/nowhere", act, call).is_err());
        }
        (made.into_inner(), patience.is_down())
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nobody_is_asked_who_does_not_answer() {
        assert_eq!(calls(Act::Ask, 5, &Fault::Unreachable("gone".into())), (2, true));
        assert_eq!(calls(Act::Ask, 1, &Fault::Passing("busy".into())), (4, false));
        assert_eq!(calls(Act::Ask, 5, &Fault::Passing("busy".into())), (12, true));
        assert_eq!(calls(Act::Ask, 5, &Fault::Refused("no".into())), (3, true));
        assert_eq!(calls(Act::Write, 5, &Fault::Refused("read-only".into())), (5, false));
        assert_eq!(calls(Act::Ask, 5, &Fault::Hidden("perhaps".into())), (5, false));
    }

    #[test]
    fn a_slow_answer_ends_questions_but_one_alone_no_transfers() {
        assert_eq!(calls(Act::Ask, 2, &Fault::Slow("silent".into())), (2, true));
        assert_eq!(calls(Act::Fetch, 2, &Fault::Slow("silent".into())), (4, false));
        assert_eq!(calls(Act::Write, 2, &Fault::Slow("silent".into())), (4, false));
        assert_eq!(calls(Act::Write, 5, &Fault::Slow("silent".into())), (6, true));
    }

    #[test]
    fn a_success_forgets_the_failures_before() {
        let patience = Patience::default();
        for _ in 0..2 {
            let refused = || -> Result<(), Fault> { Err(Fault::Refused("no".into())) };
            for _ in 0..2 {
                assert!(patience.attempt("/nowhere", Act::Ask, refused).is_err());
            }
            assert!(patience.attempt("/nowhere", Act::Ask, || Ok(())).is_ok() && !patience.is_down());
        }
    }

    /// One that does not pause for long.
    fn quick(away: Duration) -> Patience {
        Patience { pauses: [Duration::from_millis(1); 2], away, ..Patience::default() }
    }

    /// Calls until it succeeds for the n-th time it is made, after one that succeeds at once where it answered before.
    fn succeeds_at(patience: &Patience, number: usize, fault: fn(String) -> Fault) -> bool {
        let made = AtomicUsize::new(0);
        let call = || match made.fetch_add(1, Ordering::Relaxed) + 1 >= number {
            true => Ok(()),
            false => Err(fault("gone".into())),
        };
        patience.attempt("/nowhere", Act::Write, call).is_ok()
    }

    #[test]
    fn whoever_waits_goes_on_until_a_remote_that_answered_was_away_for_long() {
        for fault in [Fault::Unreachable, Fault::Slow, Fault::Passing] {
            let patience = quick(AWAY);
            patience.note_answer();
            assert!(!succeeds_at(&patience, 20, fault), "nobody waits");
            let patience = quick(AWAY);
            patience.wait(Box::new(|| false));
            assert!(!succeeds_at(&patience, 20, fault), "it never answered");
            let patience = quick(AWAY);
            patience.wait(Box::new(|| false));
            patience.note_answer();
            assert!(succeeds_at(&patience, 20, fault) && !patience.is_down());
            let patience = quick(Duration::from_millis(10));
            patience.wait(Box::new(|| false));
            patience.note_answer();
            assert!(!succeeds_at(&patience, usize::MAX, fault), "it is away for long");
        }
    }

    #[test]
    fn a_rest_that_a_server_asks_for_is_granted_by_who_waits_and_is_the_end_for_who_does_not() {
        let busy = |seconds| Fault::Busy("busy".into(), Duration::from_secs(seconds));
        assert_eq!(calls(Act::Ask, 1, &busy(30)), (1, true));
        assert_eq!(calls(Act::Ask, 1, &busy(0)), (4, false));
        let patience = quick(AWAY);
        patience.wait(Box::new(|| false));
        patience.note_answer();
        let (began, made) = (Instant::now(), AtomicUsize::new(0));
        let rest = Duration::from_millis(2100);
        let call = || match made.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Fault::Busy("busy".into(), rest)),
            _ => Ok(()),
        };
        assert!(patience.attempt("/nowhere", Act::Write, call).is_ok() && began.elapsed() >= rest);
    }

    #[test]
    fn who_waits_is_interrupted_in_the_midst_of_a_pause() {
        let patience = Patience { pauses: [Duration::from_secs(3600); 2], ..Patience::default() };
        let ended = std::sync::Arc::new(AtomicBool::new(false));
        let asked = std::sync::Arc::clone(&ended);
        patience.wait(Box::new(move || asked.load(Ordering::Relaxed)));
        let call = || -> Result<(), Fault> {
            ended.store(true, Ordering::Relaxed);
            Err(Fault::Unreachable("gone".into()))
        };
        let error = patience.attempt("/nowhere", Act::Write, call).unwrap_err();
        assert!(error.to_string().contains(INTERRUPTED), "{error}");
        assert!((0..40).all(|tried| patience.pause(tried + 1) <= Duration::from_secs(3600 * 5 / 4)));
    }
}
