//! The README as a user follows it: every line of its command blocks that can run on embedded data is run, in order, in
//! one folder, on small sizes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Project, copy_folder, not_checked, said};

/// Commands that are not run here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("make ", "it builds what runs here"),
    ("python3 ", "the benches are measures, and the scripts have stories of their own"),
    ("pacer watch", "it never ends; it has a story of its own"),
    ("pacer serve", "it ends when it is told to; it has stories of its own"),
    ("pacer export mlflow", "it needs a server; it has a story of its own"),
    ("old.toml", "it compares versions that are not here; comparing has stories of its own"),
    ("../before/", "it names another store; comparing has stories of its own"),
    ("20261126-", "it names a run of somebody else"),
    ("--push", "it needs a remote; sharing has stories of its own"),
    ("pacer push", "it needs a remote; sharing has stories of its own"),
    ("pacer pull", "it needs a remote; sharing has stories of its own"),
    ("--store another", "it needs a remote; sharing has stories of its own"),
    ("gc --remote", "it needs a remote; sharing has stories of its own"),
    ("batch_size.toml", "it takes minutes; the pipeline has a story of its own"),
    ("models.toml", "it takes minutes; the pipeline has a story of its own"),
    ("data.", "it needs data that is not shipped; the pipelines have stories of their own"),
];

/// Sizes, and the small ones in their place.
const SMALLER: &[(&str, &str)] = &[
    ("population.users = 160", "population.users = 24"),
    ("watch.runs = 120", "watch.runs = 24"),
    ("train.epochs = 60", "train.epochs = 3"),
    ("train.hidden = 64", "train.hidden = 4"),
    ("train.hidden = 24", "train.hidden = 4"),
    ("train.epochs = 6\n", "train.epochs = 2\n"),
];

/// A folder as the README supposes it: the pipelines, and recordings of some months.
fn folder() -> Project {
    let project = Project::new("");
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy_folder(&top.join("pipelines"), &project.path("pipelines"));
    fs::create_dir(project.path("recordings")).unwrap();
    for day in 1..=16 {
        let mut text = String::from("time,heart_rate,speed,altitude\n");
        for step in 0..240 {
            let speed = 2.5 + f64::from((step / 40 + day) % 4) * 0.3;
            let beat = 100.0 + 18.0 * speed + f64::from(step) / 30.0;
            let (minute, second) = (step * 5 / 60, step * 5 % 60);
            text.push_str(&format!("2025-03-{day:02}T07:{minute:02}:{second:02}Z,{beat:.0},{speed:.1},100\n"));
        }
        project.write(&format!("recordings/{day}.csv"), &text);
    }
    project
}

/// Makes every pipeline of a folder small.
fn shrink(folder: &Path) {
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            let small = SMALLER.iter().fold(text, |text, (from, to)| text.replace(from, to));
            fs::write(&path, small).unwrap();
        }
    }
}

/// The sweep that the tutorial writes into its pipeline; from then on it is there.
fn add_sweep(project: &Project, readme: &str) {
    let tutorial = readme.split_once("## Tutorial").expect("there is one").1;
    let block = tutorial.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has a block");
    assert!(block.starts_with("[stages.lstm.sweep]"), "{block}");
    let text = fs::read_to_string(project.path("runs.toml")).unwrap();
    project.write("runs.toml", &format!("{text}\n{block}"));
}

/// The lines of the command blocks, in order, without their remarks.
fn commands(readme: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in readme.lines() {
        is_code ^= line.starts_with("```");
        let command = line.strip_prefix("    ").filter(|line| !is_code && !line.starts_with(' '));
        let begins = |line: &&str| ["pacer ", "make ", "python3 "].iter().any(|word| line.starts_with(word));
        found.extend(command.filter(begins).map(|line| line.split("  #").next().unwrap_or_default().trim()));
    }
    found
}

/// Whether the program has the command at all.
fn is_known(project: &Project, command: &str) -> bool {
    let name = command.split_whitespace().nth(1).unwrap_or_default();
    project.pacer(&["help", name]).code == 0
}

#[test]
fn every_command_of_the_readme_runs() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let project = folder();
    let programs = Path::new(env!("CARGO_BIN_EXE_pacer")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    let commands = commands(&readme);
    for (at, line) in commands.iter().enumerate() {
        let is_sweep_next = commands.get(at + 1).is_some_and(|next| next.starts_with("pacer sweep"));
        if is_sweep_next && is_known(&project, "pacer sweep") {
            add_sweep(&project, &readme);
        }
        if ELSEWHERE.iter().any(|(word, _)| line.contains(word)) {
            continue;
        }
        if !is_known(&project, line) {
            not_checked(&format!("this program has no such command: {line}"));
            continue;
        }
        shrink(&project.path(""));
        shrink(&project.path("pipelines"));
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(project.path("")).stdin(Stdio::null());
        command.env("PATH", &path).env("NO_COLOR", "1").env("PACER_STORE", project.path("store"));
        let said = said(&command.output().unwrap());
        assert_eq!(said.code, 0, "{line}\n{}{}", said.out, said.err);
        ran += 1;
    }
    assert!(ran > 25 && commands.len() > 35, "{ran} of {}", commands.len());
}
