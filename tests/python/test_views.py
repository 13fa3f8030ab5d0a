"""Received tensors are views of shared memory: nothing is copied, and they are held no longer than they are used."""

from __future__ import annotations

import gc
import os
import re
import signal
from typing import Any

import numpy
import pytest
import torch
from conftest import Cluster, Make, Programs, eventually


def mapping_of(address: int) -> str:
    """The file whose mapping holds the address."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if begin <= address < end:
                return line.split(maxsplit=5)[5].strip() if len(line.split()) > 5 else ""
    raise AssertionError(f"{address:#x} is not mapped")



def files_of(cluster: Cluster, rank: int) -> set[tuple[int, int]]:
    """Device and inode of what the sidecar has open."""
    folder = f"/proc/{cluster.processes[rank].pid}/fd"
    stats = [os.stat(f"{folder}/{each}") for each in os.listdir(folder)]
    return {(stat.st_dev, stat.st_ino) for stat in stats}


def received(make: Make, id: str, to: int = 1, **settings: Any) -> tuple[Any, Any]:
    receiver = make(to, **settings)
    make(0).send(numpy.arange(4096, dtype="float32").reshape(4, 1024), id, [[to]])
    return receiver, receiver.recv_sync(id)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_view_lies_in_the_arena_of_the_sender_on_the_same_node(
    framework: str, make: Make, cluster: Cluster, unique: str
) -> None:
    receiver, view = received(make, unique, 1, framework=framework)
    address = view.data_ptr() if framework == "torch" else view.ctypes.data
    arena = mapping_of(address)
    assert (os.stat(arena).st_dev, os.stat(arena).st_ino) in files_of(cluster, 0)
    receiver.mark_done_sync(unique)


def test_a_view_of_what_came_from_another_node_lies_in_the_own_sidecars_arena(
    make: Make, cluster: Cluster, unique: str
) -> None:
    receiver, view = received(make, unique, 2)
    arena = mapping_of(view.ctypes.data)
    assert (os.stat(arena).st_dev, os.stat(arena).st_ino) in files_of(cluster, 2)
    assert (os.stat(arena).st_dev, os.stat(arena).st_ino) not in files_of(cluster, 0)
    receiver.mark_done_sync(unique)


def test_two_receivers_see_the_same_memory(make: Make, unique: str) -> None:
    receiver, view = received(make, unique)
    again = receiver.recv_sync(unique)
    assert numpy.shares_memory(view, again)
    receiver.mark_done_sync(unique)


def anonymous_bytes() -> int:
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status.read())[1])  # type: ignore[index]


def test_receiving_a_gibibyte_takes_no_private_memory(unique: str) -> None:
    size = 1 << 30
    cluster = Cluster(["a", "a"], arena=["2200M", "64M"])
    make = Make(cluster)
    try:
        sender, receiver = make(0), make(1)
        with sender.allocate((size // 1024, 1024), "uint8") as memory:
            memory[:] = 7
            sender.send(memory, unique, [[1]]).result(60)
        before = anonymous_bytes()
        view = receiver.recv_sync(unique)
        assert view.nbytes == size
        assert view[:: 1024 * 4].max() == 7  # every page of it
        assert anonymous_bytes() - before < 16 << 20
        receiver.mark_done_sync(unique)
        cluster.becomes_empty()
    finally:
        make.close()
        cluster.close()


def test_numpy_views_may_not_be_written(make: Make, unique: str) -> None:
    receiver, view = received(make, unique)
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    receiver.mark_done_sync(unique)


def test_writing_a_torch_view_ends_the_process_and_not_the_data(make: Make, programs: Programs, unique: str) -> None:
    make(0).send(torch.ones(1024), unique, [[1]])
    ended = programs.run(f"import torch; connect(1, framework='torch').recv_sync({unique!r})[0] = 5")
    assert ended.returncode == -signal.SIGSEGV
    receiver = make(1)
    assert receiver.recv_sync(unique)[0] == 1
    receiver.mark_done_sync(unique)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_writable_views_can_be_written_when_asked_for(framework: str, make: Make, unique: str) -> None:
    receiver, view = received(make, unique, framework=framework, writable_views=True)
    view[0, 0] = 42
    assert receiver.recv_sync(unique)[0, 0] == 42
    receiver.mark_done_sync(unique)


KEEPERS: dict[str, Any] = {
    "slice": lambda view: view[1:2, 5:7],
    "reshaped": lambda view: view.reshape(-1),
    "element": lambda view: view[3, 1023:],
    "numpy of torch": lambda view: view.numpy() if isinstance(view, torch.Tensor) else numpy.asarray(view),
    "torch of numpy": lambda view: torch.from_dlpack(view) if isinstance(view, torch.Tensor) else memoryview(view),
}


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_view_keeps_its_memory_until_the_last_slice_is_gone(
    keeper: str, framework: str, make: Make, cluster: Cluster, unique: str
) -> None:
    receiver, view = received(make, unique, framework=framework)
    other = make(1)
    kept = KEEPERS[keeper](view)
    expected = numpy.array(kept)
    del view
    gc.collect()
    other.mark_done_sync(unique)  # the chunk is gone, but for us
    assert cluster.status(1)["views"] == 1
    assert numpy.array_equal(numpy.array(kept), expected)
    del kept
    cluster.becomes_empty([0, 1])


def test_views_outlive_shutdown_and_are_given_back_all_the_same(make: Make, cluster: Cluster, unique: str) -> None:
    receiver, view = received(make, unique)
    other = make(1)
    receiver.shutdown_sync()
    other.mark_done_sync(unique)
    part = view[2]
    del view
    assert cluster.status(1)["views"] == 1
    assert part[5] == 2 * 1024 + 5
    del part
    cluster.becomes_empty([0, 1])


def test_a_view_outlives_the_client_object_itself(make: Make, cluster: Cluster, unique: str) -> None:
    receiver, view = received(make, unique)
    make.made.remove(receiver)
    del receiver
    gc.collect()
    assert view[3, 7] == 3 * 1024 + 7
    del view
    make(1).mark_done_sync(unique)
    cluster.becomes_empty([0, 1])


def test_a_view_released_and_not_done_stays_for_others(make: Make, cluster: Cluster, unique: str) -> None:
    receiver, view = received(make, unique)
    del view
    assert eventually(lambda: cluster.status(1)["views"] == 0)
    assert receiver.recv_sync(unique)[0, 5] == 5
    receiver.mark_done_sync(unique)


DEBUG = """
import {framework}
receiver = connect(1, framework={framework!r}, debug=True)
value = receiver.recv_sync({id!r})
part = value[1:]
assert float(part[0, 0]) == 1024
receiver.mark_done_sync({id!r})
print("marked", flush=True)
float(part[0, 0])
print("survived", flush=True)
"""


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_in_debug_use_after_mark_done_ends_the_process_and_says_of_what(
    framework: str, make: Make, programs: Programs, unique: str
) -> None:
    make(0).send(numpy.arange(4096, dtype="float32").reshape(4, 1024), unique, [[1]])
    ended = programs.run(DEBUG.format(framework=framework, id=unique))
    assert ended.stdout == "marked\n"
    assert ended.returncode == -signal.SIGSEGV
    assert f"chunk 0 of '{unique}' was used after this process had marked it done" in ended.stderr
    assert 'File "<string>"' in ended.stderr  # where


def test_in_debug_use_before_mark_done_is_fine(make: Make, unique: str) -> None:
    receiver, view = received(make, unique, debug=True)
    assert view[3, 7] == 3 * 1024 + 7
    del view
    receiver.mark_done_sync(unique)
