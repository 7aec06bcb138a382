//! Says what is wrong with a remote neither once and never again nor every second. Unaware of who suffers from it.

use std::time::{Duration, Instant};

use crate::remote::Failed;

/// How often it is said that a remote refuses what it is asked for: somebody may have to see to it.
const SAID: Duration = Duration::from_secs(180);

/// Says what is wrong with a remote, and again now and then where that does not pass by itself.
#[derive(Debug, Default)]
pub struct Complaint(Option<Instant>);

impl Complaint {
    /// Says an error if that is news; whether it was.
    pub fn say(&mut self, error: &anyhow::Error, now: Instant) -> bool {
        let is_news = self.0.is_none_or(|said| Failed::is_refusal(error) && now.duration_since(said) > SAID);
        if is_news {
            tracing::warn!("{error:#}; the run asks again and again");
            self.0 = Some(now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_again_now_and_then_and_what_passes_once() {
        let [passing, refusal] = [Failed::told("away".into()), Failed::refusal("no".into())].map(anyhow::Error::from);
        let (mut complaint, begin) = (Complaint::default(), Instant::now());
        let mut said = |error, after: u32| complaint.say(error, begin + SAID * after / 2);
        assert!(said(&refusal, 0) && !said(&refusal, 1) && said(&refusal, 3) && !said(&refusal, 4));
        let mut complaint = Complaint::default();
        let mut said = |error, after: u32| complaint.say(error, begin + SAID * after / 2);
        assert!(said(&passing, 0) && !said(&passing, 9) && said(&refusal, 10));
    }
}
