//! Memory that runs out, by the kernel's killer and by a limit: one stage fails and says so, the run goes on, and
//! without the limit the next run completes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Project, Said, TRAINING, not_checked, said};

/// Enough for the runner and the start of a worker, and too little for the large network.
const CAGE_BYTES: u64 = 120_000_000;

/// Address space for one process, in kB, that a worker may need to start; tried one after the other.
const ADDRESS_SPACES: [u64; 3] = [500_000, 900_000, 1_600_000];

/// Two stages that can run when the data is there: a training, and one that needs next to nothing.
const TARGETS: [&str; 2] = ["lstm", "constant"];

/// A control group with little memory, removed when dropped.
struct Cage {
    folder: PathBuf,
}

impl Cage {
    /// `None` where this user may make none.
    fn new() -> Option<Self> {
        let name = format!("pacer-story-{}", std::process::id());
        // The first is how version 1 says it, the second version 2.
        let known = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        known.iter().find_map(|(top, limit)| {
            let cage = Self { folder: Path::new(top).join(&name) };
            fs::create_dir(&cage.folder).ok()?;
            fs::write(cage.folder.join(limit), CAGE_BYTES.to_string()).ok()?;
            // Otherwise pages go to the disk and nothing is killed; where there is no swap there is no such file.
            let _ = fs::write(cage.folder.join("memory.swap.max"), "0");
            Some(cage)
        })
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A project whose data is there.
fn prepared() -> Project {
    let constant = "[stages.constant]\nkind = \"baseline\"\nmodel = \"constant\"\n\
                    inputs = { sequences = \"resample\", split = \"split\" }\n";
    let project = Project::new(&format!("{TRAINING}{constant}"));
    assert_eq!(project.pacer(&["run", "pipeline.toml", "split", "--set", "epochs=1"]).code, 0);
    project
}

/// Runs the training from a shell that first limits itself.
fn limited(project: &Project, limit: &str, network: &str) -> Said {
    let program = project.command(&[&["run", "pipeline.toml", "--keep-going"], &TARGETS[..]].concat());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$@\""), "sh"]).arg(program.get_program());
    command.args(program.get_args()).args(["--set", "epochs=1", "--set", network, "--format", "json"]);
    // With one slot a training always has one thread, so that it always needs the same address space.
    command.args(["--jobs", "1"]);
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    said(&command.current_dir(project.path("")).output().expect("there is a shell"))
}

fn assert_told(said: &Said) {
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let failed = said.out.lines().find(|line| line.contains("\"failed\"")).expect("a stage failed");
    assert!(failed.contains("\"class\":\"out_of_memory\"") && failed.contains("\"stage\":\"lstm\""), "{failed}");
    assert!(failed.contains("memory ran out") && failed.contains("--jobs"), "{failed}");
    assert!(!failed.contains("frame #"), "{failed}");
    let done = said.out.lines().last().expect("a run ends with an event");
    assert!(done.contains("\"ran\":1") && done.contains("\"failed\":1"), "the run did not go on: {done}");
}

#[test]
fn a_worker_that_the_kernel_kills_for_memory_takes_one_stage_down() {
    let Some(cage) = Cage::new() else {
        not_checked("this user may make no control group for memory");
        return;
    };
    let project = prepared();
    let network = "hidden=600";
    let limit = format!("echo $$ > '{}'", cage.folder.join("cgroup.procs").display());
    assert_told(&limited(&project, &limit, network));
    let said = project.pacer(&["run", "pipeline.toml", "lstm", "--set", "epochs=1", "--set", network]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(project.pacer(&["verify"]).code, 0);
}

#[test]
fn an_allocation_that_is_refused_takes_one_stage_down() {
    let project = prepared();
    let limits = ADDRESS_SPACES.iter().map(|kilobytes| format!("ulimit -v {kilobytes}"));
    // How much a worker needs to start depends on the machine.
    let enough = limits.into_iter().find(|limit| limited(&project, limit, "hidden=2").code == 0);
    let Some(limit) = enough else {
        not_checked(&format!("a worker does not start with {} kB of address space", ADDRESS_SPACES[2]));
        return;
    };
    let project = prepared();
    assert_told(&limited(&project, &limit, "hidden=3000"));
    let said = limited(&project, &limit, "hidden=2");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}
