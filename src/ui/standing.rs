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
    /// Those of them that wait for their turn on a cluster.
    queued: BTreeSet<String>,
}

impl Standing {
    /// Counts an event.
    pub fn heed(&mut self, event: &Event) {
        match event {
            Event::Started { stages, .. } => self.total = stages.len(),
            Event::Running { stage, .. } => drop(self.running.insert(stage.clone())),
            Event::Queued { stage, .. } => drop(self.queued.insert(stage.clone())),
            Event::Placed { stage, .. } => drop(self.queued.remove(stage)),
            // Another run may have made it while this one waited for it.
            Event::Finished { stage, .. } | Event::Reused { stage, .. } => {
                self.end(stage);
                self.done += 1;
            }
            Event::Failed { stage, .. } => {
                self.end(stage);
                self.failed += 1;
            }
            Event::Skipped { stage, .. } => {
                self.end(stage);
                self.skipped += 1;
            }
            Event::Waiting { .. }
            | Event::Notice { .. }
            | Event::Brought { .. }
            | Event::Pushing { .. }
            | Event::Pushed { .. }
            | Event::Done { .. } => {}
        }
    }

    fn end(&mut self, stage: &str) {
        self.running.remove(stage);
        self.queued.remove(stage);
    }

    /// The line; `shown` stages have a row of their own.
    pub fn words(&self, shown: usize) -> String {
        let ended = self.done + self.failed + self.skipped;
        let waiting = self.total.saturating_sub(ended + self.running.len());
        let mut parts = vec![format!("{} of {} done", output::count(self.done), output::count(self.total))];
        let hidden = self.running.len().saturating_sub(shown);
        let running = self.running.len() - self.queued.len();
        let running = match hidden {
            0 => format!("{running} running"),
            hidden => format!("{running} running ({hidden} not shown)"),
        };
        parts.push(running);
        for (count, word) in
            [(self.queued.len(), "queued"), (self.failed, "failed"), (self.skipped, "not run"), (waiting, "waiting")]
        {
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
    use serde_json::json;

    fn event(sort: &str, fields: serde_json::Value) -> Event {
        let mut event = fields;
        event["event"] = sort.into();
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn every_stage_is_counted_once() {
        let key = crate::digest::Digest::of(b"");
        let stage = |number: usize| format!("s{number}");
        let stages: Vec<_> = (0..1500).map(stage).collect();
        let mut standing = Standing::default();
        standing.heed(&event("started", json!({"run": "r", "pipeline": "p", "stages": stages})));
        (0..3).for_each(|number| standing.heed(&event("reused", json!({"stage": stage(number), "key": key}))));
        for number in 3..30 {
            let fields = json!({"stage": stage(number), "kind": "k", "key": key, "reason": "", "device": "cpu"});
            standing.heed(&event("running", fields));
        }
        assert_eq!(standing.words(19), "3 of 1,500 done, 27 running (8 not shown), 1,470 waiting");
        standing.heed(&event("queued", json!({"stage": "s4", "because": ""})));
        standing.heed(&event("queued", json!({"stage": "s5", "because": ""})));
        standing.heed(&event("placed", json!({"stage": "s5", "node": "n", "job": "1"})));
        assert_eq!(standing.words(27), "3 of 1,500 done, 26 running, 1 queued, 1,470 waiting");
        standing.heed(&event("finished", json!({"stage": "s4", "key": key, "seconds": 1.0, "metrics": {}})));
        assert_eq!(standing.words(26), "4 of 1,500 done, 26 running, 1,470 waiting");
        standing.heed(&event("skipped", json!({"stage": "s40", "because": ""})));
        assert_eq!(standing.words(26), "4 of 1,500 done, 26 running, 1 not run, 1,469 waiting");
    }

    #[test]
    fn a_stage_that_another_run_made_meanwhile_is_done_and_runs_no_more() {
        let key = crate::digest::Digest::of(b"");
        let mut standing = Standing::default();
        standing.heed(&event("started", json!({"run": "r", "pipeline": "p", "stages": ["a", "b"]})));
        standing.heed(&event("running", json!({"stage": "a", "kind": "k", "key": key, "reason": "", "device": "x"})));
        standing.heed(&event("queued", json!({"stage": "a", "because": ""})));
        standing.heed(&event("reused", json!({"stage": "a", "key": key})));
        assert_eq!(standing.words(0), "1 of 2 done, 0 running, 1 waiting");
    }
}
