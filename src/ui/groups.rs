//! Rows of stages in which many trials of one sweep are one row, so that hundreds of them do not fill a terminal.
//! The same for what a
//! run tells. Unaware of what the columns say.

use std::collections::{BTreeMap, HashMap};

use crate::graph::{Graph, StageId, Trial};
use crate::ui::output;

/// A sweep of more trials than this is one row for each way that they stand.
pub const FEW_TRIALS: usize = 12;

/// Stages that stand alike, and what they are called together.
pub struct Group<'a, T> {
    /// The name: of the stage, or `lstm[…] × 20`.
    pub name: String,
    /// The stages.
    pub members: Vec<&'a T>,
}

/// Groups rows in their order: the trials of a large sweep by the way that they stand, all others alone.
pub fn group<'a, T, W: PartialEq>(
    graph: &Graph,
    rows: &'a [T],
    id: impl Fn(&T) -> StageId,
    way: impl Fn(&T) -> W,
) -> Vec<Group<'a, T>> {
    let written = |row: &T| graph.stages[id(row)].trial.as_ref().map(|trial| trial.group.as_str());
    let mut sizes = HashMap::new();
    rows.iter().filter_map(written).for_each(|name| *sizes.entry(name).or_insert(0_usize) += 1);
    let mut groups: Vec<Group<'a, T>> = Vec::new();
    let mut large: Vec<(&str, W, usize)> = Vec::new();
    for row in rows {
        let Some(name) = written(row).filter(|name| sizes[name] > FEW_TRIALS) else {
            groups.push(Group { name: graph.stages[id(row)].name.clone(), members: vec![row] });
            continue;
        };
        let way = way(row);
        match large.iter().find(|(known, stands, _)| *known == name && *stands == way) {
            Some((_, _, at)) => groups[*at].members.push(row),
            None => {
                large.push((name, way, groups.len()));
                groups.push(Group { name: name.to_owned(), members: vec![row] });
            }
        }
    }
    for (name, _, at) in large {
        groups[at].name = format!("{name}[…] × {}", groups[at].members.len());
    }
    groups
}

/// The large sweeps of a run: how many trials they have, and how many of these have ended.
#[derive(Debug, Default)]
pub struct Sweeps {
    groups: BTreeMap<String, (usize, usize)>,
    members: HashMap<String, String>,
}

impl Sweeps {
    /// Finds the large ones among the trials of a run.
    pub fn of(trials: &BTreeMap<String, Trial>) -> Self {
        let mut sweeps = Self::default();
        for trial in trials.values() {
            sweeps.groups.entry(trial.group.clone()).or_default().0 += 1;
        }
        sweeps.groups.retain(|_, (all, _)| *all > FEW_TRIALS);
        let large = trials.iter().filter(|(_, trial)| sweeps.groups.contains_key(&trial.group));
        sweeps.members = large.map(|(name, trial)| (name.clone(), trial.group.clone())).collect();
        sweeps
    }

    /// Whether a stage is a trial of a large sweep.
    pub fn is_large(&self, stage: &str) -> bool {
        self.members.contains_key(stage)
    }

    /// What a stage is called where large sweeps are told as one.
    pub fn name<'a>(&'a self, stage: &'a str) -> &'a str {
        self.members.get(stage).map_or(stage, String::as_str)
    }

    /// A trial has ended; says how many have, at each tenth of them.
    pub fn ended(&mut self, stage: &str) -> Option<(String, String)> {
        let group = self.members.get(stage)?;
        let (all, ended) = self.groups.get_mut(group)?;
        *ended += 1;
        let is_tenth = *ended * 10 / *all > (*ended - 1) * 10 / *all;
        let words = || format!("{} of {} ended", output::count(*ended), output::count(*all));
        is_tenth.then(|| (group.clone(), words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_sweep_every_tenth_trial_is_told_and_a_small_one_is_left_alone() {
        let trial = |group: &str| Trial { group: group.into(), coordinates: Vec::new() };
        let large = (0..40).map(|at| (format!("lstm[seed={at}]"), trial("lstm")));
        let small = (0..3).map(|at| (format!("gru[seed={at}]"), trial("gru")));
        let mut sweeps = Sweeps::of(&large.chain(small).collect());
        assert!(sweeps.is_large("lstm[seed=7]") && !sweeps.is_large("gru[seed=0]"));
        assert_eq!((sweeps.name("lstm[seed=7]"), sweeps.name("split")), ("lstm", "split"));
        let told: Vec<_> = (0..40).filter_map(|at| sweeps.ended(&format!("lstm[seed={at}]"))).collect();
        assert_eq!(told.len(), 10);
        assert_eq!(told[0].1, "4 of 40 ended");
        assert_eq!(sweeps.ended("gru[seed=0]"), None);
    }
}
