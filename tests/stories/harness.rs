//! A temporary project and the program `pacer` in it. Unaware of what the stories are about.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a pipeline and a store of its own.
pub struct Project {
    folder: TempDir,
}

/// What a call of the program came to.
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl Project {
    /// A project whose `pipeline.toml` holds this text.
    pub fn new(pipeline: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        project.write("pipeline.toml", pipeline);
        project
    }

    /// The project's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a temporary file can be written");
    }

    /// Replaces a text in the pipeline, which must be there.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("pipeline.toml")).expect("the pipeline is there");
        assert!(text.contains(from), "{from:?} is not in the pipeline");
        self.write("pipeline.toml", &text.replace(from, to));
    }

    /// The program with some arguments, in the project's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacer"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env("PACER_STORE", self.path("store"));
        command
    }

    /// Calls the program.
    pub fn pacer(&self, arguments: &[&str]) -> Said {
        said(&self.command(arguments).output().expect("pacer can be started"))
    }

    /// Runs the pipeline and returns the last event.
    pub fn run(&self, arguments: &[&str]) -> Value {
        self.events(arguments).pop().expect("a run ends with an event")
    }

    /// Runs the pipeline and returns its events.
    pub fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.pacer(&[&["run", "pipeline.toml", "--format", "json"], arguments].concat());
        assert!(!said.out.is_empty(), "{}", said.err);
        said.out.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
    }

    /// Names of the stages that ran in a run, in the order of their ends.
    pub fn ran(&self, arguments: &[&str]) -> Vec<String> {
        let events = self.events(arguments);
        let finished = events.iter().filter(|event| event["event"] == "finished");
        finished.map(|event| event["stage"].as_str().expect("stages have names").to_owned()).collect()
    }

    /// `stage state` for each stage of a plan.
    pub fn plan(&self, arguments: &[&str]) -> Vec<String> {
        let said = self.pacer(&[&["plan", "pipeline.toml", "--format", "json"], arguments].concat());
        let rows: Vec<Value> = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
        rows.iter().map(|row| format!("{} {}", text(&row["stage"]), text(&row["state"]))).collect()
    }

    /// What `pacer show --format json` says of a stage.
    pub fn show(&self, stage: &str) -> Value {
        let said = self.pacer(&["show", "pipeline.toml", stage, "--format", "json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
    }

    /// The file behind a stage's first artifact.
    pub fn blob(&self, stage: &str) -> PathBuf {
        PathBuf::from(self.show(stage)["artifacts"][0]["path"].as_str().expect("an artifact has a path"))
    }

    /// Every file below a folder of the store, sorted.
    pub fn stored(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.path("store").join(folder), &mut files);
        files.sort();
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => collect(&path, files),
            path => files.push(path),
        }
    }
}

/// An output as texts.
pub fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Three stages in a row: `first` takes the first line of the input, `second` adds a line, `third` counts lines.
pub const CHAIN: &str = r#"
[params]
suffix = "one"

[stages.first]
kind = "command"
inputs.files.text = { path = "input.txt" }
run = ["sh", "-c", "head -n 1 {inputs.text} > {outputs.line}"]
outputs = { line = "file" }

[stages.second]
kind = "command"
inputs.files.line = "first"
run = ["sh", "-c", "cat {inputs.line} > {outputs.text}; echo ${suffix} >> {outputs.text}"]
outputs = { text = "file" }

[stages.third]
kind = "command"
inputs.files.text = "second"
run = ["sh", "-c", "wc -l < {inputs.text} > {outputs.count}"]
outputs = { count = "file" }
"#;

/// A project with [`CHAIN`] and its input.
pub fn chain() -> Project {
    let project = Project::new(CHAIN);
    project.write("input.txt", "a\nb\n");
    project
}
