//! Results are shared through a remote: nothing is computed twice, only what is asked for is moved, and a remote that
//! is damaged or down harms no run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::harness::{Project, Said, chain};

/// A project with a chain of three stages whose results are shared in a folder.
fn sharing(remote: &Path) -> Project {
    let project = chain();
    project.write("pacer.toml", &format!("[remote]\nurl = \"{}\"\n", remote.display()));
    project
}

/// A folder that becomes a remote.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// A pipeline that was run and pushed, and a second machine that shares its remote.
fn two_machines(remote: &Path) -> (Project, Project) {
    let (first, second) = (sharing(remote), sharing(remote));
    let said = first.pacer(&["run", "pipeline.toml", "--push"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("pushed 3 results"), "{}", said.err);
    (first, second)
}

/// Every file below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

/// The blob of a stage's first artifact in a remote.
fn blob(project: &Project, stage: &str, remote: &Path) -> PathBuf {
    let digest = project.show(stage)["artifacts"][0]["digest"].as_str().expect("it has a digest").to_owned();
    remote.join("objects").join(&digest[..2]).join(&digest[2..])
}

/// Writes over a file whatever its mode.
fn overwrite(path: &Path, text: &str) {
    fs::remove_file(path).expect("it is there");
    fs::write(path, text).expect("it can be written");
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}\n{}", said.out, said.err))
}

#[test]
fn a_second_machine_computes_nothing_and_brings_only_what_is_asked_for() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    assert_eq!(second.plan(&[]), ["first reused", "second reused", "third reused"]);
    assert!(second.pacer(&["plan", "pipeline.toml"]).out.contains("in the remote"));
    let done = second.run(&[]);
    assert_eq!((done["ran"].as_u64(), done["reused"].as_u64()), (Some(0), Some(3)));
    assert_eq!(second.stored("objects").len(), 0, "nobody asked for an artifact");
    let told = second.pacer(&["show", "pipeline.toml", "second"]);
    assert!(told.out.contains("in the remote: pacer pull pipeline.toml second.text"), "{}", told.out);
    assert_eq!(second.stored("objects").len(), 0, "nobody asked for an artifact");

    let said = second.pacer(&["pull", "pipeline.toml", "third"]);
    assert!(said.code == 0 && said.out.starts_with("pulled 1 blob, 2 B"), "{}{}", said.out, said.err);
    assert_eq!(second.stored("objects").len(), 1);
    let said = second.pacer(&["show", "pipeline.toml", "second.text", "--export", "text"]);
    assert_eq!((said.code, fs::read_to_string(second.path("text")).unwrap().as_str()), (0, "a\none\n"), "{}", said.err);
    assert_eq!(second.stored("objects").len(), 2);
    assert_eq!(second.digests(&["pipeline.toml"]), first.digests(&["pipeline.toml"]));
    let said = second.pacer(&["pull"]);
    assert_eq!((said.code, second.stored("objects").len(), second.stored("results").len()), (0, 3, 3), "{}", said.err);
    // All is here now, and the remote is needed for nothing.
    assert_eq!(second.plan(&["--no-remote"]), ["first reused", "second reused", "third reused"]);
    assert_eq!(second.pacer(&["verify"]).code, 0);
}

#[test]
fn a_stage_that_runs_brings_its_inputs_and_no_others() {
    let remote = folder();
    let (_, second) = two_machines(remote.path());
    second.edit("wc -l", "wc -c");
    let said = second.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("1 input from the remote, 6 B"), "{}", said.err);
    assert!(said.err.contains("1 ran, 2 reused"), "{}", said.err);
    // What `second` wrote, and what `third` wrote anew.
    assert_eq!(second.stored("objects").len(), 2);
}

#[test]
fn what_is_damaged_in_the_remote_is_named_and_made_here() {
    let cases: [(&str, &str, &str); 3] = [
        ("another text", "a\ntwo\n", "its bytes are not those of its name"),
        ("cut short", "a\n", "it has 2 of 6 bytes"),
        ("too long", "a\none\nand more", "it has more of 6 bytes"),
    ];
    for (case, text, words) in cases {
        let remote = folder();
        let (first, second) = two_machines(remote.path());
        overwrite(&blob(&first, "second", remote.path()), text);
        second.edit("wc -l", "wc -c");
        let said = second.pacer(&["run", "pipeline.toml", "--push"]);
        assert_eq!(said.code, 0, "{case}: {}", said.err);
        assert!(said.err.contains(words) && said.err.contains("is refused"), "{case}: {}", said.err);
        assert!(said.err.contains("2 ran, 1 reused"), "{case}: {}", said.err);
        assert_eq!(second.show("second")["artifacts"][0]["digest"], first.show("second")["artifacts"][0]["digest"]);
        assert_eq!(second.pacer(&["verify"]).code, 0, "{case}");
        // Who made it anew has put it right.
        let third = sharing(remote.path());
        let said = third.pacer(&["pull", "pipeline.toml", "second"]);
        assert_eq!(said.code, 0, "{case}: {}", said.err);
    }
}

#[test]
fn a_blob_that_was_refused_is_made_by_the_next_command_and_put_right_by_the_next_push() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    overwrite(&blob(&first, "second", remote.path()), "a\ntwo\n");
    let said = second.pacer(&["pull", "pipeline.toml"]);
    assert_eq!((said.code, said.out.starts_with("pulled 2 blobs")), (1, true), "{}{}", said.out, said.err);
    assert!(said.err.contains("is refused") && said.err.contains("`pacer run` makes anew"), "{}", said.err);
    for what in [&["pull", "pipeline.toml"][..], &["pull"]] {
        let said = second.pacer(what);
        assert_eq!((said.code, said.err.matches("; `pacer run` makes them").count()), (1, 1), "{}", said.err);
    }
    let said = second.pacer(&["plan", "pipeline.toml"]);
    assert!(said.out.contains("the remote cannot give its artifact"), "{}", said.out);
    let done = second.run(&[]);
    assert_eq!((done["ran"].as_u64(), done["reused"].as_u64()), (Some(1), Some(2)));
    let said = second.pacer(&["push"]);
    assert!(said.out.starts_with("pushed 0 results, 1 blob"), "{}", said.out);
    let said = sharing(remote.path()).pacer(&["pull", "pipeline.toml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    // After a day it is asked for again.
    overwrite(&blob(&first, "second", remote.path()), "a\ntwo\n");
    let third = sharing(remote.path());
    assert_eq!(third.pacer(&["pull", "pipeline.toml"]).code, 1);
    let notes = third.stored("refused");
    assert_eq!(notes.len(), 1);
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    fs::File::options().write(true).open(&notes[0]).unwrap().set_modified(yesterday).unwrap();
    overwrite(&blob(&first, "second", remote.path()), "a\none\n");
    assert_eq!(third.pacer(&["pull", "pipeline.toml"]).code, 0);
}

#[test]
fn a_result_that_is_none_is_refused_and_a_missing_blob_is_made_here() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    for path in files(&remote.path().join("results")) {
        let text = fs::read_to_string(&path).unwrap();
        overwrite(&path, &text.replace("\"finished\": 1", "\"finished\": 2"));
    }
    let said = second.pacer(&["run", "pipeline.toml", "--push"]);
    assert!(said.err.contains("is refused: its sum is wrong") && said.err.contains("3 ran"), "{}", said.err);
    // The push put them right.
    let third = sharing(remote.path());
    assert_eq!(third.run(&[])["reused"], 3);
    for path in files(&remote.path().join("objects")) {
        fs::remove_file(path).unwrap();
    }
    third.edit("wc -l", "wc -c");
    let done = third.run(&[]);
    assert_eq!((done["failed"].as_u64(), done["ran"].as_u64(), done["reused"].as_u64()), (Some(0), Some(3), Some(0)));
    let digest = |project: &Project| project.show("second")["artifacts"][0]["digest"].clone();
    assert_eq!(digest(&third), digest(&first));
}

#[test]
fn a_remote_that_is_down_costs_one_warning() {
    let remote = folder();
    let (_, second) = two_machines(remote.path());
    let away = remote.path().with_extension("away");
    for place in [away.join("not/mounted").display().to_string(), "s3://bucket/x".into()] {
        // Nobody listens on port 9, which is kept for those who throw everything away.
        let endpoint = if place.starts_with("s3") { "endpoint = \"http://127.0.0.1:9\"\n" } else { "" };
        second.write("pacer.toml", &format!("[remote]\nurl = \"{place}\"\npush = true\n{endpoint}"));
        let began = std::time::Instant::now();
        second.edit("wc ", "wc  ");
        let said = second.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(said.err.matches("going on without it").count(), 1, "{}", said.err);
        assert!(said.err.contains("were not pushed, `pacer push` goes on"), "{}", said.err);
        assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
        assert_eq!(second.pacer(&["push"]).code, 2);
    }
}

#[test]
fn a_remote_that_goes_down_after_it_promised_is_done_without() {
    let remote = folder();
    let (_, second) = two_machines(remote.path());
    assert_eq!(second.run(&[])["reused"], 3);
    let away = remote.path().with_extension("away");
    fs::rename(remote.path(), &away).unwrap();
    fs::write(remote.path(), "no folder").unwrap();
    second.edit("wc -l", "wc -c");
    let done = second.run(&[]);
    assert_eq!((done["failed"].as_u64(), done["ran"].as_u64()), (Some(0), Some(3)));
    let said = second.pacer(&["show", "pipeline.toml", "third.count", "--export", "count"]);
    assert_eq!(said.code, 0, "{}", said.err);
    fs::remove_file(remote.path()).unwrap();
    fs::rename(away, remote.path()).unwrap();
}

#[test]
fn who_may_only_read_puts_nothing_there() {
    let remote = folder();
    let project = sharing(remote.path());
    project.write("pacer.toml", &format!("[remote]\nurl = \"{}\"\npush = true\n", remote.path().display()));
    let said = project.pacer(&["run", "pipeline.toml", "--remote-only-read"]);
    assert_eq!((said.code, files(remote.path()).len()), (0, 0), "{}", said.err);
    assert_eq!(project.pacer(&["push", "--remote-only-read"]).code, 2);
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--push", "--remote-only-read"]).code, 2);
    assert_eq!((project.pacer(&["push"]).code, files(&remote.path().join("results")).len()), (0, 3));
}

#[test]
fn a_push_that_was_killed_goes_on_and_two_at_once_do_no_harm() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    // As a kill leaves it: blobs without their results, and files that were begun.
    fs::remove_dir_all(remote.path().join("results")).unwrap();
    fs::write(remote.path().join("tmp/begun"), "half").unwrap();
    assert_eq!(second.plan(&[])[0], "first run");
    assert_eq!(second.run(&[])["ran"], 3);
    let push = |project: &Project| {
        let mut command = project.command(&["push", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pacer can be started")
    };
    let children: Vec<Child> =
        [&first, &second].into_iter().flat_map(|project| [push(project), push(project)]).collect();
    let mut put = 0;
    for child in children {
        let said = crate::harness::said(&child.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{}", said.err);
        let told = json(&said);
        assert_eq!((told["blobs"].as_u64(), told["diverged"].as_array().map(Vec::len)), (Some(0), Some(0)), "{told}");
        put += told["results"].as_u64().unwrap();
    }
    assert_eq!(put, 3);
    let third = sharing(remote.path());
    assert_eq!(third.run(&[])["reused"], 3);
}

#[test]
fn a_push_that_is_killed_at_any_moment_leaves_a_sound_remote() {
    let remote = folder();
    let first = sharing(remote.path());
    first.edit("head -n 1 {inputs.text}", "yes | head -c 30000000");
    assert_eq!(first.run(&["--no-remote"])["ran"], 3);
    let mut killed = 0;
    for milliseconds in [2, 6, 12, 20, 35] {
        let mut child = first.command(&["push"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        // Whatever is there can be used.
        let other = sharing(remote.path());
        other.edit("head -n 1 {inputs.text}", "yes | head -c 30000000");
        let said = other.pacer(&["run", "pipeline.toml"]);
        assert!(said.code == 0 && !said.err.contains("refused"), "{}", said.err);
        assert!([0, 1].contains(&other.pacer(&["pull", "pipeline.toml"]).code));
        assert_eq!(other.digests(&["pipeline.toml"]), first.digests(&["pipeline.toml", "--no-remote"]));
    }
    assert!(killed > 0, "no push was killed half-way");
    assert_eq!(first.pacer(&["push"]).code, 0);
    let third = sharing(remote.path());
    third.edit("head -n 1 {inputs.text}", "yes | head -c 30000000");
    assert_eq!((third.run(&[])["reused"].as_u64(), third.pacer(&["pull", "pipeline.toml"]).code), (Some(3), 0));
    assert_eq!(third.pacer(&["verify"]).code, 0);
}

#[test]
fn commands_that_read_artifacts_bring_them() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    let said = second.pacer(&["compare", "pipeline.toml", "pipeline.toml", "second.text"]);
    assert_eq!((said.code, second.stored("objects").len()), (0, 1), "{}{}", said.out, said.err);
    assert_eq!(second.run(&[])["reused"], 3);
    let said = second.pacer(&["export", "archive", "latest", "--out", "run.zip"]);
    assert!(said.code == 0 && said.err.contains("3 results, 3 blobs"), "{}", said.err);
    let third = sharing(remote.path());
    assert_eq!(third.run(&[])["reused"], 3);
    let said = third.pacer(&["verify", "pipeline.toml", "--rerun", "third"]);
    assert!(said.code == 0 && said.out.contains("same bits"), "{}{}", said.out, said.err);
    assert_eq!(third.stored("objects").len(), 2);
    // Without the remote it is told what to do, and nothing is believed that cannot be had.
    let said = first.pacer(&["show", "pipeline.toml", "third.count", "--no-remote"]);
    assert_eq!(said.code, 0);
    assert_eq!(third.plan(&["--no-remote"])[0], "first run");
}

#[test]
fn the_first_of_two_results_stays_and_the_other_is_told() {
    let remote = folder();
    let (first, second) = (sharing(remote.path()), sharing(remote.path()));
    for (project, text) in [(&first, "one"), (&second, "other")] {
        // The stage's result depends on a file that its key does not know.
        let hidden = remote.path().with_extension("hidden");
        fs::write(&hidden, text).unwrap();
        project.edit("head -n 1 {inputs.text}", &format!("cat {}", hidden.display()));
        assert_eq!(project.pacer(&["run", "pipeline.toml", "first", "--no-remote"]).code, 0);
        fs::remove_file(hidden).unwrap();
    }
    assert_eq!(first.pacer(&["push"]).code, 0);
    let before = files(&remote.path().join("results")).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let said = second.pacer(&["push"]);
    assert!(said.err.contains("with other bytes, which stays"), "{}", said.err);
    let after = files(&remote.path().join("results")).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    assert_eq!(before, after);
}

#[test]
fn a_collection_frees_what_no_result_reaches_after_its_grace() {
    let remote = folder();
    let (first, _) = two_machines(remote.path());
    let loose = remote.path().join("objects/ab").join("0".repeat(62));
    fs::create_dir_all(loose.parent().unwrap()).unwrap();
    fs::write(&loose, "12345").unwrap();
    fs::write(remote.path().join("tmp/pacer-begun1"), "half").unwrap();
    let gc = |arguments: &[&str]| {
        let said = first.pacer(&[&["gc", "--remote", "--format", "json"], arguments].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        json(&said)
    };
    let told = gc(&["--grace", "0s", "--dry-run"]);
    assert_eq!((told["blobs"].as_u64(), told["bytes"].as_u64(), told["kept"].as_u64()), (Some(1), Some(5), Some(3)));
    assert_eq!((gc(&[])["blobs"].as_u64(), loose.exists()), (Some(0), true), "its grace is not over");
    let told = gc(&["--grace", "0s"]);
    assert_eq!((told["blobs"].as_u64(), told["unfinished"].as_u64(), loose.exists()), (Some(1), Some(1), false));
    let third = sharing(remote.path());
    assert_eq!(third.pacer(&["pull", "pipeline.toml"]).code, 0);
    // Old results go, with their blobs, and are named before.
    let old = ["--grace", "0s", "--older-than", "0s", "--dry-run"];
    let named: Vec<_> = ["first", "second", "third"].iter().map(|stage| first.show(stage)["key"].clone()).collect();
    let told = gc(&old)["doomed"].as_array().unwrap().clone();
    assert!(told.len() == 3 && told.iter().all(|it| named.contains(&it["key"]) && it["kind"] == "command"), "{told:?}");
    let said = first.pacer(&[&["gc", "--remote"], &old[..]].concat());
    let short = |key: &Value| key.as_str().unwrap()[..12].to_owned();
    assert!(named.iter().all(|key| said.out.contains(&short(key))), "{}", said.out);
    assert_eq!(gc(&["--grace", "0s", "--older-than", "0s"])["results"], 3);
    assert_eq!(files(&remote.path().join("objects")).len() + files(&remote.path().join("results")).len(), 0);
}

#[test]
fn a_collection_leaves_what_pacer_did_not_write() {
    let remote = folder();
    let (first, _) = two_machines(remote.path());
    let others =
        ["objects/cup.obj", "objects/ab/loose", "results/run-1.csv", "results/ab/run.json", "tmp/x", "cluster/a/b"];
    let write = || {
        for name in others {
            fs::create_dir_all(remote.path().join(name).parent().unwrap()).unwrap();
            fs::write(remote.path().join(name), "of somebody").unwrap();
        }
    };
    write();
    let gc = ["gc", "--remote", "--grace", "0s", "--older-than", "0s"];
    let before = files(remote.path());
    // Where no pacer has written its mark, it may be the wrong place.
    fs::remove_file(remote.path().join("FORMAT")).unwrap();
    let said = first.pacer(&gc);
    assert!(said.code == 2 && said.err.contains("nothing was freed"), "{}{}", said.out, said.err);
    assert!(said.err.contains("there is no `FORMAT`") && said.err.contains("`pacer push` first"), "{}", said.err);
    assert_eq!(files(remote.path()).len(), before.len() - 1);
    assert_eq!(first.pacer(&["push"]).code, 0);
    assert_eq!(files(remote.path()), before);
    let said = first.pacer(&gc);
    assert!(said.code == 0 && said.out.contains("3 results") && said.err.contains("6 objects there"), "{}", said.err);
    let mut kept: Vec<_> = others.iter().chain(&["FORMAT"]).map(|name| remote.path().join(name)).collect();
    kept.sort();
    assert_eq!(files(remote.path()), kept);
}

#[test]
fn a_collection_frees_nothing_where_some_results_cannot_be_listed() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    let (results, away) = (remote.path().join("results"), remote.path().join("away"));
    fs::rename(&results, &away).unwrap();
    // Not even who may do everything can list this.
    std::os::unix::fs::symlink("results", &results).unwrap();
    let said = first.pacer(&["gc", "--remote", "--grace", "0s"]);
    assert!(said.code == 2 && said.err.contains("nothing was freed"), "{}{}", said.out, said.err);
    fs::remove_file(&results).unwrap();
    // What lies elsewhere and is only linked is there nevertheless.
    fs::create_dir(&results).unwrap();
    for entry in fs::read_dir(&away).unwrap().flatten() {
        std::os::unix::fs::symlink(entry.path(), results.join(entry.file_name())).unwrap();
    }
    let said = first.pacer(&["gc", "--remote", "--grace", "0s"]);
    assert!(said.code == 0 && said.out.contains("3 results"), "{}{}", said.out, said.err);
    assert_eq!(second.pacer(&["pull", "pipeline.toml"]).code, 0);
}

#[test]
fn results_of_a_newer_pacer_are_neither_collected_nor_replaced() {
    let remote = folder();
    let (first, second) = two_machines(remote.path());
    let all = || files(remote.path()).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let results = files(&remote.path().join("results"));
    overwrite(&results[0], "{\"v\": 3, \"artifacts\": \"told in another way\"}\n");
    let before = all();
    let said = first.pacer(&["gc", "--remote", "--grace", "0s"]);
    assert!(said.code == 2 && said.err.contains("nothing was freed"), "{}{}", said.out, said.err);
    assert!(said.err.contains("a newer pacer shares its results there"), "{}", said.err);
    let said = second.pacer(&["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("is refused: a newer pacer wrote it"), "{}", said.err);
    assert_eq!((first.pacer(&["push"]).code, all()), (0, before));
}

#[test]
fn a_collection_of_the_store_keeps_what_came_from_the_remote() {
    let remote = folder();
    let (_, second) = two_machines(remote.path());
    second.edit("wc -l", "wc -c");
    assert_eq!(second.run(&[])["ran"], 1);
    let said = second.pacer(&["gc"]);
    assert_eq!((said.code, second.stored("objects").len()), (0, 2), "{}", said.err);
    assert_eq!(second.run(&[])["reused"], 3);
}

#[test]
fn a_faulty_profile_is_drawn_and_stops_the_command() {
    let project = chain();
    project.write("pacer.toml", "[remote]\nurl = \"s3://me:secret@bucket/x\"\n");
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("pacer.toml:2:7") && said.err.contains("no name and no password"), "{}", said.err);
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--no-remote"]).code, 0);
    assert_eq!(project.pacer(&["push", "--no-remote"]).code, 2);
}
