"""Sidecars and executors that die: who is told, what stays readable, and that all is free again."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator

import numpy
import pytest
import sidecar
from conftest import Cluster, Make, Programs, eventually


@pytest.fixture(scope="module")
def mortal() -> Iterator[Cluster]:
    """Sidecars that tests may kill."""
    cluster = Cluster(["a", "a", "b"])
    try:
        yield cluster
        cluster.becomes_empty()
    finally:
        cluster.close()


@pytest.fixture
def join(mortal: Cluster) -> Iterator[Make]:
    join = Make(mortal)
    yield join
    join.close()


@pytest.fixture
def executors(mortal: Cluster) -> Iterator[Programs]:
    executors = Programs(mortal)
    yield executors
    executors.close()


def test_what_waits_at_a_sidecar_that_dies_is_told_which_was_lost(mortal: Cluster, join: Make, unique: str) -> None:
    receiver = join(1)

    async def main() -> None:
        waiting = [asyncio.create_task(receiver.recv(f"{unique}-{n}")) for n in range(10)]
        await receiver.mark_done(unique + "-other")  # the calls before it are there, too
        mortal.kill(1)
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert [type(each) for each in ended] == [sidecar.PeerLost] * 10
        assert {each.rank for each in ended if isinstance(each, sidecar.PeerLost)} == {1}
        assert isinstance(ended[0], ConnectionError)

    asyncio.run(main())
    assert eventually(lambda: not receiver.connected)
    mortal.launch(1)
    mortal.await_ready(1)


def test_a_client_finds_its_restarted_sidecar_by_itself(mortal: Cluster, join: Make, unique: str) -> None:
    sender, receiver = join(0), join(1)
    mortal.restart(1)
    assert eventually(lambda: receiver.connected, 20)

    def arrives() -> bool:
        try:
            sender.send("again", unique, [[1]], timeout=2.0).result(10)
        except (sidecar.PeerLost, sidecar.Unavailable, sidecar.Timeout):
            return False
        except sidecar.AlreadyExists:
            pass
        return True

    assert eventually(arrives, 30)
    assert receiver.recv_sync(unique) == "again"
    receiver.mark_done_sync(unique)


def test_without_reconnect_a_client_stays_lost_and_says_so(mortal: Cluster, join: Make, unique: str) -> None:
    receiver = join(1, reconnect=False)
    mortal.restart(1)
    assert eventually(lambda: not receiver.connected)
    with pytest.raises((sidecar.Unavailable, sidecar.PeerLost)):
        receiver.recv_sync(unique, timeout=1.0)


def test_a_view_of_a_sidecar_that_died_stays_readable(mortal: Cluster, join: Make, unique: str) -> None:
    receiver = join(1)
    join(2).send(numpy.arange(9000), unique, [[1]]).result(10)  # by the network: the bytes are in 1's own arena
    view = receiver.recv_sync(unique)
    mortal.restart(1)
    assert eventually(lambda: receiver.connected, 20)
    assert view[8999] == 8999
    del view
    gc.collect()


def test_sending_to_a_rank_that_is_gone_ends_in_time(mortal: Cluster, join: Make, unique: str) -> None:
    sender = join(0)
    sender.send(1, unique + "before", [[2]]).result(10)
    mortal.kill(2)
    with pytest.raises((sidecar.PeerLost, sidecar.Timeout)) as raised:
        sender.send(numpy.ones(5000), unique, [[2]], timeout=1.0).result(20)
    assert raised.value.rank == 2 or 2 in raised.value.failed
    assert raised.value.id == unique
    mortal.launch(2)
    mortal.await_ready(2)


def test_no_sidecar_at_all_is_unavailable_within_the_time_given() -> None:
    with pytest.raises(sidecar.Unavailable):
        sidecar.Sidecar(
            sidecar.SidecarConfig(
                sidecar_rank=0,
                send_tensor_shape=1,
                send_tensor_dtype="uint8",
                address="127.0.0.1:1",
                connect_timeout=0.3,
            )
        )


CONSUMER = """
import numpy
client = connect(1)
view = client.recv_sync({id!r})
waiting = client._client.recv({id!r} + "-never", 0, 20.0)
allocation = client.allocate((1000, 1000), "float64").__enter__()
print(int(view[-1]), flush=True)
sys.stdin.read()
"""


def test_an_executor_that_is_killed_leaves_nothing_and_its_successor_takes_over(
    mortal: Cluster, join: Make, executors: Programs, unique: str
) -> None:
    join(0).send(numpy.arange(9000), unique, [[1]]).result(10)
    for _ in range(3):
        consumer = executors.start(CONSUMER.format(id=unique))
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "8999\n", consumer.communicate(timeout=20)
        assert mortal.status(1)["views"] == 1
        consumer.send_signal(signal.SIGKILL)
        consumer.wait(20)
        assert eventually(lambda: mortal.status(1)["views"] == 0)
        assert eventually(lambda: mortal.status(1)["waiting_recvs"] == 0)
    receiver = join(1)
    assert receiver.recv_sync(unique)[8999] == 8999
    receiver.mark_done_sync(unique)
    mortal.becomes_empty([0, 1])


PRODUCER = """
import numpy
client = connect(0)
for n in range(10):
    client.send(numpy.full(5000, n), {id!r}, [[1], [2]], n, 10).captured.result(10)
print("captured", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_producer_had_captured_is_delivered(
    mortal: Cluster, join: Make, executors: Programs, unique: str
) -> None:
    producer = executors.start(PRODUCER.format(id=unique))
    assert producer.stdout is not None
    assert producer.stdout.readline() == "captured\n", producer.communicate(timeout=20)
    producer.send_signal(signal.SIGKILL)
    producer.wait(20)
    for rank in (1, 2):
        assert [int(each[7]) for each in join(rank).stream(unique, mark_done=True)] == list(range(10))


CHAIN = """
client = connect(1)
for n in range({first}, {first} + 5):
    value = client.recv_sync({id!r}, n)
    client.send(value * 2, {id!r} + "-out", [[2]], n, 15).result(10)
    client.mark_done_sync({id!r}, n)
print("five", flush=True)
sys.stdin.read()
"""


def test_an_executor_in_the_middle_is_killed_and_respawned_without_losing_a_chunk(
    mortal: Cluster, join: Make, executors: Programs, unique: str
) -> None:
    sender, receiver = join(0), join(2)
    for n in range(15):
        sender.send(numpy.full(3000, n), unique, [[1]], n, 15)
    for first in (0, 5, 10):
        middle = executors.start(CHAIN.format(id=unique, first=first))
        assert middle.stdout is not None
        assert middle.stdout.readline() == "five\n", middle.communicate(timeout=20)
        middle.send_signal(signal.SIGKILL)
        middle.wait(20)
    assert [int(each[0]) for each in receiver.stream(unique + "-out", mark_done=True)] == [2 * n for n in range(15)]
    mortal.becomes_empty()


def test_a_client_that_was_stopped_for_a_moment_goes_on(join: Make, executors: Programs, unique: str) -> None:
    program = executors.start(f"""
        client = connect(1)
        print("there", flush=True)
        print(client.recv_sync({unique!r}), flush=True)
    """)
    assert program.stdout is not None
    assert program.stdout.readline() == "there\n"
    program.send_signal(signal.SIGSTOP)
    join(0).send("late", unique, [[1]]).result(10)
    program.send_signal(signal.SIGCONT)
    assert program.stdout.readline() == "late\n"
    join(1).mark_done_sync(unique)
