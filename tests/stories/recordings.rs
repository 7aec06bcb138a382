//! Folders, globs and exports as inputs, told through the binary: what a person drops into a folder is read, what is
//! none of it is named, and a file more reruns what it must and is the reason that is told.

use std::fs;

use serde_json::Value;

use crate::harness::Project;

const FOLDER: &str = "[stages.import]\nkind = \"import\"\ninputs.source = { path = \"runs\" }\nsport = \"run\"\n";

/// A run of ten minutes that begins at this hour of a day in May, as GPX with heart rates.
fn gpx(hour: u32) -> String {
    let point = |second: u32| {
        let (lat, minute) = (48.0 + f64::from(second) * 3.0 / 111_195.0, second / 60);
        format!(
            "<trkpt lat=\"{lat:.7}\" lon=\"2.35\"><ele>50</ele><time>2024-05-04T{hour:02}:{minute:02}:{:02}Z</time>\
             <extensions><x:TrackPointExtension><x:hr>{}</x:hr></x:TrackPointExtension></extensions></trkpt>",
            second % 60,
            120 + minute
        )
    };
    let points: String = (0..600).step_by(5).map(point).collect();
    format!(
        "<?xml version=\"1.0\"?><gpx xmlns=\"http://www.topografix.com/GPX/1/1\" xmlns:x=\"urn:x\" creator=\"test\">\
         <trk><trkseg>{points}</trkseg></trk></gpx>"
    )
}

fn folder() -> Project {
    let project = Project::new(FOLDER);
    fs::create_dir_all(project.path("runs/2024")).unwrap();
    project.write("runs/2024/morning.gpx", &gpx(7));
    project.write("runs/picture.png", "\u{89}PNG\r\n\u{1a}\n");
    project.write("runs/.DS_Store", "nothing of interest");
    project
}

fn csv(project: &Project, artifact: &str) -> String {
    project.pacer(&["show", "pipeline.toml", artifact, "--format", "csv"]).out
}

#[test]
fn a_folder_is_read_and_what_is_no_recording_is_named() {
    let project = folder();
    let done = project.run(&[]);
    assert_eq!(done["failed"], 0, "{done}");
    let figures = project.show("import")["metrics"].clone();
    assert_eq!((&figures["workouts"], &figures["files"], &figures["set_aside"]), (&1.into(), &2.into(), &1.into()));
    let aside = csv(&project, "import.set_aside");
    assert!(aside.contains("picture.png") && aside.contains("no known format"), "{aside}");
}

#[test]
fn a_file_more_in_the_folder_reruns_the_import_and_is_named_as_the_reason() {
    let project = folder();
    project.run(&[]);
    assert_eq!(project.ran(&[]), [""; 0]);
    project.write("runs/evening.gpx", &gpx(19));
    let explained = project.pacer(&["explain", "pipeline.toml", "import"]).out;
    assert!(explained.contains("runs/evening.gpx") || explained.contains("evening.gpx"), "{explained}");
    assert_eq!(project.ran(&[]), ["import"]);
    assert_eq!(project.show("import")["metrics"]["workouts"], 2);
    fs::remove_file(project.path("runs/evening.gpx")).unwrap();
    assert_eq!(project.ran(&[]), [""; 0], "the earlier result is there still");
}

#[test]
fn a_glob_takes_what_it_meets_and_one_that_meets_nothing_is_a_fault_with_its_place() {
    let project = folder();
    project.edit("\"runs\"", "\"runs/**/*.gpx\"");
    assert_eq!(project.run(&[])["failed"], 0);
    assert_eq!(project.show("import")["metrics"]["set_aside"], 0);
    project.edit("*.gpx", "*.fit");
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("*.fit` meets no file") && said.err.contains("pipeline.toml:3"), "{}", said.err);
}

#[test]
fn the_same_run_in_two_files_counts_once_and_the_choice_is_written_down() {
    let project = folder();
    project.write("runs/again.gpx", &gpx(7));
    project.run(&[]);
    let figures = project.show("import")["metrics"].clone();
    assert_eq!((&figures["workouts"], &figures["set_aside"]), (&Value::from(1), &2.into()));
    let aside = csv(&project, "import.set_aside");
    assert!(aside.contains("recorded twice") && aside.contains("covers the same time"), "{aside}");
    project.edit("sport = ", "doubles = \"keep\"\nsport = ");
    project.run(&[]);
    assert_eq!(project.show("import")["metrics"]["workouts"], 2);
}

#[test]
fn a_folder_where_one_file_belongs_is_a_fault() {
    let project =
        Project::new("[stages.x]\nkind = \"command\"\nrun = [\"true\"]\ninputs.files.a = { path = \"runs\" }\n");
    fs::create_dir(project.path("runs")).unwrap();
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("a folder stands where a file should be"), "{}", said.err);
}
