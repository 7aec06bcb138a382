//! The traps of Slurm, each as something that happens to a run: what it does not ask for, nodes that are lost or only
//! seem so, limits, places given away, a controller that is down, jobs of others.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cluster::conf::{Loss, Memory, Options, Preemption};
use crate::cluster::lab::{Lab, Run};
use crate::cluster::rig::{Rig, wait_for};
use crate::cluster::{DIAMOND, SLOW, held};
use crate::harness::{TRAINING, signal};

/// The value that Slurm gives a word in what it says of a job.
fn field<'a>(job: &'a str, name: &str) -> &'a str {
    job.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}

/// Waits until a training has made some epochs.
fn wait_for_epochs(run: &Run) {
    let is_training = || run.out().lines().any(|line| line.contains("progress") && line.contains("epoch"));
    assert!(wait_for(Duration::from_secs(60), is_training), "{}", run.err());
}

/// A program in front of the real one that does not answer as soon as a file is there.
fn stall(folder: &Path, program: &str, sign: &Path) {
    let real = real(program);
    let script = format!("#!/bin/sh\n[ ! -e {} ] || exec sleep 60\nexec {} \"$@\"\n", sign.display(), real.display());
    fs::write(folder.join(program), script).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Where a program is.
fn real(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| file.is_file()).unwrap()
}

/// A program in front of the real one that writes down what it is asked.
fn listen(folder: &Path, program: &str, said: &Path) {
    let real = real(program);
    let script = format!("#!/bin/sh\necho {program} \"$@\" >> {}\nexec {} \"$@\"\n", said.display(), real.display());
    fs::write(folder.join(program), script).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_question_that_slurm_does_not_take_once_is_asked_again() {
    let Some(lab) = Lab::new(DIAMOND) else { return };
    let front = lab.project.path("front");
    fs::create_dir(&front).unwrap();
    // As where the daemon that signs messages is restarted, and as nobody has foreseen it.
    let script = "#!/bin/sh\nif mkdir $(dirname $0)/asked 2> /dev/null; then\n  \
                  echo 'squeue: error: no such luck' >&2; exit 1\nfi\nPATH=${PATH#*:} exec squeue \"$@\"\n";
    fs::write(front.join("squeue"), script).unwrap();
    fs::set_permissions(front.join("squeue"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = lab.command(&[]);
    command.env("PATH", format!("{}:{}", front.display(), std::env::var("PATH").unwrap()));
    let said = lab.start_command(command).end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("no such luck; the run goes on"), "{}", said.err);
    lab.assert_as_here(&[]);
}

#[test]
fn slurm_is_never_asked_to_keep_an_order_to_be_waited_for_or_to_begin_again() {
    let Some(lab) = Lab::new(DIAMOND) else { return };
    let (folder, asked) = (lab.project.path("front"), lab.project.path("asked"));
    fs::create_dir(&folder).unwrap();
    ["sbatch", "squeue", "scontrol", "scancel", "sacct", "srun"].into_iter().for_each(|it| listen(&folder, it, &asked));
    let mut command = lab.command(&[]);
    command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    let said = lab.start_command(command).end();
    assert_eq!(said.code, 0, "{}", said.err);
    let asked = fs::read_to_string(asked).unwrap();
    assert!(asked.contains("sbatch ") && asked.contains("--parsable"), "{asked}");
    // Words that stand for an order, for waiting, and for answers that are wrong.
    let words: Vec<&str> = asked.split_whitespace().collect();
    for word in ["-d", "-W", "--wait", "--json", "sacct", "srun"] {
        assert!(!words.contains(&word), "{word} in {asked}");
    }
    assert!(!asked.contains("--dependency") && asked.contains("--open-mode=append"), "{asked}");
    let jobs = lab.rig.jobs();
    assert!(!jobs.is_empty());
    for job in jobs {
        assert_eq!((field(&job, "Dependency"), field(&job, "Requeue")), ("(null)", "0"), "{job}");
    }
}

#[test]
fn an_operator_who_requeues_a_job_neither_ends_it_nor_begins_it_again() {
    let Some(lab) = Lab::new(&held()) else { return };
    let run = lab.start_until(1);
    let jobs = lab.rig.queue("R");
    jobs.iter().for_each(|(job, _)| drop(lab.rig.ask("scontrol", &["requeue", job])));
    assert_eq!(lab.rig.queue("R"), jobs);
    lab.open_gate();
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (0, 1), "{}", said.err);
    lab.assert_as_here(&[]);
}

/// A stage whose first try lasts longer than any story.
fn first_waits() -> String {
    SLOW.replace("sleep 3", "test $(wc -l < STARTS) -gt 1 || sleep 86394")
}

/// Kills the daemon of the node that has the one job, and waits until Slurm declares it lost; the node.
fn lose_node(rig: &mut Rig) -> String {
    let (job, node) = rig.queue("R").pop().unwrap();
    rig.kill(&node);
    let is_lost = || rig.ask("scontrol", &["show", "job", "-o", &job]).contains("JobState=NODE_FAIL");
    assert!(wait_for(Duration::from_secs(40), is_lost), "{:?}", rig.jobs());
    node
}

fn soon() -> Options {
    Options { loss: Loss::Soon, ..Options::default() }
}

#[test]
fn a_job_that_goes_on_although_slurm_declared_its_node_lost_is_done_once() {
    let Some(mut lab) = Lab::with(&soon(), &SLOW.replace("sleep 3", "sleep 20"), "") else { return };
    let run = lab.start_until(1);
    let node = lose_node(&mut lab.rig);
    assert!(lab.starts() == 1 && !lab.pilots().is_empty(), "its program goes on");
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (0, 1), "{}", said.err);
    lab.rig.start_node(&node);
    lab.assert_as_here(&[]);
}

#[test]
fn a_job_that_is_finished_twice_comes_to_the_same_result() {
    let Some(mut lab) = Lab::with(&soon(), &SLOW.replace("sleep 3", "sleep 6"), "") else { return };
    let run = lab.start_until(1);
    let silent = lab.pilots();
    assert_eq!(silent.len(), 1);
    // Its program goes on to its end; nobody hears of it.
    signal(silent[0], libc::SIGSTOP);
    let node = lose_node(&mut lab.rig);
    assert!(wait_for(Duration::from_secs(30), || lab.starts() == 2), "it is begun on the other node\n{}", run.err());
    signal(silent[0], libc::SIGCONT);
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains(&format!("its node {node} was lost")), "{}", said.err);
    lab.rig.start_node(&node);
    lab.assert_as_here(&[]);
}

#[test]
fn a_node_that_an_operator_takes_down_is_told_by_its_name_and_its_job_begins_elsewhere() {
    let Some(lab) = Lab::new(&first_waits()) else { return };
    let run = lab.start_until(1);
    let (_, node) = lab.rig.queue("R").pop().unwrap();
    lab.rig.ask("scontrol", &["update", &format!("NodeName={node}"), "State=DOWN", "Reason=story"]);
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (0, 2), "{}", said.err);
    assert!(said.err.contains(&format!("its node {node} was lost")), "{}", said.err);
    lab.rig.ask("scontrol", &["update", &format!("NodeName={node}"), "State=RESUME"]);
    lab.assert_as_here(&[]);
}

#[test]
fn a_limit_is_never_shorter_than_the_profile_says_and_what_it_ends_is_offered_again() {
    let profile = "time = \"1.2min\"\nstop_before = 1\n";
    let Some(lab) = Lab::with(&Options::default(), &first_waits(), profile) else { return };
    let run = lab.start_until(1);
    let limits: Vec<_> = lab.rig.jobs().iter().map(|job| field(job, "TimeLimit").to_owned()).collect();
    assert_eq!(limits, ["00:02:00"]);
    // What comes at the end of the time comes now, or when Slurm looks the next time, every 30 seconds.
    for (job, _) in lab.rig.queue("R") {
        lab.rig.ask("scontrol", &["update", &format!("JobId={job}"), "EndTime=now+1seconds"]);
    }
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (0, 2), "{}", said.err);
    assert!(said.err.contains("is offered to the cluster again: its time on n"), "{}", said.err);
    lab.assert_as_here(&[]);
}

#[test]
fn a_folder_that_is_not_there_on_the_node_is_a_fault_with_its_name() {
    let Some(lab) = Lab::new(SLOW) else { return };
    let (work, elsewhere) = (lab.project.path("work"), lab.project.path("elsewhere"));
    fs::create_dir(&work).unwrap();
    for name in ["pipeline.toml", "pacer.toml"] {
        fs::copy(lab.project.path(name), work.join(name)).unwrap();
    }
    // No job begins before the folder is gone.
    lab.rig.ask("scontrol", &["update", "PartitionName=main", "State=DOWN"]);
    let mut command = lab.command(&[]);
    command.current_dir(&work);
    let run = lab.start_command(command);
    assert!(wait_for(Duration::from_secs(20), || !lab.rig.queue("PD").is_empty()), "{}", run.err());
    fs::rename(&work, &elsewhere).unwrap();
    lab.rig.ask("scontrol", &["update", "PartitionName=main", "State=UP"]);
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (1, 0), "{}", said.err);
    assert!(said.err.contains(&format!("the folder `{}` is not there on the node", work.display())), "{}", said.err);
    lab.assert_nothing_left();
}

#[test]
fn a_run_goes_on_while_the_controller_is_down_and_after_it() {
    let slow = DIAMOND.replace("\"-c\", \"", "\"-c\", \"echo start >> STARTS; sleep 2; ");
    let Some(mut lab) = Lab::new(&slow) else { return };
    // The one pilot that there is must not leave between two stages: nobody could send another.
    lab.project.write("pacer.toml", "[executor.lab]\ntype = \"slurm\"\nmax_jobs = 4\npilot_idle = 5.0\n");
    let run = lab.start_until(1);
    lab.rig.kill("slurmctld");
    // The pilot is at its job, whose end needs nobody, and takes the next.
    assert!(wait_for(Duration::from_secs(20), || lab.starts() >= 2), "{}", run.err());
    assert!(wait_for(Duration::from_secs(20), || run.err().contains("the run goes on")), "{}", run.err());
    lab.rig.start_controller();
    let said = run.end();
    assert_eq!((said.code, lab.starts()), (0, 4), "{}", said.err);
    lab.assert_as_here(&[]);
}

#[test]
fn an_interrupted_run_ends_within_seconds_even_if_the_controller_does_not_answer() {
    let long = SLOW.replace("sleep 3", "sleep 86397");
    let stage = |name: &str| long.replace("stages.slow", &format!("stages.{name}")).replace("done", name);
    let three = ["slow", "slower", "slowest"].map(stage);
    // One of them waits for a node, so that Slurm is asked again and again.
    let Some(mut lab) = Lab::with(&Options::default(), &three.concat(), "cpus = 4\n") else { return };
    let (front, sign) = (lab.project.path("front"), lab.project.path("stalled"));
    fs::create_dir(&front).unwrap();
    ["squeue", "scancel", "scontrol"].into_iter().for_each(|program| stall(&front, program, &sign));
    let mut command = lab.command(&[]);
    command.env("PATH", format!("{}:{}", front.display(), std::env::var("PATH").unwrap()));
    let run = lab.start_command(command);
    assert!(wait_for(Duration::from_secs(30), || lab.starts() == 2), "{}", run.err());
    lab.rig.kill("slurmctld");
    // Long enough to be met in the midst of asking.
    assert!(wait_for(Duration::from_secs(20), || run.err().contains("the run goes on")), "{}", run.err());
    // From now on no command ends by itself.
    fs::write(&sign, "").unwrap();
    let began = Instant::now();
    signal(run.process(), libc::SIGINT);
    let said = run.end();
    assert_eq!(said.code, 130, "{}", said.err);
    // One command alone would be waited for for 20 seconds.
    assert!(began.elapsed() < Duration::from_secs(18), "it took {:?}", began.elapsed());
    // Pilots need no controller to end.
    assert!(wait_for(Duration::from_secs(10), || lab.rig.programs().is_empty()), "{:?}", lab.rig.programs());
}

#[test]
fn jobs_of_others_are_never_cancelled_not_even_such_as_bear_the_same_name() {
    let Some(lab) = Lab::new(&SLOW.replace("sleep 3", "sleep 86396")) else { return };
    let run = lab.start_until(1);
    let ours = field(&lab.rig.jobs()[0], "JobName").to_owned();
    assert!(ours.starts_with("pacer-"), "{ours}");
    let submit = |name: &str, comment: &str| {
        let (name, comment) = (format!("--job-name={name}"), format!("--comment={comment}"));
        let job = lab.rig.ask("sbatch", &["--parsable", &name, &comment, "--output=/dev/null", "--wrap=sleep 86395"]);
        job.trim().to_owned()
    };
    // One of nothing, one of another store, one of another shape of this store.
    let mut foreign = vec![submit("other", ""), submit("pacer-0123456789ab", ""), submit(&ours, "another")];
    signal(run.process(), libc::SIGINT);
    assert_eq!(run.end().code, 130);
    let left = || lab.rig.queue("R,PD").into_iter().map(|(job, _)| job).collect::<Vec<_>>();
    assert!(wait_for(Duration::from_secs(10), || left().len() <= foreign.len()), "{:?}", left());
    let mut left = left();
    left.sort();
    foreign.sort();
    assert_eq!(left, foreign);
}

#[test]
fn a_pilot_that_never_gave_a_sign_of_life_is_cancelled_at_the_end_of_the_run() {
    let Some(lab) = Lab::new(&held()) else { return };
    let run = lab.start_until(1);
    let pilot = lab.rig.jobs().remove(0);
    // As one that Slurm takes for running on a node that is lost.
    let (name, comment) = (field(&pilot, "JobName"), field(&pilot, "Comment"));
    let like = [format!("--job-name={name}"), format!("--comment={comment}")];
    lab.rig.ask("sbatch", &[&like[0], &like[1], "--output=/dev/null", "--wrap=sleep 86393"]);
    assert!(wait_for(Duration::from_secs(20), || lab.rig.queue("R").len() == 2), "{:?}", lab.rig.jobs());
    lab.open_gate();
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    lab.assert_as_here(&[]);
}

/// A job gives way to a more urgent one, and the training that it was at goes on elsewhere or later.
fn give_way(preemption: Preemption) {
    let options = Options { preemption, ..Options::default() };
    let Some(lab) = Lab::with(&options, TRAINING, "partition = \"low\"\n") else { return };
    let longer = ["--set", "epochs=600"];
    let run = lab.start(&["--format", "json", longer[0], longer[1]]);
    wait_for_epochs(&run);
    let running = lab.rig.queue("R");
    assert!(!running.is_empty());
    for node in ["n1", "n2"] {
        let node = format!("--nodelist={node}");
        lab.rig.ask("sbatch", &["--partition=high", "--exclusive", &node, "--output=/dev/null", "--wrap=sleep 3"]);
    }
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("gave way to another"), "{}", said.err);
    lab.assert_as_here(&longer);
}

#[test]
fn a_job_that_gives_way_by_being_cancelled_is_offered_again_and_its_training_goes_on() {
    give_way(Preemption::Cancel);
}

#[test]
fn a_job_that_gives_way_where_others_are_requeued_is_offered_again_and_its_training_goes_on() {
    give_way(Preemption::Requeue);
}

/// A job that takes more and more memory, and never ends by itself.
const GREED: &str = "python3 -c 'import time; x = []\nwhile True: x.append(bytearray(20_000_000)); time.sleep(0.1)'";

/// What Slurm says of a job that takes more memory than it was given, where nodes watch it in some way.
fn outgrow(memory: Memory) -> Option<(String, String)> {
    let lab = Lab::with(&Options { memory, ..Options::default() }, SLOW, "")?;
    let log = lab.project.path("log");
    let (output, wrap) = (format!("--output={}", log.display()), format!("--wrap={GREED}"));
    let job = lab.rig.ask("sbatch", &["--parsable", "--mem=100M", &output, &wrap]);
    let is_over =
        || !lab.rig.jobs().iter().all(|job| ["PENDING", "RUNNING", "COMPLETING"].contains(&field(job, "JobState")));
    assert!(wait_for(Duration::from_secs(30), is_over), "job {job}: {:?}", lab.rig.jobs());
    Some((field(&lab.rig.jobs()[0], "JobState").to_owned(), fs::read_to_string(log).unwrap()))
}

#[test]
fn a_job_that_a_node_kills_for_its_memory_has_merely_failed_and_its_log_says_why() {
    let Some((state, log)) = outgrow(Memory::Sampled) else { return };
    assert_eq!(state, "FAILED");
    assert!(log.contains("exceeded memory limit"), "{log}");
}

#[test]
fn a_job_that_the_kernel_kills_for_its_memory_says_so_where_there_are_control_groups() {
    let Some((state, log)) = outgrow(Memory::Enforced) else { return };
    assert_eq!(state, "OUT_OF_MEMORY");
    assert!(log.contains("oom-kill event"), "{log}");
}
