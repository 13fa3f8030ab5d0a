"""Packs a build into one archive that runs on another x86-64 Linux: bundle.py BUILD ARCHIVE.

Inside: bin/ the programs, tests/ the test programs, lib/ every library they need but glibc's own and the GPU
driver's, lib/ucx/ what UCX loads when it runs, and run-tests.sh. The programs find lib/ beside their own folder
(Bundle.cmake), and libucs finds its modules in `ucx` beside itself.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME = "sidecar-bundle"
# glibc and the loader are one with the kernel's side of a machine, libcuda with its driver.
OF_THE_SYSTEM = re.compile(
    r"^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl|thread_db|BrokenLocale|nss_\w+)|libcuda"
    r"|libnvidia-.*)\.so(\.|$)")
# These name files of the build or of the sources.
NEED_THE_BUILD = {
    "am_codec_test", "control_sidecard_test", "e2e_allocation_test", "e2e_allocator_test", "e2e_ucx_thread_test"
}


def programs(folder):
    return [
        path for path in sorted(folder.iterdir())
        if path.is_file() and os.access(path, os.X_OK) and ".so" not in path.name
        and path.name not in NEED_THE_BUILD and not path.name.startswith("fuzz_")
    ]


def libraries_of(file):
    """Name, as it is looked for, and place of each library that the file needs, directly or not."""
    shown = subprocess.run(["ldd", file], check=True, capture_output=True, text=True).stdout
    if "not found" in shown:
        sys.exit(f"{file} lacks a library:\n{shown}")
    found = re.findall(r"^\s*(\S+) => (/\S+)", shown, re.MULTILINE)
    return {name: Path(place) for name, place in found if not OF_THE_SYSTEM.match(name)}


def glibc_needed(files):
    """The newest version of glibc that one of them asks for."""
    newest = (0, 0)
    for file in files:
        symbols = subprocess.run(["objdump", "-T", file], check=True, capture_output=True, text=True).stdout
        for version in re.findall(r"\bGLIBC_(\d+)\.(\d+)", symbols):
            newest = max(newest, (int(version[0]), int(version[1])))
    return "{}.{}".format(*newest)


def copy(file, folder, name=None):
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (name or file.name)
    shutil.copy(file.resolve(), target)
    target.chmod(0o755)
    return target


def gather(build, root):
    """Copies everything below root; returns what was copied."""
    copied = []
    libraries = {}
    for folder in ("bin", "tests"):
        for program in programs(build / folder):
            libraries.update(libraries_of(program))
            copied.append(copy(program, root / folder))
    # UCX loads libuct_x.so.0 from here, the ending being that of the name under which libucs itself was loaded.
    modules = sorted((libraries["libucs.so.0"].parent / "ucx").glob("lib*.so.0"))
    for module in modules:
        libraries.update(libraries_of(module))
        copied.append(copy(module, root / "lib" / "ucx", module.name))
    for name, place in sorted(libraries.items()):
        if name not in [module.name for module in modules]:  # one of another, which was loaded before
            copied.append(copy(place, root / "lib", name))
    return copied


def forget_own_paths(files, scratch):
    """A path in a library would send what it needs elsewhere: past the path of the program that loads it."""
    script = scratch / "paths.cmake"
    script.write_text("".join(f'file(RPATH_REMOVE FILE "{file}")\n' for file in files))
    subprocess.run(["cmake", "-P", script], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    build, archive = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=build) as scratch:
        root = Path(scratch) / NAME
        copied = gather(build, root)
        forget_own_paths([file for file in copied if ".so" in file.name], Path(scratch))
        for file in copied:  # debug information is most of their size
            subprocess.run(["strip", "--strip-debug", file], check=True)
        copy(build / "test_programs.txt", root / "tests").chmod(0o644)
        copy(Path(__file__).parent / "run-tests.sh", root)
        with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
            tar.add(root, NAME)
        print(f"{archive}: {len(copied)} files, {archive.stat().st_size >> 20} MiB, for glibc "
              f"{glibc_needed(copied)} or newer; inside, run-tests.sh tries it")


if __name__ == "__main__":
    main()
