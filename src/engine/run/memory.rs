//! How much memory a stage's worker is expected to take. Unaware of how much there is.

use std::collections::BTreeMap;

use pacer_stages::kind::Place;

use crate::cache::Cache;
use crate::engine::records::Results;
use crate::graph::{Graph, StageId};
use crate::index::Index;

/// Results of siblings of which the memory is looked up.
const LOOKED_AT: usize = 8;

/// The most memory that workers took so far, by the name of their stage in the file.
#[derive(Default)]
pub(super) struct Peaks(BTreeMap<String, u64>);

impl Peaks {
    /// The memory that a stage's worker is expected to take at most: the most that one of its trials took, in this run
    /// or before; 0 where that is not known.
    pub(super) fn expected(
        &mut self,
        graph: &Graph,
        id: StageId,
        results: &Results,
        index: &mut Index,
        cache: &Cache,
    ) -> u64 {
        let stage = &graph.stages[id];
        if !matches!(stage.kind.place, Place::Worker) {
            return 0;
        }
        if let Some(peak) = self.0.get(stage.written_name()) {
            return *peak;
        }
        let is_sibling = |other: &&StageId| graph.stages[**other].written_name() == stage.written_name();
        let siblings = results.iter().filter(|(other, _)| is_sibling(other)).map(|(_, hit)| hit.key);
        let mut keys: Vec<_> = siblings.take(LOOKED_AT).collect();
        keys.extend(index.earlier(&stage.name, &cache.store).into_iter().take(LOOKED_AT));
        let peaks = keys.iter().filter_map(|key| cache.result(key).ok()?.peak_bytes);
        let peak = peaks.max().unwrap_or(0);
        // Nothing is known until a first one has run.
        self.0.insert(stage.written_name().to_owned(), peak);
        peak
    }

    /// A worker of a stage took so much.
    pub(super) fn learn(&mut self, name: &str, peak: u64) {
        let known = self.0.entry(name.to_owned()).or_default();
        *known = peak.max(*known);
    }
}
