//! What holds for every pipeline, tried on many that a seeded generator makes. Unaware of the store's layout.

mod edits;
mod formatting;
mod parameters;

use serde_json::Value;

use crate::harness::Project;

/// Recordings of a few made-up runners go through every kind that runs without LibTorch, and two programs.
const ALL_HERE: &str = r#"
[pipeline]
name = "all here"
description = "every value that TOML can write"
allow_leak = { users = "no figure is believed here" }
seed = 11

[params]
population = { users = 5, share = 0.25 }
words.greeting = "it's \"so\" \\ é\tfine"

[stages.make]
kind = "synthesize"
users = "${population.users}"
runs_per_user = 6.0
points = 60
share_other_sports = "${population.share}"
failures = { missing = 0.05, short = 0.001 }

[stages.import]
kind = "import"
inputs.source = "make.raw"
smooth_s = 12.5

[stages.filter]
kind = "filter"
inputs.workouts = "import"
off = ["flat"]
heart_rate_bpm = [40, 230.5]
max_speed_m_s = 1000.0

[stages.grid]
kind = "resample"
inputs.workouts = "filter"
grid = { by = "time", step_s = 10.0 }
features = ["speed", "ema(power, 60)", "elapsed^2"]

[stages.correlate]
kind = "correlate"
inputs = { raw = { made = "import" }, processed = { made = "filter" } }
taus = [20.0, 60.0]

[stages.split]
kind = "split"
inputs.sequences = "grid"
by = "workout"
seed = 5

[stages.mean]
kind = "baseline"
inputs = { sequences = "grid", split = "split" }
model = "user_mean"

[stages.linear]
kind = "baseline"
inputs = { sequences = "grid", split = "split" }
model = "ridge"
features = ["speed", "elapsed^2"]
alphas = [0.1, 1.0, 10.0]

[stages.greet]
kind = "command"
inputs.files = { "the model" = "linear", text = { path = "input.txt" } }
run = ["sh", "-c", "printf '%s' \"$0\" | cat - {inputs.text} > {outputs.text}", "${words.greeting}\n"]
outputs = { text = "file" }
environment = ["NOTHING_IS_CALLED_SO"]

[stages.count]
kind = "command"
inputs.files.text = "greet.text"
run = ["sh", "-c", "echo \"{\\\"bytes\\\": $(wc -c < {inputs.text})}\" > {outputs.figures}"]
outputs = { figures = "metrics" }
resources = { threads = 1 }
"#;

/// The stages of [`ALL_HERE`].
const STAGES: [&str; 10] =
    ["make", "import", "filter", "grid", "correlate", "split", "mean", "linear", "greet", "count"];

fn all_here() -> Project {
    let project = Project::new(ALL_HERE);
    project.write("input.txt", "a\nb\n");
    project
}

/// A small generator of numbers (splitmix64), so that every machine draws the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn shuffled<T>(&mut self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
        items
    }
}

#[test]
fn one_job_and_four_jobs_write_the_same_bytes() {
    let artifacts = |jobs: &str| {
        let project = all_here();
        assert_eq!(project.run(&["--jobs", jobs])["ran"], STAGES.len());
        STAGES.map(|stage| {
            project.show(stage)["artifacts"].as_array().cloned().unwrap().into_iter().map(digest).collect()
        })
    };
    let one: [Vec<_>; STAGES.len()] = artifacts("1");
    assert_eq!(one, artifacts("4"));
    assert!(one.iter().all(|artifacts| !artifacts.is_empty()));
}

fn digest(artifact: Value) -> (String, String) {
    let text = |name: &str| artifact[name].as_str().expect("an artifact has a name and a digest").to_owned();
    (text("name"), text("digest"))
}
