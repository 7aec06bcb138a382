//! A Slurm cluster of two nodes on loopback for one test: its own key, ports and folder. Dropping it ends all of it.
//! Unaware of pacer.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::conf::{Memory, Options};
use crate::harness::{not_checked, signal};

/// The programs that a cluster takes, from Debian's packages `slurm-wlm` and `munge`.
const PROGRAMS: [&str; 6] = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scancel"];

/// A cluster that is up.
pub struct Rig {
    folder: TempDir,
    /// The names of the nodes.
    nodes: [String; 2],
    /// The authentication, the controller, and the nodes by their names.
    daemons: Vec<(String, Child)>,
}

impl Rig {
    /// Brings a cluster up; says why it could not be and gives none where Slurm is not installed or does not start.
    pub fn up(options: &Options) -> Option<Self> {
        let is_there = |name: &&str| path().split(':').any(|folder| Path::new(folder).join(name).is_file());
        if let Some(missing) = PROGRAMS.iter().find(|name| !is_there(name)) {
            not_checked(&format!("`{missing}` is not installed (Debian: slurm-wlm, munge)"));
            return None;
        }
        if options.memory == Memory::Enforced && !can_enforce() {
            not_checked("there is no control group for memory that may be written");
            return None;
        }
        let mut rig = Self { folder: tempfile::tempdir().unwrap(), nodes: names(options.memory), daemons: Vec::new() };
        options.write(rig.folder.path(), &user(), &rig.nodes);
        rig.start_authentication();
        rig.start_controller();
        rig.nodes.clone().iter().for_each(|node| rig.start_node(node));
        let is_up = wait_for(Duration::from_secs(30), || rig.nodes_that_are("idle").len() == 2);
        if !is_up {
            let log = fs::read_to_string(rig.path("slurmctld.out")).unwrap_or_default();
            not_checked(&format!("Slurm does not come up here: {}", log.lines().last().unwrap_or_default()));
        }
        is_up.then_some(rig)
    }

    /// The configuration, which `SLURM_CONF` is to name.
    pub fn conf(&self) -> String {
        self.path("slurm.conf")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start_authentication(&mut self) {
        let key = self.path("munge.key");
        let made = Command::new("mungekey").env("PATH", path()).args(["--create", "--keyfile", &key]).status();
        assert!(made.is_ok_and(|status| status.success()), "no key was made");
        let (socket, seed, pid) = (self.path("munge.socket"), self.path("munge.seed"), self.path("munge.pid"));
        self.start(
            "munged",
            "munged",
            &["-F", "-S", &socket, "--key-file", &key, "--seed-file", &seed, "--pid-file", &pid],
        );
        wait_for(Duration::from_secs(5), || Path::new(&socket).exists());
    }

    fn start(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let log = || File::options().create(true).append(true).open(self.path(&format!("{name}.out"))).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", path()).env("SLURM_CONF", self.conf());
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn();
        self.daemons.push((name.to_owned(), child.unwrap_or_else(|error| panic!("`{program}`: {error}"))));
    }

    /// Starts the controller, which knows again what it knew.
    pub fn start_controller(&mut self) {
        let conf = self.conf();
        self.start("slurmctld", "slurmctld", &["-D", "-f", &conf]);
    }

    /// Starts the daemon of a node, which finds the jobs again that run there.
    pub fn start_node(&mut self, node: &str) {
        let conf = self.conf();
        self.start(node, "slurmd", &["-D", "-f", &conf, "-N", node]);
    }

    /// Kills a daemon as a crash would: `slurmctld`, or that of a node, whose jobs go on.
    pub fn kill(&mut self, name: &str) {
        let at = self.daemons.iter().position(|(known, _)| known == name).unwrap();
        let (_, mut child) = self.daemons.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What one of Slurm's commands says; nothing where it fails or does not answer.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        self.told(program, arguments).unwrap_or_default()
    }

    fn told(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", self.conf()).output();
        let told = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// What Slurm says of each job, also of those that are over.
    pub fn jobs(&self) -> Vec<String> {
        self.ask("scontrol", &["show", "job", "-o"]).lines().map(str::to_owned).collect()
    }

    /// The numbers of the jobs in a state such as `R`, and on which node each is.
    pub fn queue(&self, state: &str) -> Vec<(String, String)> {
        let listed = self.ask("squeue", &["-h", "-r", "-t", state, "-o", "%A %N"]);
        let jobs = listed.lines().filter_map(|line| line.split_once(' '));
        jobs.map(|(job, node)| (job.to_owned(), node.trim().to_owned())).collect()
    }

    /// The nodes in a state such as `idle`.
    pub fn nodes_that_are(&self, state: &str) -> Vec<String> {
        let listed = self.ask("sinfo", &["-h", "-N", "-t", state, "-o", "%N"]);
        let mut nodes: Vec<_> = listed.lines().map(str::to_owned).collect();
        // A node is listed once for each of its partitions.
        nodes.dedup();
        nodes
    }

    /// Whether within some seconds no job is left.
    pub fn is_empty_within(&self, seconds: u64) -> bool {
        wait_for(Duration::from_secs(seconds), || {
            self.told("squeue", &["-h", "-r"]).is_some_and(|told| told.is_empty())
        })
    }

    /// What runs of jobs, whether Slurm still knows of it or not.
    pub fn programs(&self) -> Vec<i32> {
        self.processes(|environment| environment.contains("\0SLURM_JOB_ID="))
    }

    fn processes(&self, is_meant: impl Fn(&str) -> bool) -> Vec<i32> {
        let own = format!("\0SLURM_CONF={}\0", self.conf());
        let is_ours = |process: &i32| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            let environment = format!("\0{}", String::from_utf8_lossy(&environment));
            environment.contains(&own) && is_meant(&environment)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.daemons.iter().any(|(name, _)| name == "slurmctld") {
            self.ask("scancel", &["-u", &user()]);
            self.is_empty_within(5);
        }
        for (_, child) in self.daemons.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The programs of jobs outlive the daemons, and so does a runner of which a story despaired.
        wait_for(Duration::from_secs(5), || {
            let left = self.processes(|_| true);
            left.iter().for_each(|process| signal(*process, libc::SIGKILL));
            left.is_empty()
        });
        for node in &self.nodes {
            remove_groups(&Path::new("/sys/fs/cgroup/memory").join(format!("slurm_{node}")));
        }
    }
}

/// Whether something comes true in time.
pub fn wait_for(patience: Duration, is_true: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if is_true() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    is_true()
}

/// Where programs lie, those of administrators too.
fn path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

fn user() -> String {
    if rustix::process::getuid().is_root() { "root".to_owned() } else { std::env::var("USER").unwrap() }
}

/// The names of a cluster's nodes, apart from those of others where control groups are named after them.
fn names(memory: Memory) -> [String; 2] {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let apart = match memory {
        Memory::Enforced => format!("{}x{}x", std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed)),
        Memory::Free | Memory::Sampled => String::new(),
    };
    ["1", "2"].map(|number| format!("n{apart}{number}"))
}

/// Whether control groups of the first version can be made for memory.
fn can_enforce() -> bool {
    let probe = Path::new("/sys/fs/cgroup/memory").join(format!("stories-{}", std::process::id()));
    let made = fs::create_dir(&probe).is_ok() && probe.join("memory.limit_in_bytes").exists();
    let _ = fs::remove_dir(&probe);
    made
}

/// Takes away control groups, the inner ones first; one that is in use stays.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}
