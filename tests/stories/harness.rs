//! A temporary project and the program `pacer` in it. Unaware of what the stories are about.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a pipeline and a store of its own.
pub struct Project {
    folder: TempDir,
}

/// The digest of every artifact, by `stage.artifact`.
pub type Digests = BTreeMap<String, String>;

/// What a call of the program came to.
#[derive(Debug)]
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
        // Without symbolic links, so that paths compare.
        let place = std::env::temp_dir().canonicalize().expect("there is a folder for temporary files");
        let project = Self { folder: tempfile::tempdir_in(place).expect("a temporary folder can be made") };
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
        // No profile of whoever runs the stories.
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    /// Calls the program.
    pub fn pacer(&self, arguments: &[&str]) -> Said {
        said(&self.command(arguments).output().expect("pacer can be started"))
    }

    /// Starts the program with its events on a pipe.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(&[&["run", "--format", "json"], arguments].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("pacer can be started")
    }

    /// The processes of this project that run a program of some name.
    pub fn processes(&self, program: &str) -> Vec<i32> {
        let is_ours = |process: &i32| {
            let link = |name: &str| fs::read_link(format!("/proc/{process}/{name}")).unwrap_or_default();
            link("exe").ends_with(program) && link("cwd") == self.folder.path()
        };
        let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    /// No worker of this project outlives its runner by more than a moment.
    pub fn assert_workers_die(&self, what: &str) {
        within_a_moment(&format!("{what}: a worker survives"), || self.processes("pacer-worker").is_empty());
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

    /// Names of the stages that ran in a run to a good end, in the order of their starts.
    pub fn ran(&self, arguments: &[&str]) -> Vec<String> {
        let events = self.events(arguments);
        let of = |sort: &str| -> Vec<String> {
            let events = events.iter().filter(|event| event["event"] == sort);
            events.map(|event| event["stage"].as_str().expect("stages have names").to_owned()).collect()
        };
        let finished = of("finished");
        of("running").into_iter().filter(|stage| finished.contains(stage)).collect()
    }

    /// `stage state` for each stage of a plan.
    pub fn plan(&self, arguments: &[&str]) -> Vec<String> {
        self.plan_of(&[&["pipeline.toml"], arguments].concat())
    }

    /// `stage state` for each stage of the plan of any pipeline, named first.
    pub fn plan_of(&self, arguments: &[&str]) -> Vec<String> {
        let said = self.pacer(&[&["plan", "--format", "json"], arguments].concat());
        let plan: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
        let rows = plan["stages"].as_array().expect("a plan has stages");
        rows.iter().map(|row| format!("{} {}", text(&row["stage"]), text(&row["state"]))).collect()
    }

    /// What `pacer show --format json` says of a stage.
    pub fn show(&self, stage: &str) -> Value {
        let said = self.pacer(&["show", "pipeline.toml", stage, "--format", "json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
    }

    /// The digests of all artifacts of a pipeline whose results are all there. The arguments follow the command.
    pub fn digests(&self, arguments: &[&str]) -> Digests {
        let mut digests = Digests::new();
        for planned in self.plan_of(arguments) {
            let (stage, state) = planned.split_once(' ').expect("a name and a state");
            assert_eq!(state, "reused", "`{stage}` has no result");
            let (file, set) = arguments.split_first().expect("the pipeline is named");
            let said = self.pacer(&[&["show", file, stage, "--format", "json"], set].concat());
            let shown: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
            for artifact in shown["artifacts"].as_array().expect("a stage has artifacts") {
                let text = |key: &str| artifact[key].as_str().expect("it is a text").to_owned();
                digests.insert(format!("{stage}.{}", text("name")), text("digest"));
            }
        }
        digests
    }

    /// After whatever happened, a plain run ends well with the same bytes as ever, and every byte is whole.
    pub fn assert_heals(&self, arguments: &[&str], undisturbed: &Digests, what: &str) {
        let said = self.pacer(&[&["run"], arguments].concat());
        assert_eq!(said.code, 0, "{what}: the next run fails\n{}", said.err);
        assert_eq!(&self.digests(arguments), undisturbed, "{what}: other bytes");
        let verified = self.pacer(&["verify"]);
        assert_eq!(verified.code, 0, "{what}: not whole\n{}{}", verified.out, verified.err);
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

impl Said {
    /// It ended by itself and in order: no panic, no signal, an exit code that has a meaning.
    pub fn assert_orderly(&self, what: &str) {
        assert!([0, 1, 2].contains(&self.code), "{what}: exit code {}\n{}", self.code, self.err);
        assert!(!self.err.contains("panicked"), "{what}: {}", self.err);
    }
}

/// What [`TRAINING`] comes to when nothing disturbs it; made once for all stories.
pub fn undisturbed_training() -> &'static Digests {
    static DIGESTS: OnceLock<Digests> = OnceLock::new();
    DIGESTS.get_or_init(|| {
        let project = Project::new(TRAINING);
        assert_eq!(project.run(&[])["failed"], 0);
        project.digests(&["pipeline.toml"])
    })
}

/// Waits until something is so.
pub fn within_a_moment(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a run's events until one holds all of some words, and goes on reading in the background, so that the run
/// never waits for its reader.
pub fn wait_for(child: &mut Child, words: &[&str]) {
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("it is piped")));
    let found = lines.by_ref().map_while(Result::ok).any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no event with {words:?}");
    std::thread::spawn(move || lines.count());
}

/// Sends a signal to a process.
pub fn signal(process: i32, number: i32) {
    // SAFETY: a plain system call; a process that is gone already is no fault.
    unsafe { libc::kill(process, number) };
}

/// Copies a folder as it is.
pub fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("`cp` can be started").success());
}

/// Says that a machine does not permit what a story needs; seen also where the output of tests is captured.
pub fn not_checked(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT CHECKED: {why}");
}

/// Says how much a story tried, for a person who asked for all of it.
pub fn tell(what: &str) {
    if thorough() {
        let _ = writeln!(std::io::stderr(), "{what}");
    }
}

/// Whether stories shall try everything rather than a sample; for a machine with time.
pub fn thorough() -> bool {
    std::env::var_os("PACER_TEST_THOROUGH").is_some_and(|value| !value.is_empty())
}

/// A seeded sequence of numbers that look random.
pub struct Dice(pub u64);

impl Dice {
    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The constants of Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
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

/// Synthetic workouts and the training of two small networks on them: long enough to be met in the midst of it.
pub const TRAINING: &str = r#"
[params]
epochs = 100
hidden = 8

[stages.synthesize]
kind = "synthesize"
users = 8
runs_per_user = 6.0

[stages.import]
kind = "import"
inputs.source = "synthesize.raw"

[stages.filter]
kind = "filter"
inputs.workouts = "import"

[stages.resample]
kind = "resample"
inputs.workouts = "filter"
grid = { by = "time", step_s = 30.0, gap_limit_s = 60.0, max_minutes = 60.0 }
features = ["speed", "grade"]

[stages.split]
kind = "split"
inputs.sequences = "resample"
by = "user"
train = 0.7
validation = 0.15
test = 0.15

[stages.lstm]
kind = "pretrain"
inputs = { sequences = "resample", split = "split" }
model = "lstm"
layers = 1
hidden = "${hidden}"
epochs = "${epochs}"
features = ["speed", "grade"]

[stages.gru]
kind = "pretrain"
inputs = { sequences = "resample", split = "split" }
model = "gru"
layers = 1
hidden = "${hidden}"
epochs = "${epochs}"
features = ["speed", "grade"]
"#;
