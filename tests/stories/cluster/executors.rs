//! What a profile and a stage say of where it runs: which executor, with how much memory, on which GPU; and what is
//! told of a stage that waits.

use std::time::Duration;

use crate::cluster::conf::{Memory, Options};
use crate::cluster::lab::Lab;
use crate::cluster::rig::wait_for;
use crate::cluster::{DIAMOND, SLOW, UNTIL_OPEN, held};
use crate::harness::{TRAINING, signal};

/// A stage that holds 200 MB and more for some seconds.
pub const LARGE: &str = r#"
[stages.large]
kind = "command"
run = ["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); sleep 3; printf %s $x | wc -c > {outputs.x}"]
outputs = { x = "file" }
"#;

fn lab_toml(lines: &str) -> String {
    format!("[executor.lab]\ntype = \"slurm\"\nmax_jobs = 4\npilot_idle = 1.0\n{lines}\n")
}

#[test]
fn each_stage_runs_where_it_says_and_the_others_where_the_command_says() {
    let here = DIAMOND.replace("[stages.right]", "[stages.right]\nresources = { executor = \"here\" }");
    let Some(lab) = Lab::new(&here) else { return };
    let said = lab.run(&["--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let devices: Vec<(String, String)> = said.out.lines().filter_map(device).collect();
    let on = |stage: &str| devices.iter().find(|(name, _)| name == stage).map(|(_, device)| device.as_str());
    assert_eq!((on("top"), on("right"), on("bottom")), (Some("lab"), Some("cpu"), Some("lab")));
    // Where a stage runs is no part of its key.
    lab.project.edit("resources = { executor = \"here\" }", "resources = { executor = \"lab\" }");
    let mut command = lab.project.command(&["run", "pipeline.toml"]);
    command.env("SLURM_CONF", lab.rig.conf());
    assert!(lab.start_command(command).end().err.contains("4 reused"));
    lab.project.edit("executor = \"lab\"", "executor = \"lap\"");
    let said = lab.project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("no executor `lap`; there are: lab, here"), "{}", said.err);
}

fn device(line: &str) -> Option<(String, String)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| event[name].as_str().map(str::to_owned);
    if event["event"] == "running" { Some((text("stage")?, text("device")?)) } else { None }
}

#[test]
fn a_stage_that_waits_in_the_queue_says_why_here_and_in_another_terminal() {
    let Some(lab) = Lab::new(SLOW) else { return };
    lab.project.write("pacer.toml", &lab_toml("cpus = 99"));
    let run = lab.start(&[]);
    let why = "1 job waits in the queue of Slurm: no node has what it asks for (PartitionConfig)";
    assert!(wait_for(Duration::from_secs(20), || run.err().contains(why)), "{}", run.err());
    let status = lab.project.pacer(&["status", "pipeline.toml"]);
    assert!(status.out.contains("is under way: 0 of 1 done, 0 running, 1 queued"), "{}", status.out);
    assert!(status.out.contains(&format!("queued: {why}")), "{}", status.out);
    signal(run.process(), libc::SIGINT);
    assert_eq!(run.end().code, 130);
    lab.assert_nothing_left();
}

#[test]
fn a_stage_that_runs_on_a_node_is_seen_there_from_another_terminal() {
    let Some(lab) = Lab::new(&held()) else { return };
    let run = lab.start_until(1);
    let is_seen = || {
        let status = lab.project.pacer(&["status", "pipeline.toml"]).out;
        status.contains("1 running") && status.contains(", job ")
    };
    assert!(wait_for(Duration::from_secs(20), is_seen), "{}", lab.project.pacer(&["status", "pipeline.toml"]).out);
    let status = lab.project.pacer(&["status", "pipeline.toml", "--format", "json"]).out;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["running"][0]["place"].as_str().is_some_and(|place| place.starts_with('n')), "{status}");
    lab.open_gate();
    assert_eq!(run.end().code, 0);
    assert!(lab.project.pacer(&["status", "pipeline.toml"]).out.contains("ended well"));
}

#[test]
fn a_stage_whose_job_slurm_suspends_is_said_to_wait_and_goes_on_when_that_is_over() {
    let Some(lab) = Lab::new(SLOW) else { return };
    let run = lab.start_until(1);
    let (job, _) = lab.rig.queue("RUNNING").into_iter().next().expect("a job runs");
    lab.rig.ask("scontrol", &["suspend", &job]);
    let why = "its job is suspended by Slurm, to go on later";
    assert!(wait_for(Duration::from_secs(60), || run.err().contains(why)), "{}", run.err());
    let status = || lab.project.pacer(&["status", "pipeline.toml"]).out;
    assert!(status().contains("0 running, 1 queued"), "{}", status());
    lab.rig.ask("scontrol", &["resume", &job]);
    assert_eq!((run.end().code, lab.starts()), (0, 1));
    lab.assert_nothing_left();
}

fn memory(memory: Memory) {
    let Some(lab) = Lab::with(&Options { memory, ..Options::default() }, LARGE, "") else { return };
    lab.project.write("pacer.toml", &lab_toml("memory = \"120MB\"\nmost_memory = \"1000MB\""));
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("offered to the cluster again, with 240 MB: memory ran out on n"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(lab.project.blob("large")).unwrap(), "200000000\n");
    lab.project.write("pacer.toml", &lab_toml("memory = \"120MB\""));
    let said = lab.run(&["--force", "large", "--format", "json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("\"class\":\"out_of_memory\""), "{}", said.out);
    assert!(said.out.contains("jobs of this executor have 120 MB: raise its `memory`"), "{}", said.out);
    lab.assert_nothing_left();
}

#[test]
fn a_stage_that_its_node_killed_for_its_memory_is_given_more() {
    memory(Memory::Sampled);
}

#[test]
fn a_stage_whose_program_the_kernel_killed_for_its_memory_is_given_more() {
    memory(Memory::Enforced);
}

#[test]
fn a_stage_whose_runner_was_killed_keeps_the_memory_that_it_was_given() {
    let Some(lab) = Lab::with(&Options { memory: Memory::Sampled, ..Options::default() }, LARGE, "") else { return };
    lab.project.write("pacer.toml", &lab_toml("memory = \"120MB\"\nmost_memory = \"1000MB\""));
    let run = lab.start(&[]);
    let is_raised = || lab.rig.jobs().iter().any(|job| job.contains("MinMemoryNode=240M"));
    assert!(wait_for(Duration::from_secs(60), is_raised), "{}", run.err());
    run.kill();
    // Nobody is at it any more whom the next run could leave it to.
    lab.rig.queue("R,PD").iter().for_each(|(job, _)| drop(lab.rig.ask("scancel", &[job])));
    assert!(lab.rig.is_empty_within(20));
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!said.err.contains("with 240 MB"), "what it had before is not given anew\n{}", said.err);
    assert_eq!(std::fs::read_to_string(lab.project.blob("large")).unwrap(), "200000000\n");
    lab.assert_nothing_left();
}

/// Waits until four stages are at work, each in a job of its own.
const MEET: &str =
    "echo start >> STARTS; for i in $(seq 600); do test $(wc -l < STARTS) -ge 4 && break; sleep 0.1; done";

#[test]
fn each_job_sees_the_gpu_that_slurm_gave_it() {
    let stage = |name: &str| {
        format!(
            "[stages.{name}]\nkind = \"command\"\nenvironment = [\"CUDA_VISIBLE_DEVICES\"]\n\
             run = [\"sh\", \"-c\", \"echo {name} $CUDA_VISIBLE_DEVICES > {{outputs.x}}; {MEET}\"]\n\
             outputs = {{ x = \"file\" }}\n"
        )
    };
    let names = ["a", "b", "c", "d"];
    let pipeline: String = names.iter().map(|name| stage(name)).collect();
    let Some(lab) = Lab::with(&Options { gpus: 2, ..Options::default() }, &pipeline, "gpus = 1\n") else { return };
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    let text = |name: &&str| std::fs::read_to_string(lab.project.blob(name)).unwrap();
    let mut seen: Vec<String> =
        names.iter().map(text).map(|text| text.split_whitespace().nth(1).unwrap_or_default().to_owned()).collect();
    seen.sort();
    // Two on each of two nodes, at the same time.
    assert_eq!(seen, ["0", "0", "1", "1"]);
}

#[test]
fn an_executor_with_gpus_that_nobody_can_compute_on_is_told_before_anything_runs() {
    let Some(lab) = Lab::with(&Options { gpus: 1, ..Options::default() }, TRAINING, "gpus = 1\n") else { return };
    let said = lab.run(&[]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("asking a node of `lab` for its GPU"), "{}", said.err);
    assert!(said.err.contains("its node has none that LibTorch can use"), "{}", said.err);
    assert!(!lab.project.path("store/runs").exists() || lab.project.stored("runs").is_empty());
    lab.project.write("pacer.toml", &lab_toml(""));
    lab.project.edit("model = \"lstm\"", "model = \"lstm\"\nresources.device = \"gpu\"");
    let said = lab.run(&[]);
    assert!(said.err.contains("the executor `lab` asks for none: add `gpus = 1`"), "{}", said.err);
}

#[test]
fn jobs_that_fail_as_soon_as_they_begin_are_not_asked_for_without_end() {
    let Some(lab) = Lab::with(&Options::default(), SLOW, "program = \"/nowhere/pacer\"\n") else { return };
    let said = lab.run(&[]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("jobs fail on their nodes as soon as they begin"), "{}", said.err);
    assert!(said.err.contains("/nowhere/pacer: not found"), "{}", said.err);
    lab.assert_nothing_left();
}

#[test]
fn neither_arguments_of_a_profile_nor_settings_of_squeue_hide_jobs_from_their_run() {
    let own = r#"arguments = ["--comment=projX", "-J", "mine", "--array=0-5", "--requeue", "--output=/dev/null"]"#;
    let Some(lab) = Lab::with(&Options::default(), DIAMOND, &format!("{own}\n")) else { return };
    let mut command = lab.command(&[]);
    command.env("SQUEUE_STATES", "SUSPENDED");
    let said = lab.start_command(command).end();
    assert_eq!(said.code, 0, "{}", said.err);
    let jobs = lab.rig.jobs();
    assert!((1..=4).contains(&jobs.len()), "{jobs:?}");
    assert!(jobs.iter().all(|job| job.contains("JobName=pacer-") && job.contains("Requeue=0")), "{jobs:?}");
    lab.assert_as_here(&[]);
}

#[test]
fn jobs_that_slurm_does_not_list_as_they_were_sent_are_cancelled_and_not_asked_for_again() {
    let Some(lab) = Lab::new(SLOW) else { return };
    lab.rig.ask("scontrol", &["update", "PartitionName=main", "State=DOWN"]);
    // As at a site that writes a comment of its own.
    let front = lab.project.path("front");
    std::fs::create_dir(&front).unwrap();
    lab.project.write("front/squeue", "#!/bin/sh\nPATH=${PATH#*:} squeue \"$@\" | sed 's/|[^|]*$/|its own/'\n");
    std::fs::set_permissions(front.join("squeue"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = lab.command(&[]);
    command.env("PATH", format!("{}:{}", front.display(), std::env::var("PATH").unwrap()));
    let said = lab.start_command(command).end();
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("Slurm does not list jobs as they were sent"), "{}", said.err);
    assert_eq!(lab.rig.jobs().len(), 1);
    lab.assert_nothing_left();
}

/// Three stages that begin at once and take no time.
fn three() -> String {
    let stage = |name: &&str| SLOW.replace("stages.slow", &format!("stages.{name}")).replace("done", name);
    ["a", "b", "c"].iter().map(stage).collect::<String>().replace("sleep 3", "sleep 0.1")
}

#[test]
fn a_node_that_cannot_serve_ends_no_run_that_another_serves_although_it_is_the_first_to_say_so() {
    let Some(lab) = Lab::new(&three()) else { return };
    // One node as if `pacer` there were of other code; the other takes long to get ready.
    let script = r#"#!/bin/sh
        if [ $SLURMD_NODENAME = n2 ]; then sleep 2; exec PACER "$@"; fi
        for word; do shift; [ "$last" != --code ] || word=other; set -- "$@" "$word"; last=$word; done
        exec PACER "$@"
    "#;
    lab.project.write("front", &script.replace("PACER", env!("CARGO_BIN_EXE_pacer")));
    let front = lab.project.path("front");
    std::fs::set_permissions(&front, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    lab.project.write("pacer.toml", &lab_toml(&format!("cpus = 4\nprogram = \"{}\"", front.display())));
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("built from other code than here: rebuild it there (on n1, which gets no further"),
        "{}",
        said.err
    );
    lab.assert_as_here(&[]);
}

#[test]
fn fewer_jobs_are_asked_for_where_slurm_takes_no_array_of_so_many() {
    let Some(lab) = Lab::with(&Options { array: Some(2), ..Options::default() }, &three(), "") else { return };
    let said = lab.run(&[]);
    assert_eq!((said.code, lab.starts()), (0, 3), "{}", said.err);
    lab.assert_nothing_left();
}

#[test]
fn fewer_jobs_are_asked_for_where_a_user_may_not_have_so_many() {
    let Some(lab) = Lab::new(&three().replace("sleep 0.1", UNTIL_OPEN)) else { return };
    // What a site says whose accounting limits the jobs of a user, here for arrays of more than one.
    let refusal = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)";
    let script = "#!/bin/sh\ncase \"$*\" in *--array=0-0*) PATH=${PATH#*:} exec sbatch \"$@\";; esac\n";
    let bin = lab.project.path("bin");
    std::fs::create_dir(&bin).unwrap();
    // No stage ends before one was refused.
    let note = format!("echo >> '{}'", lab.project.path("gate").display());
    lab.project.write("bin/sbatch", &format!("{script}{note}\necho \"sbatch: error: {refusal}\" >&2\nexit 1\n"));
    std::fs::set_permissions(bin.join("sbatch"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = lab.command(&[]);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let said = lab.start_command(command).end();
    assert_eq!((said.code, lab.starts()), (0, 3), "{}", said.err);
    assert!(lab.project.path("gate").exists(), "nothing was refused");
}
