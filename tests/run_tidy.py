#!/usr/bin/env python3
"""Runs clang-tidy over the sources in a build's compile_commands.json: run_tidy.py BUILD [FILE...]

Left out: tests, generated files, and everything that includes gRPC (half a minute a file). A file that passed
is not looked at again, in any clone, until it, a header of ours that it includes, how it is compiled or .clang-tidy
has changed: a file named after the hash of all that, in ~/.cache/sidecar-tidy for 30 days, says so.
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
PASSED = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "sidecar-tidy"
KEPT_S = 30 * 86400


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


def fingerprint(files, command):
    digest = hashlib.sha256(command.replace(str(ROOT), ".").encode())
    for file in [ROOT / ".clang-tidy", *sorted(files)]:
        digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def forget_old():
    PASSED.mkdir(parents=True, exist_ok=True)
    for mark in PASSED.iterdir():
        if time.time() - mark.stat().st_mtime > KEPT_S:
            mark.unlink(missing_ok=True)


def tidy(build, file):
    result = subprocess.run([TOOL, "--quiet", "-p", str(build), str(file)], capture_output=True, text=True)
    return result.returncode, result.stdout


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {str(pathlib.Path(f).resolve()) for f in sys.argv[2:]}
    forget_old()
    todo, skipped, clean = {}, 0, 0
    entries = json.loads((build / "compile_commands.json").read_text())
    commands = {pathlib.Path(e["file"]): e["command"] for e in entries}  # a source may be in two targets
    for file, command in commands.items():
        if not file.is_relative_to(ROOT) or file.relative_to(ROOT).parts[0] not in FOLDERS:
            continue
        if wanted and str(file) not in wanted:
            continue
        seen, names = set(), set()
        reach(file, seen, names)
        if any(SLOW.search(n) for n in names):
            skipped += 1
            continue
        mark = PASSED / fingerprint(seen, command)
        if mark.is_file():
            mark.touch()
            clean += 1
        else:
            todo[file] = mark
    begin, failed = time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {pool.submit(tidy, build, file): file for file in todo}
        for run in concurrent.futures.as_completed(runs):
            file = runs[run]
            code, text = run.result()
            if code == 0:
                todo[file].touch()
            else:
                failed += 1
                print(f"{file.relative_to(ROOT)}:\n{text}", flush=True)
    print(f"{TOOL}: {len(todo)} files in {time.monotonic() - begin:.0f} s, {failed} with findings, "
          f"{clean} unchanged, {skipped} with gRPC left out")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
