//! Input beyond all measure: refused with a clear word, before it takes the memory or the time of the machine.

use std::fs::{self, File};

use crate::harness::{Project, chain};

/// What `pacer run` says of a pipeline that it must refuse.
fn refused(text: &str) -> String {
    let said = Project::new(text).pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2, "{}", said.err);
    said.err
}

#[test]
fn a_value_nested_without_end_is_a_fault_with_a_place() {
    let dots = ["a"; 70].join(".");
    let nested = format!("a = {}1{}", format!("{{ {dots} = ").repeat(70), " }".repeat(70));
    let said = refused(&nested);
    assert!(
        said.contains("lists and tables nest deeper than 64 levels") && said.contains("write it flatter"),
        "{said}"
    );
}

#[test]
fn a_pipeline_larger_than_any_is_not_read() {
    let project = chain();
    File::create(project.path("pipeline.toml")).unwrap().set_len(65 << 20).unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("pipeline.toml` is larger than 64 MB"), "{}", said.err);
}

#[test]
fn parameters_cannot_be_put_in_until_the_memory_is_full() {
    let many = vec!["\"${long}\""; 500].join(", ");
    let long = "x".repeat(1 << 20);
    let said = refused(&format!(
        "[params]\nlong = \"{long}\"\n[stages.a]\nkind = \"command\"\noutputs = {{ x = \"file\" }}\nrun = [{many}]\n"
    ));
    assert!(said.contains("that are put in here and before take over 64 MB"), "{said}");
    assert!(said.contains("keep what is so long in a file") && said.contains("1 fault"), "{said}");
}

#[test]
fn of_thousands_of_faults_the_first_are_drawn() {
    let stage = |at: usize| {
        format!(
            "[stages.s{at}]\nkind = \"command\"\nrun = [1, 2]\noutputs = {{ x = \"file\" }}\ninputs.files.y = \"t{at}\"\n"
        )
    };
    let said = refused(&(0..2000).map(stage).collect::<String>());
    assert!(said.contains("8000 faults in pipeline.toml, the first 50 above; nothing was run"), "{said}");
    assert_eq!(said.matches("error:").count(), 50);
}

#[test]
fn names_that_no_file_can_bear_are_faults() {
    let long = "n".repeat(300);
    let said =
        refused(&format!("[stages.{long}]\nkind = \"command\"\nrun = [\"true\"]\noutputs = {{ {long} = \"file\" }}\n"));
    assert!(said.contains("a stage's name has 300 letters") && said.contains("is no name for an output"), "{said}");
}

#[test]
fn a_result_under_another_name_is_found_by_verify() {
    let project = chain();
    project.run(&[]);
    let results = project.stored("results");
    fs::copy(&results[0], &results[1]).unwrap();
    let said = project.pacer(&["verify"]);
    assert_eq!((said.code, said.out.contains(&results[1].display().to_string())), (1, true), "{}", said.out);
    assert_eq!(project.run(&[])["ran"], 1);
    assert_eq!(project.pacer(&["verify"]).code, 0);
}
