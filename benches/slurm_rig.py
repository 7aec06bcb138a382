"""A Slurm cluster of two nodes on loopback: its own key, ports and folder, ended with its `with`. Unaware of pacer.

The nodes pretend to four processors each. Jobs go to the partition `low` and give way to those in `high`.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
{patience}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=2
"""

# How soon a node that does not answer is lost: in seconds, or so late that a busy machine loses none.
HASTY = "SlurmdTimeout=2\nMessageTimeout=3\nTCPTimeout=1"
PATIENT = "SlurmdTimeout=60"

NODES = ["n1", "n2"]


class Rig:
    """A cluster that is up."""

    def __init__(self, hasty):
        self.patience = HASTY if hasty else PATIENT
        self.daemons = {}

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="slurm-")
        self.folder = Path(self.temporary.name)
        # `munged` wants its socket to be within everybody's reach.
        self.folder.chmod(0o755)
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.environment["PATH"] += ":/usr/sbin:/sbin"
        if not shutil.which("slurmctld", path=self.environment["PATH"]):
            raise SystemExit("Slurm is not installed (Debian: slurm-wlm, munge)")
        self.configure()
        os.environ["SLURM_CONF"] = self.environment["SLURM_CONF"]
        try:
            self.bring_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def bring_up(self):
        key, munge = self.folder / "munge.key", self.folder / "munge"
        subprocess.run(["mungekey", "--create", "--keyfile", key], check=True, env=self.environment)
        files = ["-S", f"{munge}.socket", "--seed-file", f"{munge}.seed", "--pid-file", f"{munge}.pid"]
        self.spawn("munged", ["munged", "-F", "--key-file", key, *files])
        wait_for(10, lambda: Path(f"{munge}.socket").exists())
        for name in ["slurmctld", *NODES]:
            self.start(name)
        if not wait_for(30, lambda: len(self.idle()) == len(NODES)):
            raise SystemExit("Slurm does not come up: " + (self.folder / "slurmctld.out").read_text()[-300:])

    def __exit__(self, *_):
        if "slurmctld" in self.daemons:
            self.ask("scancel", "-u", getpass.getuser())
            wait_for(5, lambda: not self.ask("squeue", "-h"))
        for name in reversed(list(self.daemons)):
            self.kill(name)
        # The programs of jobs outlive the daemons.
        wait_for(5, lambda: not [os.kill(process, signal.SIGKILL) for process in self.processes("SLURM_CONF=")])
        self.temporary.cleanup()

    def configure(self):
        sockets = [socket.socket() for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        facts = {"host": socket.gethostname(), "user": getpass.getuser(), "folder": self.folder}
        ports = [each.getsockname()[1] for each in sockets]
        text = CONFIGURATION.format(ports=ports, patience=self.patience, **facts)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()
        for each in sockets:
            each.close()

    def spawn(self, name, command):
        log = open(self.folder / f"{name}.out", "ab")
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
        self.daemons[name] = subprocess.Popen(command, env=self.environment, **quiet)

    def start(self, name):
        """Starts the controller, or the daemon of a node; each knows again what it knew."""
        conf = self.environment["SLURM_CONF"]
        node = [] if name == "slurmctld" else ["-N", name]
        self.spawn(name, ["slurmd" if node else "slurmctld", "-D", "-f", conf, *node])

    def kill(self, name):
        """Kills a daemon as a crash would; the jobs of a node go on."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def ask(self, *words):
        """What a command of Slurm says; nothing where it fails."""
        return subprocess.run(words, capture_output=True, text=True, env=self.environment, check=False).stdout.strip()

    def idle(self):
        return set(self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())

    def take_places(self, seconds):
        """A job that wants all of a node, for each node; those in `low` give way to it."""
        for node in NODES:
            whole = ["--partition=high", "--exclusive", f"--nodelist={node}", "--job-name=urgent"]
            self.ask("sbatch", *whole, "--output=/dev/null", f"--wrap=sleep {seconds}")

    def programs(self):
        """What runs of jobs, whether Slurm still knows of it or not."""
        return self.processes("SLURM_JOB_ID=")

    def processes(self, variable):
        found, own = [], f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if own in words and any(word.startswith(variable.encode()) for word in words):
                found.append(int(entry.name))
        return found


def wait_for(seconds, is_true):
    """Whether something comes true in time."""
    until = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
