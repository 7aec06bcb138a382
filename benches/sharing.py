#!/usr/bin/env python3
"""Prints how fast results get to a bucket of S3 and back, beside boto3, both measured here and now in one run.

  make build && AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \\
      python3 benches/sharing.py --endpoint http://127.0.0.1:PORT --bucket NAME [--peer-python PYTHON]

100 stages write a blob of 10 MB each. `pacer push` and `pacer pull` are timed as whole processes, and so is a program
that moves the same files by boto3 on ten threads, as `aws s3 cp --recursive` does. They take turns, each time with a
prefix and a folder of their own; medians of --runs. `pacer` hashes each blob when it leaves and when it arrives, and
syncs what arrives to the disk; boto3 does neither. Ratios are boto3's time to pacer's: above 1 pacer is faster.
Afterwards a second machine, that is another store, runs the whole pipeline. What was put is removed again.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

PEER = """
import os, sys, boto3
from concurrent.futures import ThreadPoolExecutor
way, endpoint, bucket, prefix, folder = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
def up(name): client.upload_file(os.path.join(folder, name), bucket, prefix + "/" + name)
def down(name): client.download_file(bucket, prefix + "/" + name, os.path.join(folder, name))
def gone(name): client.delete_object(Bucket=bucket, Key=prefix + "/" + name)
if way == "up":
    names = os.listdir(folder)
else:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/")
    names = [row["Key"][len(prefix) + 1 :] for page in pages for row in page["Contents"]]
with ThreadPoolExecutor(10) as threads:
    list(threads.map({"up": up, "down": down, "gone": gone}[way], names))
"""


class Bench:
    """What is measured with: the programs, the bucket, a folder."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.pacer = str(arguments.pacer.absolute())
        self.run = f"bench-{os.getpid()}-{int(time.time())}"

    def project(self, name, prefix):
        """A project that shares its results under a prefix."""
        project = self.folder / name
        (project / ".git").mkdir(parents=True)
        where = f'url = "s3://{self.arguments.bucket}/{prefix}"\nendpoint = "{self.arguments.endpoint}"'
        (project / "pacer.toml").write_text(f"[remote]\n{where}\n")
        stage = '[stages.s{0}]\nkind = "command"\nrun = ["sh", "-c", "head -c {1} /dev/urandom > {{outputs.data}}"]\n'
        stage += 'outputs = {{ data = "file" }}\nenvironment = ["NUMBER{0}"]\n'
        stages = (stage.format(number, self.arguments.bytes) for number in range(self.arguments.blobs))
        (project / "p.toml").write_text("\n".join(stages))
        return project

    def call(self, project, *words):
        """The seconds that a call took, and what it printed."""
        began = time.perf_counter()
        done = subprocess.run([self.pacer, *words], cwd=project, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            sys.exit(f"pacer {' '.join(words)}: {done.stderr}")
        return seconds, done.stdout

    def peer(self, way, prefix, folder):
        """The seconds that boto3 took."""
        folder.mkdir(exist_ok=True)
        words = [way, self.arguments.endpoint, self.arguments.bucket, prefix, str(folder)]
        began = time.perf_counter()
        done = subprocess.run([self.arguments.peer_python, "-c", PEER, *words], capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            sys.exit(f"boto3: {done.stderr}")
        return seconds


def measure(bench):
    """The times of all runs, by tool and way."""
    first = bench.project("first", f"{bench.run}/unused")
    bench.call(first, "run", "p.toml", "--no-remote", "--quiet")
    files = bench.folder / "files"
    files.mkdir()
    for blob in (first / "artifacts" / "objects").glob("*/*"):
        os.link(blob, files / f"{blob.parent.name}{blob.name}")
    times = {(tool, way): [] for tool in ("pacer", "boto3") for way in ("push", "pull")}
    second = None
    for turn in range(bench.arguments.runs):
        prefix = f"{bench.run}/{turn}"
        where = (first / "pacer.toml").read_text().splitlines()
        where[1] = f'url = "s3://{bench.arguments.bucket}/{prefix}/pacer"'
        (first / "pacer.toml").write_text("\n".join(where) + "\n")
        times["pacer", "push"].append(bench.call(first, "push")[0])
        times["boto3", "push"].append(bench.peer("up", f"{prefix}/boto3", files))
        second = bench.project(f"second{turn}", f"{prefix}/pacer")
        times["pacer", "pull"].append(bench.call(second, "pull", "p.toml")[0])
        times["boto3", "pull"].append(bench.peer("down", f"{prefix}/boto3", bench.folder / f"down{turn}"))
        shutil.rmtree(second)
        shutil.rmtree(bench.folder / f"down{turn}")
        if turn + 1 < bench.arguments.runs:
            bench.peer("gone", prefix, files)
    third = bench.project("third", f"{bench.run}/{bench.arguments.runs - 1}/pacer")
    seconds, out = bench.call(third, "run", "p.toml", "--format", "json")
    done = json.loads(out.splitlines()[-1])
    here = sum(file.stat().st_size for file in (third / "artifacts" / "objects").glob("*/*"))
    bench.peer("gone", bench.run, files)
    return times, (seconds, done["ran"], done["reused"], here)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--pacer", type=Path, default=TOP / "target/debug/pacer")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with boto3")
    parser.add_argument("--blobs", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times, (seconds, ran, reused, here) = measure(Bench(arguments, Path(folder)))
    megabytes = arguments.blobs * arguments.bytes / 1e6
    load = os.getloadavg()[1]
    print(f"{arguments.blobs} blobs, {megabytes:.0f} MB, medians of {arguments.runs}, load {load:.1f} on {os.cpu_count()} cores")
    for way in ("push", "pull"):
        pacer, peer = (statistics.median(times[tool, way]) for tool in ("pacer", "boto3"))
        rates = f"pacer {pacer:.2f} s ({megabytes / pacer:.0f} MB/s), boto3 {peer:.2f} s"
        turns = ", ".join(f"{b / a:.2f}" for a, b in zip(times["pacer", way], times["boto3", way]))
        print(f"{way}: {rates}, ratio {peer / pacer:.2f} (must 1.0, goal 1.5; turn by turn {turns})")
    print(f"second machine: {seconds:.2f} s, {ran} ran, {reused} reused, {here} bytes of artifacts downloaded")


if __name__ == "__main__":
    main()
