//! `pacer compare`: what is set side by side, what is said of it, what is refused. The results are put into the store
//! by hand, so that every figure is known.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use pacer::cache::{Artifact, Cache, RESULT_VERSION, StageResult};
use pacer::digest::Digest;
use pacer::store::Store;
use pacer_stages::artifact::ArtifactType;
use pacer_stages::predictions::{Predicted, Writer};
use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use serde_json::{Map, Value, json};

use crate::harness::{Project, Said};

/// A store with results made by hand.
struct Lab {
    project: Project,
    cache: Cache,
}

/// A model that was scored: its name, its digest, its seed, and its error in BPM for a user.
struct Model {
    name: String,
    digest: Digest,
    seed: Option<u64>,
    error: Box<dyn Fn(i64) -> f32>,
}

/// The runners that models are scored on.
#[derive(Clone, Copy)]
struct Runners {
    first: i64,
    users: i64,
    split: &'static str,
}

const RUNNERS: Runners = Runners { first: 0, users: 12, split: "user" };

impl Runners {
    /// Two workouts of each user, with a sample every two minutes for twelve.
    fn sequences(self) -> Sequences {
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 120.0 }, data: DataSource::Recorded };
        let workouts: Vec<i64> = (2 * self.first..2 * (self.first + self.users)).collect();
        let steps = workouts.iter().flat_map(|workout| (0..7).map(move |step| (*workout, step)));
        let target: Vec<f32> =
            steps.clone().map(|(workout, step)| (110 + (workout * 5 + step * 9) % 80) as f32).collect();
        Sequences {
            offsets: (0..=workouts.len() as i64).map(|at| at * 7).collect(),
            real: vec![1; target.len()].into(),
            valid: vec![1; target.len()].into(),
            time: steps.map(|(_, step)| step as f32 * 120.0).collect::<Vec<_>>().into(),
            user: workouts.iter().map(|workout| workout / 2).collect(),
            start: vec![0; workouts.len()],
            workout: workouts,
            target: target.into(),
            ..Sequences::empty(header)
        }
    }
}

impl Lab {
    fn new() -> Self {
        let project = Project::new("");
        let cache = Cache::of(Store::open(&project.path("store")).unwrap());
        Self { project, cache }
    }

    /// Keeps a result with one artifact, and returns its key.
    fn keep(
        &self,
        name: &str,
        artifact: ArtifactType,
        file: &Path,
        record: Value,
        metrics: Map<String, Value>,
    ) -> Digest {
        let key = Digest::of(record.to_string().as_bytes());
        let (digest, bytes) = self.cache.store.adopt(file).unwrap();
        let result = StageResult {
            v: RESULT_VERSION,
            key,
            record,
            artifacts: vec![Artifact { name: name.into(), artifact, digest, bytes }],
            metrics,
            warnings: Vec::new(),
            seconds: 1.0,
            peak_bytes: None,
            finished: 0,
            sum: None,
        };
        self.cache.store.write_json(&self.cache.store.result_path(&key), &result.summed()).unwrap();
        key
    }

    /// A trained model; where it errs is told when it is scored.
    fn model(&self, name: &str, hidden: u64, seed: Option<u64>, error: impl Fn(i64) -> f32 + 'static) -> Model {
        let kind = if seed.is_some() { "pretrain" } else { "baseline" };
        let mut record = json!({"kind": kind, "params": {"hidden": hidden, "epochs": 10}, "inputs": {}});
        if let Some(seed) = seed {
            record["seed"] = seed.into();
        }
        let file = self.project.path("weights");
        fs::write(&file, record.to_string()).unwrap();
        self.keep("model", ArtifactType::Model, &file, record.clone(), Map::new());
        Model { name: name.into(), digest: Digest::of(record.to_string().as_bytes()), seed, error: Box::new(error) }
    }

    /// What `evaluate` would leave; the key in short.
    fn score(&self, models: &[&Model], runners: Runners) -> String {
        let sequences = runners.sequences();
        let places: Vec<usize> = (0..sequences.len()).collect();
        let file = self.project.path("predictions");
        let mut writer = Writer::create(&file).unwrap();
        let (mut metrics, mut inputs) = (Map::new(), Map::new());
        for model in models {
            let mut prediction = sequences.target.to_vec();
            for place in &places {
                let error = (model.error)(sequences.user[*place]);
                sequences.steps(*place).for_each(|step| prediction[step] += error);
            }
            writer.add(&model.name, &sequences, &places, &Predicted { rate: prediction, interval: None }).unwrap();
            let basis = json!({"data": "recorded", "split": runners.split, "part": "test", "seed": model.seed});
            metrics.insert(model.name.clone(), basis);
            inputs.insert(model.name.clone(), model.digest.hex().into());
        }
        writer.finish().unwrap();
        let split = Digest::of(format!("{} {}", runners.first, runners.split).as_bytes());
        let inputs = json!({"models": inputs, "split": split.hex(), "sequences": split.hex()});
        let record = json!({"kind": "evaluate", "params": {"part": "test"}, "inputs": inputs});
        let key = self.keep("predictions", ArtifactType::Predictions, &file, record, metrics);
        key.hex()[..16].to_owned()
    }

    fn compare(&self, arguments: &[&str]) -> Said {
        self.project.pacer(&[&["compare"], arguments].concat())
    }

    fn told(&self, arguments: &[&str]) -> String {
        let said = self.compare(arguments);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        said.out
    }

    /// A constant, a network of two sizes with seven and three seeds, and a ridge that is the constant's equal.
    fn sweep(&self) -> String {
        let mut models = vec![self.model("constant", 0, None, |user| 10.0 + (user % 4) as f32)];
        models.push(
            self.model("ridge", 1, None, |user| 10.0 + (user % 4) as f32 + if user % 2 == 0 { 0.125 } else { -0.125 }),
        );
        for seed in 1..=7 {
            let error = move |user| 8.0 + seed as f32 / 8.0 + (user % 4) as f32 / 2.0;
            models.push(self.model(&format!("net[hidden=8,seed={seed}]"), 8, Some(seed), error));
        }
        for seed in 1..=3 {
            let error = |user| if user == 11 { -19.0 } else { 9.0 };
            models.push(self.model(&format!("net[hidden=64,seed={seed}]"), 64, Some(seed), error));
        }
        self.score(&models.iter().collect::<Vec<_>>(), RUNNERS)
    }
}

#[test]
fn seeds_are_one_row_and_three_of_them_decide_nothing() {
    let lab = Lab::new();
    let key = lab.sweep();
    assert_snapshot!(lab.told(&[&key]), @r#"
    part test, split by user, data recorded: 24 workouts of 12 users, 168 samples; 4 configurations here, 4 tried on these workouts

    configuration   seeds    mae    sd  difference  95 %            improved  worst tenth      p  verdict
    constant               11.50                                                    13.00         baseline
    net[hidden=8]       7   9.25  0.27       -2.25  -2.58 to -1.96  100 %           10.00  0.047  better
    net[hidden=64]      3   9.83  0.00       -1.67  -2.83 to -0.08  92 %            14.00  0.500  cannot tell
    ridge                  11.50             +0.00  -0.06 to +0.06  50 %            12.88  1.000  same within margin

    net[hidden=64]: 3 seeds decide nothing (smallest p 0.25, 0.75 by Holm among 3 candidates); the trainings here are better; about 7 seeds may decide

    what differs  constant    net[hidden=8]  net[hidden=64]  ridge
    hidden        0           8              64              1
    kind          "baseline"  "pretrain"     "pretrain"      "baseline"

    `net[hidden=8]` is ahead of `constant` in each of 11 zones, phases and groups of users

    mae: mean over users of each user's mean absolute error, BPM; sd: over seeds; difference: negative is better
    95 %: 10,000 resamples of users; p: the larger of that over their resamples and that of the signs over seeds, by Holm for 3 candidates; margin 0.25 BPM
    "#);
}

#[test]
fn the_same_comparison_prints_the_same_bytes_on_any_number_of_threads() {
    let lab = Lab::new();
    let key = lab.sweep();
    let on = |threads: &str| {
        let mut command = lab.project.command(&["compare", &key, "--format", "json"]);
        command.env("RAYON_NUM_THREADS", threads).output().unwrap().stdout
    };
    assert_eq!(on("1"), on("3"));
    let answer: Value = serde_json::from_slice(&on("2")).unwrap();
    assert_eq!((&answer["v"], &answer["tried"], &answer["basis"]["split"]), (&json!(1), &json!(4), &json!(["user"])));
    let row = &answer["rows"][1];
    assert_eq!((&row["name"], &row["difference"]["verdict"]), (&json!("net[hidden=8]"), &json!("better")));
    assert_eq!(row["difference"]["by_seed"].as_array().unwrap().len(), 7);
}

#[test]
fn a_candidate_that_is_worse_can_fail_a_build() {
    let lab = Lab::new();
    let (good, bad) = (lab.model("good", 1, None, |_| 5.0), lab.model("bad", 2, None, |user| 6.0 + (user % 3) as f32));
    let key = lab.score(&[&good, &bad], RUNNERS);
    assert_eq!(lab.compare(&[&key, "--baseline", "good", "--fail-on", "worse"]).code, 1);
    assert_eq!(lab.compare(&[&key, "--baseline", "bad", "--fail-on", "worse"]).code, 0);
    assert_eq!(lab.compare(&[&key, "--baseline", "good"]).code, 0);
    let said = lab.compare(&[&key, "--baseline", "god"]);
    let expected = "error: there is no configuration `god` to be the baseline; there are: bad, good\n";
    assert_eq!((said.code, said.err.as_str()), (2, expected));
}

#[test]
fn other_test_sets_are_refused_unless_what_they_share_is_asked_for() {
    let lab = Lab::new();
    let (old, new) = (lab.model("net", 1, None, |_| 5.0), lab.model("net", 2, None, |user| 4.0 + (user % 2) as f32));
    let (one, other) = (lab.score(&[&old], RUNNERS), lab.score(&[&new], Runners { first: 1, users: 12, ..RUNNERS }));
    let said = lab.compare(&[&one, &other]);
    assert_eq!(said.code, 2);
    assert_snapshot!(said.err.replace(&one[..12], "<key of one>").replace(&other[..12], "<key of two>"), @r"error: `<key of two>:net` was scored on 24 workouts of 12 users, `<key of one>:net` on 24 workouts of 12 users: 22 in both, 2 only in `<key of one>:net` (such as 0 of user 0), 2 only in `<key of two>:net` (such as 24 of user 12); --common compares on what all of them have");
    let told = lab.told(&[&one, &other, "--common"]);
    assert_snapshot!(told.replace(&one[..12], "<key of one>").replace(&other[..12], "<key of two>"), @r"
    compared on what all have in common: `<key of two>:net` was scored on 24 workouts of 12 users, `<key of one>:net` on 24 workouts of 12 users: 22 in both, 2 only in `<key of one>:net` (such as 0 of user 0), 2 only in `<key of two>:net` (such as 24 of user 12)
    part test, split by user, data recorded: 22 workouts of 11 users, 154 samples; 2 configurations here, 2 tried on these workouts

    configuration     seeds   mae  sd  difference  95 %            improved  worst tenth      p  verdict
    <key of one>:net         5.00                                                   5.00         baseline
    <key of two>:net         4.55           -0.45  -0.73 to -0.18  45 %             5.00  0.003  better

    what differs  <key of one>:net  <key of two>:net
    hidden                       1                 2

    `<key of two>:net` is ahead of `<key of one>:net` in each of 11 zones, phases and groups of users

    mae: mean over users of each user's mean absolute error, BPM; sd: over seeds; difference: negative is better
    95 %: 10,000 resamples of users; p: the larger of that over their resamples and that of the signs over seeds; margin 0.25 BPM
    ");
}

#[test]
fn a_split_by_time_is_never_set_beside_one_by_user() {
    let lab = Lab::new();
    let (old, new) = (lab.model("net", 1, None, |_| 5.0), lab.model("net", 2, None, |_| 4.0));
    let (one, other) = (lab.score(&[&old], RUNNERS), lab.score(&[&new], Runners { split: "time", ..RUNNERS }));
    let said = lab.compare(&[&one, &other]);
    assert_eq!(said.code, 2);
    assert_snapshot!(said.err.replace(&one[..12], "<key of one>").replace(&other[..12], "<key of two>"), @r"error: `<key of one>:net` was scored under a split by user, `<key of two>:net` under one by time: such figures cannot be set side by side, for strangers and known users are two questions");
}

#[test]
fn two_versions_are_paired_by_name_and_what_did_not_change_stands_once() {
    let lab = Lab::new();
    let constant = lab.model("constant", 0, None, |_| 9.0);
    let (old, new) =
        (lab.model("net", 8, Some(1), |_| 5.0), lab.model("net", 16, Some(1), |user| 4.0 + (user % 2) as f32));
    let (one, other) = (lab.score(&[&constant, &old], RUNNERS), lab.score(&[&constant, &new], RUNNERS));
    let told = lab.told(&[&one, &other, "--judge", "trainings"]);
    assert_snapshot!(told.replace(&one[..12], "<key of one>").replace(&other[..12], "<key of two>"), @r#"
    `constant` is the same in 2 results, and stands here once
    part test, split by user, data recorded: 24 workouts of 12 users, 168 samples; 3 configurations here, 3 tried on these workouts

    configuration     seeds   mae  sd  difference  95 %            improved  worst tenth  p        verdict
    constant                 9.00                                                   9.00
    <key of one>:net      1  5.00                                                   5.00           baseline
    <key of two>:net      1  4.50           -0.50  -0.75 to -0.25  50 %             5.00  < 0.001  better

    what differs  constant    <key of one>:net  <key of two>:net
    hidden        0           8                 16
    kind          "baseline"  "pretrain"        "pretrain"

    `<key of two>:net` is ahead of `<key of one>:net` in each of 11 zones, phases and groups of users

    mae: mean over users of each user's mean absolute error, BPM; sd: over seeds; difference: negative is better
    95 %: 10,000 resamples of users; p: over their resamples; of these very trainings, which says nothing of other seeds; margin 0.25 BPM
    "#);
    let one_model = lab.told(&[&format!("{one}:net"), &format!("{other}:net"), "--format", "csv"]);
    assert_snapshot!(one_model.replace(&one[..12], "<key of one>").replace(&other[..12], "<key of two>"), @r"
    configuration,against,seeds,mae,sd,mae_points,bias,worst_tenth,difference,low,high,improved,p_units,p_seeds,p_holm,verdict,data,split,part,notes
    <key of one>:net,,1,5.0000,,5.0000,5.0000,5.0000,,,,,,,,,recorded,user,test,
    <key of two>:net,<key of one>:net,1,4.5000,,4.5000,4.5000,5.0000,-0.5000,-0.7500,-0.2500,0.5000,0.0006,1.0000,1.0000,cannot tell,recorded,user,test,
    ");
}

#[test]
fn few_users_give_no_interval_and_workouts_are_labelled() {
    let lab = Lab::new();
    let (old, new) =
        (lab.model("old", 1, None, |_| 5.0), lab.model("new", 2, None, |user| 4.0 + (user % 2) as f32 / 2.0));
    let key = lab.score(&[&old, &new], Runners { users: 6, ..RUNNERS });
    assert!(
        lab.told(&[&key, "--baseline", "old"]).contains("new: 6 users, and an interval takes 10; about 10 users may")
    );
    let told = lab.told(&[&key, "--baseline", "old", "--by", "workout"]);
    assert!(
        told.starts_with("by workout: this speaks of other workouts of these users, not of other users\n"),
        "{told}"
    );
    assert!(told.contains("better"), "{told}");
}

#[test]
fn artifacts_of_two_pipelines_are_compared_by_what_they_hold() {
    let project = Project::new("");
    let table = "[stages.synthesize]\nkind = \"synthesize\"\nusers = USERS\nruns_per_user = 3.0\npoints = 60\nseed = 3\n\
                 [stages.import]\nkind = \"import\"\ninputs.source = \"synthesize.raw\"\n\
                 [stages.filter]\nkind = \"filter\"\ninputs.workouts = \"import\"\nmin_points = 50\n";
    project.write("old.toml", &table.replace("USERS", "4"));
    project.write("new.toml", &table.replace("USERS", "5"));
    for file in ["old.toml", "new.toml"] {
        assert_eq!(project.pacer(&["run", file]).code, 0);
    }
    let said = project.pacer(&["compare", "old.toml", "new.toml", "filter.funnel"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_snapshot!(said.out, @r"
    `old.toml:filter.funnel` → `new.toml:filter.funnel`
    column `in` differs first in row 0: 33 → 38; 7 of 7 values, at most 5
    column `out` differs first in row 0: 7 → 9; 7 of 7 values, at most 2
    column `removed` differs first in row 0: 26 → 29; 1 of 7 values, at most 3

    row  column   first  second
      1  in          33      38
      1  out          7       9
      1  removed     26      29
      2  in           7       9
      2  out          7       9
      3  in           7       9
      3  out          7       9
      4  in           7       9
      4  out          7       9
      5  in           7       9
      5  out          7       9
      6  in           7       9
      6  out          7       9
      7  in           7       9
      7  out          7       9
    7 and 7 rows, paired by order; 15 cells differ
    ");
    let said = project.pacer(&["compare", "old.toml", "old.toml", "synthesize.raw"]);
    assert_eq!(said.out, "`old.toml:synthesize.raw` and `old.toml:synthesize.raw` are the same, byte for byte\n");
    let said = project.pacer(&["compare", "old.toml", "new.toml"]);
    let expected = "error: no stage of `old.toml` scored models: name a stage, or an artifact, STAGE.ARTIFACT\n";
    assert_eq!((said.code, said.err.as_str()), (2, expected));
}

#[test]
fn results_of_two_stores_stand_side_by_side() {
    let (one, other) = (Lab::new(), Lab::new());
    let old = one.model("net", 1, None, |_| 5.0);
    let new = other.model("net", 2, None, |user| 4.0 + (user % 2) as f32);
    let (old, new) = (one.score(&[&old], RUNNERS), other.score(&[&new], RUNNERS));
    let there = format!("{}//{new}", other.project.path("store").display());
    let told = one.told(&[&old, &there]);
    assert!(told.contains("better"), "{told}");
    let said = one.compare(&[&old, &format!("/nowhere//{new}")]);
    assert_eq!((said.code, said.err.as_str()), (2, "error: `/nowhere` is no store\n"));
}

#[test]
fn predictions_are_laid_over_each_other_in_the_terminal_and_on_a_page() {
    let lab = Lab::new();
    let old = lab.model("net", 1, None, |_| 5.0);
    let new = lab.model("net", 2, None, |user| if user == 3 { -15.0 } else { 5.0 });
    let (old, new) = (lab.score(&[&old], RUNNERS), lab.score(&[&new], RUNNERS));
    let page = lab.project.path("both.html");
    let words = [format!("{old}:.predictions"), format!("{new}:.predictions")];
    let said = lab.compare(&[&words[0], &words[1], "--page", page.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let row = said.out.lines().find(|line| line.starts_with("net ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    // Of 24 workouts those of one user are 10 BPM worse, and 20 BPM from what they were.
    assert_eq!(cells, ["net", "24", "168", "5.000", "5.833", "+0.833", "1.667"]);
    assert!(said.out.contains("net: furthest apart in workout 6 of user 3, 20.0 BPM on average"), "{}", said.out);
    assert!(said.out.lines().any(|line| line.contains('│') && line.contains('2')), "{}", said.out);
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "both workouts of the user are drawn");
    assert!(page.contains("net, second") && !page.contains("<script"));
}

#[test]
fn texts_are_compared_line_by_line_and_drawings_side_by_side() {
    let lab = Lab::new();
    let keep = |name: &str, artifact, text: &str| {
        let file = lab.project.path("file");
        fs::write(&file, text).unwrap();
        let key = lab.keep(name, artifact, &file, json!({"kind": "command", "text": text}), Map::new());
        format!("{}:.{name}", &key.hex()[..16])
    };
    let texts = ["a\nb\n", "a\nc\n"].map(|text| keep("notes", ArtifactType::File, text));
    let told = lab.told(&[&texts[0], &texts[1]]);
    assert!(told.ends_with("1 lines only in the first, 1 only in the second\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"), "{told}");
    let svg = |radius: u32| {
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><script>bad()</script><circle r=\"{radius}\"/></svg>")
    };
    let drawings = [3, 4].map(|radius| keep("circle", ArtifactType::Picture, &svg(radius)));
    let page = lab.project.path("both.html");
    let said = lab.compare(&[&drawings[0], &drawings[1], "--page", page.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let page = fs::read_to_string(page).unwrap();
    // What a stage drew stands in an image, where no script runs.
    assert_eq!((page.matches("<img").count(), page.matches("bad()").count()), (2, 0));
    let said = lab.compare(&[&texts[0][..16], "--page", "x.html"]);
    assert_ne!(said.code, 0);
}
