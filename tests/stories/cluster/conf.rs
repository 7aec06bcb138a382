//! What a cluster for a test is like: its kinds of nodes, partitions and limits, written down as Slurm reads them.
//! Unaware of daemons and of pacer.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What a cluster is like beyond two nodes of four processors and 4,000 MB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// GPUs that each node pretends to have, two at most.
    pub gpus: usize,
    /// What becomes of a job that takes more memory than it was given.
    pub memory: Memory,
    /// What becomes of a job whose place another wants.
    pub preemption: Preemption,
    /// How soon a node that does not answer is lost.
    pub loss: Loss,
    /// What `MaxArraySize` is, where it is not what Slurm takes by itself.
    pub array: Option<usize>,
}

/// What becomes of a job that takes more memory than it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Nobody looks, and jobs get none to themselves.
    #[default]
    Free,
    /// A node looks once a second and kills all of the job, which has then `FAILED`.
    Sampled,
    /// The kernel kills the largest of its programs, and the job ends `OUT_OF_MEMORY`; needs control groups and root.
    Enforced,
}

/// What becomes of a job in the partition `low` whose place one in `high` wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preemption {
    /// There is one partition, `main`.
    #[default]
    None,
    /// It is cancelled.
    Cancel,
    /// It is put back into the queue if it lets itself, else cancelled.
    Requeue,
}

/// How soon a node that does not answer is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// After half a minute, so that a busy machine loses none; commands wait for the controller as long as ever.
    #[default]
    Late,
    /// After some seconds.
    Soon,
}

impl Options {
    /// Writes the configuration of a cluster with two nodes of these names into its folder.
    pub fn write(&self, folder: &Path, user: &str, nodes: &[String; 2]) {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        // All at once, so that no two are the same.
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
        let mut lines = daemons(&folder.display().to_string(), &host, user, ports[0]);
        lines.extend(self.limits());
        let gpus = if self.gpus > 0 { format!(" Gres=gpu:{}", self.gpus) } else { String::new() };
        for (node, port) in nodes.iter().zip(&ports[1..]) {
            let address = format!("NodeHostname={host} NodeAddr=127.0.0.1 Port={port}");
            lines.push(format!("NodeName={node} {address} CPUs=4 RealMemory=4000{gpus}"));
        }
        lines.extend(self.partitions());
        fs::create_dir(folder.join("state")).unwrap();
        fs::write(folder.join("slurm.conf"), lines.join("\n") + "\n").unwrap();
        self.write_beside(folder, nodes);
    }

    fn limits(&self) -> Vec<String> {
        let (gather, task) = match self.memory {
            Memory::Free => ("JobAcctGatherType=jobacct_gather/none", "none"),
            Memory::Sampled => ("JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherParams=OverMemoryKill", "none"),
            Memory::Enforced => ("JobAcctGatherType=jobacct_gather/linux", "cgroup"),
        };
        let consumed = if self.memory == Memory::Free { "CR_Core" } else { "CR_Core_Memory" };
        let loss = match self.loss {
            Loss::Late => "SlurmdTimeout=30",
            Loss::Soon => "SlurmdTimeout=2\nMessageTimeout=3\nTCPTimeout=1",
        };
        let preempt = match self.preemption {
            Preemption::None => "PreemptType=preempt/none",
            Preemption::Cancel => "PreemptType=preempt/partition_prio\nPreemptMode=CANCEL",
            Preemption::Requeue => "PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE",
        };
        vec![
            format!("{gather}\nJobAcctGatherFrequency=task=1\nTaskPlugin=task/{task}"),
            format!("SelectType=select/cons_tres\nSelectTypeParameters={consumed}\nGresTypes=gpu"),
            format!("{loss}\n{preempt}"),
            self.array.map_or_else(String::new, |array| format!("MaxArraySize={array}")),
        ]
    }

    fn partitions(&self) -> Vec<String> {
        let partition =
            |name: &str, rest: &str| format!("PartitionName={name} Nodes=ALL MaxTime=INFINITE State=UP {rest}");
        match self.preemption {
            Preemption::None => vec![partition("main", "Default=YES")],
            Preemption::Cancel | Preemption::Requeue => {
                vec![partition("low", "Default=YES PriorityTier=1"), partition("high", "PriorityTier=2")]
            }
        }
    }

    /// Writes what does not stand in the main file.
    fn write_beside(&self, folder: &Path, nodes: &[String; 2]) {
        // One that is no device would count as none.
        let devices = ["/dev/null", "/dev/zero"];
        let mut lines = Vec::new();
        for (number, device) in devices.iter().enumerate().take(self.gpus) {
            let file = folder.join(format!("gpu{number}"));
            symlink(device, &file).unwrap();
            lines.push(format!("NodeName={} Name=gpu File={}", nodes.join(","), file.display()));
        }
        fs::write(folder.join("gres.conf"), lines.join("\n") + "\n").unwrap();
        if self.memory == Memory::Enforced {
            let text =
                "CgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainCores=no\n";
            fs::write(folder.join("cgroup.conf"), text).unwrap();
        }
    }
}

fn daemons(folder: &str, host: &str, user: &str, port: u16) -> Vec<String> {
    vec![
        format!("ClusterName=stories\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={port}"),
        format!("SlurmUser={user}\nSlurmdUser={user}"),
        format!("AuthType=auth/munge\nAuthInfo=socket={folder}/munge.socket\nCredType=cred/munge"),
        format!("StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool.%n"),
        format!("SlurmctldPidFile={folder}/ctld.pid\nSlurmdPidFile={folder}/%n.pid"),
        "MailProg=/bin/true\nProctrackType=proctrack/linuxproc\nSwitchType=switch/none\nMpiDefault=none".to_owned(),
        "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none".to_owned(),
        "SchedulerType=sched/backfill\nSchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1"
            .to_owned(),
        "KillWait=2\nReturnToService=2\nSlurmdParameters=config_overrides".to_owned(),
    ]
}
