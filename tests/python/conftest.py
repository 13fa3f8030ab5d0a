"""Real sidecars for the tests of the Python package: rank 0 and 1 on one node, 2 and 3 on another.

Where things are comes from the environment, as ctest sets it: SIDECAR_BUILD (the build's folder).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("SIDECAR_BUILD", Path(__file__).resolve().parents[2] / "build"))
sys.path.insert(0, str(BUILD / "python"))

import sidecar  # noqa: E402


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to others of its own accord."""
    ports: list[int] = []
    port = 12000 + os.getpid() * 37 % 18000
    while len(ports) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    return ports


class Cluster:
    def __init__(self, nodes: list[str], arena: str | list[str] = "64M", flags: tuple[str, ...] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sidecar-python-", dir="/dev/shm"))
        self.nodes = nodes
        self.arenas = [arena] * len(nodes) if isinstance(arena, str) else arena
        self.flags = flags
        self.ports = free_ports(len(nodes))
        self.processes: dict[int, subprocess.Popen[str]] = {}
        try:
            for rank in range(len(nodes)):
                self.launch(rank)
            for rank in range(len(nodes)):
                self.await_ready(rank)
        except BaseException:
            self.close()
            raise

    def launch(self, rank: int) -> None:
        peers = ",".join(f"{rank}=127.0.0.1:{port}" for rank, port in enumerate(self.ports))
        with (self.folder / f"{rank}.log").open("a") as log:
            # Ends with us, however we end.
            self.processes[rank] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(BUILD / "bin" / "sidecard"),
                 "--rank", str(rank), "--node", self.nodes[rank], "--peers", peers, "--data-port", "0",
                 "--shm-dir", str(self.folder), "--shm-size", self.arenas[rank], *self.flags],
                stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, "UCX_MEM_EVENTS": "n", "UCX_HANDLE_ERRORS": "none"})  # fmt: skip

    def await_ready(self, rank: int) -> None:
        out = self.processes[rank].stdout
        assert out is not None
        line = out.readline()
        assert line.startswith("ready"), (self.folder / f"{rank}.log").read_text()

    def kill(self, rank: int) -> None:
        self.processes[rank].kill()
        self.processes[rank].wait()

    def restart(self, rank: int) -> None:
        self.kill(rank)
        self.launch(rank)
        self.await_ready(rank)

    def address(self, rank: int) -> str:
        return f"127.0.0.1:{self.ports[rank]}"

    def status(self, rank: int) -> dict[str, Any]:
        shown = subprocess.run(
            [str(BUILD / "bin" / "sidecarctl"), "status", "--json", "--address", self.address(rank)],
            capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
        return dict(json.loads(shown.stdout))

    def in_use(self, rank: int) -> dict[str, int]:
        """What is held there or waited for, but for clients and peers."""
        status = self.status(rank)
        held = {region: figures["used_bytes"] for region, figures in status["memory"].items()}
        counts = ("chunks", "views", "outgoing", "waiting_sends", "parked_chunks", "waiting_recvs")
        held |= {name: status[name] for name in counts}
        return {name: count for name, count in held.items() if count}

    def becomes_empty(self, ranks: list[int] | None = None) -> None:
        for rank in range(len(self.nodes)) if ranks is None else ranks:
            assert eventually(lambda rank=rank: not self.in_use(rank)), (rank, self.in_use(rank))  # type: ignore[misc]

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            finally:
                process.kill()
                if process.stdout is not None:
                    process.stdout.close()
        shutil.rmtree(self.folder)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(["a", "a", "b", "b"])
    try:
        yield cluster
        cluster.becomes_empty()
    finally:
        cluster.close()


class Programs:
    """Runs Python programs beside the tests: what they are given knows connect(rank, **settings) and sidecar."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.started: list[subprocess.Popen[str]] = []

    def start(self, code: str, before: str = "", **environment: str) -> subprocess.Popen[str]:
        """`before`: what runs before sidecar is imported. Its output is a pipe each, and so is its input."""
        begin = f"import sys\nsys.path.insert(0, {str(BUILD / 'python')!r})\n"
        begin += textwrap.dedent(before)
        begin += textwrap.dedent(f"""
            import sidecar

            ADDRESSES = {[self.cluster.address(rank) for rank in range(len(self.cluster.nodes))]!r}

            def connect(rank, **settings):
                defaults = dict(send_tensor_shape=(-1, 1024), send_tensor_dtype="float32", timeout=30.0,
                                framework="numpy", address=ADDRESSES[min(settings.get("group") or [rank])])
                return sidecar.Sidecar(sidecar.SidecarConfig(sidecar_rank=rank, **(defaults | settings)))
            """)
        started = subprocess.Popen([sys.executable, "-c", begin + textwrap.dedent(code)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "UCX_MEM_EVENTS": "n", "UCX_HANDLE_ERRORS": "none", **environment})  # fmt: skip
        self.started.append(started)
        return started

    def run(self, code: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        started = self.start(code, before, **environment)
        out, err = started.communicate(timeout=60)
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)

    def output(self, code: str, before: str = "", **environment: str) -> str:
        """What it printed, after a clean end that says nothing else."""
        ended = self.run(code, before, **environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def close(self) -> None:
        for each in self.started:
            each.kill()
            each.communicate(timeout=20)


class Make:
    """Makes clients of a cluster, which end with the test."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.made: list[sidecar.Sidecar] = []

    def __call__(self, rank: int, **settings: Any) -> sidecar.Sidecar:
        settings.setdefault("send_tensor_shape", (-1, 1024))
        settings.setdefault("send_tensor_dtype", "float32")
        settings.setdefault("timeout", 30.0)
        settings.setdefault("framework", "numpy")
        leader = min(settings.get("group") or [rank])
        settings.setdefault("address", self.cluster.address(leader))
        made = sidecar.Sidecar(sidecar.SidecarConfig(sidecar_rank=rank, **settings))
        self.made.append(made)
        return made

    def close(self) -> None:
        for each in self.made:
            each.shutdown_sync()


@pytest.fixture
def make(cluster: Cluster) -> Iterator[Make]:
    make = Make(cluster)
    yield make
    make.close()


@pytest.fixture
def programs(cluster: Cluster) -> Iterator[Programs]:
    programs = Programs(cluster)
    yield programs
    programs.close()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """An id that no other test uses."""
    return f"{request.node.name}-{time.monotonic_ns()}"[-200:]
