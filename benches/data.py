#!/usr/bin/env python3
"""Prints how fast data is prepared and what real files hold, each measured here and now.

  make build && python3 benches/data.py [--workouts 260000] [--real FOLDER] [--only many|readers|real]

many     import → filter → resample → correlate of synthetic FitRec workouts: seconds, peak memory, seconds when there
         is nothing to do. Writing the raw file comes first and is not counted.
readers  each reader beside what its format costs at least (bare decoders and event scans) and beside Python's ways.
real     how many runs each file of a folder of recordings gives, their mean heart rate and duration.

Everything happens in a temporary folder; `many` needs about 25 GB of it for 260,000 workouts (TMPDIR chooses where).
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACER = TOP / "target" / "debug" / "pacer"
MANY = TOP / "benches" / "many.toml"

# Workouts of a simulated user in `many.toml`: 12 runs and the other sports beside them.
WORKOUTS_PER_USER = 28.6

# Starts a program from a small process, because a new process counts the memory of the one that started it.
MEASURED = """
import os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss, usage.ru_utime + usage.ru_stime, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def pacer(store, *arguments):
    """Calls the program; a call that fails ends the measurement with what it said."""
    command = [str(PACER), "--store", str(store), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def measured(store, *arguments):
    """Seconds, peak megabytes and processor seconds of a call."""
    command = [sys.executable, "-c", MEASURED, str(PACER), "--store", str(store), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command[3:])}` ended with {done.returncode}:\n{done.stderr}")
    seconds, kilobytes, busy = done.stderr.split()[-3:]
    return float(seconds), int(kilobytes) / 1024, float(busy)


def many(folder, workouts):
    users = f"population.users={max(1, round(workouts / WORKOUTS_PER_USER))}"
    raw = folder / "raw.jsonl"
    source = f"data.raw={raw}"
    raw.touch()
    began = time.perf_counter()
    pacer(folder / "made", "run", MANY, "synthesize", "--quiet", "--set", users, "--set", source)
    shown = pacer(folder / "made", "show", MANY, "synthesize", "--format", "json", "--set", users, "--set", source)
    shown = json.loads(shown)
    made = next(artifact["path"] for artifact in shown["artifacts"] if artifact["name"] == "raw")
    raw.unlink()
    os.link(made, raw)
    count, size = shown["metrics"]["workouts"], raw.stat().st_size
    print(f"{count:,} synthetic workouts, {size / 1e9:.2f} GB of text, written in {time.perf_counter() - began:.0f} s")
    stages = ("import", "filter", "resample", "correlate")
    call = ("run", MANY, *stages, "--quiet", "--set", users, "--set", source)
    seconds, megabytes, busy = measured(folder / "store", *call)
    scale = 260_000 / count
    print(f"import → filter → resample → correlate   {seconds:8.1f} s   (must: 300 s, goal: 120 s, for 260,000)")
    print(f"  scaled to 260,000 workouts             {seconds * scale:8.1f} s   {busy:.0f} processor seconds")
    print(f"  peak memory                            {megabytes:8.0f} MB  (must: 2,000 MB, goal: 1,000 MB)")
    for stage in stages:
        one = json.loads(
            pacer(folder / "store", "show", MANY, stage, "--format", "json", "--set", users, "--set", source)
        )
        size = sum(artifact["bytes"] for artifact in one["artifacts"])
        print(f"  {stage:38} {one['seconds']:8.1f} s   {size / 1e6:,.0f} MB written")
    seconds, megabytes, _ = measured(folder / "store", *call)
    print(f"nothing to do                            {seconds:8.3f} s   (must: 0.3 s, goal: 0.05 s)")


def readers():
    command = ["cargo", "bench", "--profile", "dev", "--workspace", "--bench", "readers"]
    if subprocess.run(command, cwd=TOP, check=False).returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed")


def real(folder, recordings):
    """Runs, mean heart rate and duration of each file below a folder."""
    print(f"{'file':44} {'workouts':>8} {'with heart rate':>15} {'mean BPM':>9} {'minutes':>8}  set aside")
    groups = {}
    for path in sorted(path for path in recordings.rglob("*") if path.is_file()):
        if path.suffix in {".md", ".csv"} or path.name.startswith("LICENSE"):
            continue
        group = f"{path.parent.name}/*.csv.gz" if path.name.endswith(".csv.gz") else str(path.relative_to(recordings))
        groups.setdefault(group, []).append(path)
    for group, paths in groups.items():
        rows, aside = [], []
        source = str(paths[0].parent / "*.csv.gz") if len(paths) > 1 else str(paths[0])
        pipeline = folder / "real.toml"
        pipeline.write_text(
            f'[stages.import]\nkind = "import"\ninputs.source = {{ path = {json.dumps(source)} }}\n'
            '[stages.quality]\nkind = "quality"\ninputs.workouts = "import"\nsports = []\n'
        )
        command = [str(PACER), "--store", str(folder / "real"), "run", str(pipeline), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if "holds no workout" in line]
            print(f"{group:44} {0:8} {0:15} {'':>9} {'':>8}  {told[0].strip() if told else done.stderr.strip()}")
            continue
        shown = pacer(folder / "real", "show", pipeline, "quality.table", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(shown)))
        aside = list(csv.DictReader(io.StringIO(pacer(folder / "real", "show", pipeline, "import.set_aside", "--format", "csv"))))
        beating = [row for row in rows if row["mean heart rate (BPM)"]]
        mean = sum(float(row["mean heart rate (BPM)"]) for row in beating) / len(beating) if beating else float("nan")
        minutes = sum(float(row["duration (s)"] or 0) for row in rows) / 60 / len(rows)
        print(f"{group:44} {len(rows):8} {len(beating):15} {mean:9.1f} {minutes:8.1f}  {len(aside)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workouts", type=int, default=260_000, help="workouts of `many` (default 260000)")
    parser.add_argument("--real", type=Path, help="a folder of recordings")
    parser.add_argument("--only", choices=["many", "readers", "real"], help="one of the measures")
    arguments = parser.parse_args()
    if not PACER.is_file():
        sys.exit(f"`{PACER}` is not there: run `make build`")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "readers"):
            readers()
        if arguments.only in (None, "many"):
            many(Path(folder), arguments.workouts)
        if arguments.only == "real" or (arguments.only is None and arguments.real):
            if not arguments.real:
                sys.exit("`real` needs --real FOLDER")
            real(Path(folder), arguments.real)


if __name__ == "__main__":
    main()
