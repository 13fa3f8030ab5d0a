#!/usr/bin/env python3
"""Checks who may include what, and the size of files.

Prints one line per violation and exits 1 if there is any. With --self-test it checks that planted
violations are found.
"""
import pathlib
import re
import subprocess
import sys

LINES_MAX = 400
FOLDERS = ("core", "am_protocol", "control", "client", "perf", "tests")

# Our own headers: a folder may include itself and these.
MAY = {
    "core": set(),
    "am_protocol": {"core"},
    "control": {"core", "am_protocol"},
    "client": {"core", "am_protocol"},
    "perf": {"client", "core", "am_protocol"},
    "tests": set(FOLDERS),
}

# Third-party headers (or generated ones): only files that match may include them. tests may include all but
# CUDA's, which are not there on every machine.
ENTRY_POINTS = (
    r"control/(sidecard|options)\w*\.cc|client/(sidecarctl|ctl)[\w/]*\.(cc|h)|perf/((tool|report|perftest)/)?\w+\.(cc|h)"
)
CUDA = r"(cuda|driver_types|nv)"
OWNER = [
    (r"uv\.h|uv/", r"core/"),
    (r"spdlog/", r"core/log\.cc"),
    (CUDA, r"core/cuda_|tests/gpu/"),
    (r"(ucp|uct|ucs|ucm)/", r"am_protocol/|perf/(tool/)?raw_|perf/perftest/"),
    (r"flatbuffers/|.*_generated\.h", r"am_protocol/"),
    (r"grpc|google/protobuf|prometheus/", r"control/|client/registration"),
    (r".*\.pb\.h", r"control/|client/registration"),
    (r"CLI/|nlohmann/", ENTRY_POINTS),
    (r"gtest/|gmock/", r"$^"),
    (r"benchmark/", r"perf/"),
    (r"ranges$", r"$^"),  # clang cannot parse this library's views
]

# A peer that is a stranger to us: C, UCX, and none of our headers, generated ones included.
STRANGER = re.compile(r"tests/interop/\w+\.(c|h)")
STRANGER_MAY = re.compile(r"tests/interop/\w+\.h|ucp/api/ucp\.h|((arpa|sys)/)?[a-z_]+\.h")

# What a user of the client library sees: the standard library, itself, and these two plain headers.
PUBLIC = re.compile(r"client/include/sidecar/")
PUBLIC_MAY = re.compile(r"sidecar/[\w/]+\.h|core/(dtype|errc)\.h|[a-z_]+$")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)


def violations(path, text):
    """The rules that `text`, as the file `path` relative to the root, breaks."""
    folder = path.split("/")[0]
    for name in INCLUDE.findall(text):
        if name.startswith("."):
            yield f"{path}: includes {name}: write it relative to the root"
        target = name.split("/")[0]
        generated_stub = name.endswith(".pb.h") and target == "control"
        if target in FOLDERS and "/" in name and target != folder and not generated_stub:
            if target not in MAY[folder]:
                yield f"{path}: {folder} may not include {name}"
        if PUBLIC.match(path) and not PUBLIC_MAY.fullmatch(name):
            yield f"{path}: a public header may not include {name}"
        if STRANGER.fullmatch(path) and not STRANGER_MAY.fullmatch(name):
            yield f"{path}: a stranger may not include {name}"
        if folder == "tests" and not re.match(CUDA, name):
            continue
        for header, owner in OWNER:
            if re.match(header, name) and not re.match(owner, path):
                yield f"{path}: may not include {name}"
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{path}: {lines} lines, more than {LINES_MAX}"
    if path.endswith(".h") and "#pragma once" not in text:
        yield f"{path}: no #pragma once"
    if path.endswith((".c", ".cc", ".h")) and re.search(r"[ \t]$", text, re.M):
        yield f"{path}: trailing blanks"


def self_test():
    planted = [
        ("core/a.cc", '#include "am_protocol/codec.h"\n'),
        ("core/a.cc", "#include <ucp/api/ucp.h>\n"),
        ("am_protocol/a.cc", "#include <uv.h>\n"),
        ("am_protocol/a.cc", '#include "control/backend.h"\n'),
        ("control/a.cc", "#include <flatbuffers/flatbuffers.h>\n"),
        ("control/server.cc", "#include <CLI/CLI.hpp>\n"),
        ("client/session.cc", "#include <grpcpp/grpcpp.h>\n"),
        ("client/session.cc", '#include "control/sidecar.grpc.pb.h"\n'),
        ("client/session.cc", '#include "perf/process.h"\n'),
        ("client/include/sidecar/a.h", '#pragma once\n#include "core/loop.h"\n'),
        ("core/a.cc", '#include "../core/b.h"\n'),
        ("core/a.cc", "#include <gtest/gtest.h>\n"),
        ("core/arena.cc", "#include <cuda.h>\n"),
        ("client/client.cc", "#include <cuda_runtime.h>\n"),
        ("tests/core/a.cc", "#include <cuda.h>\n"),
        ("tests/interop/a.c", '#include "core/messages.h"\n'),
        ("tests/interop/a.h", '#pragma once\n#include "am_protocol/sidecar_v1_generated.h"\n'),
        ("tests/interop/a.c", "#include <flatbuffers/flatbuffers.h>\n"),
        ("core/a.h", "int x;\n"),
        ("tests/a.cc", "\n" * (LINES_MAX + 1)),
        ("core/a.cc", "int x; \n"),
    ]
    fine = [
        ("core/a.cc", '#include <uv.h>\n#include "core/b.h"\n#include <memory>\n'),
        ("am_protocol/a.cc", '#include <ucp/api/ucp.h>\n#include "core/b.h"\n'),
        ("client/registration.cc", '#include "control/sidecar.grpc.pb.h"\n'),
        ("control/sidecard.cc", "#include <CLI/CLI.hpp>\n"),
        ("core/cuda_driver.cc", "#include <cuda.h>\n"),
        ("tests/gpu/a.cc", "#include <cuda.h>\n"),
        ("perf/raw_chain.cc", "#include <ucp/api/ucp.h>\n"),
        ("client/include/sidecar/a.h", '#pragma once\n#include <span>\n#include "core/errc.h"\n'),
        ("tests/interop/a.c", '#include <ucp/api/ucp.h>\n#include <sys/mman.h>\n#include "tests/interop/b.h"\n'),
        ("tests/interop/a_test.cc", '#include "core/messages.h"\n'),
        ("tests/a.cc", "#include <ucp/api/ucp.h>\n#include <gtest/gtest.h>\n"),
    ]
    missed = [p for p in planted if not list(violations(*p))]
    wrong = [v for p in fine for v in violations(*p)]
    for path, text in missed:
        print(f"self-test: not found: {path}: {text.strip()[:60]}")
    for violation in wrong:
        print(f"self-test: false alarm: {violation}")
    return 1 if missed or wrong else 0


def sources(root):
    """Tracked and new files alike; only files below our folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *FOLDERS],
        cwd=root, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:  # an unpacked archive
        names = [str(p.relative_to(root)) for f in FOLDERS for p in (root / f).rglob("*")]
    kinds = (".c", ".cc", ".h", ".py", ".sh", ".fbs", ".proto")
    return sorted({n for n in names if n.endswith(kinds) and (root / n).is_file()})


def main():
    if "--self-test" in sys.argv[1:]:
        return self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    names = sources(root)
    found = [v for n in names for v in violations(n, (root / n).read_text(errors="replace"))]
    for violation in found:
        print(violation)
    print(f"{len(names)} files, {len(found)} violations")
    return 1 if found or not names else 0


if __name__ == "__main__":
    sys.exit(main())
