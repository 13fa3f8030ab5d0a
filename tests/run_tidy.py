#!/usr/bin/env python3
"""Runs clang-tidy over the sources in a build's compile_commands.json: run_tidy.py BUILD [FILE...]

Left out: tests, generated files, and everything that includes gRPC (half a minute a file). A file that passed
is not looked at again until it, a header of ours that it includes, or .clang-tidy has changed.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

TOOL = "clang-tidy-19"
FOLDERS = ("core", "am_protocol", "control", "client", "perf")
SLOW = re.compile(r"grpc|\.pb\.h|google/protobuf")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
ROOT = pathlib.Path(__file__).resolve().parent.parent


def reach(path, seen, names):
    """Adds to `seen` the files of ours that `path` includes, to `names` everything that any of them includes."""
    if path in seen:
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_text(errors="replace")):
        names.add(name)
        for base in (ROOT, ROOT / "client" / "include"):
            if (base / name).is_file():
                reach(base / name, seen, names)


def fingerprint(files):
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def tidy(build, file):
    result = subprocess.run([TOOL, "--quiet", "-p", str(build), str(file)], capture_output=True, text=True)
    return result.returncode, result.stdout


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {str(pathlib.Path(f).resolve()) for f in sys.argv[2:]}
    stamps = build / "tidy"
    stamps.mkdir(exist_ok=True)
    todo, skipped, clean = [], 0, 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["file"])
        if not file.is_relative_to(ROOT) or file.relative_to(ROOT).parts[0] not in FOLDERS:
            continue
        if wanted and str(file) not in wanted:
            continue
        seen, names = set(), set()
        reach(file, seen, names)
        if any(SLOW.search(n) for n in names):
            skipped += 1
            continue
        stamp = stamps / hashlib.sha256(str(file).encode()).hexdigest()[:24]
        mark = fingerprint(seen)
        if stamp.is_file() and stamp.read_text() == mark:
            clean += 1
        elif file not in (f for f, _, _ in todo):  # a source may be in two targets
            todo.append((file, stamp, mark))
    begin, failed = time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {pool.submit(tidy, build, file): (file, stamp, mark) for file, stamp, mark in todo}
        for run in concurrent.futures.as_completed(runs):
            file, stamp, mark = runs[run]
            code, text = run.result()
            if code == 0:
                stamp.write_text(mark)
            else:
                failed += 1
                print(f"{file.relative_to(ROOT)}:\n{text}", flush=True)
    print(f"{TOOL}: {len(todo)} files in {time.monotonic() - begin:.0f} s, {failed} with findings, "
          f"{clean} unchanged, {skipped} with gRPC left out")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
