//! Where files lie and what becomes of them meanwhile: other file systems, symbolic links, inputs that change, clocks
//! that are wrong, stores that are moved and copied.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{Project, Said, chain, copy_folder, not_checked, said};

const PLAIN: [&str; 1] = ["pipeline.toml"];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs the chain with another store.
fn run_with(project: &Project, store: &Path) -> Said {
    let mut command = project.command(&["run", "pipeline.toml"]);
    said(&command.env("PACER_STORE", store).output().unwrap())
}

#[test]
fn a_store_on_another_file_system_than_its_inputs_works_alike() {
    let project = chain();
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let other = Path::new("/dev/shm");
    if device(other).is_none() || device(other) == device(&project.path("input.txt")) {
        not_checked("/dev/shm is no other file system");
        return;
    }
    let folder = tempfile::tempdir_in(other).unwrap();
    let store = folder.path().join("store");
    assert_eq!(run_with(&project, &store).code, 0);
    let again = run_with(&project, &store);
    assert!(again.err.contains("0 ran, 3 reused"), "{}", again.err);
    project.run(&[]);
    let count = project.blob("third");
    let same = store.join(count.strip_prefix(project.path("store")).unwrap());
    assert_eq!(fs::read(count).unwrap(), fs::read(same).unwrap());
}

#[test]
fn an_input_that_is_a_link_counts_by_the_bytes_behind_it() {
    let project = chain();
    for (name, text) in [("one.txt", "a\nb\n"), ("same.txt", "a\nb\n"), ("other.txt", "z\nb\n")] {
        project.write(name, text);
    }
    project.run(&[]);
    let point_at = |target: &str| {
        fs::remove_file(project.path("input.txt")).unwrap();
        symlink(target, project.path("input.txt")).unwrap();
    };
    point_at("one.txt");
    assert_eq!(project.ran(&[]), [""; 0], "the bytes are the same");
    point_at("same.txt");
    assert_eq!(project.ran(&[]), [""; 0], "the bytes are still the same");
    point_at("other.txt");
    assert_eq!(project.ran(&[])[0], "first");
    project.write("other.txt", "y\nb\n");
    assert_eq!(project.ran(&[])[0], "first", "the file behind the link changed");
    point_at("nowhere.txt");
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("input.txt` cannot be read"), "{}", said.err);
}

#[test]
fn an_input_that_its_stage_changes_is_detected_and_nothing_is_kept() {
    let project = chain();
    let place = project.path("input.txt").display().to_string();
    project.edit("head -n 1 {inputs.text}", &format!("echo c >> {place}; head -n 1 {{inputs.text}}"));
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("changed while the stage read it"), "{}", said.err);
    assert!(project.stored("results").is_empty() && project.stored("objects").is_empty());
}

#[test]
fn an_input_that_is_replaced_by_its_stage_is_detected() {
    let project = chain();
    let place = project.path("input.txt").display().to_string();
    project.edit("head -n 1 {inputs.text}", &format!("mv {place}.new {place}; head -n 1 {{inputs.text}}"));
    // Of the same size and age.
    project.write("input.txt.new", "x\ny\n");
    let age = fs::metadata(project.path("input.txt")).unwrap().modified().unwrap();
    File::options().write(true).open(project.path("input.txt.new")).unwrap().set_modified(age).unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 1 && said.err.contains("changed while the stage read it"), "{}", said.err);
}

#[test]
fn an_input_that_is_still_being_written_is_detected() {
    let project = chain();
    // Large enough that hashing takes a while.
    let mut file = File::create(project.path("input.txt")).unwrap();
    file.write_all(&vec![b'x'; 40_000_000]).unwrap();
    let ended = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                file.write_all(b"y").unwrap();
                std::thread::yield_now();
            }
        });
        let said = project.pacer(&["run", "pipeline.toml"]);
        ended.store(true, Ordering::Relaxed);
        said
    });
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("changed while"), "{}", said.err);
    assert!(project.stored("results").is_empty());
}

/// Gives the input another text of the same size, and the same age as before or another one.
fn rewrite(project: &Project, text: &str, modified: SystemTime) {
    project.write("input.txt", text);
    File::options().write(true).open(project.path("input.txt")).unwrap().set_modified(modified).unwrap();
}

#[test]
fn inputs_from_the_future_and_from_long_ago_are_told_apart_by_their_bytes() {
    let long_ago = UNIX_EPOCH + DAY;
    for modified in [SystemTime::now() + 365 * DAY, long_ago] {
        let project = chain();
        rewrite(&project, "a\nb\n", modified);
        assert_eq!(project.ran(&[]).len(), 3);
        assert_eq!(project.ran(&[]), [""; 0], "{modified:?}");
        rewrite(&project, "c\nb\n", modified);
        assert_eq!(project.ran(&[])[0], "first", "{modified:?}: same size, same age, other bytes");
        rewrite(&project, "c\nb\n", SystemTime::now() - 10 * DAY);
        assert_eq!(project.ran(&[]), [""; 0], "{modified:?}: other age, same bytes");
    }
}

#[test]
fn two_stores_at_once_do_not_meet() {
    let project = chain();
    let stores = ["one", "two"].map(|name| project.path(name));
    let start =
        |store: &Path| project.command(&["run", "pipeline.toml", "--quiet"]).env("PACER_STORE", store).spawn().unwrap();
    let runs = stores.each_ref().map(|store| start(store));
    for mut run in runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    for store in &stores {
        let verified = said(&project.command(&["verify"]).env("PACER_STORE", store).output().unwrap());
        assert!(verified.code == 0 && verified.out.contains("3 results, 3 blobs"), "{}", verified.out);
    }
}

#[test]
fn a_store_moved_or_copied_to_another_place_serves_all_it_has() {
    let project = chain();
    project.run(&[]);
    let expected = project.digests(&PLAIN);
    let reuses_all = |store: &Path| {
        let said = run_with(&project, store);
        assert!(said.err.contains("0 ran, 3 reused"), "{}: {}", store.display(), said.err);
        let verified = said_of(&project, &["verify"], store);
        assert_eq!(verified.code, 0, "{}", verified.out);
    };
    let copy = project.path("plainly copied");
    let status = Command::new("cp").arg("-r").arg(project.path("store")).arg(&copy).status().unwrap();
    assert!(status.success());
    reuses_all(&copy);
    let archived = project.path("archived");
    copy_folder(&project.path("store"), &archived);
    reuses_all(&archived);
    fs::create_dir_all(project.path("far/away")).unwrap();
    let moved = project.path("far/away/moved");
    fs::rename(project.path("store"), &moved).unwrap();
    reuses_all(&moved);
    // What was moved is gone from here, and is made again as it was.
    project.assert_heals(&PLAIN, &expected, "a new store in the old place");
}

fn said_of(project: &Project, arguments: &[&str], store: &Path) -> Said {
    said(&project.command(arguments).env("PACER_STORE", store).output().unwrap())
}

#[test]
fn a_project_moved_to_another_folder_reruns_nothing() {
    let project = chain();
    project.run(&[]);
    let elsewhere = Project::new("");
    for name in ["pipeline.toml", "input.txt", "store"] {
        let _ = fs::remove_file(elsewhere.path(name));
        fs::rename(project.path(name), elsewhere.path(name)).unwrap();
    }
    assert_eq!(elsewhere.ran(&[]), [""; 0]);
}
