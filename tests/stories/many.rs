//! Many runners on one store: every stage runs once in all, all of them end well, and nobody waits for a dead one.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Dice, Digests, Project, chain, thorough, within_a_moment};

const RUNNERS: usize = 8;
const PLAIN: [&str; 1] = ["pipeline.toml"];

/// Six stages in three rows of two, each of which takes a little time, and says in a file of the project that it ran.
fn lattice() -> Project {
    let mut text = String::new();
    for (row, inputs) in [("a", vec![]), ("b", vec!["a1", "a2"]), ("c", vec!["b1", "b2"])] {
        for column in ["1", "2"] {
            text += &format!("[stages.{row}{column}]\nkind = \"command\"\noutputs = {{ text = \"file\" }}\n");
            text += "run = [\"sh\", \"-c\", \"echo NAME >> PLACE/ran; sleep 0.03; echo NAME > {outputs.text}\"]\n"
                .replace("NAME", &format!("{row}{column}"))
                .as_str();
            inputs.iter().for_each(|input| text += &format!("inputs.files.{input} = \"{input}\"\n"));
        }
    }
    let project = Project::new("");
    let place = project.path("").display().to_string();
    project.write("pipeline.toml", &text.replace("PLACE", place.trim_end_matches('/')));
    project
}

/// Waits for a runner; its last event and its exit code.
fn end(runner: Child) -> (Value, Option<i32>) {
    let output = runner.wait_with_output().expect("it can be waited for");
    let out = String::from_utf8_lossy(&output.stdout);
    let last = out.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap_or(Value::Null));
    (last, output.status.code())
}

fn undisturbed() -> Digests {
    let project = lattice();
    assert_eq!(project.run(&[])["ran"], 6);
    project.digests(&PLAIN)
}

#[test]
fn eight_runners_on_a_fresh_store_run_every_stage_once_in_all() {
    let expected = undisturbed();
    let project = lattice();
    let runners: Vec<_> = (0..RUNNERS).map(|_| project.start(&PLAIN)).collect();
    let ends: Vec<_> = runners.into_iter().map(end).collect();
    for (done, code) in &ends {
        assert_eq!((code, &done["failed"]), (&Some(0), &0.into()), "{done}");
    }
    let ran: u64 = ends.iter().filter_map(|(done, _)| done["ran"].as_u64()).sum();
    assert_eq!(ran, 6, "{ends:?}");
    let mut names: Vec<_> = std::fs::read_to_string(project.path("ran")).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["a1", "a2", "b1", "b2", "c1", "c2"], "programs were started twice");
    project.assert_heals(&PLAIN, &expected, "eight runners");
}

#[test]
fn one_of_eight_runners_killed_leaves_nobody_waiting() {
    let expected = undisturbed();
    let mut dice = Dice(8);
    for _ in 0..if thorough() { 50 } else { 4 } {
        let project = lattice();
        let mut runners: Vec<_> = (0..RUNNERS).map(|_| project.start(&PLAIN)).collect();
        let delay = Duration::from_millis(dice.below(150));
        let mut victim = runners.swap_remove(dice.below(RUNNERS as u64) as usize);
        std::thread::sleep(delay);
        victim.kill().unwrap();
        let began = Instant::now();
        victim.wait().unwrap();
        for runner in runners {
            let (done, code) = end(runner);
            assert_eq!((code, &done["failed"]), (Some(0), &0.into()), "killed after {delay:?}: {done}");
        }
        assert!(began.elapsed() < Duration::from_secs(20), "killed after {delay:?}: somebody waited");
        project.assert_heals(&PLAIN, &expected, "a killed runner among eight");
    }
}

#[test]
fn the_holder_of_a_result_is_killed_and_one_who_waits_makes_it() {
    let project = Project::new(
        r#"
        [stages.slow]
        kind = "command"
        run = ["sh", "-c", "touch PLACE/begun; test -e PLACE/go || sleep 30; echo x > {outputs.text}"]
        outputs = { text = "file" }
        "#,
    );
    let place = project.path("").display().to_string();
    project.edit("PLACE", place.trim_end_matches('/'));
    let mut holder = project.start(&PLAIN);
    crate::harness::wait_for(&mut holder, &["running"]);
    // It says that it runs before it has the lock.
    within_a_moment("the program never starts", || project.path("begun").exists());
    let mut waiting: Vec<_> = (0..3).map(|_| project.start(&PLAIN)).collect();
    waiting.iter_mut().for_each(|runner| crate::harness::wait_for(runner, &["waiting"]));
    project.write("go", "");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let codes: Vec<_> = waiting.iter_mut().map(|runner| runner.wait().unwrap().code()).collect();
    assert_eq!(codes, [Some(0); 3]);
}

#[test]
fn runners_of_different_parameters_share_what_they_have_in_common() {
    let project = chain();
    let sets: Vec<_> = (0..RUNNERS).map(|number| format!("suffix=s{number}")).collect();
    let runners: Vec<_> = sets.iter().map(|set| project.start(&["pipeline.toml", "--set", set])).collect();
    let ends: Vec<_> = runners.into_iter().map(end).collect();
    assert!(ends.iter().all(|(_, code)| *code == Some(0)), "{ends:?}");
    let ran: u64 = ends.iter().filter_map(|(done, _)| done["ran"].as_u64()).sum();
    // `first` once in all, `second` for each suffix; `third` counts lines, which are as many for all of them, but
    // reads other bytes.
    assert_eq!(ran, 1 + 2 * RUNNERS as u64, "{ends:?}");
    assert_eq!(project.pacer(&["verify"]).code, 0);
}
