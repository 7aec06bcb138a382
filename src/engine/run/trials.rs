//! What the scheduler does about trials that fail: their siblings go on, who gathers them goes on without them, and
//! who reads from them alone is not run. Unaware of what trials compute.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::stage::Notice;

use crate::cache::KnownFailure;
use crate::digest::Digest;
use crate::engine::run::Scheduler;
use crate::event::Event;
use crate::graph::{Graph, Source, StageId};

/// Failed trials that a warning names; of more, the number is told.
const NAMED: usize = 5;

/// The trials that one entry gathers.
#[derive(Default)]
pub struct Gathered {
    /// Those that are there or may come.
    pub there: Vec<StageId>,
    /// Those that failed.
    pub away: Vec<StageId>,
}

/// What a stage gathers, entry by entry.
pub fn gathered(graph: &Graph, id: StageId, gone: &BTreeSet<StageId>) -> Vec<Gathered> {
    let mut entries: BTreeMap<(&str, &str), Gathered> = BTreeMap::new();
    for input in &graph.stages[id].inputs {
        let (Some(entry), Source::Output(producer, _)) = (&input.gathered, &input.source) else { continue };
        let found = entries.entry((input.slot, entry)).or_default();
        if gone.contains(producer) { &mut found.away } else { &mut found.there }.push(*producer);
    }
    entries.into_values().collect()
}

impl Scheduler<'_> {
    /// Takes a stage out that failed or cannot be run, and with it those that cannot do without it. Returns those that
    /// gather it and wait for nothing more. What was handed on stays, for its consumers name it by its content.
    pub(super) fn lose(&mut self, id: StageId) -> Vec<StageId> {
        let Some(lost) = self.agenda.lose(id) else { return Vec::new() };
        self.gone.insert(id);
        for (consumer, producer) in lost.with_it {
            self.gone.insert(consumer);
            self.skip(consumer, format!("`{}` failed", self.graph.stages[producer].name));
        }
        lost.free
    }

    pub(super) fn skip(&mut self, id: StageId, because: String) {
        self.agenda.close(id);
        self.tally.skipped += 1;
        self.emit(Event::Skipped { stage: self.name(id), because });
    }

    /// Whether a stage that gathers trials has some of each; it warns of those that are gone. One that has none is
    /// not run.
    pub(super) fn has_trials(&mut self, id: StageId) -> bool {
        if self.gone.is_empty() {
            return true;
        }
        let gathered = gathered(self.graph, id, &self.gone);
        if let Some(lost) = gathered.iter().find(|entry| entry.there.is_empty()) {
            let group = self.graph.stages[lost.away[0]].written_name();
            self.skip(id, format!("no trial of `{group}` succeeded"));
            return false;
        }
        let away: Vec<_> = gathered.iter().flat_map(|entry| &entry.away).map(|id| self.name(*id)).collect();
        if !away.is_empty() {
            let named = away.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let more = away.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let message = format!("goes on without {named}{more}, which failed");
            self.emit(Event::Notice { stage: self.name(id), notice: Notice::Warning { message } });
        }
        true
    }

    /// The failure of a trial in an earlier run, where it is not to be tried again.
    pub(super) fn known_failure(&self, id: StageId, key: &Digest) -> Option<KnownFailure> {
        let is_trial = self.graph.stages[id].trial.is_some();
        let again = self.options.retry_failed || self.options.forced.contains(&id);
        if !is_trial || again { None } else { self.cache.failure(key) }
    }

    /// Tells of a trial that failed in an earlier run, and loses it.
    pub(super) fn failed_before(&mut self, id: StageId, known: KnownFailure) -> Vec<StageId> {
        self.agenda.close(id);
        self.failures.push(id);
        self.emit(Event::Failed {
            stage: self.name(id),
            class: known.class,
            message: known.message,
            place: None,
            log: None,
            earlier_run: Some(known.run),
        });
        self.lose(id)
    }

    /// Whether a failure ends the run: that of a trial leaves its siblings to go on.
    pub(super) fn has_to_end(&self) -> bool {
        let counts = |id: &StageId| self.graph.stages[*id].trial.is_none();
        !self.options.keep_going && self.failures.iter().any(counts)
    }

    /// Counts failures: those of trials of which others succeeded are passed over, for the run did what it could be
    /// asked for. One whose result was handed on and then could not be kept is not: nobody went on without it, and what
    /// was made from it stands in the store where it does not. It is no result of the run.
    pub(super) fn count_failures(&mut self) {
        let graph = self.graph;
        let failures = self.failures.iter().copied();
        let unkept: BTreeSet<StageId> = failures.filter(|id| self.results.remove(id).is_some()).collect();
        let group = |id: &StageId| graph.stages[*id].trial.as_ref().map(|trial| trial.group.as_str());
        let succeeded: BTreeSet<&str> = self.results.keys().filter_map(group).collect();
        let is_passed_over =
            |id: &&StageId| !unkept.contains(id) && group(id).is_some_and(|group| succeeded.contains(group));
        self.tally.passed_over = self.failures.iter().filter(is_passed_over).count();
        self.tally.failed = self.failures.len() - self.tally.passed_over;
    }
}
