"""What a send tells its caller: captured, delivered, or why not; and memory that is sent without a copy."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

import numpy
import pytest
import sidecar
import torch
from conftest import Cluster, Make, Programs, eventually

MEGABYTE = numpy.zeros((256, 1024), "float32")


def test_captured_says_that_the_source_may_change(make: Make, unique: str) -> None:
    source = numpy.ones((1024, 1024), "float32")
    sent = make(0).send(source, unique, [[2]])
    sent.captured.result(20)
    source[:] = 5
    sent.delivered.result(20)
    receiver = make(2)
    assert receiver.recv_sync(unique).max() == 1
    receiver.mark_done_sync(unique)


def test_the_source_is_kept_until_it_was_captured_and_no_longer(make: Make, unique: str) -> None:
    source = numpy.ones((1024, 1024), "float32")
    gone = threading.Event()
    weakref.finalize(source, gone.set)
    sent = make(0).send(source, unique, [[1]])
    del source
    sent.result(20)
    receiver = make(1)
    assert receiver.recv_sync(unique).min() == 1
    receiver.mark_done_sync(unique)
    assert eventually(gone.is_set)


def test_delivered_says_that_every_destination_holds_the_chunk(make: Make, cluster: Cluster, unique: str) -> None:
    sent = make(0).send(MEGABYTE, unique, [[1], [2]])
    assert sent.delivered is sent
    sent.result(20)
    assert sent.done() and sent.captured.done()
    assert sent.exception() is None
    for rank in (1, 2):
        assert cluster.status(rank)["chunks"] == 1
        assert make(rank).recv_sync(unique, timeout=0).shape == MEGABYTE.shape
        make(rank).mark_done_sync(unique)


def test_a_sent_chunk_can_be_awaited_any_number_of_times(make: Make, unique: str) -> None:
    async def main() -> None:
        sent = make(0).send("x", unique, [[1]])
        await sent.captured
        await asyncio.gather(sent.delivered, sent, sent)

    asyncio.run(main())
    make(1).mark_done_sync(unique)


def test_sending_a_chunk_twice_keeps_the_first_and_names_rank_id_and_chunk(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    sender.send("first", unique, [[1]], 3, 5).result(10)
    again = sender.send("second", unique, [[1]], 3, 5)
    with pytest.raises(sidecar.AlreadyExists) as raised:
        again.result(10)
    assert (raised.value.rank, raised.value.id, raised.value.chunk_id) == (1, unique, 3)
    assert "rank 1" in str(raised.value) and f"id {unique!r}, chunk 3" in str(raised.value)
    assert isinstance(again.exception(), sidecar.AlreadyExists)
    assert receiver.recv_sync(unique, 3) == "first"
    for chunk in range(5):
        receiver.mark_done_sync(unique, chunk)


def test_a_send_that_reaches_some_says_which_it_did_not_reach(make: Make, unique: str) -> None:
    make(3).send("mine", unique, [[1]]).result(10)
    with pytest.raises(sidecar.SidecarError) as raised:
        make(0).send("yours", unique, [[1], [2]]).result(10)
    assert raised.value.failed == {1: sidecar.AlreadyExists}
    assert make(2).recv_sync(unique) == "yours"
    make(1).mark_done_sync(unique)
    make(2).mark_done_sync(unique)


FAILS = """
client = connect(0)
client.send(1, {id!r}, [[1]]).result(10)
failed = client.send(2, {id!r}, [[1]])
while not failed.done():
    pass
{look}
del failed
"""


def test_what_send_returns_keeps_its_client(cluster: Cluster, make: Make, unique: str) -> None:
    config = sidecar.SidecarConfig(
        sidecar_rank=0, send_tensor_shape=1024, send_tensor_dtype="float32", address=cluster.address(0), timeout=30.0
    )
    sidecar.Sidecar(config).send(MEGABYTE, unique, [[2]]).result(20)
    make(2).mark_done_sync(unique)


def test_a_failed_send_that_nobody_looks_at_is_logged(make: Make, programs: Programs, unique: str) -> None:
    ended = programs.run(FAILS.format(id=unique, look=""))
    assert f"send of '{unique}', chunk 0, failed, and nobody looked" in ended.stderr + ended.stdout
    make(1).mark_done_sync(unique)


def test_a_failed_send_that_somebody_looked_at_is_not_logged(make: Make, programs: Programs, unique: str) -> None:
    assert "looked" not in programs.run(FAILS.format(id=unique, look="failed.exception()")).stderr
    make(1).mark_done_sync(unique)


def test_a_send_after_shutdown_fails_and_is_logged_when_ignored(programs: Programs, unique: str) -> None:
    code = f"client = connect(0); client.shutdown_sync(); client.send(1, {unique!r}, [[1]])"
    assert f"send of '{unique}'" in programs.run(code).stderr


def full(make: Make, id: str) -> tuple[Any, int]:
    """A sender whose sidecar has no room for one more megabyte."""
    sender = make(0)
    count = 0
    while True:
        try:
            sender.send(MEGABYTE, f"{id}-{count}", [[1]], timeout=1.0).result(10)
        except sidecar.Timeout:
            return sender, count
        count += 1


def test_a_send_without_room_times_out_or_is_cancelled_and_goes_on_when_there_is_room(
    make: Make, cluster: Cluster, unique: str
) -> None:
    sender, count = full(make, unique)
    assert count > 5
    with pytest.raises(sidecar.Timeout) as raised:
        sender.send(MEGABYTE, unique + "late", [[1]], timeout=0.05).result(10)
    assert raised.value.id == unique + "late"
    assert isinstance(raised.value, TimeoutError)

    waiting = sender.send(MEGABYTE, unique + "cancelled", [[1]])
    with pytest.raises(TimeoutError, match="not over"):
        waiting.result(0.05)
    assert cluster.status(0)["waiting_sends"] == 1
    waiting.cancel()
    with pytest.raises(sidecar.Cancelled):
        waiting.result(10)
    assert eventually(lambda: cluster.status(0)["waiting_sends"] == 0)

    patient = sender.send(MEGABYTE, unique + "patient", [[1]])
    receiver = make(1)
    for chunk in range(count):
        receiver.mark_done_sync(f"{unique}-{chunk}")
    patient.result(10)
    receiver.mark_done_sync(unique + "patient")


def test_what_can_never_fit_is_refused_instead_of_waiting(make: Make, unique: str) -> None:
    with pytest.raises(sidecar.NoSpace):
        make(0).send(numpy.empty(80 << 20, "uint8"), unique, [[1]]).result(20)


# --- allocate


@pytest.mark.parametrize("to", [1, 2], ids=["same node", "other node"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, numpy.float32, "int64"], ids=str)
def test_allocated_memory_is_sent_as_it_is(dtype: Any, to: int, make: Make, unique: str) -> None:
    sender = make(0)
    with sender.allocate((16, 128), dtype) as memory:
        memory[:] = 1
        memory[2, 3] = 0
        sent = sender.send(memory, unique, [[to]])
        sent.result(20)
    receiver = make(to, framework="torch")
    received = receiver.recv_sync(unique)
    assert tuple(received.shape) == (16, 128)
    assert received[2, 3] == 0 and received.sum(dtype=torch.int64) == 16 * 128 - 1
    receiver.mark_done_sync(unique)


def test_allocated_memory_is_what_the_receiver_sees_without_a_copy(make: Make, unique: str) -> None:
    """Written after the send, which nobody should do, it changes at the receiver's."""
    sender, receiver = make(0), make(1)
    with sender.allocate((1024,), "int32") as memory:
        memory[:] = 1
        sender.send(memory, unique, [[1]]).result(10)
        view = receiver.recv_sync(unique)
        memory[7] = 99
        assert view[7] == 99
    receiver.mark_done_sync(unique)


def test_memory_that_was_not_sent_is_given_back_at_the_end(make: Make, cluster: Cluster) -> None:
    sender = make(0)
    with pytest.raises(ZeroDivisionError), sender.allocate((1024,), "int32") as memory:
        assert cluster.in_use(0)
        1 / 0  # noqa: B018
    del memory
    cluster.becomes_empty([0])


def test_async_with_allocates_without_blocking_the_loop(make: Make, unique: str) -> None:
    async def main() -> None:
        sender, receiver = make(0), make(1)
        async with sender.allocate((4, 4)) as memory:  # of the configuration's dtype
            memory[:] = 3
            await sender.send(memory, unique, [[1]])
        received = await receiver.recv(unique)
        assert received.dtype == numpy.float32 and received.sum() == 48
        await receiver.mark_done(unique)

    asyncio.run(main())


def test_sending_allocated_memory_twice_raises(make: Make, unique: str) -> None:
    sender = make(0)
    with sender.allocate((4, 4), torch.int32) as memory:
        memory[:] = 0
        sender.send(memory, unique, [[1]]).result(10)
        with pytest.raises(ValueError, match="sent already"):
            sender.send(memory, unique + "again", [[1]])
    make(1).mark_done_sync(unique)


@pytest.mark.parametrize("dtype", [torch.int32, "int32"], ids=["torch", "numpy"])
def test_a_part_of_allocated_memory_or_another_look_at_it_arrives_as_what_it_shows(
    dtype: Any, make: Make, unique: str
) -> None:
    sender, receiver = make(0), make(1)
    with sender.allocate((4, 4), dtype) as memory:
        for row in range(4):
            for column in range(4):
                memory[row, column] = 10 * row + column
        looks = [memory[1:], memory.T, memory[:, 1], memory.reshape(2, 8)]
        expected = [numpy.array(look) for look in looks]
        for chunk, look in enumerate(looks):
            sender.send(look, unique, [[1]], chunk, len(looks)).result(10)
    for chunk, each in enumerate(expected):
        assert numpy.array_equal(receiver.recv_sync(unique, chunk), each)
        receiver.mark_done_sync(unique, chunk)


def test_allocating_what_can_never_fit_is_refused_and_what_may_fit_later_times_out(
    make: Make, cluster: Cluster, unique: str
) -> None:
    sender = make(0)
    with pytest.raises(sidecar.NoSpace), sender.allocate((80 << 20,), "uint8"):
        pass
    held = [sender.allocate((8 << 20,), "uint8", timeout=0.1)]
    with pytest.raises(sidecar.Timeout):
        while True:
            held[-1].__enter__()
            held.append(sender.allocate((8 << 20,), "uint8", timeout=0.1))
    held.pop()  # the one that got none
    for each in held:
        each.__exit__(None, None, None)
    cluster.becomes_empty([0])
