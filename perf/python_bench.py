#!/usr/bin/env python3
"""The Python package beside the C++ client: what a call costs more in Python, in microseconds.

Both sides take turns in one run, over the same two sidecars of one node; each row is the median of the differences of
nine pairs. For asyncio the reference is the C++ client plus a bare wake-up of the loop through an eventfd.

Usage: python_bench.py BUILD [--jsonl FILE] [--quick]; python3 with the package's requirements.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BAR = 25.0  # microseconds above the reference


class Sidecars:
    """Rank 0 and 1 on one node."""

    def __init__(self, build: Path) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir="/dev/shm")
        self.addresses = []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.addresses.append(f"127.0.0.1:{probe.getsockname()[1]}")
        peers = ",".join(f"{rank}={address}" for rank, address in enumerate(self.addresses))
        self.processes = []
        for rank in range(2):
            command = [build / "bin" / "sidecard", "--rank", rank, "--node", "a", "--peers", peers, "--data-port", 0]
            command += ["--shm-size", "3G", "--shm-dir", self.folder.name]
            self.processes.append(
                subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            )
        for process in self.processes:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("ready"):
                sys.exit("a sidecar did not get ready")

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        self.folder.cleanup()


class Cpp:
    """The C++ client, in a process of its own."""

    def __init__(self, build: Path, addresses: list[str]) -> None:
        self.process = subprocess.Popen(
            [str(build / "bin" / "client_times"), "1", addresses[1], "0", addresses[0]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def ask(self, line: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def rest() -> None:
    """Between two calls, as client_times.cc does."""
    until = time.perf_counter_ns() + 150_000
    while time.perf_counter_ns() < until:
        pass


def timed(count: int, call: Callable[[], Any]) -> float:
    times = []
    kept = []  # given up afterwards, on both sides
    for _ in range(count):
        rest()
        begin = time.perf_counter_ns()
        kept.append(call())
        times.append((time.perf_counter_ns() - begin) / 1000)
    return statistics.median(times)


async def wake_up(count: int) -> float:
    """A reader's descriptor made readable, until the task that waits for it goes on."""
    loop = asyncio.get_running_loop()
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    waiting: list[asyncio.Future[None]] = []

    def readable() -> None:
        os.eventfd_read(fd)
        waiting.pop().set_result(None)

    loop.add_reader(fd, readable)
    times = []
    for _ in range(count):
        future = loop.create_future()
        waiting.append(future)
        begin = time.perf_counter_ns()
        os.eventfd_write(fd, 1)
        await future
        times.append((time.perf_counter_ns() - begin) / 1000)
    loop.remove_reader(fd)
    os.close(fd)
    return statistics.median(times)


class Ours:
    def __init__(self, addresses: list[str]) -> None:
        import numpy
        from sidecar import Sidecar, SidecarConfig

        self.numpy = numpy
        common: dict[str, Any] = {"send_tensor_shape": (-1, 4096), "send_tensor_dtype": "float32", "timeout": 60.0}
        common["framework"] = "numpy"
        self.producer = Sidecar(SidecarConfig(sidecar_rank=0, address=addresses[0], **common))
        self.consumer = Sidecar(SidecarConfig(sidecar_rank=1, address=addresses[1], **common))
        self.round = 0

    def put(self, id: str, size: int) -> None:
        self.producer.send(self.numpy.zeros(size, self.numpy.uint8), id, [[1]]).result()

    def recv_sync(self, count: int) -> float:
        return timed(count, lambda: self.consumer.recv_sync("ready"))

    async def recv(self, count: int) -> float:
        times = []
        kept = []
        for _ in range(count):
            rest()
            begin = time.perf_counter_ns()
            kept.append(await self.consumer.recv("ready"))
            times.append((time.perf_counter_ns() - begin) / 1000)
        return statistics.median(times)

    def object_sync(self, count: int) -> float:
        times = []
        for _ in range(count):
            self.round += 1
            id = f"sync-{self.round}"
            rest()
            begin = time.perf_counter_ns()
            sent = self.producer.send("a small object", id, [[1]])
            self.consumer.recv_sync(id)
            times.append((time.perf_counter_ns() - begin) / 1000)
            sent.result()
            self.consumer.mark_done_sync(id)
        return statistics.median(times)

    async def object_async(self, count: int) -> float:
        times = []
        for _ in range(count):
            self.round += 1
            id = f"async-{self.round}"
            rest()
            begin = time.perf_counter_ns()
            sent = self.producer.send("a small object", id, [[1]])
            await self.consumer.recv(id)
            times.append((time.perf_counter_ns() - begin) / 1000)
            await sent
            await self.consumer.mark_done(id)
        return statistics.median(times)

    def private_growth(self) -> tuple[float, bool]:
        """Receiving 1 GiB: MiB that the process's own memory grows by, and whether the view is shared."""
        size = 1 << 30
        with self.producer.allocate((size,), self.numpy.uint8) as memory:
            memory[::4096] = 7
            self.producer.send(memory, "large", [[1]]).result()
        del memory

        def private() -> int:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    return int(line.split()[1])
            raise RuntimeError("no RssAnon")

        before = private()
        view = self.consumer.recv_sync("large")
        good = bool((view[::4096] == 7).all())
        growth = (private() - before) / 1024
        del view
        self.consumer.mark_done_sync("large")
        return growth, good


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--jsonl", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, str(given.build / "python"))
    pairs, count = (3, 100) if given.quick else (9, 500)
    sidecars = Sidecars(given.build)
    rows: list[dict[str, Any]] = []
    try:
        cpp = Cpp(given.build, sidecars.addresses)
        ours = Ours(sidecars.addresses)
        ours.put("ready", 64 << 10)
        loop = asyncio.new_event_loop()

        def row(name: str, mine: Callable[[], float], theirs: Callable[[], float], reference: str) -> None:
            mine(), theirs()  # warm
            taken = [(mine(), theirs()) if i % 2 == 0 else (theirs(), mine())[::-1] for i in range(pairs)]
            extra = statistics.median(a - b for a, b in taken)
            us, them = (statistics.median(column) for column in zip(*taken, strict=True))
            quartiles = statistics.quantiles((b for _, b in taken), n=4)
            noisy = (quartiles[2] - quartiles[0]) / quartiles[1] > 0.25
            verdict = "noisy" if noisy else "holds" if extra <= BAR else "missed"
            rows.append({"name": name, "value": round(extra, 1), "unit": "us more", "reference": reference, "bar": BAR,
                         "verdict": verdict, "ours_us": round(us, 1), "reference_us": round(them, 1)})  # fmt: skip

        cpp_recv = lambda: cpp.ask(f"recv ready {count}")  # noqa: E731
        cpp_object = lambda: cpp.ask(f"object {count}")  # noqa: E731
        wake = lambda: loop.run_until_complete(wake_up(count))  # noqa: E731
        row("recv_sync of 64 KiB that is there", lambda: ours.recv_sync(count), cpp_recv, "C++ client")
        row("await recv of 64 KiB that is there", lambda: loop.run_until_complete(ours.recv(count)),
            lambda: cpp_recv() + wake(), "C++ client + eventfd")  # fmt: skip
        row("object, send to recv_sync", lambda: ours.object_sync(count), cpp_object, "C++ client")
        row("object, send to await recv", lambda: loop.run_until_complete(ours.object_async(count)),
            lambda: cpp_object() + wake(), "C++ client + eventfd")  # fmt: skip
        growth, good = ours.private_growth()
        rows.append({"name": "1 GiB received, growth of private memory", "value": round(growth, 1), "unit": "MiB",
                     "bar": 8, "verdict": "holds" if good and growth <= 8 else "missed"})  # fmt: skip
        ours.consumer.mark_done_sync("ready")
    finally:
        sidecars.end()
    for each in rows:
        beside = f"{each['ours_us']:.1f} beside {each['reference_us']:.1f}" if "ours_us" in each else ""
        print(f"{each['name']:44} {each['value']:8.1f} {each['unit']:8} bar {each['bar']:5} {each['verdict']:7} {beside}")
    if given.jsonl is not None:
        with given.jsonl.open("a") as file:
            for each in rows:
                file.write(json.dumps(each) + "\n")
    sys.exit(any(each["verdict"] == "missed" for each in rows))


if __name__ == "__main__":
    main()
