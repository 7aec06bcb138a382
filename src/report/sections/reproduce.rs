//! How to make a run again: the command, the pipeline as it was, its lock, versions and devices. Unaware of HTML.
//!
//! Values of environment variables stand in records and are left out here: they may be secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cache::{Hit, StageResult};
use crate::digest::Digest;
use crate::lockfile::LockFile;
use crate::report::gather::Run;
use crate::report::sections::{Stored, counted};
use crate::report::{Block, Grid};

/// What it takes to make the results again.
pub fn reproduce(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for run in &stored.runs {
        if stored.runs.len() > 1 {
            blocks.push(Block::Heading { words: format!("Run {}", run.summary.run) });
        }
        blocks.push(Block::words(steps(run)));
        blocks.push(Block::Code { text: commands(run) });
        blocks.push(Block::Table(versions(run)));
        let name = file_name(run);
        if let Some(text) = &run.text {
            let blocks_within = vec![Block::Code { text: text.clone() }];
            blocks.push(Block::Fold { title: format!("The pipeline as it was: {name}"), blocks: blocks_within });
        }
        let (lock, stages) = lock(run);
        let title = format!("The lock of {}: {}", counted(stages, "stage"), name.replace(".toml", ".lock"));
        blocks.push(Block::Fold { title, blocks: vec![Block::Code { text: lock }] });
        let codes = codes(run);
        let title = format!("Code, seed and parameters of {}", counted(codes.rows.len(), "stage"));
        blocks.push(Block::Fold { title, blocks: vec![Block::Table(codes)] });
    }
    blocks
}

fn file_name(run: &Run) -> String {
    run.summary.path.file_name().map_or_else(|| "pipeline.toml".into(), |name| name.to_string_lossy().into_owned())
}

fn steps(run: &Run) -> String {
    let name = file_name(run);
    match (&run.text, &run.recipe) {
        (Some(_), Some(_)) => format!(
            "Save the pipeline below as {name} and its lock beside it, take the versions below, and run; `--locked` tells \
             where anything comes out otherwise."
        ),
        _ => "The pipeline’s text and the words of the command were not kept with this run; its lock and the parameters of \
              each stage are below."
            .to_owned(),
    }
}

fn commands(run: &Run) -> String {
    let words = match &run.recipe {
        Some(recipe) => recipe.command.clone(),
        None => vec!["run".to_owned(), run.summary.path.display().to_string()],
    };
    let words: Vec<String> = words.into_iter().filter(|word| word != "--lock" && word != "--locked").collect();
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    format!("pacer {command} --locked\npacer report {}", run.summary.run)
}

/// A word as a person would type it in a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-/=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn versions(run: &Run) -> Grid {
    let mut grid = Grid::new(["what", "value"]);
    let mut push = |what: &str, value: String| grid.push([what.to_owned(), value]);
    push("pipeline file", run.summary.path.display().to_string());
    if let Some(recipe) = &run.recipe {
        push("pacer", recipe.pacer.clone());
        push("system", recipe.system.clone());
        let processor = recipe.processor.as_deref().unwrap_or("a processor whose name is not told");
        push("processor", format!("{processor}, {}", counted(recipe.threads, "thread")));
        if let Some([version, instructions]) = &recipe.libtorch {
            push("LibTorch", format!("{version}, {instructions} instructions"));
            let gpus = if recipe.gpus.is_empty() { "none".to_owned() } else { recipe.gpus.join(", ") };
            push("GPUs that it could use", gpus);
        }
    }
    let devices: BTreeSet<&str> = run.stages.iter().filter_map(|stage| stage.device.as_deref()).collect();
    let devices = devices.into_iter().collect::<Vec<_>>().join(", ");
    push("devices that computed", if devices.is_empty() { "none: all was reused".into() } else { devices });
    let results = run.stages.iter().filter_map(|stage| stage.result.as_ref());
    let classes: BTreeSet<String> = results.filter_map(|result| class(&result.record["numeric"])).collect();
    classes.into_iter().for_each(|class| push("numbers made with", class));
    push("libraries", libraries(run));
    grid
}

/// What decides the rounding of a computation, in words.
fn class(numeric: &Value) -> Option<String> {
    let entries = numeric.as_object()?;
    let told = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(entries.iter().map(|(name, value)| format!("{name} {}", told(value))).collect::<Vec<_>>().join(", "))
}

/// The lock file of what was made, and how many stages it locks.
fn lock(run: &Run) -> (String, usize) {
    let mut file = LockFile::new();
    for stage in &run.stages {
        if let Some(result) = &stage.result {
            let artifacts = result.artifacts.clone();
            file.lock(
                &stage.name,
                &Hit { key: result.key, artifacts, seconds: result.seconds, stamp: None, afar: false },
            );
        }
    }
    (file.text(), file.stages().count())
}

/// The fingerprint of the code, the seed and the parameters of each stage.
fn codes(run: &Run) -> Grid {
    let mut grid = Grid::new(["stage", "kind", "code", "seed", "parameters"]);
    let stages: BTreeMap<&str, &StageResult> =
        run.stages.iter().filter_map(|stage| Some((stage.name.as_str(), stage.result.as_ref()?))).collect();
    for (name, result) in stages {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seed = result.record["seed"].as_u64().map_or_else(String::new, |seed| seed.to_string());
        let parameters = result.record["params"].to_string();
        grid.push([name.to_owned(), text(&result.record["kind"]), code(&result.record["code"]), seed, parameters]);
    }
    grid
}

/// One fingerprint for those of all parts that a kind is made of.
fn code(code: &Value) -> String {
    Digest::of(code.to_string().as_bytes()).short()
}

/// The libraries that the stages computed with.
fn libraries(run: &Run) -> String {
    let codes = run.stages.iter().filter_map(|stage| stage.result.as_ref()?.record["code"].as_object());
    let entry = |(name, version): (&String, &Value)| {
        Some(format!("{} {}", name.strip_prefix("library ")?, version.as_str().unwrap_or_default()))
    };
    let all: BTreeSet<String> = codes.flatten().filter_map(entry).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}
