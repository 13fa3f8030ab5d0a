"""Installs a build elsewhere, looks at what is there, and uses it as somebody would who has nothing else of us:
install_test.py BUILD COMPILER. It builds client/examples by CMake and by pkg-config, with the shared and with the
static library, and runs each as producer and consumer between two of the installed sidecards.
"""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2]
BUILD, COMPILER = Path(sys.argv[1]).resolve(), sys.argv[2]
READY_SECONDS = 60
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Werror".split()
# What the API's declarations refer to; all else in a library is its own.
OF_THE_API = re.compile(r"sidecar::(api::|errc_name\(|dtype_name\()")


def check(what, fine, *shown):
    if not fine:
        sys.exit(" ".join(["FAILED:", what, *map(str, shown)]))
    print("ok:", what, flush=True)


def run(*command, **environment):
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(map(str, command))}: code {done.returncode}\n{done.stdout}")
    return done.stdout


def install(folder):
    """Returns where it is: a prefix that the build has not heard of, below another root."""
    manifest = BUILD / "install_manifest.txt"  # of a real installation, which may have been root's
    with contextlib.suppress(FileNotFoundError):
        manifest.rename(folder / "manifest")
    try:
        run("cmake", "--install", BUILD, "--prefix", "/opt/sidecar", DESTDIR=str(folder / "root"))
    finally:
        manifest.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.move(folder / "manifest", manifest)
    return folder / "root/opt/sidecar"


def libraries(prefix):
    """lib, or what the system calls it."""
    return next(prefix.rglob("libsidecar.so")).parent


def dynamic(file, tag):
    return re.findall(rf"\({tag}\).*\[(.*)\]", run("readelf", "-d", file))


def symbols(kinds, *command):
    """The API's names, and all others, among the symbols of these kinds that `command` lists."""
    listed = re.findall(rf"^[0-9a-f]+ [{kinds}] (.*)$", run("nm", "-C", "--defined-only", *command), re.M)
    ours = {name for name in listed if OF_THE_API.match(name)}
    return ours, set(listed) - ours


def check_files(prefix):
    public = {f"sidecar/{path.name}" for path in (SOURCES / "client/include/sidecar").iterdir()}
    public |= {"sidecar/core/dtype.h", "sidecar/core/errc.h"}
    headers = {str(path.relative_to(prefix / "include")) for path in (prefix / "include").rglob("*") if path.is_file()}
    check("the public headers are installed, and no others", headers == public, headers ^ public)
    programs = {path.name for path in (prefix / "bin").iterdir()}
    check("two programs are installed", programs == {"sidecard", "sidecarctl"}, programs)
    folder = libraries(prefix)
    library = folder / "libsidecar.so"
    soname = dynamic(library, "SONAME")[0]
    check("the library has a version", library.resolve().name.startswith(soname + "."), library.resolve(), soname)
    check("its links lead there", (folder / soname).resolve() == library.resolve() and library.is_symlink())
    for file in (library, prefix / "bin/sidecard", prefix / "bin/sidecarctl"):
        paths = ":".join(dynamic(file, "RPATH") + dynamic(file, "RUNPATH"))
        check(f"{file.name} knows no path of the build", str(BUILD) not in paths and "ORIGIN" not in paths, paths)
    check("the library brings no allocator", not [name for name in dynamic(library, "NEEDED") if "mimalloc" in name])
    shown, others = symbols("A-Za-z", "-D", library)
    check("the library shows nothing but the API", not others, others)
    api, _ = symbols("TDBR", folder / "libsidecar.a")  # what it defines for others, but for inline functions
    check("and all of it", shown == api and len(api) > 30, shown ^ api)


def build_by_cmake(prefix, folder, static):
    """The shared library has to do without what it was made of: that is hidden here."""
    build = folder / f"cmake-static-{static}"
    hidden = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("PkgConfig", "gRPC", "Protobuf", "fmt", "spdlog")]
    run("cmake", "-S", folder / "examples", "-B", build, f"-DSTATIC={'ON' if static else 'OFF'}",
        f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={COMPILER}", f"-DCMAKE_CXX_FLAGS={' '.join(STRICT)}",
        *([] if static else hidden))
    run("cmake", "--build", build)
    return build / "forward"


def build_by_pkg_config(prefix, folder, static):
    """With every public header, and with folders of the user's own that have our names in them."""
    program = folder / f"pkg-config-static-{static}"
    ask = ["pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "sidecar"]
    flags = run(*ask, PKG_CONFIG_LIBDIR=str(libraries(prefix) / "pkgconfig")).split()
    if static:  # as the README says
        flags = [flag.replace("-lsidecar", "-l:libsidecar.a") for flag in flags]
    strange = folder / "strange/core"
    strange.mkdir(parents=True, exist_ok=True)
    for name in ("dtype.h", "errc.h"):
        (strange / name).write_text("#error not the library's\n")
    headers = [f"-include{path.relative_to(prefix / 'include')}" for path in (prefix / "include/sidecar").glob("*.h")]
    run(COMPILER, "-std=c++20", "-fvisibility=hidden", *STRICT, f"-I{strange.parent}", *headers,
        folder / "examples/forward.cc", "-o", program, *flags)
    return program


def reserved_port(stack):
    """As perf/port.h has it: the UDP port of that number says that it is taken."""
    while True:
        port = random.randint(14_000, 32_000)
        with contextlib.suppress(OSError):
            held = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            held.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
                free.bind(("127.0.0.1", port))
            return port


def start_sidecards(stack, prefix, folder):
    """Two, of which it returns the addresses."""
    addresses = [f"127.0.0.1:{reserved_port(stack)}" for _ in range(2)]
    peers = ",".join(f"{rank}={address}" for rank, address in enumerate(addresses))
    arenas = folder / "arenas"
    arenas.mkdir()
    logs = [folder / f"sidecard{rank}.log" for rank in range(2)]
    for rank, log in enumerate(logs):
        process = subprocess.Popen(
            [prefix / "bin/sidecard", "--rank", str(rank), "--peers", peers, "--data-port", "0", "--shm-size", "32M",
             "--shm-dir", arenas], stdout=stack.enter_context(log.open("w")), stderr=subprocess.STDOUT)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
    until = time.monotonic() + READY_SECONDS
    while not all(re.search("^ready ", log.read_text(), re.M) for log in logs):
        if time.monotonic() > until:
            sys.exit("FAILED: sidecards that get ready\n" + "".join(log.read_text() for log in logs))
        time.sleep(0.05)
    return addresses


def forward(program, addresses, prefix):
    found = {"LD_LIBRARY_PATH": str(libraries(prefix))}
    common = ["--id", program.parent.name + program.name]
    with subprocess.Popen([program, "consume", "--rank", "1", "--address", addresses[1], *common],
                          env=os.environ | found, stdout=subprocess.PIPE, text=True) as consumer:
        sent = run(program, "produce", "--rank", "0", "--address", addresses[0], "--to", "1", *common, **found)
        received, _ = consumer.communicate(timeout=60)
    check("it forwards what it says", "the sum is" in sent and sent == received and consumer.returncode == 0, sent,
          received)


def main():
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-install-")))
        os.environ["UCX_POSIX_DIR"] = str(folder)  # UCX makes files of its own
        prefix = install(folder)
        check_files(prefix)
        shutil.copytree(SOURCES / "client/examples", folder / "examples")  # where nothing of ours is near
        addresses = start_sidecards(stack, prefix, folder)
        for build in (build_by_cmake, build_by_pkg_config):
            for static in (False, True):
                program = build(prefix, folder, static)
                needed = [name for name in dynamic(program, "NEEDED") if re.search("sidecar|mimalloc", name)]
                wanted = [] if static else dynamic(libraries(prefix) / "libsidecar.so", "SONAME")
                check(f"{build.__name__}, {'static' if static else 'shared'}", needed == wanted, needed)
                forward(program, addresses, prefix)


if __name__ == "__main__":
    main()
