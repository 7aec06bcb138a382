#!/usr/bin/env python3
"""Prints how fast networks are trained, and that the losses are those of PyTorch, all measured here and now.

  make build && python3 benches/training.py --peer PYTHON --script SCRIPT [--only steps|losses|epoch|sweep]

--peer is a Python that has PyTorch; --script a program that times steps of the same network in it and prints a line of
JSON with `step_ms_median` and `step_ms_min` (options --cell, --batch, --threads, --steps, --warmup, --optim). Without them
pacer's own times are printed alone.

steps    a step of training (2 layers of 64 units, 3 inputs, 500 steps, L1, Adam) for LSTM and GRU at five batch sizes, in turn
         with PyTorch at each of --settings; the ratio is to the fastest of these.
losses   the first 20 losses from the same weights on the same batches.
epoch    an epoch of 13,000 workouts, batch 16, against its steps alone.
sweep    8 trials side by side in one `pacer run` against the same trials one after another in PyTorch.

Another program that computes at the same time spoils the times, and PyTorch's on several threads more than pacer's: the
machine's load is printed with each.
"""

import argparse
import json
import math
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACER = TOP / "target" / "debug" / "pacer"
CORES = os.cpu_count() or 1
BATCHES = (8, 16, 32, 64, 128)

# PyTorch's time over pacer's.
MUST = {"lstm": {batch: 1.0 for batch in BATCHES}, "gru": {batch: 1.5 for batch in BATCHES}}
GOAL = {"lstm": {8: 1.6, 16: 1.6, 32: 1.6}, "gru": {8: 4.0, 16: 4.0}}

TRIALS = 8


def say(text):
    print(text, file=sys.stderr, flush=True)


def load():
    return f"{os.getloadavg()[0]:.1f}"


def table(title, head, rows, notes=()):
    print(f"\n## {title}\n")
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    for note in notes:
        print(f"\n{note}")
    sys.stdout.flush()


def called(command, **more):
    """What a program prints; one that fails ends the measurement with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(map(str, command))}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def built():
    """The program that takes steps, in the profile of `make build`."""
    command = ["cargo", "bench", "--profile", "dev", "--workspace", "--bench", "step", "--no-run"]
    lines = called([*command, "--message-format", "json"], cwd=TOP).splitlines()
    messages = [json.loads(line) for line in lines]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "step")


class Bench:
    def __init__(self, asked, folder):
        self.asked, self.folder = asked, folder
        self.step = asked.step or built()
        self.settings = [tuple(setting.split(":")) for setting in asked.settings.split(",")]

    def own(self, **options):
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return json.loads(called([self.step, *words]))

    def peer(self, cell, batch, threads, optimizer):
        options = ["--cell", cell, "--batch", batch, "--threads", threads, "--optim", optimizer]
        steps = ["--steps", max(4, self.asked.steps // 2), "--warmup", 2]
        return json.loads(called([self.asked.peer, self.asked.script, *options, *steps]).splitlines()[-1])


def steps(bench):
    rows = []
    for cell in ("lstm", "gru"):
        for batch in bench.asked.batches:
            rows.append(steps_row(bench, cell, batch))
            say(f"steps: {rows[-1]}")
    head = ["cell", "batch", "pacer ms (least)", "PyTorch ms (least)", "its setting", "ratio", "of the least", "must", "goal"]
    notes = [
        "Medians of rounds in turn, each the median of its steps; `least` is the fastest single step. Ratios are "
        "PyTorch's time over pacer's; its setting is threads:optimizer.",
    ]
    table(f"A training step, {CORES} threads", [*head, "load"], rows, notes)


def steps_row(bench, cell, batch):
    own, peers = [], {setting: [] for setting in bench.settings if bench.asked.peer}
    for number in range(bench.asked.rounds):
        say(f"steps: {cell}, batch {batch}, round {number + 1}")
        own.append(bench.own(cell=cell, batch=batch, threads=CORES, steps=bench.asked.steps))
        for setting, taken in list(peers.items()):
            taken.append(bench.peer(cell, batch, *setting))
        # What is far behind after a round will not be the fastest.
        if peers:
            first = min(least(taken) for taken in peers.values())
            peers = {setting: taken for setting, taken in peers.items() if least(taken) < 2 * first}
    row = [cell, batch, f"{median(own):.1f} ({least(own):.1f})"]
    if not peers:
        return [*row, "–", "–", "–", "–", MUST[cell][batch], GOAL[cell].get(batch, "–"), load()]
    best = min(peers, key=lambda setting: median(peers[setting]))
    fastest = min(least(taken) for taken in peers.values())
    row += [f"{median(peers[best]):.1f} ({fastest:.1f})", ":".join(best)]
    row += [f"{median(peers[best]) / median(own):.2f} ×", f"{fastest / least(own):.2f} ×"]
    return [*row, MUST[cell][batch], GOAL[cell].get(batch, "–"), load()]


def median(taken):
    return statistics.median(one["step_ms_median"] for one in taken)


def least(taken):
    return min(one["step_ms_min"] for one in taken)


def losses(bench):
    if not bench.asked.peer:
        return say("losses: left out, for there is no --peer")
    rows, count = [], 20
    for cell in ("lstm", "gru"):
        for batch in (8, 16):
            say(f"losses: {cell}, batch {batch}")
            script = TOP / "benches" / "torch_losses.py"
            theirs = json.loads(called([bench.asked.peer, script, bench.folder, cell, batch, count]))
            files = {"data": bench.folder / "data", "weights": bench.folder / "weights"}
            own = bench.own(cell=cell, batch=batch, sequences=batch * count, warmup=0, steps=count, **files)["losses"]
            off = max(abs(a - b) / abs(b) for a, b in zip(own, theirs, strict=True))
            rows.append([cell, batch, f"{theirs[0]:.5f}", f"{theirs[-1]:.5f}", f"{own[-1]:.5f}", f"{off:.1e}", "1e-5"])
    head = ["cell", "batch", "first loss", "PyTorch's last", "pacer's last", "largest relative difference", "must"]
    table(f"The first {count} losses from the same weights and batches", head, rows)


def epoch(bench):
    say("epoch: 13,000 workouts")
    told = bench.own(cell="lstm", batch=16, threads=CORES, sequences=bench.asked.workouts, steps=60, epoch="yes")
    alone = told["epoch_steps"] * told["step_ms_median"] / 1e3
    ratio = told["epoch_s"] / alone
    row = [bench.asked.workouts, told["epoch_steps"], f"{told['step_ms_median']:.1f}", f"{told['epoch_s']:.1f}"]
    head = ["workouts", "steps", "ms a step", "epoch, s", "over steps × step", "must", "goal", "load"]
    table("An epoch of LSTM, batch 16", head, [[*row, f"{ratio:.3f}", "1.10", "1.03", load()]])


def sweep(bench):
    """Each trial has a seed of its own and is a stage; their data lies in a file, so that nothing else is timed."""
    workouts, epochs = 512, bench.asked.epochs
    write_sequences(bench.folder / "sequences.safetensors", workouts)
    trained = workouts - workouts // 32
    count = math.ceil(trained / 16) * epochs
    text = '[pipeline]\nname = "trials"\nallow_leak.users = "only time is measured"\n[stages.split]\nkind = "split"\nby = "workout"\n'
    text += f"train = {trained / workouts}\nvalidation = {1 - trained / workouts}\ntest = 0.0\n"
    text += 'inputs.sequences = { path = "sequences.safetensors" }\n'
    for trial in range(TRIALS):
        text += f'[stages.trial{trial}]\nkind = "pretrain"\nseed = {trial}\nmodel = "lstm"\nlayers = 2\nhidden = 64\n'
        text += f"epochs = {epochs}\nbatch_size = 16\nlearning_rate = 0.001\nresources = {{ threads = 1 }}\n"
        text += 'inputs = { sequences = { path = "sequences.safetensors" }, split = "split" }\n'
    file = bench.folder / "trials.toml"
    file.write_text(text)
    own, theirs = [], []
    for number in range(bench.asked.rounds):
        say(f"sweep: round {number + 1}")
        store = bench.folder / f"store{number}"
        called([PACER, "--store", store, "run", file, "split", "--quiet"])
        began = time.perf_counter()
        called([PACER, "--store", store, "run", file, "--jobs", CORES, "--quiet"])
        own.append(time.perf_counter() - began)
        if bench.asked.peer:
            began = time.perf_counter()
            for _ in range(TRIALS):
                options = ["--cell", "lstm", "--batch", 16, "--steps", count, "--warmup", 0]
                called([bench.asked.peer, bench.asked.script, *options])
            theirs.append(time.perf_counter() - began)
    row = [TRIALS, count, f"{statistics.median(own):.1f} ({min(own):.1f})"]
    if theirs:
        row += [f"{statistics.median(theirs):.1f} ({min(theirs):.1f})"]
        row += [f"{statistics.median(theirs) / statistics.median(own):.2f} ×", f"{min(theirs) / min(own):.2f} ×"]
    else:
        row += ["–", "–", "–"]
    head = ["trials", "steps each", "pacer s (least)", "PyTorch s (least)", "ratio", "of the least", "must", "goal", "load"]
    notes = ["pacer's trials validate after each epoch and write models; PyTorch's take steps alone, with its threads left as they are."]
    table(f"A sweep of LSTM, batch 16, on {CORES} threads", head, [[*row, "1.5", "2.5", load()]], notes)


def write_sequences(path, workouts, length=500):
    """An artifact of sequences: arrays of 64-bit integers, of floats and of bytes after a header."""
    draw = random.Random(1)
    steps = workouts * length
    features, target = array("f"), array("f")
    for workout in range(workouts):
        total = 0.0
        for _ in range(length):
            speed = draw.gauss(0, 1)
            total += speed
            features.extend((speed, draw.gauss(0, 1), float(workout % 2)))
            target.append(140 + 15 * math.tanh(total / length**0.5))
    arrays = [
        ("offsets", "I64", [workouts + 1], array("q", range(0, steps + 1, length))),
        ("start", "I64", [workouts], array("q", (1_600_000_000 + 86_400 * place for place in range(workouts)))),
        ("user", "I64", [workouts], array("q", (place % 20 for place in range(workouts)))),
        ("workout", "I64", [workouts], array("q", range(workouts))),
        ("features", "F32", [steps, 3], features),
        ("target", "F32", [steps], target),
        ("time", "F32", [steps], array("f", (step % length for step in range(steps)))),
        ("real", "U8", [steps], array("B", b"\1" * steps)),
        ("valid", "U8", [steps], array("B", b"\1" * steps)),
    ]
    header = {"features": ["speed", "altitude", "grade"], "grid": {"by": "time", "step_s": 1.0}, "data": "synthetic"}
    infos, end = {"__metadata__": {"pacer": json.dumps(header)}}, 0
    for name, kind, shape, values in arrays:
        start, end = end, end + len(values) * values.itemsize
        infos[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(infos).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, values in arrays:
            values.tofile(file)


MEASURES = {"steps": steps, "losses": losses, "epoch": epoch, "sweep": sweep}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has PyTorch")
    parser.add_argument("--script", metavar="SCRIPT", help="the program that times steps in it")
    parser.add_argument("--only", action="append", choices=MEASURES, help="this measure alone; may be given again")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in turn (default 3)")
    parser.add_argument("--steps", type=int, default=24, help="pacer's steps in a round, twice PyTorch's (default 24)")
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")], default=list(BATCHES))
    settings = ",".join(f"{threads}:{optimizer}" for threads in sorted({1, CORES}) for optimizer in ("adam", "adam-fused"))
    parser.add_argument("--settings", default=settings, help=f"PyTorch's threads:optimizer (default {settings})")
    parser.add_argument("--workouts", type=int, default=13_000, help="of the epoch (default 13000)")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial of the sweep (default 6)")
    parser.add_argument("--step", metavar="PROGRAM", help="the built `step`, so that cargo is not asked")
    asked = parser.parse_args()
    if bool(asked.peer) != bool(asked.script):
        parser.error("--peer and --script belong together")
    return asked


def main():
    asked = parse()
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        bench = Bench(asked, Path(folder))
        print(f"{CORES} threads; {asked.rounds} rounds; load before: {load()}")
        for name in asked.only or MEASURES:
            MEASURES[name](bench)


if __name__ == "__main__":
    main()
