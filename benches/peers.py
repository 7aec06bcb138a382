"""Graphs of trivial stages, and the files in which `pacer` and its peers describe the same graph.

A stage reads a number from each of its inputs, makes one number of them and writes it. For the peers it is one call
of `sh` that uses builtins alone, so that what is timed is the tool and not its stages. A stage that reads a leaf reads
its first line alone: a second line changes the input and not the output.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

FAN_IN = 3
RAN = "ran.log"


@dataclass(frozen=True)
class Stage:
    """A node: reads one leaf, or the outputs of the stages before it."""

    id: int
    leaf: bool
    after: tuple

    @property
    def name(self):
        return f"s{self.id}"

    @property
    def output(self):
        return f"out/{self.id}"

    @property
    def inputs(self):
        return [f"in/{self.id}.txt"] if self.leaf else [f"out/{before}" for before in self.after]


def graph(shape, count):
    """`chain`: each reads the one before; `wide`: each reads a leaf; `layers`: square, each reads three above it."""
    if shape == "wide":
        return [Stage(at, True, ()) for at in range(count)]
    if shape == "chain":
        return [Stage(at, at == 0, (at - 1,) if at else ()) for at in range(count)]
    width = max(FAN_IN, round(count**0.5))
    stages = []
    for at in range(count):
        layer, column = divmod(at, width)
        above = {(layer - 1) * width + (column + step) % width for step in (-1, 0, 1)} if layer else set()
        stages.append(Stage(at, layer == 0, tuple(sorted(above))))
    return stages


def last(stages):
    """The stages that no other reads."""
    read = {before for stage in stages for before in stage.after}
    return [stage for stage in stages if stage.id not in read]


def write_leaves(folder, stages):
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for stage in stages:
        if stage.leaf:
            (folder / stage.inputs[0]).write_text(f"{stage.id}\n")


def script(stage, inputs, output):
    """The work of a stage for a shell."""
    fold = f"n={stage.id}; for f in {' '.join(inputs)}; do read -r x < $f; n=$(( (n * 31 + x) % 1000003 )); done"
    return f"{fold}; echo $n > {output}"


def logged(stage):
    """The work of a stage, which also leaves its mark where it is counted what ran."""
    return f"{script(stage, stage.inputs, stage.output)}; echo {stage.id} >> {RAN}"


def logged_if_changed(stage):
    """As above; an output that comes out the same keeps its time stamp."""
    fold = script(stage, stage.inputs, "&1").removesuffix("; echo $n > &1")
    keep = f"o=; [ -e {stage.output} ] && read -r o < {stage.output}; [ \"$o\" = $n ] || echo $n > {stage.output}"
    return f"{fold}; {keep}; echo {stage.id} >> {RAN}"


def pacer_toml(stages, kind):
    """The pipeline, its stages of kind `trivial` or `command`."""
    blocks = ['[pipeline]\nname = "speed"\n']
    for stage in stages:
        lines = [f"[stages.{stage.name}]", f'kind = "{kind}"']
        if kind == "trivial":
            lines += ["first_line = true"] if stage.leaf else []
        else:
            names = ["a"] if stage.leaf else [f"d{before}" for before in stage.after]
            work = script(stage, [f"{{inputs.{name}}}" for name in names], "{outputs.digest}")
            lines += [f"run = ['sh', '-c', '{work}']", 'outputs = { digest = "file" }']
        if stage.leaf:
            lines.append(f'inputs.files.a = {{ path = "{stage.inputs[0]}" }}')
        lines += [f'inputs.files.d{before} = "s{before}"' for before in stage.after]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def write_sh(folder, stages):
    """No tool at all: the calls one after the other."""
    (folder / "all.sh").write_text("".join(f"sh -c '{logged(stage)}'\n" for stage in stages))


def write_ninja(folder, stages, work=logged, extra=""):
    lines = [f"rule sh\n  command = $work\n{extra}"]
    for stage in stages:
        lines.append(f"build {stage.output}: sh {' '.join(stage.inputs)}\n  work = {work(stage).replace('$', '$$')}\n")
    (folder / "build.ninja").write_text("\n".join(lines))


def write_ninja_restat(folder, stages):
    write_ninja(folder, stages, logged_if_changed, "  restat = 1\n")


def write_make(folder, stages):
    lines = [f".PHONY: all\nall: {' '.join(stage.output for stage in last(stages))}\n"]
    for stage in stages:
        lines.append(f"{stage.output}: {' '.join(stage.inputs)}\n\t@{logged(stage).replace('$', '$$')}\n")
    (folder / "Makefile").write_text("\n".join(lines))


def write_snakemake(folder, stages):
    lines = [f"rule all:\n    input: {[stage.output for stage in last(stages)]!r}\n"]
    for stage in stages:
        lines.append(
            f"rule {stage.name}:\n    input: {stage.inputs!r}\n    output: {stage.output!r}\n"
            f"    shell: {logged(stage)!r}\n"
        )
    (folder / "Snakefile").write_text("\n".join(lines))


def write_dvc(folder, stages):
    described = {
        stage.name: {"cmd": logged(stage), "deps": stage.inputs, "outs": [stage.output]} for stage in stages
    }
    # JSON is YAML too.
    (folder / "dvc.yaml").write_text(json.dumps({"stages": described}))
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = False\n")


def write_json(folder, stages):
    """The graph for tools whose description is a program."""
    ends = {stage.id for stage in last(stages)}
    described = [
        {
            "name": stage.name,
            "inputs": stage.inputs,
            "output": stage.output,
            "after": [f"s{before}" for before in stage.after],
            "work": logged(stage),
            "last": stage.id in ends,
        }
        for stage in stages
    ]
    (folder / "graph.json").write_text(json.dumps(described))


DODO = """\
import json

DOIT_CONFIG = {"reporter": "zero"}


def task_speed():
    with open("graph.json") as file:
        stages = json.load(file)
    for stage in stages:
        yield {
            "name": stage["name"],
            "file_dep": stage["inputs"],
            "targets": [stage["output"]],
            "actions": [["sh", "-c", stage["work"]]],
        }
"""

LUIGI = """\
import json
import subprocess

import luigi

with open("graph.json") as file:
    STAGES = {stage["name"]: stage for stage in json.load(file)}


class Step(luigi.Task):
    name = luigi.Parameter()

    def requires(self):
        return [Step(name) for name in STAGES[self.name]["after"]]

    def output(self):
        return luigi.LocalTarget(STAGES[self.name]["output"])

    def run(self):
        subprocess.run(["sh", "-c", STAGES[self.name]["work"]], check=True)


class All(luigi.WrapperTask):
    def requires(self):
        return [Step(name) for name, stage in STAGES.items() if stage["last"]]
"""


def write_doit(folder, stages):
    write_json(folder, stages)
    (folder / "dodo.py").write_text(DODO)


def write_luigi(folder, stages):
    write_json(folder, stages)
    (folder / "steps.py").write_text(LUIGI)


@dataclass(frozen=True)
class Peer:
    """A tool: how it is told the graph, how it is called, and the most stages with which that ends in good time."""

    name: str
    program: str
    write: Callable
    arguments: Callable
    limit: int


def plain(jobs):
    return [f"-j{jobs}"]


PEERS = [
    Peer("sh", "sh", write_sh, lambda jobs: ["all.sh"], 10_000),
    Peer("ninja", "ninja", write_ninja, lambda jobs: ["--quiet", *plain(jobs)], 100_000),
    Peer("ninja restat", "ninja", write_ninja_restat, lambda jobs: ["--quiet", *plain(jobs)], 10_000),
    Peer("n2", "n2", write_ninja, plain, 100_000),
    Peer("n2 restat", "n2", write_ninja_restat, plain, 10_000),
    Peer("make", "make", write_make, plain, 10_000),
    # One process where one job is asked: with more, doit starts its own workers.
    Peer("doit", "doit", write_doit, lambda jobs: ["run"] if jobs == 1 else ["run", "-n", str(jobs)], 10_000),
    Peer("luigi", "luigi", write_luigi, lambda jobs: [
        "--module", "steps", "All", "--local-scheduler", "--no-lock", "--log-level=CRITICAL", f"--workers={jobs}",
    ], 1_000),
    Peer("snakemake", "snakemake", write_snakemake, lambda jobs: ["-q", "all", "--nolock", "-c", str(jobs)], 1_000),
    Peer("dvc", "dvc", write_dvc, lambda jobs: ["repro", "-q"], 100),
]


def find(peer, pythons):
    """How the tool is called: from the PATH, beside one of these Pythons, or as a module of one; None if absent."""
    folders = [str(Path(python).parent) for python in pythons]
    for folder in [None, *folders]:
        found = shutil.which(peer.program, path=folder)
        if found:
            return [str(Path(found).absolute())]
    for python in pythons:
        called = [python, "-m", peer.program]
        if subprocess.run([*called, "--version"], capture_output=True, check=False).returncode == 0:
            return called
    return None


def ran(folder):
    """How often a stage ran so far."""
    log = folder / RAN
    return len(log.read_text().splitlines()) if log.exists() else 0
