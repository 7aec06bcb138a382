//! What runs again and what does not, and why.

use serde_json::json;

use crate::harness::{Project, chain};

#[test]
fn a_second_run_reuses_everything() {
    let project = chain();
    assert_eq!(project.ran(&[]), ["first", "second", "third"]);
    let done = project.run(&[]);
    let counts = ["ran", "reused", "failed", "skipped"].map(|name| done[name].clone());
    assert_eq!(counts, [json!(0), json!(3), json!(0), json!(0)]);
}

#[test]
fn comments_order_and_names_of_stages_keep_every_result() {
    let project = chain();
    project.run(&[]);
    project.edit("[stages.first]\nkind = \"command\"", "# why\n[stages.first]\n  kind   =   'command' # what");
    project.edit("[stages.third]", "[stages.count]");
    assert_eq!(project.ran(&[]), [""; 0]);
}

#[test]
fn a_changed_parameter_runs_its_stage_and_what_reads_from_it() {
    let project = chain();
    project.run(&[]);
    assert_eq!(project.plan(&["--set", "suffix=two"]), ["first reused", "second run", "third maybe"]);
    // The count of lines stays, so that `third` runs for its input changed; its own output does not.
    assert_eq!(project.ran(&["--set", "suffix=two"]), ["second", "third"]);
}

#[test]
fn a_stage_that_writes_the_same_bytes_stops_the_wave() {
    let project = chain();
    project.run(&[]);
    project.write("input.txt", "a\nb\nc\n");
    assert_eq!(project.plan(&[]), ["first run", "second maybe", "third maybe"]);
    assert_eq!(project.ran(&[]), ["first"]);
}

#[test]
fn an_input_edited_within_the_same_instant_is_noticed() {
    let project = chain();
    project.run(&[]);
    // Same size, and so soon that a time stamp could be the same.
    project.write("input.txt", "z\nb\n");
    assert_eq!(project.ran(&[]), ["first", "second", "third"]);
}

#[test]
fn an_explanation_names_the_leaf_with_old_new_and_line() {
    let project = chain();
    project.run(&[]);
    project.edit("wc -l <", "wc -c <");
    let said = project.pacer(&["explain", "pipeline.toml", "third"]);
    let expected = "for these changed since its nearest earlier result:\n  params.run.2: \
        \"wc -l < {inputs.text} > {outputs.count}\" → \"wc -c < {inputs.text} > {outputs.count}\"  (line 20)\n";
    assert!(said.out.contains(expected), "{}", said.out);
    let reason = &project.events(&[])[3]["reason"];
    assert!(reason.as_str().unwrap().starts_with("run.2 wc -l"), "{reason}");
}

#[test]
fn a_declared_variable_belongs_to_the_key_and_others_are_hidden() {
    let project = Project::new(
        r#"
        [stages.shout]
        kind = "command"
        run = ["sh", "-c", "echo $SEEN-$HIDDEN > {outputs.text}"]
        outputs = { text = "file" }
        environment = ["SEEN"]
        "#,
    );
    let run = |seen: &str| {
        let mut command = project.command(&["run", "pipeline.toml"]);
        command.env("SEEN", seen).env("HIDDEN", "h").output().unwrap();
        let mut command = project.command(&["show", "pipeline.toml", "shout", "--format", "json"]);
        let shown: serde_json::Value =
            serde_json::from_slice(&command.env("SEEN", seen).output().unwrap().stdout).unwrap();
        std::fs::read_to_string(shown["artifacts"][0]["path"].as_str().unwrap()).unwrap()
    };
    assert_eq!(run("a"), "a-\n");
    assert_eq!(run("b"), "b-\n");
}

#[test]
fn force_runs_a_stage_that_is_there_and_keeps_the_first_result() {
    let project = chain();
    project.run(&[]);
    assert_eq!(project.ran(&["--force", "second"]), ["second"]);
}

#[test]
fn a_stage_that_is_not_deterministic_is_told_and_its_first_result_stays() {
    let project = Project::new(
        r#"
        [stages.dice]
        kind = "command"
        run = ["sh", "-c", "od -An -N8 -tx8 /dev/urandom > {outputs.number}"]
        outputs = { number = "file" }
        "#,
    );
    project.run(&[]);
    let first = std::fs::read(project.blob("dice")).unwrap();
    let events = project.events(&["--force", "dice"]);
    assert!(events.iter().any(|event| {
        event["event"] == "notice" && event["message"].as_str().is_some_and(|text| text.contains("not deterministic"))
    }));
    assert_eq!(std::fs::read(project.blob("dice")).unwrap(), first);
}

#[test]
fn only_the_targets_and_what_they_need_run() {
    let project = chain();
    assert_eq!(project.ran(&["second"]), ["first", "second"]);
}

#[test]
fn two_fresh_stores_hold_the_same_digests() {
    let (one, other) = (chain(), chain());
    one.run(&[]);
    other.run(&[]);
    for stage in ["first", "second", "third"] {
        assert_eq!(one.show(stage)["artifacts"][0]["digest"], other.show(stage)["artifacts"][0]["digest"]);
        assert_eq!(one.show(stage)["key"], other.show(stage)["key"]);
    }
}

#[test]
fn runners_side_by_side_run_each_stage_once() {
    let project = Project::new(
        r#"
        [stages.slow]
        kind = "command"
        run = ["sh", "-c", "sleep 0.3; echo x > {outputs.text}"]
        outputs = { text = "file" }
        "#,
    );
    let start =
        || project.command(&["run", "pipeline.toml", "--format", "json"]).stdout(std::process::Stdio::piped()).spawn();
    let children: Vec<_> = (0..4).map(|_| start().unwrap()).collect();
    let ran: u64 = children
        .into_iter()
        .map(|child| {
            let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
            let done: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
            assert_eq!(done["failed"], 0, "{out}");
            done["ran"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(ran, 1);
}
