//! The answer: a verdict for each candidate, and the differences behind it. Unaware of HTML.

use std::collections::BTreeMap;

use pacer_stages::comparison::errors::Family;
use pacer_stages::comparison::verdict::Verdict;
use pacer_stages::comparison::{Difference, Row};

use crate::compare::Answer;
use crate::report::figures::forest::forest;
use crate::report::figures::{plain, two};
use crate::report::gather::{Run, Scoring, StageRun};
use crate::report::sections::course::unfinished;
use crate::report::sections::{Stored, counted, figure, headed};
use crate::report::{Block, Grid, Mark};

/// Configurations that have a column each where parameters are set side by side.
const ACROSS: usize = 4;

/// Verdicts that stand one below the other; more are a table.
const VERDICTS: usize = 12;

/// A sentence, and a verdict for each candidate.
pub fn answer(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    if stored.runs.len() > 1 {
        let named = |(at, run): (usize, &Run)| format!("run {} is {}", at + 1, run.summary.run);
        let named: Vec<String> = stored.runs.iter().enumerate().map(named).collect();
        blocks.push(Block::words(format!("Here {}.", named.join(", "))));
    }
    blocks.extend(stored.runs.iter().filter_map(unfinished));
    if stored.scorings.is_empty() {
        let words = "No model was scored on a part of a split here, so there is nothing to compare; what was done is told \
                     below.";
        blocks.push(Block::words(words));
        blocks.extend(validated(stored));
    }
    blocks.extend(headed(stored, scored));
    blocks
}

/// The least error that a training told of the validation part, where nothing was scored.
fn validated(stored: &Stored<'_>) -> Option<Block> {
    let stages = stored.runs.iter().flat_map(|run| &run.stages);
    let error = |stage: &StageRun| stage.result.as_ref()?.metrics.get("validation_mae")?.as_f64();
    let errors: Vec<(f64, &str)> = stages.filter_map(|stage| Some((error(stage)?, stage.name.as_str()))).collect();
    let (mae, name) = errors.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Block::words(format!(
        "Of {}, {name} came to the least error on the validation part by which it was stopped: {} BPM.",
        counted(errors.len(), "training"),
        two(*mae)
    )))
}

fn scored(scoring: &Scoring) -> Vec<Block> {
    let Ok(answer) = &scoring.answer else {
        let error = scoring.answer.as_ref().err().cloned().unwrap_or_default();
        return vec![Block::words(format!("These models cannot be compared: {error}."))];
    };
    let comparison = &answer.comparison;
    let mut blocks = Vec::new();
    let mut judged: Vec<(&Row, &Difference)> =
        comparison.rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?))).collect();
    judged.sort_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean));
    if let Some(best) = comparison.rows.iter().min_by(|a, b| a.mae.total_cmp(&b.mae)) {
        blocks.push(Block::words(format!(
            "{} has the least error: {} BPM (mean absolute error) over {} and {} ({}){}. {}",
            best.name,
            two(best.mae),
            counted(comparison.users, "user"),
            counted(comparison.workouts, "workout"),
            basis(answer),
            flattered(answer.tried),
            tally(&judged)
        )));
    }
    match judged.len() {
        0..=VERDICTS => blocks.extend(judged.iter().map(|(row, difference)| verdict(row, difference))),
        _ => blocks.push(Block::Table(verdicts(&judged))),
    }
    blocks
}

fn flattered(tried: usize) -> String {
    match tried {
        0 | 1 => String::new(),
        n => format!(", the least of {n} configurations seen on this part, which flatters it"),
    }
}

/// How many candidates came to which verdict.
fn tally(judged: &[(&Row, &Difference)]) -> String {
    let all = [
        (Verdict::Better, "better than its baseline"),
        (Verdict::Worse, "worse"),
        (Verdict::Same, "the same within the margin"),
        (Verdict::CannotTell, "undecided"),
    ];
    let count = |verdict: Verdict| judged.iter().filter(|(_, it)| it.judgement.verdict == verdict).count();
    let told = all.into_iter().map(|(verdict, words)| (count(verdict), words)).filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, words)| format!("{count} {words}")).collect();
    match judged.len() {
        0 => String::new(),
        n => format!("Of {}: {}.", counted(n, "candidate"), told.join(", ")),
    }
}

/// Verdicts too many to stand one below the other.
fn verdicts(judged: &[(&Row, &Difference)]) -> Grid {
    let mut grid = Grid::new(["verdict", "candidate", "against", "difference (BPM)", "low", "high", "because"]);
    for (row, it) in judged {
        let (word, mark) = told(it.judgement.verdict);
        let [low, high] = it.interval.map_or([String::new(), String::new()], |ends| ends.map(two));
        let because = it.judgement.because.join("; ");
        let verdict = format!("{} {word}", mark.sign());
        grid.push([verdict, row.name.clone(), it.baseline.clone(), two(it.mean), low, high, because]);
    }
    grid
}

const fn told(verdict: Verdict) -> (&'static str, Mark) {
    match verdict {
        Verdict::Better => ("Better", Mark::Good),
        Verdict::Worse => ("Worse", Mark::Bad),
        Verdict::Same => ("Same within margin", Mark::Open),
        Verdict::CannotTell => ("Cannot tell", Mark::Open),
    }
}

fn basis(answer: &Answer) -> String {
    let basis = &answer.basis;
    let [data, split, part] = [&basis.data, &basis.split, &basis.part].map(|values| values.join(" and "));
    format!("{data} data, split by {split}, part {part}")
}

/// The verdict on a candidate.
pub fn verdict(row: &Row, it: &Difference) -> Block {
    let (verdict, mark) = told(it.judgement.verdict);
    let interval =
        it.interval.map_or_else(String::new, |[low, high]| format!(" (95 %: {} to {})", two(low), two(high)));
    let mut words = format!(
        "{} against {}: {} BPM{interval}; {:.0} % of the users improve",
        row.name,
        it.baseline,
        two(it.mean),
        100.0 * it.improved
    );
    if !it.judgement.because.is_empty() {
        words.push_str(&format!(". Why no more can be said: {}", it.judgement.because.join("; ")));
    }
    let needs = it.judgement.needs;
    let needed = [needs.units.map(|n| counted(n, "user")), needs.seeds.map(|n| counted(n, "seed"))];
    let needed: Vec<String> = needed.into_iter().flatten().collect();
    if !needed.is_empty() {
        words.push_str(&format!(". It would take about {}", needed.join(" and ")));
    }
    Block::Verdict { verdict: verdict.into(), mark, words: words + "." }
}

/// The forest of differences, what differs, and the configurations.
pub fn differences(stored: &Stored<'_>) -> Vec<Block> {
    headed(stored, |scoring| {
        let Ok(answer) = &scoring.answer else { return Vec::new() };
        let mut blocks = figure(forest(&answer.comparison));
        blocks.push(Block::Table(configurations(&answer.comparison.rows)));
        let grid = differing(answer);
        if !grid.rows.is_empty() && grid.header.len() > 1 {
            blocks.push(Block::words("What differs between the configurations, and nothing else:"));
            blocks.push(Block::Table(grid));
        }
        blocks
    })
}

fn configurations(rows: &[Row]) -> Grid {
    let mut grid = Grid::new([
        "configuration",
        "seeds",
        "MAE (BPM)",
        "sd over seeds",
        "MAE over samples",
        "bias",
        "worst tenth of users",
    ]);
    for row in rows {
        let sd = row.sd.map(two).unwrap_or_default();
        let seeds = row.trainings.len().to_string();
        grid.push([
            row.name.clone(),
            seeds,
            two(row.mae),
            sd,
            two(row.mae_points),
            two(row.bias),
            two(row.worst_tenth),
        ]);
    }
    grid
}

/// The parameters that differ; many configurations stand one below the other.
fn differing(answer: &Answer) -> Grid {
    let names: Vec<&String> = answer.comparison.rows.iter().map(|row| &row.name).collect();
    let differs: Vec<_> = answer.differs.iter().filter(|(path, _)| !path.starts_with("code")).collect();
    let cell = |values: &BTreeMap<String, String>, name: &String| {
        values.get(name).map_or_else(String::new, |leaf| readable(leaf))
    };
    if names.len() > ACROSS {
        let mut grid = Grid::new(["configuration"]);
        grid.header.extend(differs.iter().map(|(path, _)| (*path).clone()));
        for name in names {
            let cells = differs.iter().map(|(_, values)| cell(values, name));
            grid.rows.push(std::iter::once(name.clone()).chain(cells).collect());
        }
        return grid;
    }
    let mut grid = Grid::new(["parameter"]);
    grid.header.extend(names.iter().map(|name| (*name).clone()));
    for (path, values) in differs {
        let cells = names.iter().map(|name| cell(values, name));
        grid.rows.push(std::iter::once(path.clone()).chain(cells).collect());
    }
    grid
}

/// A leaf of a record, which is JSON, as a person would write it.
fn readable(leaf: &str) -> String {
    serde_json::from_str(leaf).map_or_else(|_| leaf.to_owned(), |value| plain(&value))
}

/// Errors by part of the points, a column for each configuration.
pub fn parts(answer: &Answer, families: &[Family]) -> Option<Grid> {
    let rows: Vec<(&Row, &Difference)> =
        answer.comparison.rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?))).collect();
    let (_, first) = rows.first()?;
    let same = rows.iter().filter(|(_, it)| it.baseline == first.baseline);
    let same: Vec<_> = same.collect();
    let mut grid = Grid::new(["part", "users", "samples"]);
    grid.header.push(first.baseline.clone());
    grid.header.extend(same.iter().map(|(row, _)| row.name.clone()));
    for (at, part) in first.parts.iter().enumerate().filter(|(_, part)| families.contains(&part.family)) {
        let cells = same.iter().map(|(_, it)| it.parts.get(at).map(|part| two(part.mae)).unwrap_or_default());
        let named = [part.name.clone(), part.units.to_string(), part.points.to_string(), two(part.baseline)];
        grid.rows.push(named.into_iter().chain(cells).collect());
    }
    Some(grid)
}
