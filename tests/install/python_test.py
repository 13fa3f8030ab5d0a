"""Installs the Python package with pip into a folder of its own, looks at what is there, and sends and receives with it:
python_test.py BUILD CXX CXX-FLAGS CXX-BUILD-FLAGS. The compiler and its flags are the tree's, so that what the tree has
compiled is not compiled again. Needs no network: the build's tools are this interpreter's.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2]
BUILD, COMPILER, FLAGS, BUILD_FLAGS = Path(sys.argv[1]).resolve(), *sys.argv[2:5]
# The README's lines, between two sidecars.
USE = """
import asyncio, sys
import numpy as np
from sidecar import Sidecar, SidecarConfig
print(sys.modules["sidecar"].__file__)
producer = Sidecar(SidecarConfig(sidecar_rank=0, send_tensor_shape=(-1, 64), send_tensor_dtype="float32", framework="numpy", address=sys.argv[1]))
consumer = Sidecar(SidecarConfig(sidecar_rank=1, recv_tensor_shape=(-1, 64), recv_tensor_dtype="float32", framework="numpy", address=sys.argv[2]))
data = np.arange(640, dtype=np.float32).reshape(10, 64)
producer.send(data, "x", [[1]])
async def main():
    received = await consumer.recv("x")
    assert (received == data).all() and not received.flags.writeable
    await consumer.mark_done("x")
asyncio.run(main())
"""


def check(what, fine, *shown):
    if not fine:
        sys.exit(" ".join(["FAILED:", what, *map(str, shown)]))
    print("ok:", what, flush=True)


def run(*command, **environment):
    done = subprocess.run(list(map(str, command)), env=os.environ | environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(map(str, command))}: code {done.returncode}\n{done.stdout}")
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, SOURCES / "client/python",
            f"--config-settings=cmake.define.CMAKE_CXX_FLAGS={FLAGS}",
            f"--config-settings=cmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO={BUILD_FLAGS}", CXX=COMPILER)
        wheel, = folder.glob("*.whl")
        files = zipfile.ZipFile(wheel).namelist()
        package = {Path(file).name for file in files if file.startswith("sidecar/")}
        sources = {path.name for path in (SOURCES / "client/python/sidecar").iterdir() if path.is_file()}
        modules = [file for file in files if file.endswith(".so")]
        check("the wheel has the package's files and one module", len(modules) == 1
              and package == sources | {Path(modules[0]).name}, sorted(package ^ sources))
        check("and nothing of the library's build", all(file.startswith(("sidecar/", "sidecar-")) for file in files), files)
        run(*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
        module = folder / "site" / modules[0]
        needs = run("readelf", "-d", module)
        check("it looks for libraries nowhere but in the system", "RUNPATH" not in needs and "RPATH" not in needs, needs)
        exported = run("nm", "-D", "--defined-only", "-C", module).splitlines()
        check("it shows no other module what is in it", len(exported) == 1 and "PyInit__core" in exported[0], exported[:20])

        sys.path.insert(0, str(SOURCES / "tests/python"))
        from conftest import Cluster

        cluster = Cluster(["a", "b"], arena="16M")
        try:
            shown = run(sys.executable, "-c", USE, cluster.address(0), cluster.address(1), PYTHONPATH=str(folder / "site"))
            check("it sends and receives", shown.startswith(str(folder / "site")), shown)
            cluster.becomes_empty()
        finally:
            cluster.close()


main()
