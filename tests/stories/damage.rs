//! Damage to the store: found, healed, never served.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Project, chain};

/// Makes a blob writable and overwrites it.
fn overwrite(path: &std::path::Path, text: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_truncated_blob_is_made_again() {
    let project = chain();
    project.run(&[]);
    let blob = project.blob("first");
    overwrite(&blob, "");
    assert_eq!(project.ran(&[]), ["first"]);
    assert_eq!(fs::read_to_string(&blob).unwrap(), "a\n");
}

#[test]
fn a_deleted_blob_is_made_again() {
    let project = chain();
    project.run(&[]);
    fs::remove_file(project.blob("second")).unwrap();
    assert_eq!(project.ran(&[]), ["second"]);
}

#[test]
fn a_flipped_bit_is_found_by_verify_and_healed_by_run() {
    let project = chain();
    project.run(&[]);
    let blob = project.blob("first");
    overwrite(&blob, "b\n");
    let said = project.pacer(&["verify"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("✗ damaged blob"), "{}", said.out);
    assert_eq!(project.ran(&[]), ["first"]);
    assert_eq!(fs::read_to_string(&blob).unwrap(), "a\n");
    assert_eq!(project.pacer(&["verify"]).code, 0);
}

#[test]
fn a_garbage_result_is_a_miss() {
    let project = chain();
    project.run(&[]);
    let results = project.stored("results");
    assert_eq!(results.len(), 3);
    results.iter().for_each(|path| fs::write(path, "{\"v\":1,").unwrap());
    assert_eq!(project.ran(&[]), ["first", "second", "third"]);
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let project = chain();
    project.run(&[]);
    fs::write(project.path("store/FORMAT"), "999\n").unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("format 999, by a newer pacer"), "{}", said.err);
}

#[test]
fn a_store_that_cannot_be_made_is_told_with_the_remedy() {
    let project = chain();
    project.write("store", "a file where the store should be");
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("store") && said.err.contains("cannot be"), "{}", said.err);
}

#[test]
fn an_output_that_cannot_be_written_whole_loses_nothing_else() {
    let project = Project::new(
        r#"
        [stages.small]
        kind = "command"
        run = ["sh", "-c", "echo x > {outputs.text}"]
        outputs = { text = "file" }

        [stages.large]
        kind = "command"
        inputs.files.text = "small"
        run = ["sh", "-c", "ulimit -f 1; head -c 10000000 /dev/zero > {outputs.zeros}"]
        outputs = { zeros = "file" }
        "#,
    );
    let done = project.run(&[]);
    assert_eq!((done["ran"].as_u64(), done["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(project.stored("objects").len(), 1);
    project.edit("ulimit -f 1; ", "");
    assert_eq!(project.ran(&[]), ["large"]);
}

#[test]
fn gc_frees_what_no_recent_run_reached_and_a_dry_run_frees_nothing() {
    let project = chain();
    project.run(&["--set", "suffix=old"]);
    project.run(&["--set", "suffix=new"]);
    let before = project.stored("objects").len();
    let said = project.pacer(&["gc", "--keep-runs", "1", "--dry-run"]);
    assert!(said.out.contains("would free"), "{}", said.out);
    assert_eq!(project.stored("objects").len(), before);
    assert_eq!(project.pacer(&["gc", "--keep-runs", "1"]).code, 0);
    assert_eq!(project.ran(&["--set", "suffix=new"]), [""; 0]);
    assert_eq!(project.plan(&["--set", "suffix=old"]), ["first reused", "second run", "third maybe"]);
}

#[test]
fn force_replaces_a_damaged_blob() {
    let project = chain();
    project.run(&[]);
    let blob = project.blob("first");
    overwrite(&blob, "b\n");
    assert_eq!(project.ran(&["--force", "first"]), ["first"]);
    assert_eq!(fs::read_to_string(&blob).unwrap(), "a\n");
}

#[test]
fn an_output_that_is_a_hard_link_leaves_the_other_name_alone() {
    let project = Project::new(
        r#"
        [stages.link]
        kind = "command"
        run = ["sh", "-c", "ln PLACE/mine.txt {outputs.text}"]
        outputs = { text = "file" }
        "#,
    );
    let place = project.path("").display().to_string();
    project.edit("PLACE", place.trim_end_matches('/'));
    project.write("mine.txt", "mine\n");
    assert_eq!(project.ran(&[]), ["link"]);
    project.write("mine.txt", "changed\n");
    assert_eq!(fs::read_to_string(project.blob("link")).unwrap(), "mine\n");
}

#[test]
fn a_store_whose_path_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let project = chain();
    let mut command = project.command(&["run", "pipeline.toml", "--store"]);
    let said = crate::harness::said(&command.arg(std::ffi::OsStr::from_bytes(b"st\xff")).output().unwrap());
    assert_eq!(said.code, 2);
    assert!(said.err.contains("is not UTF-8"), "{}", said.err);
}

#[test]
fn a_changed_digit_in_a_result_is_damage() {
    let project = Project::new(
        "[stages.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo '{\\\"mae\\\": 9.81}' > {outputs.figures}\"]\n\
         outputs = { figures = \"metrics\" }\n",
    );
    project.run(&[]);
    let result = &project.stored("results")[0];
    let text = fs::read_to_string(result).unwrap();
    assert!(text.contains("9.81"), "{text}");
    overwrite(result, &text.replace("9.81", "1.81"));
    assert_eq!(project.pacer(&["verify"]).code, 1);
    project.run(&[]);
    overwrite(&project.stored("results")[0], &text.replace("9.81", "1.81"));
    assert_eq!(project.ran(&[]), ["a"]);
    assert_eq!(project.show("a")["metrics"]["mae"], 9.81);
}

#[test]
fn a_collection_counts_the_real_sizes_of_what_is_damaged() {
    let project = chain();
    project.run(&[]);
    overwrite(&project.blob("first"), "");
    let said = project.pacer(&["gc", "--keep-runs", "0", "--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let freed: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&freed["kept"], &freed["kept_bytes"]), (&0.into(), &0.into()));
}

#[test]
fn strange_folders_among_the_runs_push_no_run_out() {
    let project = chain();
    project.run(&[]);
    (0..20).for_each(|at| fs::create_dir_all(project.path(&format!("store/runs/zz{at}"))).unwrap());
    project.pacer(&["gc", "--keep-runs", "1"]);
    assert_eq!(project.ran(&[]), [""; 0]);
}

#[test]
fn a_store_without_its_empty_folders_goes_on() {
    let project = chain();
    project.run(&[]);
    for name in ["tmp", "locks", "index", "partial"] {
        fs::remove_dir_all(project.path(&format!("store/{name}"))).unwrap();
    }
    assert_eq!(project.run(&["--set", "suffix=two"])["ran"], 2);
}
