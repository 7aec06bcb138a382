//! Whether the answer can be trusted: leaks, the split, where the data comes from, seeds, what was tried, what was not
//! measured. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::artifact::ArtifactType;
use pacer_stages::split::{Part, Split};

use crate::leakage::{Check, Name, Verdict};
use crate::report::gather::Scoring;
use crate::report::leaks;
use crate::report::sections::course::texts;
use crate::report::sections::{Stored, counted, headed, listed};
use crate::report::{Block, Grid, Mark};

/// Files of one stage that are listed.
const FILES: usize = 6;

/// The section; `missing` are sections without data.
pub fn trust(stored: &Stored<'_>, missing: &[&str]) -> Vec<Block> {
    let mut blocks = headed(stored, scored);
    blocks.push(Block::Heading { words: "Leaks".into() });
    blocks.extend(leakage(stored));
    let heading_and_table = |words: &str, grid: Grid| match grid.rows.is_empty() {
        true => Vec::new(),
        false => vec![Block::Heading { words: words.into() }, Block::Table(grid)],
    };
    blocks.extend(heading_and_table("Users and workouts by part", splits(stored)));
    blocks.extend(heading_and_table("Where the data comes from", sources(stored)));
    let warnings = warned(stored);
    if !warnings.is_empty() {
        blocks.push(Block::Heading { words: "Warnings of stages".into() });
        blocks.extend(warnings);
    }
    blocks.push(Block::Heading { words: "Not measured".into() });
    blocks
        .extend(missing.iter().map(|title| Block::check(Mark::Open, format!("{title}: the run holds no data for it"))));
    blocks.push(Block::check(Mark::Open, "Other people, devices and sports than those in the test part"));
    let words = "What a choice made on these very figures costs: a choice belongs on the validation part";
    blocks.push(Block::check(Mark::Open, words));
    blocks
}

fn scored(scoring: &Scoring) -> Vec<Block> {
    let mut blocks = Vec::new();
    let Ok(answer) = &scoring.answer else { return blocks };
    let open = |words: String| Block::check(Mark::Open, words);
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
    blocks.push(Block::check(mark, words));
    let tried = counted(answer.tried, "configuration");
    let words =
        format!("Tried: {tried} scored on this part of this split in this store; the least of many is flattered");
    blocks.push(open(words));
    let users = answer.comparison.users;
    let mark = if users >= 10 { Mark::Good } else { Mark::Bad };
    blocks.push(Block::check(mark, format!("Scored: {}; an interval takes 10", counted(users, "user"))));
    blocks
}

/// Every check for leaks; those of many stages that came to the same are one line.
fn leakage(stored: &Stored<'_>) -> Vec<Block> {
    let mut lines: BTreeMap<(Name, String, String), (Check, BTreeSet<String>)> = BTreeMap::new();
    for mut check in stored.runs.iter().flat_map(|run| leaks::checks(stored.cache, run)) {
        let place = (check.name, without_count(&check.words), format!("{:?}", check.verdict));
        // The trials of a sweep are told by its name.
        let about = check.about.split('[').next().unwrap_or_default().to_owned();
        let (known, all) = lines.entry(place).or_insert_with(|| (check.clone(), BTreeSet::new()));
        if known.words != check.words {
            check.words = without_count(&check.words);
            *known = check;
        }
        all.insert(about);
    }
    if lines.is_empty() {
        return vec![Block::check(Mark::Open, "Nothing was divided or scored, so there is nothing to check")];
    }
    lines.into_values().map(|(check, about)| line(&check, &about)).collect()
}

/// `none of 7 inputs …` as `none of the inputs …`, so that stages with more and with fewer stand together.
fn without_count(words: &str) -> String {
    let Some(rest) = words.strip_prefix("none of ") else { return words.to_owned() };
    match rest.split_once(' ') {
        Some((count, rest)) if count.parse::<usize>().is_ok() => format!("none of the {rest}"),
        _ => words.to_owned(),
    }
}

fn line(check: &Check, about: &BTreeSet<String>) -> Block {
    let (mark, word) = match check.verdict {
        Verdict::Tight => (Mark::Good, "No leak"),
        Verdict::Leak => (Mark::Bad, "Leak"),
        Verdict::NotChecked => (Mark::Open, "Not checked"),
    };
    let meant = check.allowed.as_ref().map_or_else(String::new, |why| format!(". The pipeline says why: {why}"));
    let about = listed(about.iter().map(String::as_str));
    Block::check(mark, format!("{word}, {} ({about}): {}{meant}", looked_for(check.name), check.words))
}

/// What a check looks for.
const fn looked_for(name: Name) -> &'static str {
    match name {
        Name::Users => "users in several parts",
        Name::TimeOrder => "training on the future",
        Name::Duplicates => "the same run in two parts",
        Name::Seen => "model or scaler fitted on what is scored",
        Name::Target => "heart rate among the inputs",
        Name::TestChooses => "a choice by the test part",
    }
}

/// Users and workouts by part.
fn splits(stored: &Stored<'_>) -> Grid {
    let mut grid = Grid::new(["split", "by", "part", "users", "workouts"]);
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        let Some(result) = stage.result.as_ref().filter(|result| seen.insert(result.key)) else { continue };
        let artifact = result.artifacts.iter().find(|artifact| artifact.artifact == ArtifactType::Split);
        let read = artifact.and_then(|artifact| Split::read(&stored.cache.blob(artifact).ok()?).ok());
        let Some(split) = read else { continue };
        for part in Part::ALL {
            let of: Vec<i64> = split.parts.values().filter(|(own, _)| *own == part).map(|(_, user)| *user).collect();
            let users = of.iter().collect::<BTreeSet<_>>().len();
            let by = format!("{:?}", split.by).to_lowercase();
            grid.push([stage.name.clone(), by, part.name().to_owned(), users.to_string(), of.len().to_string()]);
        }
    }
    grid
}

/// What was read that no stage made, and what was simulated.
fn sources(stored: &Stored<'_>) -> Grid {
    let mut grid = Grid::new(["stage", "source", "digest"]);
    let stages = || stored.runs.iter().flat_map(|run| &run.stages);
    let results = || stages().filter_map(|stage| Some((stage, stage.result.as_ref()?)));
    let made: BTreeSet<String> =
        results().flat_map(|(_, result)| &result.artifacts).map(|artifact| artifact.digest.hex()).collect();
    let mut seen = BTreeSet::new();
    for (stage, result) in results().filter(|(_, result)| seen.insert(result.key)) {
        if result.record["kind"] == "synthesize" {
            let seed = result.record["seed"].as_u64().map_or_else(String::new, |seed| format!(", seed {seed}"));
            let what = result.artifacts.first().map_or_else(String::new, |artifact| artifact.digest.short());
            grid.push([stage.name.clone(), format!("SYNTHETIC: drawn by the simulator{seed}"), what]);
        }
        let mut digests = Vec::new();
        texts(&result.record["inputs"], &mut digests);
        let foreign: BTreeSet<&str> = digests.into_iter().filter(|digest| !made.contains(*digest)).collect();
        for digest in foreign.iter().take(FILES) {
            grid.push([
                stage.name.clone(),
                "a file that no stage of this run made".into(),
                digest.chars().take(12).collect(),
            ]);
        }
        if foreign.len() > FILES {
            let more = format!("{} more files", foreign.len() - FILES);
            grid.push([stage.name.clone(), more, String::new()]);
        }
    }
    grid
}

/// What stages warned of; the same words of many are one line.
fn warned(stored: &Stored<'_>) -> Vec<Block> {
    let mut lines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let stages = stored.runs.iter().flat_map(|run| &run.stages);
    for stage in stages {
        for words in stage.result.iter().flat_map(|result| &result.warnings) {
            lines.entry(words).or_default().insert(&stage.name);
        }
    }
    let line = |(words, names): (&str, BTreeSet<&str>)| Block::check(Mark::Open, format!("{}: {words}", listed(names)));
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_inputs_is_left_out_and_other_words_stay() {
        assert_eq!(without_count("none of 7 inputs is named so"), "none of the inputs is named so");
        assert_eq!(without_count("none of the 65 workouts scored"), "none of the 65 workouts scored");
        assert_eq!(without_count("each of 9 users"), "each of 9 users");
    }
}
