#!/usr/bin/env python3
"""Prints what stages cost on a Slurm cluster, and whether a run survives what happens there.

  make build && SLURM_CONF=/path/to/slurm.conf python3 benches/cluster.py [--only diamond,many,sweep,chaos]

The cluster must be up, and see this folder and a temporary one. Each measure begins with an empty store and no job of
pacer in the queue, so that the start of the first job is counted; whole processes are timed; medians of --runs.

diamond  4 stages in three steps
many     200 stages that write a line, 8 jobs at once
sweep    20 trials of a small training with --jobs jobs at once, beside as many slots on this machine
chaos    --rounds runs of a diamond of slow stages, each of which is disturbed once at a random moment: the runner is
         killed with its group, or a job is killed, told that its time is over, or cancelled. Then the same command runs
         again. Each must come to the digests of an undisturbed run, and leave no job and no program behind.
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
        self.folder = tempfile.TemporaryDirectory(prefix="pacer-bench-", dir=arguments.folder)
        self.path = Path(self.folder.name)
        (self.path / "pacer.toml").write_text(
            f'[executor.here]\ntype = "slurm"\nmax_jobs = {jobs}\npilot_idle = 2.0\n'
        )
        (self.path / "p.toml").write_text(pipeline)

    def command(self, *words):
        return [str(self.arguments.pacer.absolute()), "--store", str(self.path / "store"), *words]

    def start(self, *words):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command("run", "p.toml", *words), cwd=self.path, start_new_session=True, **silent)

    def run(self, *words):
        """Seconds of a run, which must succeed."""
        began = time.monotonic()
        child = self.start(*words)
        said = child.communicate()[1].decode()
        if child.returncode != 0:
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
            if str(self.path / "store").encode() in words and b"node" in words:
                found.append(int(entry.name))
        return found


def jobs_left(seconds):
    """Jobs of pacer that are still in the queue after so many seconds at most."""
    until = time.monotonic() + seconds
    while True:
        listed = subprocess.run(["squeue", "-h", "-r", "-o", "%i %j"], capture_output=True, text=True).stdout
        ids = [line.split()[0] for line in listed.splitlines() if line.split()[1].startswith("pacer-")]
        if not ids or time.monotonic() > until:
            return ids
        time.sleep(0.1)


def timed(arguments, name, pipeline, jobs, must, goal):
    times = []
    for _ in range(arguments.runs):
        jobs_left(30)
        times.append(Lab(arguments, pipeline, jobs).run("--executor", "here"))
    middle = statistics.median(times)
    print(f"{name}: {middle:.2f} s, {min(times):.2f} to {max(times):.2f} (must {must} s, goal {goal} s)", flush=True)


def sweep(arguments):
    jobs_left(30)
    there = Lab(arguments, SWEEP, arguments.jobs)
    on_cluster = there.run("--executor", "here")
    here = Lab(arguments, SWEEP, arguments.jobs)
    locally = here.run("--jobs", str(arguments.jobs))
    same = there.digests() == here.digests()
    print(
        f"sweep of 20 trials, {arguments.jobs} at once: {on_cluster:.2f} s on the cluster, {locally:.2f} s here, "
        f"ratio {locally / on_cluster:.2f} (must 0.9); same digests: {same}",
        flush=True,
    )


def disturb(lab, runner, what):
    if what == "runner killed":
        os.killpg(runner.pid, signal.SIGKILL)
    elif what == "job cancelled":
        ids = jobs_left(0)
        if ids:
            subprocess.run(["scancel", random.choice(ids)], check=False)
    else:
        pilots = lab.pilots()
        if pilots:
            os.kill(random.choice(pilots), signal.SIGKILL if what == "job killed" else signal.SIGUSR1)


def chaos(arguments):
    pipeline = DIAMOND.format(work="sleep 1; ")
    undisturbed = Lab(arguments, pipeline, 2)
    undisturbed.run()
    expected, good, seen = undisturbed.digests(), 0, {}
    random.seed(arguments.seed)
    for _ in range(arguments.rounds):
        lab = Lab(arguments, pipeline, 2)
        what = random.choice(["runner killed", "job killed", "time over", "job cancelled"])
        runner = lab.start("--executor", "here")
        time.sleep(random.uniform(0.2, 4.5))
        disturb(lab, runner, what)
        runner.communicate()
        lab.run("--executor", "here")
        left = jobs_left(20)
        is_good = lab.digests() == expected and not left and not lab.pilots()
        good += is_good
        count, fine = seen.get(what, (0, 0))
        seen[what] = (count + 1, fine + is_good)
    told = ", ".join(f"{what} {fine} of {count}" for what, (count, fine) in sorted(seen.items()))
    print(f"chaos: {good} of {arguments.rounds} came to the same digests and left nothing ({told})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pacer", type=Path, default=TOP / "target/debug/pacer")
    parser.add_argument("--folder", help="where temporary projects lie; all nodes must see it")
    parser.add_argument("--only", default="diamond,many,sweep,chaos")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="jobs at once in the sweep, and slots beside it")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if "diamond" in only:
        timed(arguments, "diamond of 4 stages", DIAMOND.format(work=""), 2, 5, 1.5)
    if "many" in only:
        timed(arguments, "200 stages, 8 at once", "".join(TRIVIAL.format(n) for n in range(200)), 8, 20, 8)
    if "sweep" in only:
        sweep(arguments)
    if "chaos" in only:
        chaos(arguments)


if __name__ == "__main__":
    main()
