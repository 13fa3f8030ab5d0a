"""A long life leaves nothing behind: memory, objects and descriptors stay as they are."""

from __future__ import annotations

import asyncio
import gc
import os
import re

import numpy
import sidecar
from conftest import Cluster, Make

SENDS = 100_000
BATCH = 200


def resident_bytes() -> int:
    """Of our own, not shared with the sidecars."""
    with open("/proc/self/status") as status:
        return 1024 * int(re.findall(r"RssAnon:\s+(\d+)", status.read())[0])


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


async def settled() -> tuple[int, int, int]:
    """Bytes, objects and descriptors, once neither the loop nor the library's thread holds what the last calls left."""
    seen = [objects()]
    for _ in range(100):
        await asyncio.sleep(0)  # the loop holds what it called last
        seen.append(objects())
        if len(seen) > 3 and seen[-1] == seen[-2] == seen[-3]:
            break
    return resident_bytes(), seen[-1], len(os.listdir("/proc/self/fd"))


async def send_and_receive(sender: sidecar.Sidecar, receiver: sidecar.Sidecar, id: str, batches: range) -> None:
    """Of every kind that goes through different hands; ids of their own, as requests have."""
    array = numpy.arange(64, dtype="float32")
    for batch in batches:
        name = f"{id}-{batch}"
        for n in range(BATCH):
            sent = sender.send(array if n % 2 else {"token": n}, name, [[1]], n, BATCH)
        received = await asyncio.gather(*(receiver.recv(name, n) for n in range(0, BATCH, 10)))
        assert received[1] == {"token": 10}
        await asyncio.gather(*(receiver.mark_done(name, n) for n in range(BATCH)))
        await sent


def test_a_hundred_thousand_sends_leave_no_memory_objects_or_descriptors(
    make: Make, cluster: Cluster, unique: str
) -> None:
    sender, receiver = make(0), make(1)

    async def main() -> None:
        half = SENDS // BATCH // 2
        await send_and_receive(sender, receiver, unique, range(half))  # pools and caches are full now
        before = await settled()
        await send_and_receive(sender, receiver, unique, range(half, 2 * half))
        after = await settled()
        assert after[0] - before[0] < 4 << 20, "bytes"  # 50,000 sends: less than a hundred bytes each
        assert after[1] - before[1] < 200, "objects"
        assert after[2] <= before[2], "descriptors"

    asyncio.run(main())
    cluster.becomes_empty()


def test_clients_that_come_and_go_leave_no_threads_descriptors_or_mappings(make: Make, unique: str) -> None:
    def figures() -> tuple[int, int, int]:
        with open("/proc/self/maps") as maps:
            arenas = sum("sidecar-" in line for line in maps)
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), arenas

    def come_and_go(n: int) -> None:
        with make(0) as sender, make(1) as receiver:
            sender.send(numpy.ones(100), f"{unique}-{n}", [[1]]).result(10)
            assert receiver.recv_sync(f"{unique}-{n}").sum() == 100
            receiver.mark_done_sync(f"{unique}-{n}")
        make.made.clear()
        gc.collect()

    come_and_go(0)
    before = figures()
    for n in range(1, 12):
        come_and_go(n)
    assert all(now <= then for now, then in zip(figures(), before, strict=True)), (before, figures())


def test_errors_and_timeouts_leave_no_objects(make: Make, unique: str) -> None:
    receiver = make(1)

    def fail() -> None:
        for _ in range(300):
            try:
                receiver.recv_sync(unique, timeout=0)
            except sidecar.Timeout:
                pass

    fail()
    before = objects()
    for _ in range(5):
        fail()
    assert objects() - before < 50
