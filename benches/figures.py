#!/usr/bin/env python3
"""Prints the figures that the project promises, each measured here and now.

  make build && python3 benches/figures.py [--workouts FILE]

Whole processes are timed, medians of --runs calls after one that is not counted. With --workouts, the errors of
pipelines/personal.toml on that file are printed too. Everything happens in temporary stores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACER = TOP / "target" / "debug" / "pacer"
QUICKSTART = TOP / "pipelines" / "quickstart.toml"
PERSONAL = TOP / "pipelines" / "personal.toml"

# The smallest quickstart that still has every stage, for questions that do not depend on its size.
SMALL = ["population.users=24", "watch.runs=24", "train.epochs=1", "train.hidden=6"]


def pacer(store, *arguments):
    """Calls the program; a call that fails ends the measurement with what it said."""
    command = [PACER, "--store", store, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(map(str, command))}` ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def median_seconds(runs, call):
    call()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def settings(values):
    return [word for value in values for word in ("--set", value)]


def artifact_digests(store, pipeline, set_values):
    """The digest of every artifact of every stage, by `stage.artifact`."""
    rows = json.loads(pacer(store, "plan", pipeline, "--format", "json", *settings(set_values)))["stages"]
    digests = {}
    for row in rows:
        shown = json.loads(pacer(store, "show", pipeline, row["stage"], "--format", "json", *settings(set_values)))
        for artifact in shown["artifacts"]:
            digests[f"{row['stage']}.{artifact['name']}"] = artifact["digest"]
    return digests


def speed(folder, runs):
    seconds = median_seconds(runs, lambda: pacer(folder, "--version"))
    print(f"pacer --version                          {seconds * 1e3:8.1f} ms   (must: 10 ms)")
    began = time.perf_counter()
    pacer(folder, "run", QUICKSTART, "--quiet")
    print(f"quickstart.toml, everything to do        {time.perf_counter() - began:8.1f} s    (must: 180 s)")
    seconds = median_seconds(runs, lambda: pacer(folder, "run", QUICKSTART, "--quiet"))
    print(f"quickstart.toml, nothing to do           {seconds * 1e3:8.1f} ms   (must: 50 ms)")


def determinism(folder):
    stores = [os.path.join(folder, name) for name in ("one", "other")]
    for store, jobs in zip(stores, ("1", "2")):
        pacer(store, "run", QUICKSTART, "--quiet", "--jobs", jobs, *settings(SMALL))
    one, other = (artifact_digests(store, QUICKSTART, SMALL) for store in stores)
    differing = sorted(name for name in one if one[name] != other.get(name))
    print(f"two fresh stores, 1 job and 2 jobs       {len(one) - len(differing)} of {len(one)} artifacts alike")
    for name in differing:
        print(f"  differs: {name}")


def errors(folder, workouts):
    set_values = [f"data.workouts={workouts}"]
    pacer(folder, "run", PERSONAL, "--quiet", *settings(set_values))
    shown = json.loads(pacer(folder, "show", PERSONAL, "evaluate", "--format", "json", *settings(set_values)))
    print("\npersonal.toml, test part")
    print(f"{'model':18} {'MAE':>7} {'run mean':>8} {'RMSE':>7} {'bias':>7} {'R2':>7}  users  workouts  split  data")
    for name, row in sorted(shown["metrics"].items(), key=lambda item: item[1]["mae"]):
        print(
            f"{name:18} {row['mae']:7.2f} {row['mae_workout_mean']:8.2f} {row['rmse']:7.2f} {row['bias']:7.2f}"
            f" {row['r2']:7.3f}  {row['n_users']:5}  {row['n_workouts']:8}  {row['split']:5}  {row['data']}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="calls that are timed (default 15)")
    parser.add_argument("--workouts", help="a FitRec file for personal.toml")
    arguments = parser.parse_args()
    if not PACER.is_file():
        sys.exit(f"`{PACER}` is not there: run `make build`")
    with tempfile.TemporaryDirectory() as folder:
        speed(os.path.join(folder, "speed"), arguments.runs)
        determinism(folder)
        if arguments.workouts:
            errors(os.path.join(folder, "errors"), arguments.workouts)


if __name__ == "__main__":
    main()
