//! A Slurm cluster of two nodes on loopback for one test: its own key, ports and folder. Dropping it ends all of it.
//! Unaware of pacer.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::not_checked;

/// The programs that a cluster takes, from Debian's packages `slurm-wlm` and `munge`.
const PROGRAMS: [&str; 6] = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scancel"];

/// A cluster that is up.
pub struct Rig {
    folder: TempDir,
    /// The authentication, the controller, and the nodes by their numbers from 1.
    daemons: Vec<(String, Child)>,
}

impl Rig {
    /// Brings a cluster up; says why it could not be and gives none where Slurm is not installed or does not start.
    pub fn up() -> Option<Self> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let is_there = |name: &&str| path.split(':').any(|folder| Path::new(folder).join(name).is_file());
        if let Some(missing) = PROGRAMS.iter().find(|name| !is_there(name)) {
            not_checked(&format!("`{missing}` is not installed (Debian: slurm-wlm, munge)"));
            return None;
        }
        let mut rig = Self { folder: tempfile::tempdir().unwrap(), daemons: Vec::new() };
        rig.configure();
        let key = rig.path("munge.key");
        let made = Command::new("mungekey").args(["--create", "--keyfile", &key]).status();
        assert!(made.is_ok_and(|status| status.success()), "no key was made");
        let (socket, seed, pid) = (rig.path("munge.socket"), rig.path("munge.seed"), rig.path("munge.pid"));
        rig.start("munged", &["-F", "-S", &socket, "--key-file", &key, "--seed-file", &seed, "--pid-file", &pid]);
        wait_for(Duration::from_secs(5), || Path::new(&socket).exists());
        rig.start("slurmctld", &["-D", "-f", &rig.conf()]);
        (1..=2).for_each(|node| rig.start_node(node));
        let is_up = wait_for(Duration::from_secs(30), || {
            let idle = rig.ask("sinfo", &["-h", "-N", "-t", "idle", "-o", "%N"]);
            idle.lines().count() == 2
        });
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

    fn configure(&self) {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        let user = if rustix::process::getuid().is_root() { "root".to_owned() } else { std::env::var("USER").unwrap() };
        // All at once, so that no two are the same.
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
        let folder = self.folder.path().display();
        let node = |node: usize| {
            format!(
                "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=4 RealMemory=4000",
                ports[node]
            )
        };
        let lines = [
            "ClusterName=stories".to_owned(),
            format!("SlurmctldHost={host}(127.0.0.1)"),
            format!("SlurmctldPort={}", ports[0]),
            format!("SlurmUser={user}\nSlurmdUser={user}"),
            format!("AuthType=auth/munge\nAuthInfo=socket={folder}/munge.socket\nCredType=cred/munge"),
            format!("StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool.%n"),
            format!("SlurmctldPidFile={folder}/ctld.pid\nSlurmdPidFile={folder}/%n.pid"),
            "MailProg=/bin/true\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none".into(),
            "SwitchType=switch/none\nMpiDefault=none\nJobAcctGatherType=jobacct_gather/none".into(),
            "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none".into(),
            "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nSchedulerType=sched/backfill".into(),
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1".into(),
            "KillWait=2\nSlurmdTimeout=10\nReturnToService=2\nSlurmdParameters=config_overrides".into(),
            node(1),
            node(2),
            "PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP\n".into(),
        ];
        fs::create_dir(self.folder.path().join("state")).unwrap();
        fs::write(self.conf(), lines.join("\n")).unwrap();
    }

    fn start(&mut self, program: &str, arguments: &[&str]) {
        let log = || File::create(self.path(&format!("{program}.out"))).unwrap();
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        command.args(arguments).env("PATH", path).env("SLURM_CONF", self.conf());
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn();
        self.daemons.push((program.to_owned(), child.unwrap_or_else(|error| panic!("`{program}`: {error}"))));
    }

    fn start_node(&mut self, node: usize) {
        let conf = self.conf();
        self.start("slurmd", &["-D", "-f", &conf, "-N", &format!("n{node}")]);
        self.daemons.last_mut().unwrap().0 = format!("n{node}");
    }

    /// Kills a daemon as a crash would.
    pub fn kill(&mut self, name: &str) {
        let at = self.daemons.iter().position(|(known, _)| known == name).unwrap();
        let (_, mut child) = self.daemons.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the controller again.
    pub fn start_controller(&mut self) {
        let conf = self.conf();
        self.start("slurmctld", &["-D", "-f", &conf]);
    }

    /// What one of Slurm's commands says; nothing where it fails or does not answer.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", self.conf()).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether within some seconds no job is left.
    pub fn is_empty_within(&self, seconds: u64) -> bool {
        wait_for(Duration::from_secs(seconds), || self.ask("squeue", &["-h", "-r"]).trim().is_empty())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let user = if rustix::process::getuid().is_root() { "root".to_owned() } else { std::env::var("USER").unwrap() };
        if self.daemons.iter().any(|(name, _)| name == "slurmctld") {
            // The programs of jobs outlive the nodes' daemons.
            self.ask("scancel", &["-u", &user]);
            self.is_empty_within(10);
        }
        for (_, child) in self.daemons.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
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
