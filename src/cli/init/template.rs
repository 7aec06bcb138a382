//! Makes a pipeline for somebody from the pipelines that ship, so that it is as right as they are. Unaware of files.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cli::init::Goal;
use crate::cli::init::look::{Found, Sort};
use crate::cli::project::quoted;

/// The schema that a new pipeline names; it is written beside it.
pub const SCHEMA_FILE: &str = "pacer.schema.json";

const APPLE: &str = include_str!("../../../pipelines/apple_watch.toml");
const FILES: &str = include_str!("../../../pipelines/my_runs.toml");
const FITREC: &str = include_str!("../../../pipelines/personal.toml");

/// Where what trains begins.
const SPLIT: &str = "[stages.split]";

/// The share of the runs that the shipped pipelines hold out.
const TEST: f64 = 0.3;

/// The share of the runners that is held out where runners are.
const TEST_RUNNERS: f64 = 0.15;

/// The share for choosing the epoch.
const VALIDATION: f64 = 0.15;

/// The text of a pipeline at `file` for what was found at `data`.
pub fn pipeline(file: &Path, data: &Path, found: &Found, goal: Goal, test: Option<f64>) -> Result<String> {
    let shipped = match found.sort {
        Sort::Apple => APPLE,
        Sort::Files => FILES,
        Sort::FitRec => FITREC,
    };
    let body = shipped.find("[pipeline]").map(|at| &shipped[at..]).context("a pipeline has a header")?;
    let stem = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let mut text = body.to_owned();
    set(&mut text, "name", &toml_text(&stem));
    set(&mut text, "description", &toml_text(question(goal)));
    text = with_data(&text, parameter(found.sort), &written(file, data)?)?;
    match goal {
        Goal::Look => text = without_training(&text)?,
        Goal::LaterRuns => hold_out(&mut text, test.unwrap_or(TEST)),
        Goal::Strangers => text = for_strangers(&text, test.unwrap_or(TEST_RUNNERS))?,
    }
    Ok(header(file, found, goal) + &text)
}

/// The stage or artifact that answers the question first.
pub const fn answer(goal: Goal) -> &'static str {
    match goal {
        Goal::Look => "correlate.ladder",
        Goal::LaterRuns | Goal::Strangers => "evaluate",
    }
}

const fn question(goal: Goal) -> &'static str {
    match goal {
        Goal::Look => "What these recordings are worth",
        Goal::LaterRuns => "Known runners: how well is the heart rate of later runs told?",
        Goal::Strangers => "Runners whom no model has seen: how well is their heart rate told?",
    }
}

const fn parameter(sort: Sort) -> &'static str {
    match sort {
        Sort::Apple => "data.apple",
        Sort::Files => "data.runs",
        Sort::FitRec => "data.workouts",
    }
}

fn header(file: &Path, found: &Found, goal: Goal) -> String {
    let name = quoted(&file.display().to_string());
    let rows = [
        (format!("pacer check {name}"), "every fault, before anything runs"),
        (format!("pacer run {name}"), "runs what is not done yet"),
        (format!("pacer show {name} {}", answer(goal)), "the answer"),
        (format!("pacer show {name} import.set_aside"), "what was not used, and why"),
    ];
    let width = rows.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let rows: String = rows.iter().map(|(command, what)| format!("#   {command:width$}   {what}\n")).collect();
    // What was found may bear any name, but a comment ends with its line.
    let found = found.words.replace(|c: char| c.is_control(), " ");
    format!(
        "#:schema {SCHEMA_FILE}\n# {}\n#\n{rows}#\n# Made by `pacer init` for {found}.\n\
         # It is yours to change: `pacer stages KIND` describes what a stage of that kind can be told.\n\n",
        question(goal)
    )
}

/// The path as it stands in the pipeline, from whose folder a relative one starts.
fn written(file: &Path, data: &Path) -> Result<String> {
    let is_beside = file.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    let path = if is_beside { data.to_owned() } else { std::path::absolute(data)? };
    let path = path.to_str().with_context(|| format!("`{}` is not UTF-8: rename it", path.display()))?;
    Ok(path.to_owned())
}

/// Gives the parameter of the recordings a value, and takes out the remark that it has none.
fn with_data(text: &str, name: &str, path: &str) -> Result<String> {
    let (before, after) = text.split_once("[params]\n").context("a pipeline has parameters")?;
    let before = before.trim_end().lines().rev().skip_while(|line| line.starts_with('#')).collect::<Vec<_>>();
    let before: Vec<_> = before.into_iter().rev().collect();
    let remark = "# Each of these can be set on the command line: --set NAME=VALUE";
    let value = toml_text(path);
    Ok(format!("{}\n\n{remark}\n[params]\n{name} = {value}\n{after}", before.join("\n").trim_end()))
}

/// Cuts off the split and all that follows it.
fn without_training(text: &str) -> Result<String> {
    let at = text.find(SPLIT).context("a pipeline has a split")?;
    let kept: Vec<_> = text[..at].trim_end().lines().collect();
    let end = kept.iter().rposition(|line| !line.starts_with('#')).map_or(0, |last| last + 1);
    let trains = |line: &&&str| !line.starts_with("train.");
    Ok(kept[..end].iter().filter(trains).copied().collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n")
}

fn hold_out(text: &mut String, test: f64) {
    set(text, "train", &number(1.0 - VALIDATION - test));
    set(text, "validation", &number(VALIDATION));
    set(text, "test", &number(test));
}

/// Splits by runner, and leaves out the baseline that only knows runners whom it has seen.
fn for_strangers(text: &str, test: f64) -> Result<String> {
    let mut text = text.replace("by = \"time\"\ntrain", "by = \"user\"\ntrain");
    let remark = "# Each runner's runs in the order of their dates: first train, then validate, the last test.";
    text = text.replace(remark, "# Each runner stands in one part alone: nobody in the test has been seen.");
    let at = text.find("[stages.user_mean]").context("there is such a stage")?;
    let end = text[at..].find("\n\n").context("others follow")? + at + 2;
    text.replace_range(at..end, "");
    text = text.replace(" user_mean = \"user_mean\",", "");
    hold_out(&mut text, test);
    Ok(text)
}

/// Sets the first key of this name that begins a line.
fn set(text: &mut String, key: &str, value: &str) {
    let start = format!("\n{key} = ");
    if let Some(at) = text.find(&start) {
        let from = at + start.len();
        let to = text[from..].find('\n').map_or(text.len(), |length| from + length);
        text.replace_range(from..to, value);
    }
}

/// A share without the dust of arithmetic.
fn number(share: f64) -> String {
    ((share * 1000.0).round() / 1000.0).to_string()
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sort: Sort, goal: Goal) -> String {
        let found = Found { sort, words: "3 files: 3 FIT in runs".into() };
        pipeline(Path::new("my runs.toml"), Path::new("runs"), &found, goal, None).unwrap()
    }

    #[test]
    fn the_whole_text_of_a_pipeline_that_only_looks() {
        let text = made(Sort::FitRec, Goal::Look);
        let (top, stages) = text.split_once("# A file in the FitRec format").unwrap();
        assert_eq!(
            top,
            "#:schema pacer.schema.json\n\
             # What these recordings are worth\n\
             #\n\
             #   pacer check 'my runs.toml'                   every fault, before anything runs\n\
             #   pacer run 'my runs.toml'                     runs what is not done yet\n\
             #   pacer show 'my runs.toml' correlate.ladder   the answer\n\
             #   pacer show 'my runs.toml' import.set_aside   what was not used, and why\n\
             #\n\
             # Made by `pacer init` for 3 files: 3 FIT in runs.\n\
             # It is yours to change: `pacer stages KIND` describes what a stage of that kind can be told.\n\n\
             [pipeline]\nname = \"my runs\"\ndescription = \"What these recordings are worth\"\nseed = 1\n\n\
             # Each of these can be set on the command line: --set NAME=VALUE\n\
             [params]\ndata.workouts = \"runs\"\n\n"
        );
        assert!(stages.ends_with("inputs.processed = { runs = \"filter\" }\n"), "{stages}");
        assert!(!stages.contains("[stages.split]"));
    }

    #[test]
    fn later_runs_and_strangers_are_split_as_they_say() {
        let later = made(Sort::Apple, Goal::LaterRuns);
        assert!(later.contains("by = \"time\"\ntrain = 0.55\nvalidation = 0.15\ntest = 0.3\n"), "{later}");
        assert!(later.contains("data.apple = \"runs\"\ntrain.epochs = 60\n"), "{later}");
        let strangers = made(Sort::FitRec, Goal::Strangers);
        assert!(strangers.contains("by = \"user\"\ntrain = 0.7\nvalidation = 0.15\ntest = 0.15\n"), "{strangers}");
        assert!(!strangers.contains("user_mean"), "{strangers}");
        assert!(!strangers.contains("on purpose"), "{strangers}");
    }

    #[test]
    fn a_pipeline_in_another_folder_names_the_recordings_from_the_root() {
        assert_eq!(written(Path::new("p.toml"), Path::new("runs")).unwrap(), "runs");
        assert!(Path::new(&written(Path::new("sub/p.toml"), Path::new("runs")).unwrap()).is_absolute());
    }
}
