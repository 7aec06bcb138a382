#!/usr/bin/env python3
"""Prints how fast the engine is, beside other tools on the same graphs, all measured here and now in one run.

  make build && python3 benches/speed.py [--peer-python PYTHON]… [--b3sum PATH] [--only noop|cutoff|cold|hash|output]

Whole processes are timed, medians of --runs calls; the tools are called in turn, so that a noisy moment hits all of
them. Ratios are pacer's time to the peer's: below 1 pacer is faster. A peer takes part where it is on the PATH or
belongs to a Python of --peer-python. Everything happens in a temporary folder.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers

TOP = Path(__file__).resolve().parent.parent
SHAPES = ["chain", "wide", "layers"]
CORES = os.cpu_count() or 1

# Milliseconds, and megabytes of memory, by number of stages.
MUST_NOOP = {1_000: "30", 10_000: "250", 100_000: "linear"}
GOAL_NOOP = {100_000: "2500"}
MUST_MEMORY = {100_000: "400"}
GOAL_MEMORY = {100_000: "150"}

# Starts a program from a small process, because a new process counts the memory of the one that started it.
MEMORY = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Failed(Exception):
    """A tool ended badly; holds what it said."""


class Bench:
    """What is measured with: the programs, the folder, how often."""

    def __init__(self, arguments, folder):
        self.folder = folder
        self.pacer = str(arguments.pacer.absolute())
        self.kind = arguments.kind
        self.runs = arguments.runs
        self.patience = arguments.patience
        self.sizes = arguments.sizes
        self.gigabytes = arguments.gigabytes
        self.b3sum = arguments.b3sum or shutil.which("b3sum")
        found = [(peer, peers.find(peer, arguments.peer_python)) for peer in peers.PEERS]
        self.peers = [(peer, called) for peer, called in found if called]
        self.made = 0

    def fresh(self, name):
        """A new folder."""
        self.made += 1
        folder = self.folder / f"{self.made}-{name.replace(' ', '-')}"
        folder.mkdir(parents=True)
        return folder

    def run_pacer(self, project, *arguments, store=None):
        """Seconds of a run."""
        store = store or project / "store"
        return seconds([self.pacer, "--store", store, "run", project / "speed.toml", "--quiet", *arguments], project)

    def pacer_project(self, stages, kind=None):
        project = self.fresh("pacer")
        peers.write_leaves(project, stages)
        (project / "speed.toml").write_text(peers.pacer_toml(stages, kind or self.kind))
        return project

    def peer_project(self, peer, stages):
        project = self.fresh(peer.name)
        peers.write_leaves(project, stages)
        peer.write(project, stages)
        return project

    def ran_by_pacer(self, project):
        """How many stages a run executes."""
        command = [self.pacer, "--store", project / "store", "run", project / "speed.toml", "--format", "json"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])["ran"]

    def side_by_side(self, calls):
        """Medians of the seconds that each call returns; a call that fails or has used up the patience stops."""
        times = {name: [] for name in calls}
        failed = {}
        for _ in range(self.runs):
            for name, call in calls.items():
                if name in failed or sum(times[name]) > self.patience:
                    continue
                try:
                    times[name].append(call())
                except Failed as error:
                    failed[name] = error
        for name, error in failed.items():
            say(f"{name} failed: {error}")
        return {name: statistics.median(taken) for name, taken in times.items() if name not in failed}


def say(text):
    print(text, file=sys.stderr, flush=True)


def seconds(command, cwd):
    """Calls a program; returns the seconds that it took."""
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    with tempfile.TemporaryFile() as stderr:
        began = time.perf_counter()
        code = subprocess.call(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
        took = time.perf_counter() - began
        if code != 0:
            stderr.seek(0)
            words = stderr.read().decode(errors="replace").strip()[-600:]
            raise Failed(f"`{' '.join(map(str, command))[:200]}` ended with {code}: {words}")
    return took


def megabytes(command, cwd):
    """The most memory that a program held, with the few megabytes of what starts it as the least."""
    wrapper = [sys.executable, "-I", "-S", "-c", MEMORY, *map(str, command)]
    done = subprocess.run(wrapper, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr)
    return int(done.stdout) / 1024


def table(title, head, rows, notes=()):
    print(f"\n## {title}\n")
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    for note in notes:
        print(f"\n{note}")
    sys.stdout.flush()


def ms(value):
    return "–" if value is None else f"{value * 1e3:.1f}"


def beside(pacer, peer):
    """A peer's time with pacer's ratio to it."""
    return "–" if peer is None else f"{peer * 1e3:.1f} ({pacer / peer:.2f} ×)"


def noop(bench):
    """Nothing to do: every result is there."""
    names = [peer.name for peer, _ in bench.peers if peer.name != "sh"]
    rows = []
    for count in bench.sizes:
        for shape in SHAPES:
            rows.append(noop_row(bench, shape, count, names))
    floor = megabytes([shutil.which("true")], bench.folder)
    head = ["graph", "stages", "pacer ms", "µs a stage", "must", "goal", "peak MB", "must", "goal", *names]
    notes = [
        f"Peers: ms (pacer's time to theirs). The least that the measure of memory can show is {floor:.0f} MB. "
        "The goal is twice the faster of ninja and n2."
    ]
    table("Nothing to do, whole process", head, rows, notes)


def noop_row(bench, shape, count, names):
    say(f"nothing to do: {shape}, {count} stages")
    stages = peers.graph(shape, count)
    project = bench.pacer_project(stages)
    bench.run_pacer(project)
    if (ran := bench.ran_by_pacer(project)) != 0:
        sys.exit(f"a run with nothing to do ran {ran} stages")
    calls = {"pacer": lambda: bench.run_pacer(project)}
    folders = {"pacer": project}
    for peer, called in bench.peers:
        if peer.name == "sh" or count > peer.limit:
            continue
        folder = folders[peer.name] = bench.peer_project(peer, stages)
        try:
            seconds([*called, *peer.arguments(CORES)], folder)
            calls[peer.name] = lambda command=[*called, *peer.arguments(1)], folder=folder: seconds(command, folder)
        except Failed as error:
            say(f"{peer.name} failed: {error}")
    medians = bench.side_by_side(calls)
    for name in list(medians):
        if name != "pacer" and (ran := peers.ran(folders[name])) != count:
            say(f"{name} ran {ran} times in place of {count}: its time is left out")
            del medians[name]
    command = [bench.pacer, "--store", project / "store", "run", project / "speed.toml", "--quiet"]
    memory = megabytes(command, project)
    clean(folders.values())
    best = min((medians[name] for name in ("ninja", "n2") if name in medians), default=None)
    goal = GOAL_NOOP.get(count) or (f"{best * 2e3:.1f}" if best else "–")
    taken = medians["pacer"]
    row = [shape, count, ms(taken), f"{taken / count * 1e6:.1f}", MUST_NOOP.get(count, "–"), goal, f"{memory:.0f}"]
    row += [MUST_MEMORY.get(count, "–"), GOAL_MEMORY.get(count, "–")]
    return row + [beside(taken, medians.get(name)) for name in names]


def cutoff(bench):
    """One leaf has a second line: its reader runs, and nothing else need."""
    count = 1_000
    stages = peers.graph("layers", count)
    leaf = next(stage for stage in stages if stage.leaf).inputs[0]
    quiet, changed, ran, folders = {}, {}, {}, []

    def add(name, folder, call, count_ran):
        def change():
            with open(folder / leaf, "a", encoding="utf-8") as file:
                file.write("one more line\n")
            return call()

        say(f"one leaf changed: {name}")
        folders.append(folder)
        try:
            call()
            before = count_ran()
            with open(folder / leaf, "a", encoding="utf-8") as file:
                file.write("one more line\n")
            ran[name] = count_ran() if name == "pacer" else (change(), count_ran() - before)[1]
            quiet[name], changed[name] = call, change
        except Failed as error:
            say(f"{name} failed: {error}")

    project = bench.pacer_project(stages)
    add("pacer", project, lambda: bench.run_pacer(project), lambda: bench.ran_by_pacer(project))
    for peer, called in bench.peers:
        if peer.name != "sh" and count <= peer.limit:
            folder = bench.peer_project(peer, stages)
            command = [*called, *peer.arguments(1)]
            add(peer.name, folder, lambda c=command, f=folder: seconds(c, f), lambda f=folder: peers.ran(f))
    quiet, changed = bench.side_by_side(quiet), bench.side_by_side(changed)
    clean(folders)
    rows = []
    for name in changed:
        most, once = ("+10", "1") if name == "pacer" else ("", "")
        more = f"{(changed[name] - quiet[name]) * 1e3:+.1f}"
        ratio = f"{changed['pacer'] / changed[name]:.2f} ×"
        rows.append([name, ms(quiet[name]), ms(changed[name]), more, most, ran[name], once, ratio])
    head = ["tool", "no-op, ms", "one leaf changed, ms", "difference", "must", "stages run", "must", "pacer to it"]
    notes = ["luigi looks whether outputs are there, not whether inputs changed."] if "luigi" in changed else []
    table("One leaf of 1,000 stages (layers) changed, same output", head, rows, notes)


def cold(bench):
    """Everything to do, in a new folder; the peers show in one shape what they take for a stage."""
    count = 1_000
    rows = []
    names = [peer.name for peer, _ in bench.peers if peer.limit >= count]
    for shape in SHAPES:
        stages = peers.graph(shape, count)
        for jobs in sorted({1, CORES}):
            say(f"everything to do: {shape}, {jobs} jobs")
            calls = {"pacer": lambda: cold_pacer(bench, stages, bench.kind, jobs)}
            if shape == "layers":
                calls["command"] = lambda: cold_pacer(bench, stages, "command", jobs)
            for peer, called in bench.peers:
                if shape == "layers" and peer.limit >= count and (peer.name != "sh" or jobs == 1):
                    calls[peer.name] = lambda p=peer, c=called: cold_peer(bench, stages, p, c, jobs)
            medians = bench.side_by_side(calls)
            each = {name: taken / count for name, taken in medians.items()}
            row = [shape, jobs, ms(each["pacer"]), "3", "1", ms(each.get("command"))]
            rows.append(row + [beside(each.get("command"), each.get(name)) for name in names])
    head = ["graph", "jobs", f"pacer, `{bench.kind}`", "must", "goal", "pacer, `command`", *names]
    notes = ["Peers: ms (time of pacer's `command` stages to theirs). They sync nothing to the disk; pacer syncs all."]
    table(f"Everything to do, ms a stage of {count:,}", head, rows, notes)


def cold_pacer(bench, stages, kind, jobs):
    project = bench.pacer_project(stages, kind)
    os.sync()
    taken = bench.run_pacer(project, "--jobs", str(jobs))
    clean([project])
    return taken


def cold_peer(bench, stages, peer, called, jobs):
    folder = bench.peer_project(peer, stages)
    os.sync()
    taken = seconds([*called, *peer.arguments(jobs)], folder)
    clean([folder])
    return taken


def write_large(path, gigabytes):
    """A file with a short first line, on the disk and in memory. Returns its bytes."""
    block = os.urandom(1 << 26)
    size = int(gigabytes * 1e9)
    with open(path, "wb") as file:
        file.write(b"0\n")
        while file.tell() < size:
            file.write(block[: size - file.tell()])
        os.fsync(file.fileno())
    seconds(["cat", path], path.parent)
    return size


def hashing(bench):
    """An input that the store has not seen."""
    say(f"an input of {bench.gigabytes} GB")
    stages = peers.graph("wide", 1)
    small, large = bench.pacer_project(stages), bench.pacer_project(stages)
    size = write_large(large / "in" / "0.txt", bench.gigabytes)

    def in_new_store(project):
        store = bench.fresh("store")
        taken = bench.run_pacer(project, store=store)
        if any(path.stat().st_size == size for path in store.rglob("*") if path.is_file()):
            say("the input was copied into the store")
        clean([store])
        return taken

    calls = {"large": lambda: in_new_store(large), "small": lambda: in_new_store(small)}
    if bench.b3sum:
        command = [bench.b3sum, "--num-threads", str(CORES)]
        calls["b3sum large"] = lambda: seconds([*command, large / "in" / "0.txt"], large)
        calls["b3sum small"] = lambda: seconds([*command, small / "in" / "0.txt"], small)
    medians = bench.side_by_side(calls)
    clean([small, large])
    speed = size / 1e9 / (medians["large"] - medians["small"])
    rows = [["pacer", f"{medians['large']:.3f}", f"{medians['small']:.3f}", f"{speed:.2f}", "", ""]]
    if bench.b3sum:
        peer = size / 1e9 / (medians["b3sum large"] - medians["b3sum small"])
        rows[0][4:] = [f"{speed / peer:.0%}", "90%"]
        rows.append(["b3sum", f"{medians['b3sum large']:.3f}", f"{medians['b3sum small']:.3f}", f"{peer:.2f}", "", ""])
    head = ["program", "large, s", "tiny, s", "GB/s", "speed to b3sum's", "must"]
    table(f"An input of {bench.gigabytes} GB, warm, on {CORES} threads", head, rows)


def output(bench):
    """An output that the store takes in, written by `dd`; in memory, for the times of disks vary tenfold."""
    say(f"an output of {bench.gigabytes} GB")
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 3e9 * bench.gigabytes
    with tempfile.TemporaryDirectory(dir=memory if roomy else bench.folder, prefix="speed-") as folder:
        medians, copied = output_times(bench, Path(folder))
    rows = [[name, f"{taken:.2f}", f"{medians['pacer'] - taken:+.2f}"] for name, taken in medians.items()]
    notes = [f"Another file than the stage wrote lies in the store (a second copy): {', '.join(sorted(copied))}."]
    where = "a file system in memory" if roomy else "the disk"
    title = f"An output of {bench.gigabytes} GB that `dd` writes, on {where}"
    table(title, ["what", "s", "pacer's time more"], rows, notes)


def output_times(bench, project):
    """Medians, and whether the store holds the very file that the stage wrote."""
    source, target, store = project / "source", project / "target", project / "store"
    write_large(source, bench.gigabytes)
    work = f"dd if={source} of={{outputs.large}} bs=1M status=none; ls -i {{outputs.large}} > {{outputs.inode}}"
    (project / "speed.toml").write_text(
        f"[pipeline]\nname = \"speed\"\n\n[stages.s0]\nkind = \"command\"\nrun = ['sh', '-c', '{work}']\n"
        'outputs = { large = "file", inode = "file" }\n'
    )
    copied = set()

    def pacer():
        taken = bench.run_pacer(project)
        blobs = [path for path in (store / "objects").rglob("*") if path.is_file()]
        large = max(blobs, key=lambda path: path.stat().st_size)
        inodes = [path.read_text().split()[0] for path in blobs if path.stat().st_size < 10_000]
        copied.add("no" if str(large.stat().st_ino) in inodes else "yes")
        clean([store])
        return taken

    def alone():
        taken = seconds(["dd", f"if={source}", f"of={target}", "bs=1M", "status=none"], project)
        target.unlink()
        return taken

    calls = {"pacer": pacer, "`dd` alone": alone}
    if bench.b3sum:
        command = [bench.b3sum, "--num-threads", str(CORES), source]
        calls["`dd`, then `b3sum`"] = lambda: alone() + seconds(command, project)
    return bench.side_by_side(calls), copied


def clean(folders):
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


MEASURES = {"noop": noop, "cutoff": cutoff, "cold": cold, "hash": hashing, "output": output}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [1_000, 10_000]
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=sizes,
                        help="stages of the graphs with nothing to do (default 1000,10000)")
    parser.add_argument("--large", action="store_true", help="100,000 stages too")
    parser.add_argument("--runs", type=int, default=7, help="calls that are timed (default 7)")
    parser.add_argument("--patience", type=float, default=10.0, metavar="SECONDS",
                        help="a tool that took longer in all is not called again (default 10)")
    parser.add_argument("--only", action="append", choices=MEASURES, help="this measure alone; may be given again")
    parser.add_argument("--peer-python", action="append", default=[], metavar="PYTHON",
                        help="a Python that has peers; may be given again")
    parser.add_argument("--b3sum", help="the program to compare hashing with")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the large files (default 2)")
    parser.add_argument("--pacer", type=Path, default=TOP / "target" / "debug" / "pacer")
    parser.add_argument("--kind", choices=["trivial", "command"], default="trivial", help="kind of pacer's stages")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    if arguments.large and 100_000 not in arguments.sizes:
        arguments.sizes = [*arguments.sizes, 100_000]
    return arguments


def main():
    arguments = parse()
    # So that the temporary folder goes when the script is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    if not arguments.pacer.is_file():
        sys.exit(f"`{arguments.pacer}` is not there: run `make build`")
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="speed-") as folder:
        bench = Bench(arguments, Path(folder))
        absent = sorted({peer.program for peer in peers.PEERS} - {peer.program for peer, _ in bench.peers})
        print(f"{CORES} cores; medians of {bench.runs} calls, in turn; peers not found: {', '.join(absent) or 'none'}")
        for name in arguments.only or MEASURES:
            try:
                MEASURES[name](bench)
            except Failed as error:
                sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
