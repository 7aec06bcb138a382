//! A project beside a cluster that its profile names, and runs there that cannot hang for ever. Unaware of what the
//! stories are about.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::conf::Options;
use crate::cluster::rig::{Rig, wait_for};
use crate::harness::{Digests, Project, Said};

/// What the profile says of the cluster where a story says nothing else.
const PROFILE: &str = "max_jobs = 4\npilot_idle = 1.0\n";

/// A run that has not ended by then never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// In a pipeline, the file that its stages wait for.
const GATE: &str = "GATE";

/// So many clusters are up at once.
const MOST: usize = 3;

/// A project and a cluster.
pub struct Lab {
    pub rig: Rig,
    pub project: Project,
    pipeline: String,
    _turn: Turn,
}

impl Lab {
    /// A project with a pipeline and a plain cluster; none where there is no Slurm.
    pub fn new(pipeline: &str) -> Option<Self> {
        Self::with(&Options::default(), pipeline, "")
    }

    /// One with a cluster of some kind and with further lines of the profile. `STARTS` in the pipeline becomes a file
    /// into which stages that begin write a line, `GATE` one that is there when the story opens it.
    pub fn with(options: &Options, pipeline: &str, profile: &str) -> Option<Self> {
        let turn = Turn::wait();
        let rig = Rig::up(options)?;
        let project = project(pipeline);
        project.write("pacer.toml", &format!("[executor.lab]\ntype = \"slurm\"\n{PROFILE}{profile}"));
        Some(Self { rig, project, pipeline: pipeline.to_owned(), _turn: turn })
    }

    /// The command line of a run on the cluster.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(&[&["run", "pipeline.toml", "--executor", "lab"], arguments].concat());
        command.env("SLURM_CONF", self.rig.conf());
        command
    }

    /// Runs the pipeline to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Begins a run.
    pub fn start(&self, arguments: &[&str]) -> Run {
        self.start_command(self.command(arguments))
    }

    /// Begins a run by a command line.
    pub fn start_command(&self, mut command: Command) -> Run {
        static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|name| self.project.path(&format!("{number}.{name}")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Run { child: command.spawn().unwrap(), out, err }
    }

    /// Begins a run, and waits until so many stages have begun.
    pub fn start_until(&self, starts: usize) -> Run {
        let run = self.start(&[]);
        assert!(wait_for(Duration::from_secs(30), || self.starts() >= starts), "no stage began\n{}", run.err());
        run
    }

    /// Lets stages end that wait for it.
    pub fn open_gate(&self) {
        self.project.write(&GATE.to_lowercase(), "");
    }

    /// How many stages have begun.
    pub fn starts(&self) -> usize {
        fs::read_to_string(self.project.path("starts")).unwrap_or_default().lines().count()
    }

    /// The pilots on the nodes.
    pub fn pilots(&self) -> Vec<i32> {
        let runs_pacer = |process: &i32| {
            let program = fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default();
            program.ends_with("pacer")
        };
        self.rig.programs().into_iter().filter(runs_pacer).collect()
    }

    /// The results are those of a run on this machine, every byte is whole, and soon nothing is left of the run.
    pub fn assert_as_here(&self, arguments: &[&str]) {
        let here = project(&self.pipeline.replace("sleep", "echo"));
        here.run(arguments);
        let all = [&["pipeline.toml"], arguments].concat();
        assert_eq!(self.digests(&all), here.digests(&all));
        let verified = self.project.pacer(&["verify"]);
        assert_eq!(verified.code, 0, "not whole\n{}{}", verified.out, verified.err);
        self.assert_nothing_left();
    }

    fn digests(&self, arguments: &[&str]) -> Digests {
        self.project.digests(arguments)
    }

    /// Soon there is no job, and no program of one.
    pub fn assert_nothing_left(&self) {
        // A node tells a controller that was away of ended jobs when it asks the next time, every 15 seconds.
        assert!(self.rig.is_empty_within(40), "{}", self.rig.ask("squeue", &[]));
        let is_quiet = wait_for(Duration::from_secs(5), || self.rig.programs().is_empty());
        assert!(is_quiet, "{:?} go on", self.rig.programs());
    }
}

fn project(pipeline: &str) -> Project {
    let project = Project::new(pipeline);
    for word in ["STARTS", GATE].into_iter().filter(|word| pipeline.contains(word)) {
        project.edit(word, &project.path(&word.to_lowercase()).display().to_string());
    }
    project
}

/// A run that goes on; dropping it kills it.
pub struct Run {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Run {
    /// What it has said on stdout.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has said on stderr.
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Its process.
    pub fn process(&self) -> i32 {
        self.child.id() as i32
    }

    /// Kills it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub fn end(self) -> Said {
        self.end_within(PATIENCE)
    }

    /// Waits until it has ended, which takes so long at most.
    pub fn end_within(mut self, patience: Duration) -> Said {
        let began = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Said { code: status.code().unwrap_or(-1), out: self.out(), err: self.err() };
            }
            assert!(began.elapsed() < patience, "no end after {patience:?}\n{}", self.err());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place among the clusters that are up.
struct Turn;

static TAKEN: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

impl Turn {
    fn wait() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        *LEFT.wait_while(taken, |taken| *taken >= MOST).unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LEFT.notify_one();
    }
}
