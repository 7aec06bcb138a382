//! How a run stands, in one line: how many stages are done, run, failed and wait. Unaware of how it is drawn.

use std::collections::BTreeSet;

use crate::event::Event;
use crate::ui::output;

/// The numbers of a run so far.
#[derive(Debug, Default)]
pub struct Standing {
    total: usize,
    done: usize,
    failed: usize,
    skipped: usize,
    running: BTreeSet<String>,
}

impl Standing {
    /// Counts an event.
    pub fn heed(&mut self, event: &Event) {
        match event {
            Event::Started { stages, .. } => self.total = stages.len(),
            Event::Running { stage, .. } => drop(self.running.insert(stage.clone())),
            Event::Reused { .. } => self.done += 1,
            Event::Finished { stage, .. } => {
                self.running.remove(stage);
                self.done += 1;
            }
            Event::Failed { stage, .. } => {
                self.running.remove(stage);
                self.failed += 1;
            }
            Event::Skipped { .. } => self.skipped += 1,
            Event::Waiting { .. } | Event::Notice { .. } | Event::Done { .. } => {}
        }
    }

    /// The line; `shown` stages have a row of their own.
    pub fn words(&self, shown: usize) -> String {
        let ended = self.done + self.failed + self.skipped;
        let waiting = self.total.saturating_sub(ended + self.running.len());
        let mut parts = vec![format!("{} of {} done", output::count(self.done), output::count(self.total))];
        let hidden = self.running.len().saturating_sub(shown);
        let running = match hidden {
            0 => format!("{} running", self.running.len()),
            hidden => format!("{} running ({hidden} not shown)", self.running.len()),
        };
        parts.push(running);
        for (count, word) in [(self.failed, "failed"), (self.skipped, "not run"), (waiting, "waiting")] {
            if count > 0 {
                parts.push(format!("{} {word}", output::count(count)));
            }
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn every_stage_is_counted_once() {
        let stage = |number: usize| format!("s{number}");
        let mut standing = Standing::default();
        let stages = (0..1500).map(stage).collect();
        let (run, pipeline) = ("r".to_owned(), "p".to_owned());
        standing.heed(&Event::Started { run, pipeline, stages });
        (0..3).for_each(|number| standing.heed(&Event::Reused { stage: stage(number), key: Digest::of(b"") }));
        for number in 3..30 {
            let (kind, reason, device) = ("filter".into(), String::new(), "cpu".into());
            let key = Digest::of(b"");
            standing.heed(&Event::Running { stage: stage(number), kind, key, reason, device });
        }
        assert_eq!(standing.words(19), "3 of 1,500 done, 27 running (8 not shown), 1,470 waiting");
        standing.heed(&Event::Skipped { stage: stage(40), because: String::new() });
        assert_eq!(standing.words(27), "3 of 1,500 done, 27 running, 1 not run, 1,469 waiting");
    }
}
