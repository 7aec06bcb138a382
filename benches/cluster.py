#!/usr/bin/env python3
"""Prints what stages cost on a Slurm cluster, and whether a run survives what happens there.

  make build && python3 benches/cluster.py --rig [--only diamond,many,sweep,chaos]

With --rig it brings a cluster of two nodes on loopback up by itself (Debian: slurm-wlm, munge). Without, SLURM_CONF
names one that is up, and sees this folder and a temporary one. With --away nodes do not see the store, and all goes
through a remote in a folder. Each measure begins with an empty store and no job of pacer in the queue, so that the start
of the first job is counted; whole processes are timed; medians of --runs.

diamond  4 stages in three steps
many     200 stages that write a line, 8 jobs at once
sweep    20 trials of a small training with --jobs jobs at once, beside as many slots on this machine
chaos    --rounds runs of a diamond of slow stages, each of which is disturbed once at a random moment: the runner is
         killed with its group, or a job is killed, told that its time is over, or cancelled; with --rig also the daemon
         of a node is killed and started some seconds later, the controller likewise, a node is taken down, or a job
         has to give way. Then the same command runs again. Each must come to the digests of an undisturbed run, verify,
         and leave no job and no program behind.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm_rig import NODES, Rig, wait_for

TOP = Path(__file__).resolve().parent.parent

DIAMOND = """
[stages.top]
kind = "command"
run = ["sh", "-c", "{work}echo top > {{outputs.x}}"]
outputs = {{ x = "file" }}
[stages.left]
kind = "command"
inputs.files.x = "top.x"
run = ["sh", "-c", "{work}cat {{inputs.x}} > {{outputs.x}}; echo left >> {{outputs.x}}"]
outputs = {{ x = "file" }}
[stages.right]
kind = "command"
inputs.files.x = "top.x"
run = ["sh", "-c", "{work}cat {{inputs.x}} > {{outputs.x}}; echo right >> {{outputs.x}}"]
outputs = {{ x = "file" }}
[stages.bottom]
kind = "command"
inputs.files = {{ l = "left.x", r = "right.x" }}
run = ["sh", "-c", "{work}cat {{inputs.l}} {{inputs.r}} > {{outputs.x}}"]
outputs = {{ x = "file" }}
"""

TRIVIAL = """
[stages.s{0}]
kind = "command"
run = ["sh", "-c", "echo {0} > {{outputs.x}}"]
outputs = {{ x = "file" }}
"""

SWEEP = """
[stages.synthesize]
kind = "synthesize"
users = 40
runs_per_user = 6.0
[stages.import]
kind = "import"
inputs.source = "synthesize.raw"
[stages.filter]
kind = "filter"
inputs.workouts = "import"
[stages.resample]
kind = "resample"
inputs.workouts = "filter"
grid = { by = "time", step_s = 10.0, gap_limit_s = 60.0 }
features = ["speed", "grade"]
[stages.split]
kind = "split"
inputs.sequences = "resample"
by = "user"
train = 0.7
validation = 0.15
test = 0.15
[stages.lstm]
kind = "pretrain"
inputs = { sequences = "resample", split = "split" }
model = "lstm"
hidden = 32
epochs = 12
features = ["speed", "grade"]
[stages.lstm.sweep]
batch_size = [8, 16, 32, 64]
seed = [1, 2, 3, 4, 5]
"""


class Lab:
    """A project of its own, with the cluster in its profile."""

    def __init__(self, arguments, pipeline, jobs):
        self.arguments = arguments
        # A job that ends later may still write there.
        self.folder = tempfile.TemporaryDirectory(
            prefix="pacer-bench-", dir=arguments.folder, ignore_cleanup_errors=True
        )
        self.path = Path(self.folder.name)
        profile = f'[executor.lab]\ntype = "slurm"\nmax_jobs = {jobs}\npilot_idle = 2.0\n'
        if arguments.away:
            profile += f'shared = false\nnode_store = "{self.path}/node"\n[remote]\nurl = "{self.path}/remote"\n'
        (self.path / "pacer.toml").write_text(profile)
        (self.path / "p.toml").write_text(pipeline)

    def command(self, *words):
        return [str(self.arguments.pacer.absolute()), "--store", str(self.path / "store"), *words]

    def start(self, *words):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command("run", "p.toml", *words), cwd=self.path, start_new_session=True, **silent)

    def run(self, *words):
        """Seconds of a run, which must succeed."""
        began = time.monotonic()
        code, said = end(self.start(*words))
        if code != 0:
            sys.exit(f"the run failed:\n{said}")
        return time.monotonic() - began

    def digests(self):
        planned = json.loads(self.ask("plan", "p.toml", "--format", "json"))
        stages = [row["stage"] for row in planned["stages"]]
        shown = [json.loads(self.ask("show", "p.toml", stage, "--format", "json")) for stage in stages]
        return [[artifact["digest"] for artifact in stage["artifacts"]] for stage in shown]

    def ask(self, *words):
        return subprocess.run(self.command(*words), cwd=self.path, check=True, capture_output=True, text=True).stdout

    def pilots(self):
        """The programs of jobs that serve this store."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            own = any(word.startswith(str(self.path).encode() + b"/") for word in words)
            if own and b"node" in words:
                found.append(int(entry.name))
        return found


def jobs_left(seconds):
    """Jobs of pacer that have not ended after so many seconds at most.

    One that is completing has: Slurm waits for word of its node, and asks again each minute.
    """
    until = time.monotonic() + seconds
    while True:
        listed = subprocess.run(["squeue", "-h", "-r", "-o", "%j %i %T"], capture_output=True, text=True).stdout
        jobs = [line.split() for line in listed.splitlines()]
        ids = [number for name, number, state in jobs if name.startswith("pacer-") and state != "COMPLETING"]
        if not ids or time.monotonic() > until:
            return ids
        time.sleep(0.1)


def end(child):
    """How a run ended and what it said; one that never would is killed."""
    try:
        said = child.communicate(timeout=180)[1].decode()
        return child.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return None, "it did not end\n" + child.communicate()[1].decode()


def timed(arguments, name, pipeline, jobs, must, goal):
    times = []
    for _ in range(arguments.runs):
        jobs_left(30)
        times.append(Lab(arguments, pipeline, jobs).run("--executor", "lab"))
    middle = statistics.median(times)
    print(f"{name}: {middle:.2f} s, {min(times):.2f} to {max(times):.2f} (must {must} s, goal {goal} s)", flush=True)


def sweep(arguments):
    jobs_left(30)
    there = Lab(arguments, SWEEP, arguments.jobs)
    on_cluster = there.run("--executor", "lab")
    here = Lab(arguments, SWEEP, arguments.jobs)
    locally = here.run("--jobs", str(arguments.jobs))
    same = there.digests() == here.digests()
    print(
        f"sweep of 20 trials, {arguments.jobs} at once: {on_cluster:.2f} s on the cluster, {locally:.2f} s here, "
        f"ratio {locally / on_cluster:.2f} (must 0.9); same digests: {same}",
        flush=True,
    )


def disturb(lab, runner, what, rig):
    if what == "runner killed":
        os.killpg(runner.pid, signal.SIGKILL)
    elif what == "job cancelled":
        wait_for(5, lambda: jobs_left(0) or runner.poll() is not None)
        ids = jobs_left(0)
        if ids:
            subprocess.run(["scancel", random.choice(ids)], check=False)
    elif what in ("job killed", "time over"):
        wait_for(5, lambda: lab.pilots() or runner.poll() is not None)
        pilots = lab.pilots()
        if pilots:
            os.kill(random.choice(pilots), signal.SIGKILL if what == "job killed" else signal.SIGUSR1)
    elif what == "job preempted":
        rig.take_places(2)
    elif what == "node down":
        node = random.choice(NODES)
        rig.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=chaos")
        time.sleep(random.uniform(0, 4))
        rig.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    else:
        name = "slurmctld" if what == "controller killed" else busy_node(rig)
        rig.kill(name)
        time.sleep(random.uniform(0, 12))
        rig.start(name)


def busy_node(rig):
    """A node with a job, if any has one."""
    nodes = rig.ask("squeue", "-h", "-t", "R", "-o", "%N").split()
    return random.choice(nodes or NODES)


def draw(arguments, rig):
    """What happens in each round: everything about as often, in any order."""
    kinds = ["runner killed", "job killed", "time over", "job cancelled"]
    kinds += ["node's daemon killed", "controller killed", "node down", "job preempted"] if rig else []
    rounds = (kinds * (arguments.rounds // len(kinds) + 1))[: arguments.rounds]
    random.shuffle(rounds)
    return rounds


def faults(lab, expected, rig):
    """What is wrong after a round."""
    code, said = end(lab.start("--executor", "lab"))
    if code != 0:
        return [f"the next run fails:\n{said}"]
    found = ["other digests"] if lab.digests() != expected else []
    verified = subprocess.run(lab.command("verify"), cwd=lab.path, capture_output=True, text=True, check=False)
    found += [f"not whole:\n{verified.stdout}{verified.stderr}"] if verified.returncode != 0 else []
    # A node tells a controller that was away of ended jobs when it asks the next time, every 15 seconds.
    left = jobs_left(40)
    found += [f"jobs are left: {left}"] if left else []
    programs = (lambda: [p for p in rig.programs() if is_alive(p)]) if rig else lab.pilots
    if rig:
        wait_for(15, lambda: not rig.ask("squeue", "-h", "-n", "urgent"))
    return found + ([] if wait_for(5, lambda: not programs()) else [f"programs are left: {programs()}"])


def is_alive(process):
    """Whether it runs; one that has ended may still be known until its parent has heard of it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def chaos(arguments, rig):
    pipeline = DIAMOND.format(work="sleep 2; ")
    undisturbed = Lab(arguments, pipeline, 2)
    undisturbed.run()
    expected, seen, again = undisturbed.digests(), {}, []
    random.seed(arguments.seed)
    for number, what in enumerate(draw(arguments, rig), 1):
        began, lab = time.monotonic(), Lab(arguments, pipeline, 2)
        runner = lab.start("--executor", "lab")
        moment = random.uniform(0.2, 6.0)
        time.sleep(moment)
        disturb(lab, runner, what, rig)
        code, said = end(runner)
        # Whoever is not killed comes to the end of it.
        found = [] if code == 0 or what == "runner killed" else [f"the run ended with {code}:\n{said}"]
        again += [line for line in said.splitlines() if "offered to the cluster again" in line]
        found += faults(lab, expected, rig)
        count, fine = seen.get(what, (0, 0))
        seen[what] = (count + 1, fine + (not found))
        took = time.monotonic() - began
        if found or arguments.verbose:
            print(f"  round {number}: {what} after {moment:.1f} s, {took:.0f} s: {'; '.join(found) or 'well'}", flush=True)
    is_empty = rig is None or wait_for(120, lambda: not rig.ask("squeue", "-h"))
    good = sum(fine for _, fine in seen.values())
    told = ", ".join(f"{what} {fine} of {count}" for what, (count, fine) in sorted(seen.items()))
    print(f"chaos: {good} of {arguments.rounds} came to the same digests and left nothing ({told})", flush=True)
    print(f"  stages were offered again {len(again)} times; the queue is empty at the end: {is_empty}", flush=True)
    return good == arguments.rounds and is_empty


def measure(arguments, rig):
    only = arguments.only.split(",")
    if "diamond" in only:
        timed(arguments, "diamond of 4 stages", DIAMOND.format(work=""), 2, 5, 1.5)
    if "many" in only:
        timed(arguments, "200 stages, 8 at once", "".join(TRIVIAL.format(n) for n in range(200)), 8, 20, 8)
    if "sweep" in only:
        sweep(arguments)
    return "chaos" not in only or rig is not None or chaos(arguments, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pacer", type=Path, default=TOP / "target/debug/pacer")
    parser.add_argument("--folder", help="where temporary projects lie; all nodes must see it")
    parser.add_argument("--rig", action="store_true", help="bring up a cluster for the measures")
    parser.add_argument("--verbose", action="store_true", help="tell every round of chaos")
    parser.add_argument("--away", action="store_true", help="let nodes have a store of their own")
    parser.add_argument("--only", default="diamond,many,sweep,chaos")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="jobs at once in the sweep, and slots beside it")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.rig:
        sys.exit(not measure(arguments, None))
    # Figures from a cluster that loses no node by mistake, chaos on one that is quick to.
    if set(arguments.only.split(",")) != {"chaos"}:
        with Rig(hasty=False) as rig:
            measure(arguments, rig)
    if "chaos" in arguments.only.split(","):
        with Rig(hasty=True) as rig:
            sys.exit(not chaos(arguments, rig))


if __name__ == "__main__":
    main()
