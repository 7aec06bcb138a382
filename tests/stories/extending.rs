//! Longer trainings go on from shorter ones, in one run and from run to run, and end with the bytes of a training from
//! the start.

use serde_json::Value;

use crate::harness::{Project, TRAINING};

/// The shared pipeline with a short and a long training of each cell, the long one first in the file.
fn sweep(epochs: &[u32]) -> Project {
    let common = TRAINING.split("[stages.lstm]").next().unwrap();
    let mut pipeline = common.to_owned();
    for epochs in epochs {
        for cell in ["lstm", "gru"] {
            pipeline.push_str(&format!(
                "[stages.{cell}_{epochs}]\nkind = \"pretrain\"\ninputs = {{ sequences = \"resample\", split = \"split\" }}\n\
                 model = \"{cell}\"\nlayers = 1\nhidden = 8\nbatch_size = 4\nepochs = {epochs}\npatience = 50\n\
                 schedule = {{ shape = \"step\", every = 3, factor = 0.5, warmup = 1.0 }}\n"
            ));
        }
    }
    Project::new(&pipeline)
}

/// The digests of a stage's artifacts.
fn digests(project: &Project, stage: &str) -> Vec<Value> {
    project.show(stage)["artifacts"].as_array().unwrap().iter().map(|it| it["digest"].clone()).collect()
}

/// From which epoch a stage went on in a run, by what its progress told; `None` where it began anew.
fn went_on(events: &[Value], stage: &str) -> Option<u64> {
    let told = events.iter().filter(|event| event["stage"] == stage && event["notice"] == "progress");
    told.filter_map(|event| event["message"].as_str()).find_map(|message| {
        let rest = message.split("goes on from epoch ").nth(1)?;
        rest.split(' ').next()?.parse().ok()
    })
}

#[test]
fn trainings_of_one_course_share_their_beginning_in_one_run() {
    let (both, alone) = (sweep(&[8, 4]), sweep(&[8]));
    let events = both.events(&["--jobs", "2"]);
    assert_eq!(events.last().unwrap()["failed"], 0);
    alone.run(&[]);
    for stage in ["lstm_8", "gru_8"] {
        assert_eq!(went_on(&events, stage), Some(4), "{stage}");
        assert_eq!(digests(&both, stage), digests(&alone, stage), "{stage}");
    }
    assert_eq!(went_on(&events, "lstm_4"), None, "the shorter one goes first");
}

#[test]
fn more_epochs_go_on_from_the_run_before_and_the_explanation_says_so() {
    let (project, alone) = (sweep(&[4]), sweep(&[8]));
    project.run(&[]);
    project.edit("epochs = 4", "epochs = 8");
    let said = project.pacer(&["explain", "pipeline.toml", "lstm_4"]);
    assert!(said.out.contains("it goes on from an earlier training of up to 4 epochs"), "{}", said.out);
    let events = project.events(&[]);
    assert_eq!(went_on(&events, "lstm_4"), Some(4));
    alone.run(&[]);
    assert_eq!(digests(&project, "lstm_4"), digests(&alone, "lstm_8"));
    assert_eq!(digests(&project, "gru_4"), digests(&alone, "gru_8"));
}

#[test]
fn a_schedule_that_looks_at_the_end_begins_anew_and_the_explanation_says_why() {
    let project = sweep(&[4]);
    project.edit("shape = \"step\"", "shape = \"cosine\"");
    project.run(&[]);
    project.edit("epochs = 4", "epochs = 8");
    let said = project.pacer(&["explain", "pipeline.toml", "lstm_4"]);
    assert!(said.out.contains("trains from the start, for `schedule.shape = \"cosine\"`"), "{}", said.out);
    assert_eq!(went_on(&project.events(&[]), "lstm_4"), None);
}

#[test]
fn how_often_a_state_is_kept_is_set_by_the_stage_and_changes_no_result() {
    let (plain, often) = (sweep(&[4]), sweep(&[4]));
    often.edit("model = \"lstm\"\n", "model = \"lstm\"\ncheckpoints = { seconds = 0, steps = 1, keep = 3 }\n");
    plain.run(&[]);
    often.run(&[]);
    assert_eq!(digests(&plain, "lstm_4"), digests(&often, "lstm_4"));
    assert_eq!(plain.show("lstm_4")["key"], often.show("lstm_4")["key"]);
    often.edit("keep = 3", "keep = 0");
    let said = often.pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 2 && said.err.contains("`keep` of `checkpoints` cannot be this"), "{}", said.err);
    often.edit("checkpoints = { seconds = 0, steps = 1, keep = 0 }\n", "");
    often.edit("by = \"user\"\n", "by = \"user\"\ncheckpoints = { keep = 1 }\n");
    let said = often.pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 2 && said.err.contains("this kind trains nothing"), "{}", said.err);
}
