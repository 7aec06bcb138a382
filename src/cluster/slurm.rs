//! The commands of Slurm: how they are run and what their answers mean. Each is given up after a bounded time. Unaware of
//! what a batch asks for, of the spool and of stages.
//!
//! Every answer is read as text: the JSON forms leave selections aside and give raw wait statuses.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::batch::{Batch, arguments, script};

/// A command that has not answered by then is given up; where the controller is down, each takes about 9 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long where somebody waits for the end.
const HURRIED_PATIENCE: Duration = Duration::from_secs(3);

static HURRIED: AtomicBool = AtomicBool::new(false);

/// How often a command's end is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What the commands say where the controller did not answer, so that asking again may help.
const UNREACHABLE: [&str; 17] = [
    "Unable to contact slurm controller",
    "Communication connection failure",
    "Communication shutdown failure",
    "Message send failure",
    "Message receive failure",
    // While the controller goes down or comes up.
    "Zero Bytes were transmitted or received",
    "Insane message length",
    "Unexpected message received",
    "backup controller in standby mode",
    "Socket timed out",
    "Connection refused",
    "Connection reset",
    "Transport endpoint",
    "did not answer",
    "Slurm temporarily unable to accept job",
    // While the daemon that signs messages is restarted, or this machine has no room for another process.
    "Munge encode failed",
    "Resource temporarily unavailable",
];

/// What is said of a job that Slurm has forgotten.
const FORGOTTEN: &str = "Invalid job id";

/// What is said where a user may not have so many jobs, or not so many in one array.
const LIMITS: [&str; 2] = ["submit limit", "Invalid job array"];

/// What Slurm writes into the log of a job that takes more memory than it was given.
const OVER_MEMORY: [&str; 3] = ["xceeded memory limit", "xceeded job memory limit", "oom-kill event"];

/// So many jobs are named in one command.
const AT_ONCE: usize = 500;

/// Why a command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The controller does not answer now.
    Unreachable(String),
    /// Slurm refuses.
    Refused(String),
}

impl Trouble {
    /// Whether it is refused because these are too many jobs, so that fewer may be taken.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Refused(message) if LIMITS.iter().any(|limit| message.contains(limit)))
    }

    /// The same of a question: it asks for nothing that could be refused for good, so asking again may help.
    fn of_question(self) -> Self {
        match self {
            Self::Refused(message) | Self::Unreachable(message) => Self::Unreachable(message),
        }
    }

    fn is_of_forgotten(&self) -> bool {
        matches!(self, Self::Refused(message) if message.contains(FORGOTTEN))
    }
}

/// A job that Slurm knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number, with that within an array: `17_3`.
    pub id: String,
    /// Whether it has begun.
    pub state: State,
    /// Why it does not run yet, as Slurm says.
    pub reason: String,
    /// What its sender wrote beside it.
    pub comment: String,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn.
    Pending,
    /// Runs, or is about to begin or to end.
    Running,
    /// Was halted by Slurm for another job, to go on later.
    Suspended,
    /// Its node was lost.
    NodeFail,
    /// Gave way to another.
    Preempted,
    /// Took longer than it was given.
    Timeout,
    /// Took more memory than it was given.
    OutOfMemory,
    /// Was cancelled.
    Cancelled,
    /// Somebody killed its program: the node for its memory, where no control group does, or anybody.
    Killed,
    /// Ended otherwise, or is forgotten.
    Ended,
}

impl State {
    fn parse(word: &str) -> Self {
        match word.trim_end_matches('+') {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" => Self::Pending,
            "RUNNING" | "CONFIGURING" | "SIGNALING" | "RESIZING" | "STAGE_OUT" => Self::Running,
            "SUSPENDED" | "STOPPED" => Self::Suspended,
            "NODE_FAIL" | "BOOT_FAIL" => Self::NodeFail,
            "PREEMPTED" => Self::Preempted,
            "TIMEOUT" | "DEADLINE" => Self::Timeout,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            "CANCELLED" | "REVOKED" => Self::Cancelled,
            _ => Self::Ended,
        }
    }

    /// Whether the job is over.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Suspended)
    }
}

/// Submits pilots; the number of their array.
pub fn submit(batch: &Batch<'_>) -> Result<String, Trouble> {
    let script = script(&batch.profile.setup, batch.command);
    let answer = run("sbatch", &arguments(batch), script.as_bytes())?;
    let number = answer.trim().split(';').next().unwrap_or_default().to_owned();
    match number.parse::<u64>() {
        Ok(_) => Ok(number),
        Err(_) => Err(Trouble::Refused(format!("`sbatch` answered `{}`, which is no job", answer.trim()))),
    }
}

/// The jobs of a name that are not over.
pub fn list(name: &str) -> Result<Vec<Listed>, Trouble> {
    let arguments = ["-h", "-r", "-a", "-n", name, "-o", "%i|%T|%r|%k"].map(str::to_owned);
    let text = run("squeue", &arguments, b"").map_err(Trouble::of_question)?;
    Ok(text.lines().filter_map(listed).collect())
}

fn listed(line: &str) -> Option<Listed> {
    let mut parts = line.splitn(4, '|');
    let (id, state, reason, comment) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let text = |text: &str| text.trim().to_owned();
    Some(Listed { id: text(id), state: State::parse(state.trim()), reason: text(reason), comment: text(comment) })
}

/// How one job stands or ended; one that Slurm has forgotten has ended.
pub fn state(id: &str) -> Result<State, Trouble> {
    match run("scontrol", &["show", "job", "-o", id].map(str::to_owned), b"") {
        Ok(text) => Ok(shown(&text)),
        Err(trouble) if trouble.is_of_forgotten() => Ok(State::Ended),
        Err(trouble) => Err(trouble.of_question()),
    }
}

/// How a job stands by what `scontrol` shows of it.
fn shown(job: &str) -> State {
    let word = |name: &str| job.split_whitespace().find_map(|word| word.strip_prefix(name));
    match (word("JobState="), word("ExitCode=")) {
        // The exit and the signal.
        (Some("FAILED"), Some("0:9")) => State::Killed,
        (state, _) => state.map_or(State::Ended, State::parse),
    }
}

/// How the jobs of an array stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Some of them are not over.
    Open,
    /// Each of them ended by a fault of its program.
    Failed,
    /// They ended otherwise, or are forgotten.
    Ended,
}

/// How an array stands.
pub fn course(array: &str) -> Result<Course, Trouble> {
    match run("scontrol", &["show", "job", "-o", array].map(str::to_owned), b"") {
        Ok(text) => Ok(course_of(&text)),
        Err(trouble) if trouble.is_of_forgotten() => Ok(Course::Ended),
        Err(trouble) => Err(trouble.of_question()),
    }
}

fn course_of(text: &str) -> Course {
    let state = |job: &str| job.split_whitespace().find_map(|word| word.strip_prefix("JobState=").map(str::to_owned));
    let states: Vec<_> = text.lines().filter_map(state).collect();
    match states.iter().any(|state| !State::parse(state).is_over()) {
        true => Course::Open,
        false if !states.is_empty() && states.iter().all(|state| state == "FAILED") => Course::Failed,
        false => Course::Ended,
    }
}

/// Why Slurm ended a job, by what it wrote into the job's log before it signalled; none where it did not say.
pub fn cause(log: &str) -> Option<State> {
    let mut said = log.lines().filter(|line| line.starts_with("slurmstepd"));
    // Without control groups, this alone tells it.
    if said.clone().any(|line| OVER_MEMORY.iter().any(|sign| line.contains(sign))) {
        return Some(State::OutOfMemory);
    }
    let line = said.rfind(|line| line.contains(" CANCELLED AT "))?;
    let causes = [
        ("DUE TO PREEMPTION", State::Preempted),
        ("DUE TO TIME LIMIT", State::Timeout),
        ("DUE TO NODE FAILURE", State::NodeFail),
    ];
    Some(causes.iter().find(|(words, _)| line.contains(words)).map_or(State::Cancelled, |(_, state)| *state))
}

/// Cancels jobs; those that are over already are no trouble.
pub fn cancel(ids: &[String]) -> Result<(), Trouble> {
    for ids in ids.chunks(AT_ONCE) {
        match run("scancel", ids, b"") {
            Ok(_) | Err(Trouble::Refused(_)) => {}
            Err(unreachable) => return Err(unreachable),
        }
    }
    Ok(())
}

/// Where `sbatch` is; `None` where Slurm is not installed.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("sbatch")).find(|path| path.is_file())
}

/// Gives commands up soon from now on, also those that are asked already.
pub fn hurry() {
    HURRIED.store(true, Ordering::Relaxed);
}

fn patience() -> Duration {
    if HURRIED.load(Ordering::Relaxed) { HURRIED_PATIENCE } else { PATIENCE }
}

/// Runs a command to its end, or gives it up.
fn run(program: &str, arguments: &[String], input: &[u8]) -> Result<String, Trouble> {
    let refused = |error: std::io::Error| Trouble::Refused(format!("`{program}` cannot be started: {error}"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // By which people shorten the lists that they look at.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"SQUEUE_")) {
        command.env_remove(name);
    }
    // Ctrl-C is for the run to heed, not for what it has just asked.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(refused)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing says why by its exit.
        let _ = stdin.write_all(input);
    }
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().expect("it is piped")));
    let err = read(Box::new(child.stderr.take().expect("it is piped")));
    let began = Instant::now();
    let status = loop {
        match child.try_wait().map_err(refused)? {
            Some(status) => break status,
            None if began.elapsed() > patience() => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = began.elapsed().as_secs();
                return Err(Trouble::Unreachable(format!("`{program}` did not answer in {seconds} s")));
            }
            None => std::thread::sleep(LOOK_INTERVAL),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    let message = format!("`{program}` says: {}", err.trim());
    Err(match UNREACHABLE.iter().any(|sign| err.contains(sign)) {
        true => Trouble::Unreachable(message),
        false => Trouble::Refused(message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_squeue_is_read_whatever_its_comment_holds() {
        let line = "17_3|PENDING|Resources|run;s|x";
        let (id, reason, comment) = ("17_3".into(), "Resources".into(), "run;s|x".into());
        assert_eq!(listed(line), Some(Listed { id, state: State::Pending, reason, comment }));
        assert_eq!(listed("slurm_load_jobs error"), None);
    }

    #[test]
    fn states_are_told_apart() {
        let words = ["RUNNING", "NODE_FAIL", "PREEMPTED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "COMPLETED"];
        use State::{Cancelled, Ended, NodeFail, OutOfMemory, Preempted, Running, Timeout};
        let states = [Running, NodeFail, Preempted, Timeout, OutOfMemory, Cancelled, Ended];
        assert_eq!(words.map(State::parse), states);
        assert!(!State::Running.is_over() && State::Cancelled.is_over());
        assert!(State::parse("SUSPENDED") == State::Suspended && !State::Suspended.is_over());
    }

    #[test]
    fn only_what_is_submitted_can_be_refused_for_good_and_fewer_jobs_where_they_are_too_many() {
        let refused = |message: &str| Trouble::Refused(format!("`sbatch` says: sbatch: error: {message}"));
        let limits =
            ["Job violates accounting/QOS policy (job submit limit, user's size)", "Invalid job array specification"];
        assert!(limits.iter().all(|limit| refused(limit).is_limit()) && !refused("invalid partition").is_limit());
        let asked = refused("Protocol authentication error").of_question();
        assert!(matches!(&asked, Trouble::Unreachable(message) if message.contains("authentication")), "{asked:?}");
        assert!(refused("Invalid job id specified").is_of_forgotten() && !asked.is_of_forgotten());
    }

    #[test]
    fn a_job_whose_program_was_killed_has_not_failed_by_itself() {
        let shown = |state: &str, exit: &str| shown(&format!("JobId=1 JobState={state} Reason=x ExitCode={exit} y\n"));
        assert_eq!(shown("FAILED", "0:9"), State::Killed);
        assert_eq!([shown("FAILED", "1:0"), shown("COMPLETING", "0:9")], [State::Ended; 2]);
        assert_eq!(shown("OUT_OF_MEMORY", "0:9"), State::OutOfMemory);
        assert!(State::Killed.is_over());
    }

    #[test]
    fn an_array_has_failed_when_each_of_its_jobs_has() {
        let of = |states: &[&str]| {
            let job = |state: &&str| format!("JobId=1 JobState={state} Reason=x\n");
            course_of(&(states.iter().map(job).collect::<String>() + "\n"))
        };
        assert_eq!((of(&["FAILED", "FAILED"]), of(&["FAILED", "COMPLETED"])), (Course::Failed, Course::Ended));
        assert_eq!((of(&[]), of(&["FAILED", "PENDING"])), (Course::Ended, Course::Open));
    }

    #[test]
    fn a_log_tells_why_slurm_ended_its_job() {
        let line =
            |why: &str| format!("a\nslurmstepd-n1: error: *** JOB 2 ON n1 CANCELLED AT 2026-11-27T05:43:29{why} ***\n");
        let causes =
            ["", " DUE TO PREEMPTION", " DUE TO TIME LIMIT", " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"];
        let states = [State::Cancelled, State::Preempted, State::Timeout, State::NodeFail];
        assert_eq!(causes.map(|why| cause(&line(why)).unwrap()), states);
        assert_eq!(cause("Terminated\n"), None);
        let killed = "slurmstepd-n1: error: StepId=1.batch exceeded memory limit (133 > 104), being killed\n";
        assert_eq!(cause(&(killed.to_owned() + &line(""))), Some(State::OutOfMemory));
        assert_eq!(cause("the stage says: exceeded memory limit\n"), None);
    }
}
