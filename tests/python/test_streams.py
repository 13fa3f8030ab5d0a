"""Datums of many chunks: in order for who reads them, in any order for who sends them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy
import pytest
import sidecar
import torch
from conftest import Cluster, Make, eventually

NODES = pytest.mark.parametrize("to", [1, 2], ids=["same node", "other node"])


def mixed(count: int) -> list[Any]:
    kinds = [
        lambda n: n,
        lambda n: {"token": n, "text": "x" * n},
        lambda n: torch.full((n + 1, 7), n, dtype=torch.bfloat16),
        lambda n: None,
        lambda n: (n, b"bytes"),
        lambda n: numpy.full((3, n), n, "int16"),
    ]
    return [kinds[n % len(kinds)](n) for n in range(count)]


def same(received: Any, sent: Any) -> bool:
    if isinstance(sent, (torch.Tensor, numpy.ndarray)):
        return tuple(received.shape) == tuple(sent.shape) and torch.equal(received, torch.as_tensor(sent))
    return type(received) is type(sent) and bool(received == sent)


@NODES
def test_objects_and_tensors_sent_out_of_order_are_read_in_order(to: int, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(to, framework="torch")
    chunks = mixed(40)
    order = list(range(40))
    random.Random(5).shuffle(order)

    async def main() -> None:
        async def read() -> list[bool]:
            n = iter(range(40))
            return [same(each, chunks[next(n)]) async for each in receiver.stream(unique, mark_done=True)]

        reading = asyncio.create_task(read())
        for position, n in enumerate(order):
            sender.send(chunks[n], unique, [[to]], n, stream=True)
            if position == 20:
                sender.close_stream(unique, 40, [[to]])
            await asyncio.sleep(0)
        assert await asyncio.wait_for(reading, 30) == [True] * 40

    asyncio.run(main())


@NODES
def test_a_plain_for_reads_a_stream_too(to: int, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(to)
    for n in range(10):
        sender.send(n * n, unique, [[to]], n, 10)
    assert list(receiver.stream(unique, mark_done=True)) == [n * n for n in range(10)]


@pytest.mark.parametrize("count", [1, 5])
def test_recv_past_the_end_gives_none(count: int, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    for n in range(count):
        sender.send(n, unique, [[1]], n, count).result(10)
    assert receiver.recv_sync(unique, count) is None
    assert receiver.recv_sync(unique, count + 1000) is None
    for n in range(count):
        receiver.mark_done_sync(unique, n)
    assert receiver.recv_sync(unique, count) is None  # still known


def test_a_wait_past_the_end_ends_when_the_stream_is_closed(make: Make, cluster: Cluster, unique: str) -> None:
    sender, receiver = make(0), make(1)

    async def main() -> None:
        sender.send("only", unique, [[1]], stream=True)
        past = asyncio.create_task(receiver.recv(unique, 1))
        there = lambda: cluster.status(1)["waiting_recvs"] == 1  # noqa: E731
        assert await asyncio.get_running_loop().run_in_executor(None, eventually, there)
        await sender.close_stream(unique, 1, [[1]])
        assert await past is None
        await receiver.mark_done(unique)

    asyncio.run(main())


def test_a_stream_of_no_chunks_is_empty(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    sender.close_stream(unique, 0, [[1]]).result(10)
    assert list(receiver.stream(unique)) == []


def test_marking_done_on_the_way_holds_one_chunk_at_a_time(make: Make, cluster: Cluster, unique: str) -> None:
    sender, receiver = make(0), make(1)
    for n in range(8):
        sender.send(numpy.zeros(5000), unique, [[1]], n, 8).result(10)
    for n, _ in enumerate(receiver.stream(unique, mark_done=True)):
        assert cluster.status(1)["chunks"] == 8 - n
    cluster.becomes_empty([0, 1])


def test_a_stream_left_early_marks_nothing_that_was_not_asked_past(make: Make, cluster: Cluster, unique: str) -> None:
    sender, receiver = make(0), make(1)
    for n in range(4):
        sender.send(n, unique, [[1]], n, 4).result(10)
    for each in receiver.stream(unique, mark_done=True):
        if each == 2:
            break
    assert cluster.status(1)["chunks"] == 2
    assert receiver.recv_sync(unique, 2) == 2
    receiver.mark_done_sync(unique, 2)
    receiver.mark_done_sync(unique, 3)


def test_the_timeout_of_a_stream_is_for_each_chunk_and_leaves_it_where_it_was(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    stream = receiver.stream(unique, timeout=0.05, mark_done=True)
    sender.send("first", unique, [[1]], 0, 2).result(10)
    reading = iter(stream)
    assert next(reading) == "first"
    with pytest.raises(sidecar.Timeout) as raised:
        next(reading)
    assert (raised.value.id, raised.value.chunk_id) == (unique, 1)
    sender.send("second", unique, [[1]], 1, 2).result(10)
    assert list(stream) == ["second"]


def test_an_object_stream_that_cannot_be_decoded_raises_and_goes_on_behind(make: Make, unique: str) -> None:
    sender, receiver = make(0, allow_pickle=True), make(1)
    sender.send({1, 2}, unique, [[1]], 0, 2)
    sender.send("fine", unique, [[1]], 1, 2)
    with pytest.raises(sidecar.Unauthorized):
        next(iter(receiver.stream(unique)))
    assert receiver.recv_sync(unique, 1) == "fine"
    receiver.mark_done_sync(unique, 0)
    receiver.mark_done_sync(unique, 1)


def test_chunks_are_done_in_any_order_twice_and_before_they_come(make: Make, cluster: Cluster, unique: str) -> None:
    sender, receiver = make(0), make(1)
    receiver.mark_done_sync(unique, 2)
    for n in range(3):
        sender.send(n, unique, [[1]], n, 3).result(10)
    receiver.mark_done_sync(unique, 1)
    receiver.mark_done_sync(unique, 1)
    receiver.mark_done_sync(unique, 0)
    cluster.becomes_empty([0, 1])
    for n in range(3):
        with pytest.raises(sidecar.AlreadyDone) as raised:
            receiver.recv_sync(unique, n)
        assert raised.value.chunk_id == n


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda sender, id: sender.send(1, id, [[1]], 5, stream=True), "chunk|count|end"),
        (lambda sender, id: sender.close_stream(id, 3, [[1]]), "count|chunks"),
        (lambda sender, id: sender.send(1, id, [[1]], 1, 2), "stream|chunks"),
    ],
    ids=["chunk past the end", "another count", "not a stream"],
)
def test_what_contradicts_the_stream_is_an_invalid_argument(spoil: Any, named: str, make: Make, unique: str) -> None:
    sender = make(0)
    sender.send(0, unique, [[1]], 0, stream=True).result(10)
    sender.close_stream(unique, 2, [[1]]).result(10)
    with pytest.raises(ValueError, match=named):
        spoil(sender, unique).result(10)
    sender.send(1, unique, [[1]], 1, stream=True).result(10)
    assert list(make(1).stream(unique, mark_done=True)) == [0, 1]
