//! Every file of a store cut short, overwritten and deleted in turn: nothing panics, damage is never served, and the
//! next run ends with the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{Digests, Project, chain, copy_folder, tell, thorough};

const PLAIN: [&str; 1] = ["pipeline.toml"];

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    CutShort,
    Emptied,
    Garbage,
    SameSizeGarbage,
    Deleted,
}

const HARMS: [Harm; 5] = [Harm::CutShort, Harm::Emptied, Harm::Garbage, Harm::SameSizeGarbage, Harm::Deleted];

fn harm(path: &Path, harm: Harm) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let bytes = fs::read(path).unwrap();
    let garbage = |length: usize| (0..length).map(|at| (at * 37 + 11) as u8 | 0x80).collect::<Vec<_>>();
    match harm {
        Harm::CutShort => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
        Harm::Emptied => fs::write(path, "").unwrap(),
        Harm::Garbage => fs::write(path, garbage(1000)).unwrap(),
        Harm::SameSizeGarbage => fs::write(path, garbage(bytes.len())).unwrap(),
        Harm::Deleted => fs::remove_file(path).unwrap(),
    }
}

/// The chain with an input so old that its digest is remembered, which makes one more file.
fn chain_of_old() -> Project {
    let project = chain();
    project.edit("input.txt", concat!(env!("CARGO_MANIFEST_DIR"), "/clippy.toml"));
    project
}

/// A project with a history: two runs, one of them with another parameter.
fn grown() -> (Project, Digests) {
    let project = chain_of_old();
    assert_eq!(project.run(&["--set", "suffix=old"])["ran"], 3);
    assert_eq!(project.run(&[])["ran"], 2);
    let digests = project.digests(&PLAIN);
    (project, digests)
}

/// Every file of a store but the one that says its format, relative to the store.
fn files(project: &Project) -> Vec<PathBuf> {
    let store = project.path("store");
    let all = project.stored("").into_iter().map(|path| path.strip_prefix(&store).unwrap().to_owned());
    all.filter(|path| path != Path::new("FORMAT")).collect()
}

/// The commands that look at a store, none of which may break over it.
fn look(project: &Project, what: &str) {
    let looks: [&[&str]; 7] = [
        &["plan", "pipeline.toml"],
        &["status", "pipeline.toml"],
        &["explain", "pipeline.toml", "third"],
        &["show", "pipeline.toml", "third"],
        &["log", "pipeline.toml", "second"],
        &["gc", "--dry-run", "--keep-runs", "1"],
        &["doctor"],
    ];
    for arguments in looks {
        project.pacer(arguments).assert_orderly(&format!("{what}: {arguments:?}"));
    }
}

/// Every file with every harm; a third of them where there is no time for all.
fn harms(project: &Project) -> Vec<(PathBuf, Harm)> {
    let files = files(project);
    assert!(files.len() > 15 && files.contains(&"index/inputs".into()), "{files:?}");
    let all = files.iter().enumerate().flat_map(|(at, file)| {
        let chosen = HARMS.into_iter().enumerate().filter(move |(number, _)| thorough() || (at + number) % 3 == 0);
        chosen.map(|(_, harm)| (file.clone(), harm))
    });
    all.collect()
}

/// A copy of a store with one file harmed, and what to call it.
fn harmed(origin: &Project, file: &Path, how: Harm) -> (Project, String) {
    let project = chain_of_old();
    copy_folder(&origin.path("store"), &project.path("store"));
    harm(&project.path("store").join(file), how);
    (project, format!("{} {how:?}", file.display()))
}

/// Runs with both parameters make again whatever was damaged.
fn assert_all_heals(project: &Project, expected: &Digests, what: &str) {
    assert_eq!(project.run(&["--set", "suffix=old"])["failed"], 0, "{what}");
    project.assert_heals(&PLAIN, expected, what);
}

#[test]
fn any_file_of_the_store_damaged_breaks_no_command_and_is_healed() {
    let (origin, expected) = grown();
    let harms = harms(&origin);
    for (file, how) in &harms {
        let (project, what) = harmed(&origin, file, *how);
        look(&project, &what);
        project.pacer(&["verify"]).assert_orderly(&what);
        assert_all_heals(&project, &expected, &what);
        let collected = project.pacer(&["gc", "--keep-runs", "1"]);
        assert_eq!(collected.code, 0, "{what}: {}", collected.err);
        assert_eq!(project.digests(&PLAIN), expected, "{what}: after the collection");
    }
    tell(&format!("damaged files: {}", harms.len()));
}

#[test]
fn what_a_run_can_see_it_heals_without_verify() {
    let (origin, expected) = grown();
    // Other bytes of the same size are what `verify` is for.
    let seen = |(file, how): &(PathBuf, Harm)| *how != Harm::SameSizeGarbage || !file.starts_with("objects");
    for (file, how) in harms(&origin).into_iter().filter(seen) {
        let (project, what) = harmed(&origin, &file, how);
        assert_all_heals(&project, &expected, &what);
    }
}

#[test]
fn a_journal_with_a_garbage_tail_still_tells_its_beginning() {
    let (project, expected) = grown();
    for path in project.stored("runs").iter().filter(|path| path.ends_with("journal.jsonl")) {
        let mut bytes = fs::read(path).unwrap();
        bytes.extend_from_slice(b"{\"v\":1,\"event\":\"finis\xff\xfe\x00\n\n{}\n[1,2]\n\"x\"\n{\"v\":99}");
        fs::write(path, bytes).unwrap();
        fs::remove_file(path.with_file_name("summary.json")).unwrap();
    }
    look(&project, "garbage tails");
    project.assert_heals(&PLAIN, &expected, "garbage tails");
    assert_eq!(project.pacer(&["gc", "--keep-runs", "2"]).code, 0);
    assert_eq!(project.digests(&PLAIN), expected);
}

#[test]
fn foreign_files_and_links_in_the_store_break_nothing() {
    let (project, expected) = grown();
    for folder in
        ["objects", "objects/zz", "results", "results/00", "runs", "tmp", "tmp/job-dead/work", "locks", "partial/dead"]
    {
        let folder = project.path("store").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stray"), "stray").unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.join("dangling")).unwrap();
        // A link to itself leads round and round.
        std::os::unix::fs::symlink(&folder, folder.join("round")).unwrap();
    }
    project.write("mine.txt", "mine");
    std::os::unix::fs::symlink(project.path("mine.txt"), project.path("store/tmp/link")).unwrap();
    look(&project, "foreign files");
    project.pacer(&["verify"]).assert_orderly("foreign files");
    assert_eq!(project.pacer(&["gc", "--keep-runs", "1"]).code, 0);
    assert!(project.path("mine.txt").exists(), "a collection follows no links");
    project.assert_heals(&PLAIN, &expected, "foreign files");
}
