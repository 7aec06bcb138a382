//! Whether the answer can be trusted: the split, leaks, seeds, what was tried, what was not measured. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::artifact::ArtifactType;
use pacer_stages::split::{Part, Split, SplitBy};

use crate::report::gather::{Scoring, StageRun};
use crate::report::sections::{Stored, headed};
use crate::report::{Block, Grid, Mark};

/// The section; `missing` are sections without data.
pub fn trust(stored: &Stored<'_>, missing: &[&str]) -> Vec<Block> {
    let mut blocks = headed(stored, scored);
    let stages = stored.runs.iter().flat_map(|run| &run.stages);
    let mut seen = BTreeSet::new();
    for stage in stages.filter(|stage| stage.kind() == "split") {
        if stage.result.as_ref().is_some_and(|result| seen.insert(result.key)) {
            blocks.extend(split(stored, stage));
        }
    }
    let warnings: Vec<Block> = stored.runs.iter().flat_map(|run| &run.stages).flat_map(warned).collect();
    if !warnings.is_empty() {
        blocks.push(Block::Heading { words: "Warnings of stages".into() });
        blocks.extend(warnings);
    }
    blocks.push(Block::Heading { words: "Not measured".into() });
    let not = |words: &str| Block::Check { mark: Mark::Open, words: words.to_owned() };
    blocks.extend(missing.iter().map(|title| not(&format!("{title}: the run holds no data for it"))));
    blocks.push(not("Other people, devices and sports than those in the test part"));
    blocks.push(not("What a choice made on these very figures costs: a choice belongs on the validation part"));
    blocks
}

fn scored(scoring: &Scoring) -> Vec<Block> {
    let mut blocks = Vec::new();
    let Ok(answer) = &scoring.answer else { return blocks };
    let open = |words: String| Block::Check { mark: Mark::Open, words };
    blocks.extend(answer.notes.iter().cloned().map(open));
    let seeds: BTreeSet<u64> = answer.comparison.rows.iter().flat_map(|row| row.seeds.iter().copied()).collect();
    let least = answer.comparison.rows.iter().filter(|row| !row.seeds.is_empty()).map(|row| row.seeds.len()).min();
    let mark = if least.is_none_or(|least| least >= 6) { Mark::Good } else { Mark::Open };
    let words = match least {
        None => "Nothing that was scored draws at random, so there is no spread over seeds".to_owned(),
        Some(least) => format!(
            "Seeds: {} in all, {least} for the configuration with the fewest; fewer than 6 cannot decide a test over seeds",
            seeds.len()
        ),
    };
    blocks.push(Block::Check { mark, words });
    blocks.push(open(format!("{} configurations were scored on this part of this split in this store", answer.tried)));
    let users = answer.comparison.users;
    let mark = if users >= 10 { Mark::Good } else { Mark::Bad };
    blocks.push(Block::Check { mark, words: format!("{users} users were scored; intervals take 10") });
    blocks
}

/// Users and workouts by part, and whether parts are kept apart.
fn split(stored: &Stored<'_>, stage: &StageRun) -> Vec<Block> {
    let mut blocks = vec![Block::Heading { words: format!("The split of {}", stage.name) }];
    let artifact = stage
        .result
        .as_ref()
        .and_then(|result| result.artifacts.iter().find(|artifact| artifact.artifact == ArtifactType::Split));
    let read = artifact.and_then(|artifact| Split::read(&stored.cache.blob(artifact).ok()?).ok());
    let Some(split) = read else {
        blocks.push(Block::Check { mark: Mark::Open, words: "Leaks: the split is not in the store any more".into() });
        return blocks;
    };
    let mut parts: BTreeMap<i64, BTreeSet<Part>> = BTreeMap::new();
    for (part, user) in split.parts.values() {
        parts.entry(*user).or_default().insert(*part);
    }
    let torn = parts.values().filter(|parts| parts.len() > 1).count();
    let (mark, words) = match split.by {
        SplitBy::User if torn == 0 => (Mark::Good, format!("Users: each of {} is in one part", parts.len())),
        SplitBy::Time => (Mark::Good, format!("Users: the split is by time, so {torn} users are known on purpose")),
        SplitBy::User | SplitBy::Workout => (
            Mark::Bad,
            format!(
                "Users: {torn} of {} stand in several parts, so that the test is no test on strangers",
                parts.len()
            ),
        ),
    };
    blocks.push(Block::Check { mark, words });
    let mut grid = Grid::new(["part", "users", "workouts"]);
    for part in Part::ALL {
        let of: Vec<i64> = split.parts.values().filter(|(own, _)| *own == part).map(|(_, user)| *user).collect();
        let users = of.iter().collect::<BTreeSet<_>>().len();
        grid.push([part.name().to_owned(), users.to_string(), of.len().to_string()]);
    }
    blocks.push(Block::Table(grid));
    blocks
}

fn warned(stage: &StageRun) -> Vec<Block> {
    let warnings = stage.result.iter().flat_map(|result| &result.warnings);
    warnings.map(|words| Block::Check { mark: Mark::Open, words: format!("{}: {words}", stage.name) }).collect()
}
