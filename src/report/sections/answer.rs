//! The answer: a verdict for each candidate, and the differences behind it. Unaware of HTML.

use pacer_stages::comparison::errors::Family;
use pacer_stages::comparison::verdict::Verdict;
use pacer_stages::comparison::{Difference, Row};

use crate::compare::Answer;
use crate::report::figures::forest::forest;
use crate::report::figures::two;
use crate::report::gather::Scoring;
use crate::report::sections::{Stored, figure, headed};
use crate::report::{Block, Grid, Mark};

/// A sentence, and a verdict for each candidate.
pub fn answer(stored: &Stored<'_>) -> Vec<Block> {
    if stored.scorings.is_empty() {
        return vec![Block::words(
            "No model was scored in this run, so there is nothing to compare; what it did is told below.",
        )];
    }
    headed(stored, scored)
}

fn scored(scoring: &Scoring) -> Vec<Block> {
    let Ok(answer) = &scoring.answer else {
        let error = scoring.answer.as_ref().err().cloned().unwrap_or_default();
        return vec![Block::words(format!("These models cannot be compared: {error}."))];
    };
    let comparison = &answer.comparison;
    let mut blocks = Vec::new();
    if let Some(best) = comparison.rows.iter().min_by(|a, b| a.mae.total_cmp(&b.mae)) {
        blocks.push(Block::words(format!(
            "The least error has {}: {} BPM mean absolute error over {} users and {} workouts ({}). It is the least of {} \
             configurations seen on this part, which flatters it.",
            best.name,
            two(best.mae),
            comparison.users,
            comparison.workouts,
            basis(answer),
            answer.tried
        )));
    }
    let verdicts = comparison.rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?)));
    blocks.extend(verdicts.map(|(row, difference)| verdict(row, difference)));
    blocks
}

fn basis(answer: &Answer) -> String {
    let basis = &answer.basis;
    let [data, split, part] = [&basis.data, &basis.split, &basis.part].map(|values| values.join(" and "));
    format!("{data} data, split by {split}, part {part}")
}

/// The verdict on a candidate.
pub fn verdict(row: &Row, it: &Difference) -> Block {
    let (verdict, mark) = match it.judgement.verdict {
        Verdict::Better => ("Better", Mark::Good),
        Verdict::Worse => ("Worse", Mark::Bad),
        Verdict::Same => ("Same within margin", Mark::Open),
        Verdict::CannotTell => ("Cannot tell", Mark::Open),
    };
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
    let needed = [needs.units.map(|n| format!("{n} users")), needs.seeds.map(|n| format!("{n} seeds"))];
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
        if !answer.differs.is_empty() {
            blocks.push(Block::words("What differs between the configurations:"));
            blocks.push(Block::Table(differing(answer)));
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

fn differing(answer: &Answer) -> Grid {
    let names: Vec<&String> = answer.comparison.rows.iter().map(|row| &row.name).collect();
    let mut grid = Grid::new(["parameter"]);
    grid.header.extend(names.iter().map(|name| (*name).clone()));
    for (path, values) in answer.differs.iter().filter(|(path, _)| !path.starts_with("code")) {
        let cells = names.iter().map(|name| values.get(*name).cloned().unwrap_or_default());
        grid.rows.push(std::iter::once(path.clone()).chain(cells).collect());
    }
    grid
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
