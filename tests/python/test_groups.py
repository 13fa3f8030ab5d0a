"""Executors of several ranks: who sends what, who may receive, and when memory is free again."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy
import pytest
import sidecar
import torch
from conftest import Cluster, Make

PAIR = [2, 3]


def pair(make: Make, **settings: Any) -> tuple[sidecar.Sidecar, sidecar.Sidecar]:
    return make(2, group=PAIR, **settings), make(3, group=PAIR, **settings)


def test_all_members_receive_and_one_mark_done_frees(make: Make, cluster: Cluster, unique: str) -> None:
    first, second = pair(make)
    given = numpy.random.default_rng(3).random((100, 1024))
    make(0).send(given, unique, [PAIR])
    views = [member.recv_sync(unique) for member in (first, second, first)]
    assert all(numpy.array_equal(view, given) for view in views)
    del views
    second.mark_done_sync(unique)
    for member in (first, second):
        with pytest.raises(sidecar.AlreadyDone):
            member.recv_sync(unique)
    cluster.becomes_empty()


def test_members_on_one_node_share_the_memory_of_the_leader(make: Make, unique: str) -> None:
    first, second = pair(make, writable_views=True)
    make(0).send(numpy.zeros(5000), unique, [PAIR])
    one, other = first.recv_sync(unique), second.recv_sync(unique)
    one[17] = 4
    assert other[17] == 4
    first.mark_done_sync(unique)


def test_one_send_reaches_several_groups_and_each_frees_its_own(make: Make, cluster: Cluster, unique: str) -> None:
    first, _ = pair(make)
    alone = make(1)
    make(0).send(numpy.arange(3000), unique, [[1], PAIR]).result(10)
    alone.mark_done_sync(unique)
    assert first.recv_sync(unique, timeout=5)[2999] == 2999
    first.mark_done_sync(unique)
    cluster.becomes_empty()


def test_members_wait_together_and_are_woken_together(make: Make, unique: str) -> None:
    first, second = pair(make)
    sender = make(0)

    async def main() -> None:
        waiting = [asyncio.create_task(member.recv(unique)) for member in (first, second) for _ in range(10)]
        await asyncio.sleep(0)
        sender.send("all", unique, [PAIR])
        assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == ["all"] * 20
        await first.mark_done(unique)

    asyncio.run(main())


@pytest.mark.parametrize(("group", "to"), [([2, 3], 0), ([0, 1], 2)], ids=["to 0", "to 2"])
@pytest.mark.parametrize("concurrent", [False, True], ids=["one copies", "each copies its share"])
@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_a_group_that_sends_hands_over_one_tensor(
    rows: int, concurrent: bool, group: list[int], to: int, make: Make, cluster: Cluster, unique: str
) -> None:
    """Every member makes the same call."""
    members = [make(rank, group=group, concurrent_copy=concurrent) for rank in group]
    given = numpy.random.default_rng(rows).random((rows, 1024))
    sent = [member.send(given, unique, [[to]]) for member in members]
    for each in sent:
        each.result(20)
    receiver = make(to)
    assert numpy.array_equal(receiver.recv_sync(unique), given)
    receiver.mark_done_sync(unique)
    cluster.becomes_empty()


def test_with_concurrent_copy_each_member_brings_its_own_share(make: Make, unique: str) -> None:
    """The members' tensors differ here, as they never should, to show whose bytes arrive."""
    first, second = pair(make, concurrent_copy=True)
    ours = [member.send(numpy.full((8, 1024), n, "float32"), unique, [[0]]) for n, member in ((1, first), (2, second))]
    for each in ours:
        each.result(20)
    receiver = make(0)
    received = receiver.recv_sync(unique)
    assert received[0].max() == 1 and received[-1].min() == 2
    assert (received == 1).sum() == (received == 2).sum()
    receiver.mark_done_sync(unique)


def test_without_concurrent_copy_the_first_members_bytes_arrive(make: Make, unique: str) -> None:
    first, second = pair(make)
    others = second.send(numpy.full(2048, 2.0), unique, [[0]])
    ours = first.send(numpy.full(2048, 1.0), unique, [[0]])
    ours.result(20)
    others.result(20)
    receiver = make(0)
    received = receiver.recv_sync(unique)
    assert received.min() == received.max() == 1
    receiver.mark_done_sync(unique)


@pytest.mark.parametrize("concurrent", [False, True], ids=["one copies", "each copies its share"])
def test_a_group_streams_objects_and_tensors(concurrent: bool, make: Make, unique: str) -> None:
    members = pair(make, concurrent_copy=concurrent, framework="torch")
    chunks: list[Any] = [torch.arange(4096).reshape(4, 1024), {"token": 1}, torch.ones(1), "text", None]
    for n in (3, 0, 4, 2, 1):
        for member in members:
            member.send(chunks[n], unique, [[1]], n, stream=True)
    for member in members:
        member.close_stream(unique, len(chunks), [[1]])
    receiver = make(1, framework="torch")
    count = 0
    for n, each in enumerate(receiver.stream(unique, mark_done=True)):
        assert torch.equal(each, chunks[n]) if isinstance(each, torch.Tensor) else each == chunks[n]
        count += 1
    assert count == len(chunks)


def test_a_share_that_the_other_member_never_completes_times_out_and_leaves_nothing(
    make: Make, cluster: Cluster, unique: str
) -> None:
    first, second = pair(make, concurrent_copy=True)
    lonely = second.send(numpy.ones((4, 1024)), unique, [[0]], timeout=0.3)
    with pytest.raises(sidecar.SidecarError) as raised:
        lonely.result(20)
    assert raised.value.id == unique
    cluster.becomes_empty()
    assert first.connected


def test_without_concurrent_copy_the_other_members_sends_bring_nothing(
    make: Make, cluster: Cluster, unique: str
) -> None:
    first, second = pair(make)
    second.send(numpy.ones((4, 1024)), unique, [[0]]).result(20)
    cluster.becomes_empty()
    with pytest.raises(sidecar.Timeout):
        make(0).recv_sync(unique, timeout=0)
    assert first.connected


@pytest.mark.parametrize("concurrent", [False, True], ids=["one copies", "each copies its share"])
def test_a_group_sends_allocated_memory(concurrent: bool, make: Make, cluster: Cluster, unique: str) -> None:
    sent = []
    for member in pair(make, concurrent_copy=concurrent):
        with member.allocate((64, 128), "float64") as memory:
            memory[:] = 3
            sent.append(member.send(memory, unique, [[0]]))
    for each in sent:
        each.result(20)
    del memory
    receiver = make(0)
    assert receiver.recv_sync(unique).sum() == 3 * 64 * 128
    receiver.mark_done_sync(unique)
    cluster.becomes_empty()
