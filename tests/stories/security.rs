//! What a pipeline cannot do: write outside the store, take in what lies elsewhere, name a path where a name belongs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Project, chain};

/// A pipeline of one command; PLACE stands for the project's folder.
fn command(script: &str, outputs: &str) -> Project {
    let project = Project::new("");
    let place = project.path("").display().to_string();
    let script = script.replace("PLACE", place.trim_end_matches('/'));
    project.write(
        "pipeline.toml",
        &format!("[stages.make]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script:?}]\noutputs = {outputs}\n"),
    );
    project.write("secret.txt", "a secret\n");
    project
}

/// Names that would lead somewhere else, were they taken for paths.
const NASTY: [&str; 9] = ["..", ".", "../evil", "a/b", "/tmp/evil", "a/../../evil", "evil\\u0000", "evil\\nname", ""];

#[test]
fn an_output_that_is_a_link_is_refused_and_what_it_leads_to_stays_as_it_is() {
    for target in ["PLACE/secret.txt", "/etc/passwd", "PLACE/store/FORMAT", "PLACE/nowhere", "/dev/zero"] {
        let project = command(&format!("ln -s {target} {{outputs.text}}"), "{ text = \"file\" }");
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 1, "{target}: {}", said.err);
        let told = said.err.contains("is no plain file") || said.err.contains("wrote no output");
        assert!(told, "{target}: {}", said.err);
        assert!(project.stored("objects").is_empty() && project.stored("results").is_empty(), "{target}");
        assert_eq!(fs::read_to_string(project.path("secret.txt")).unwrap(), "a secret\n");
        let mode = fs::metadata(project.path("secret.txt")).unwrap().permissions().mode();
        assert_ne!(mode & 0o200, 0, "{target}: the file behind the link became read-only");
    }
}

#[test]
fn an_output_that_is_a_folder_or_a_pipe_is_refused_without_waiting() {
    for make in ["mkdir", "mkfifo"] {
        let project = command(&format!("{make} {{outputs.text}}"), "{ text = \"file\" }");
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 1, "{make}");
        assert!(said.err.contains("wrote no output `text`"), "{make}: {}", said.err);
    }
}

#[test]
fn a_name_of_an_output_cannot_be_a_path() {
    for name in NASTY {
        let project = command("true", &format!("{{ \"{name}\" = \"file\" }}"));
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 2, "{name:?}: {}", said.err);
        assert!(project.stored("results").is_empty());
    }
}

#[test]
fn a_name_of_a_stage_cannot_be_a_path() {
    for name in NASTY {
        let project = command("echo oh no; echo x > {outputs.text}", "{ text = \"file\" }");
        project.edit("[stages.make]", &format!("[stages.\"{name}\"]"));
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 2, "{name:?}: {}", said.err);
        assert!(project.stored("results").is_empty());
    }
}

#[test]
fn a_name_of_a_parameter_or_a_slot_leads_nowhere() {
    for name in NASTY {
        let project = chain();
        project.edit("inputs.files.text = { path", &format!("inputs.files.\"{name}\" = {{ path"));
        project.edit("{inputs.text}", &format!("{{inputs.{name}}}"));
        project.pacer(&["run", "pipeline.toml"]).assert_orderly(name);
        let around = fs::read_dir(project.path("")).unwrap().count();
        assert!(around <= 3, "{name:?}: a file lies beside the store");
    }
}

#[test]
fn stray_files_of_a_program_never_get_into_the_store() {
    let script = "echo x > {outputs.text}; echo stray > stray.txt; mkdir deep; ln -s / deep/root; chmod 000 deep; \
                  echo beside > ../beside.txt; echo x > {outputs.text}.more";
    let project = command(script, "{ text = \"file\" }");
    assert_eq!(project.run(&[])["ran"], 1);
    assert_eq!(project.stored("objects").len(), 1);
    assert_eq!(fs::read_dir(project.path("store/tmp")).unwrap().count(), 0);
    assert!(std::path::Path::new("/etc/passwd").exists(), "a link in a scratch folder was followed");
}

#[test]
fn a_store_is_private_and_its_blobs_are_read_only() {
    let project = chain();
    project.run(&[]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&project.path("store")), 0o700);
    for blob in project.stored("objects") {
        assert_eq!(mode(&blob), 0o444, "{}", blob.display());
    }
}

#[test]
fn a_result_that_names_a_file_outside_the_store_is_not_served() {
    let project = chain();
    project.run(&[]);
    let expected = project.digests(&["pipeline.toml"]);
    for digest in ["../../../secret", "/etc/passwd", "..", "ab"] {
        for path in project.stored("results") {
            let mut result: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            result["artifacts"][0]["digest"] = digest.into();
            fs::write(&path, result.to_string()).unwrap();
        }
        let said = project.pacer(&["show", "pipeline.toml", "first", "--export", "taken.txt"]);
        said.assert_orderly(digest);
        assert!(said.code != 0 && !project.path("taken.txt").exists(), "{digest}: {}", said.err);
        project.assert_heals(&["pipeline.toml"], &expected, digest);
    }
}

#[test]
fn nesting_without_end_is_a_fault_and_no_crash() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let values = [deep("[", "]"), deep("{a=", "}").replace("=}", "=1}")];
    let keys = ["a.", "\"a\"."].map(|step| format!("{}a = 1", step.repeat(100_000)));
    let texts = values.map(|value| format!("x = {value}")).into_iter().chain(keys);
    for text in texts {
        let project = Project::new(&text);
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 2, "{}", said.err.chars().take(500).collect::<String>());
    }
    // Figures of a program are read as JSON.
    let script = "head -c 100000 /dev/zero | tr '\\\\0' '[' > {outputs.figures}";
    let project = command(script, "{ figures = \"metrics\" }");
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 1, "{}", said.err);
}
