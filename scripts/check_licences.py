#!/usr/bin/env python3
"""Checks that every crate that pacer is built from may be used under the licences below, and where it comes from.

`cargo metadata` names the crates and the licence that each declares. A crate passes when the licences
that it leaves to choose from (`OR`) and those that it asks for together (`AND`) can be met from the
allowed ones alone.
"""

import json
import re
import subprocess
import sys
from typing import List

# Permissive licences; none asks for more than a notice, and none reaches into code that only uses the crate.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}


def packages() -> List[dict]:
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit("licences: `cargo metadata --locked` failed, see above: put that right first")
    return json.loads(answer.stdout)["packages"]


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met; `/` is the old way to write `OR`."""
    words = re.findall(r"[()]|[^\s()]+", re.sub(r"\s+WITH\s+", "~", expression.replace("/", " OR ")))
    met = any_of(words)
    return met and not words


def any_of(words: List[str]) -> bool:
    met = all_of(words)
    while words[:1] == ["OR"]:
        words.pop(0)
        met = all_of(words) or met
    return met


def all_of(words: List[str]) -> bool:
    met = one(words)
    while words[:1] == ["AND"]:
        words.pop(0)
        met = one(words) and met
    return met


def one(words: List[str]) -> bool:
    """A licence or an expression in parentheses; what is neither is not allowed."""
    word = words.pop(0) if words else ""
    if word != "(":
        return word.replace("~", " WITH ") in ALLOWED
    met = any_of(words)
    return words[:1] == [")"] and words.pop(0) == ")" and met


def fault(package: dict) -> str:
    """What is wrong with a crate; empty if nothing is."""
    source = package["source"]
    if source and not source.startswith("registry+"):
        return f"comes from {source}: use a released version from the registry"
    licence = package["license"]
    if not licence:
        return "declares no licence: replace the crate"
    if not is_allowed(licence):
        return f"is under `{licence}`: replace the crate, or allow the licence in scripts/check_licences.py"
    return ""


def main() -> int:
    found = packages()
    faults = [(package, fault(package)) for package in found if fault(package)]
    for package, text in faults:
        print(f"licences: `{package['name']} {package['version']}` {text}", file=sys.stderr)
    print(f"licences: {len(found)} crates checked, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
