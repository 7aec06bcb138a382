#!/usr/bin/env python3
"""Puts LibTorch into `.libtorch/` at the root of the repository, where the build looks for it.

LibTorch comes out of the wheels of PyTorch and of the CUDA libraries, which pip fetches from
wherever pip is configured to look. Each wheel is fixed by version and digest in `libtorch_parts.py`,
whatever Python runs this script. What is there already is kept: a second call only looks at sizes.

    .libtorch/torch/include     headers
    .libtorch/torch/lib         libtorch_cpu.so, libc10.so, ...; with a GPU also libtorch_cuda.so
    .libtorch/nvidia/*/lib      CUDA libraries, where the RPATH inside torch/lib expects them
    .libtorch/link/lib          what `pacer-worker` is linked against: no CUDA library
    .libtorch/installed.json    which parts are complete, with the size of each file
"""

import argparse
import errno
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, TextIO, Tuple

# The table beside this script is small: no folder of compiled Python need appear in the checkout.
sys.dont_write_bytecode = True
from libtorch_parts import PARTS, TORCH_VERSION, Part, Wheel  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".libtorch"
STAMP = HOME / "installed.json"
# Everything unfinished lives here; only whole files are ever moved out of it.
PARTIAL = HOME / "partial"

# What the manylinux_2_28 wheel of PyTorch was built for.
MINIMUM_GLIBC = (2, 28)
GET_COMPILER = (
    "install a C++ compiler, for example `sudo apt install g++` (Debian, Ubuntu) or "
    "`sudo dnf install gcc-c++` (Fedora)"
)


class Missing(Exception):
    """Something that the user has to put right; the text says what and how."""


def say(text: str) -> None:
    print(text, flush=True)


def size_text(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


# The machine: what has to be there before anything is fetched.


def machine_faults() -> List[str]:
    """What this machine lacks for building, whatever LibTorch's state is."""
    faults = []
    system, processor = platform.system(), platform.machine()
    if sys.version_info < (3, 9):
        faults.append(f"this is Python {platform.python_version()}: run the set-up with Python 3.9 or newer")
    if system != "Linux" or processor not in ("x86_64", "amd64"):
        faults.append(f"this is {system} on {processor}, only Linux on x86-64 is supported: use such a machine")
    elif glibc() < MINIMUM_GLIBC:
        faults.append(
            "the C library is not GNU's 2.28 or newer, which LibTorch needs: use a system that has it, "
            "for example Debian 10, Ubuntu 20.04 or RHEL 8, or a container of one (Alpine's musl will not do)"
        )
    compiler = (os.environ.get("CXX") or "c++").split()[0]
    for program, purpose in ((compiler, "the crate torch-sys is compiled with"), ("cc", "Rust links with")):
        if not shutil.which(program):
            faults.append(f"`{program}` is not found, which {purpose}: {GET_COMPILER}")
    return faults


def glibc() -> Tuple[int, ...]:
    """The version of the GNU C library; (0,) where the C library is another one."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
        return tuple(int(number) for number in text.split()[-1].split(".")[:2])
    except (ValueError, IndexError):
        return (0,)


def gpu_present() -> bool:
    """Whether an NVIDIA GPU can be used here. The device file is asked first since `nvidia-smi` is slow."""
    if os.path.exists("/dev/nvidia0"):
        return True
    if not shutil.which("nvidia-smi"):
        return False
    import subprocess

    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU " in answer.stdout


def require_pip() -> None:
    import subprocess

    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Missing(
            f"`{sys.executable}` has no pip, which fetches LibTorch: install it, for example "
            "`sudo apt install python3-pip` (Debian, Ubuntu) or `python3 -m ensurepip`"
        )


def require_space(parts: List[Part]) -> None:
    """Wheels come one at a time, but pip holds each twice while it saves it."""
    largest = max((wheel.size for wheel in wheels_to_fetch(parts)), default=0)
    needed = int(1.05 * (sum(part.unpacked for part in parts) + 2 * largest))
    free = shutil.disk_usage(HOME).free
    if free < needed:
        raise Missing(
            f"too little space on the disk of {HOME}: {size_text(needed)} needed, {size_text(free)} free: "
            "free some, or make `.libtorch` a symbolic link to a folder on a larger disk"
        )


# The stamp: what is complete, so that a later call knows without reading gigabytes.


def read_stamp() -> Dict:
    """The stamp, or an empty one where there is none or it cannot be read."""
    try:
        stamp = json.loads(STAMP.read_text())
        if stamp["format"] == 1 and isinstance(stamp["parts"], dict):
            return stamp
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return {"format": 1, "parts": {}}


def write_stamp(stamp: Dict) -> None:
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(stamp, indent=1, sort_keys=True) + "\n")
    unfinished.replace(STAMP)


def is_complete(part: Part, stamp: Dict) -> bool:
    """Whether the stamp names this very part and all its files still have their sizes."""
    recorded = stamp["parts"].get(part.name, {})
    if recorded.get("sha256") != part.wheel.sha256 or recorded.get("of") != describe(part):
        return False
    return all((HOME / folder).is_dir() for folder in part.folders) and all(
        file_size(HOME / path) == size for path, size in recorded["files"].items()
    )


def describe(part: Part) -> List[str]:
    """What the part takes, so that a change of the table installs it anew."""
    return [*part.files, *part.folders]


def file_size(path: Path) -> Optional[int]:
    try:
        return path.stat().st_size
    except OSError:
        return None


def wants_gpu(arguments: argparse.Namespace, stamp: Dict) -> bool:
    """A flag decides, then the flag of an earlier call, then the machine."""
    choice = arguments.device or stamp.get("choice")
    return choice == "gpu" if choice else gpu_present()


def missing_parts(gpu: bool, stamp: Dict) -> List[Part]:
    return [part for part in PARTS if (gpu or not part.gpu) and not is_complete(part, stamp)]


# The download.


def saved_wheel(wheel: Wheel) -> Path:
    """Where a wheel lies between its download and its unpacking."""
    return PARTIAL / "wheels" / wheel.file


def wheels_to_fetch(parts: List[Part]) -> List[Wheel]:
    wheels = dict.fromkeys(part.wheel for part in parts)
    return [wheel for wheel in wheels if not saved_wheel(wheel).exists()]


def fetch(wheel: Wheel) -> Path:
    """Returns the wheel on disk with its digest checked; one saved by an interrupted call is used."""
    saved = saved_wheel(wheel)
    if saved.exists() and digest(saved) == wheel.sha256:
        say(f"  {wheel.title}: already downloaded by an earlier call")
        return saved
    saved.unlink(missing_ok=True)
    say(f"  {wheel.title}: downloading ({size_text(wheel.size)})")
    # A new folder each time: the pip of a set-up that was killed may still be writing to an older one.
    incoming = Path(tempfile.mkdtemp(dir=PARTIAL))
    run_pip(wheel, incoming)
    arrived = incoming / wheel.file
    if not arrived.exists() or digest(arrived) != wheel.sha256:
        raise Missing(
            f"what pip fetched for {wheel.title} is not the file that pacer was checked with (its digest "
            "differs), so it is not used: run again; if it happens twice, the registry that pip is "
            "configured for (`python3 -m pip config list`) serves another file, which must not be used"
        )
    saved.parent.mkdir(exist_ok=True)
    arrived.replace(saved)
    return saved


def digest(path: Path) -> str:
    import hashlib

    state = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def run_pip(wheel: Wheel, into: Path) -> None:
    """Lets pip save one wheel. Without cache: the wheel is unpacked once, and would fill it for nothing."""
    import subprocess

    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "download"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--implementation=cp", "--python-version=3.12", "--abi=cp312"]
    command += [f"--platform={tag}" for tag in wheel.platforms]
    command += ["--dest", str(into), wheel.requirement]
    # pip writes to the temporary folder first, which may be a small one; here its size can be watched too.
    surroundings = dict(os.environ, TMPDIR=str(into), PIP_REQUIRE_VIRTUALENV="0")
    log = PARTIAL / "pip.log"
    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=surroundings)
        try:
            watch(child, into, wheel.size)
        finally:
            child.kill()
            child.wait()
    if child.returncode != 0:
        raise Missing(explain_pip(wheel, log.read_text(errors="replace")))


def watch(child, folder: Path, total: int) -> None:
    """Tells every two seconds how far the download is, as soon as it takes longer than that."""
    told = time.monotonic()
    while child.poll() is None:
        time.sleep(0.05)
        if time.monotonic() - told >= 2:
            told = time.monotonic()
            arrived = max((file_size(path) or 0 for path in folder.rglob("*.whl")), default=0)
            say(f"    {size_text(arrived)} of {size_text(total)}")


# What pip's output holds, in one version or another, when it reaches nobody.
NO_NETWORK = ("NewConnectionError", "ConnectTimeout", "name resolution", "timed out", "ProxyError", "unreachable")


def explain_pip(wheel: Wheel, log: str) -> str:
    """Turns the end of pip's output into what happened and what to do."""
    last = [line for line in log.splitlines() if line.strip()][-3:]
    said = "\n".join(f"    {line.strip()[:200]}" for line in last)
    if any(word in log for word in NO_NETWORK):
        return (
            f"no network: pip could not reach its package registry for {wheel.title}: check the connection, the "
            f"proxy and pip's configuration (`python3 -m pip config list`), then run again; pip said:\n{said}"
        )
    if "No space left" in log:
        return f"the disk of {HOME} is full: free some space and run again"
    if "No matching distribution" in log:
        return (
            f"the registry that pip is configured for has no file {wheel.file}: use one that mirrors "
            f"the whole Python package index (`python3 -m pip config list`); pip said:\n{said}"
        )
    return f"pip could not fetch {wheel.title}: run again, or put right what it says:\n{said}"


# The unpacking.


def install(part: Part, archive: Path, stamp: Dict) -> None:
    """Unpacks beside the final place, moves each finished piece there, and records it last."""
    say(f"  {part.name}: unpacking ({size_text(part.unpacked)})")
    stamp["parts"].pop(part.name, None)
    fresh = PARTIAL / "unpacked"
    shutil.rmtree(fresh, ignore_errors=True)
    files = unpack(part, archive, fresh)
    for folder in part.folders:
        put(fresh / folder, HOME / folder)
    for path in files:
        put(fresh / path, HOME / path)
    stamp["parts"][part.name] = {"sha256": part.wheel.sha256, "of": describe(part), "files": files}
    write_stamp(stamp)


def unpack(part: Part, archive: Path, into: Path) -> Dict[str, int]:
    """Takes the part out of its wheel; returns the single files among it with their sizes."""
    import fnmatch
    import zipfile

    files = {}
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            single = any(fnmatch.fnmatchcase(member.filename, pattern) for pattern in part.files)
            if single or member.filename.startswith(tuple(f"{folder}/" for folder in part.folders)):
                wheel.extract(member, into)
            if single:
                files[member.filename] = member.file_size
    return files


def put(fresh: Path, place: Path) -> None:
    """Moves a finished file or folder to its place, instead of what an older set-up left there."""
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(place)


def drop_outdated(stamp: Dict) -> None:
    """Deletes parts of an older table: an old `libtorch_cuda.so` would be loaded beside a new `libtorch_cpu.so`."""
    current = {(part.name, part.wheel.sha256) for part in PARTS}
    for name, recorded in list(stamp["parts"].items()):
        if (name, recorded["sha256"]) not in current:
            for path in recorded["files"]:
                (HOME / path).unlink(missing_ok=True)
            del stamp["parts"][name]


# The link folder. A build that is linked against `libtorch.so` of the wheel would need every CUDA library
# to start; here `-ltorch` means `-ltorch_cpu`. torch-sys also asks for `-lgomp`, which not every compiler
# brings along.

LINKS = {
    "link/lib/libtorch_cpu.so": "../../torch/lib/libtorch_cpu.so",
    "link/lib/libc10.so": "../../torch/lib/libc10.so",
    "link/lib/libgomp.so": "../../torch/lib/libgomp.so.1",
}
TEXTS = {
    "link/lib/libtorch.so": "INPUT(-ltorch_cpu)\n",
    # The build script of torch-sys compares this with the version that it was generated from.
    "torch/build-version": f"{TORCH_VERSION}\n",
}


def link_faults() -> List[str]:
    """The names of the small files of our own that are absent or differ."""
    return [name for name, content in {**LINKS, **TEXTS}.items() if held(HOME / name) != content]


def held(path: Path) -> Optional[str]:
    """Where a symbolic link points to, or what a small file says."""
    try:
        return os.readlink(path) if path.is_symlink() else path.read_text()
    except (OSError, ValueError):
        return None


def make_links() -> None:
    for name in link_faults():
        path = HOME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if name in TEXTS:
            path.write_text(TEXTS[name])
        else:
            path.symlink_to(LINKS[name])


# The commands.


def check(arguments: argparse.Namespace) -> int:
    """Says what is missing and changes nothing."""
    stamp = read_stamp()
    gpu = wants_gpu(arguments, stamp)
    faults = machine_faults()
    lacking = [part.name for part in missing_parts(gpu, stamp)] or link_faults()
    if lacking:
        faults.append(f"{', '.join(lacking)} in .libtorch/: run `make setup`")
    for fault in faults:
        say(f"missing: {fault}")
    if not faults:
        say(ready_text(gpu))
    return 1 if faults else 0


def ready_text(gpu: bool) -> str:
    return f"LibTorch {TORCH_VERSION} is ready in .libtorch/ ({'CPU and NVIDIA GPU' if gpu else 'CPU'})."


def set_up(arguments: argparse.Namespace) -> int:
    faults = machine_faults()
    if faults:
        raise Missing("\n".join(faults))
    stamp = read_stamp()
    gpu = wants_gpu(arguments, stamp)
    if missing_parts(gpu, stamp) or link_faults() or arguments.device not in (None, stamp.get("choice")):
        with exclusive():
            complete(gpu, arguments.device)
    say(ready_text(gpu))
    return 0


def exclusive() -> TextIO:
    """Holds a kernel lock, which ends with the process, so that two set-ups cannot mix their files."""
    import fcntl

    HOME.mkdir(exist_ok=True)
    lock = open(HOME / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another set-up of LibTorch is at work in this folder; waiting for it to end.")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def complete(gpu: bool, choice: Optional[str]) -> None:
    """Brings in what is missing, one wheel after the other; each finished part survives an interruption."""
    stamp = read_stamp()
    if choice:
        stamp["choice"] = choice
    drop_outdated(stamp)
    parts = missing_parts(gpu, stamp)
    if parts:
        announce(parts, gpu)
        require_pip()
        require_space(parts)
        clear_leftovers()
    for wheel in dict.fromkeys(part.wheel for part in parts):
        archive = fetch(wheel)
        for part in parts:
            if part.wheel == wheel:
                install(part, archive, stamp)
        archive.unlink()
    make_links()
    write_stamp(stamp)
    shutil.rmtree(PARTIAL, ignore_errors=True)


def announce(parts: List[Part], gpu: bool) -> None:
    wheels = wheels_to_fetch(parts)
    download = sum(wheel.size for wheel in wheels)
    unpacked = sum(part.unpacked for part in parts)
    say(
        f"Setting up LibTorch {TORCH_VERSION} in .libtorch/: {len(wheels)} files to download by pip "
        f"({size_text(download)}), {size_text(unpacked)} on disk."
    )
    if gpu:
        say("The libraries for an NVIDIA GPU are included; `--cpu` leaves them out.")


def clear_leftovers() -> None:
    """Deletes what an interrupted call left half done; whole wheels stay."""
    PARTIAL.mkdir(exist_ok=True)
    for path in PARTIAL.iterdir():
        if path.name != "wheels":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sets up LibTorch in .libtorch/, where the build looks for it.")
    device = parser.add_mutually_exclusive_group()
    for name, text in (
        ("gpu", "include the NVIDIA libraries even if no GPU is seen here (later calls keep to this)"),
        ("cpu", "leave the NVIDIA libraries out even if a GPU is here (later calls keep to this)"),
    ):
        device.add_argument(f"--{name}", dest="device", action="store_const", const=name, help=text)
    parser.add_argument("--check", action="store_true", help="only say what is missing; exit status 1 if anything is")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    # An ordinary exit stops pip too, which would otherwise go on alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return check(arguments) if arguments.check else set_up(arguments)
    except Missing as missing:
        print(f"set-up of LibTorch stopped: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up of LibTorch interrupted: run it again, what is complete is kept", file=sys.stderr)
        return 130
    except OSError as error:
        full = error.errno == errno.ENOSPC
        todo = "free some space on the disk" if full else "put this right"
        print(f"set-up of LibTorch stopped: {error}: {todo} and run it again", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
