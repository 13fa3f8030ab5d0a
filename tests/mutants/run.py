#!/usr/bin/env python3
"""Puts one-line faults into a copy of the sources, one after the other: the test that is named with each must fail.

Exits with 1 when a fault survives, when its line is no longer in the sources exactly once, or when a named test does not
pass without any fault. Options: --only TEXT (faults whose description, file or test contains it), --work FOLDER, --jobs N.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS = 120  # a test that hangs has caught the fault too
FLAGS = "-O1 -DNDEBUG -w"


def copy_sources(work):
    tree = work / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
        text=True).stdout.split("\n")
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    for name in sorted(wanted):
        source, target = ROOT / name, tree / name
        # Files that are as before keep their times, so that a second run builds only what changed.
        if target.is_file() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    for found in [p for p in tree.rglob("*") if p.is_file()]:
        if str(found.relative_to(tree)) not in wanted:
            found.unlink()
    return tree


def configure(tree, build):
    command = ["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(build), "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
               f"-DCMAKE_CXX_FLAGS_RELWITHDEBINFO={FLAGS}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"mutants: configuring failed\n{result.stdout}{result.stderr}")


def make(build, targets, jobs):
    return subprocess.run(["ninja", "-C", str(build), f"-j{jobs}", *targets], capture_output=True, text=True)


def run_test(build, mutant):
    """True: it passed."""
    command = [str(build / "tests" / mutant["program"]), "--gtest_brief=1", f"--gtest_filter={mutant['test']}"]
    environment = dict(os.environ, UCX_HANDLE_ERRORS="none", UCX_MEM_EVENTS="n")
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TEST_SECONDS,
                                env=environment, cwd=build)
    except subprocess.TimeoutExpired:
        return False
    if result.returncode == 0 and "1 test from" not in result.stdout:
        sys.exit(f"mutants: there is no test {mutant['test']} in {mutant['program']}")
    return result.returncode == 0


def check_patterns(tree, mutants):
    stale = [m for m in mutants if (tree / m["file"]).read_text().count(m["old"]) != 1]
    for m in stale:
        count = (tree / m["file"]).read_text().count(m["old"])
        print(f"mutants: {m['file']} has this line {count} times instead of once: {m['old'].strip()}")
    return not stale


def try_mutant(tree, build, mutant, jobs):
    path = tree / mutant["file"]
    before = path.read_text()
    path.write_text(before.replace(mutant["old"], mutant["new"]))
    try:
        built = make(build, [mutant["program"]], jobs)
        if built.returncode != 0:
            errors = [line for line in built.stdout.split("\n") if "error" in line]
            return "does not compile: " + (errors[0] if errors else built.stdout[-300:])
        return "SURVIVED" if run_test(build, mutant) else "caught"
    finally:
        path.write_text(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()

    mutants = json.loads((Path(__file__).parent / "mutants.json").read_text())
    mutants = [m for m in mutants if options.only in m["fault"] + " " + m["file"] + " " + m["test"]]
    if not mutants:
        sys.exit("mutants: none that match")
    tree = copy_sources(options.work)
    build = options.work / "build"
    if not check_patterns(tree, mutants):
        return 1
    configure(tree, build)
    programs = sorted({m["program"] for m in mutants})
    print(f"mutants: building {', '.join(programs)} without a fault first", flush=True)
    built = make(build, programs, options.jobs)
    if built.returncode != 0:
        sys.exit(f"mutants: building failed\n{built.stdout[-3000:]}")
    broken = [m["test"] for m in mutants if not run_test(build, m)]
    if broken:
        sys.exit(f"mutants: these fail without any fault: {', '.join(broken)}")

    bad = 0
    for number, mutant in enumerate(mutants, 1):
        start = time.monotonic()
        result = try_mutant(tree, build, mutant, options.jobs)
        bad += result != "caught"
        print(f"{number:3}/{len(mutants)}  {result:<9} {time.monotonic() - start:5.0f} s  {mutant['fault']}  "
              f"[{mutant['file']}; {mutant['test']}]", flush=True)
    print(f"mutants: {len(mutants) - bad} of {len(mutants)} faults caught")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
