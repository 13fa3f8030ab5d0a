"""Waiting on event loops: one descriptor for each, no threads, no polling, and cancelling that reaches the sidecar."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy
import pytest
import sidecar
import uvloop
from conftest import Cluster, Make, eventually

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on a new loop of either kind, for at most 60 seconds."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, 60))

    return run


def threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


async def waits_there(cluster: Cluster, rank: int, count: int) -> None:
    """Until that many recvs wait at the sidecar."""
    loop = asyncio.get_running_loop()
    at_sidecar = lambda: cluster.status(rank)["waiting_recvs"] == count  # noqa: E731
    assert await loop.run_in_executor(None, eventually, at_sidecar), cluster.status(rank)["waiting_recvs"]


def test_two_hundred_concurrent_recvs_each_get_theirs(run: Run, make: Make, cluster: Cluster, unique: str) -> None:
    sender, receiver = make(0), make(2)

    async def main() -> None:
        waiting = [asyncio.create_task(receiver.recv(f"{unique}-{n}")) for n in range(200)]
        await waits_there(cluster, 2, 200)
        for n in reversed(range(200)):
            sender.send(numpy.full(10, n), f"{unique}-{n}", [[2]])
        received = await asyncio.gather(*waiting)
        assert [int(each[0]) for each in received] == list(range(200))
        await asyncio.gather(*(receiver.mark_done(f"{unique}-{n}") for n in range(200)))

    run(main())


def test_waiting_takes_no_thread_and_one_descriptor_for_each_loop(run: Run, make: Make, unique: str) -> None:
    receiver = make(1)

    async def main() -> None:
        await receiver.mark_done(unique + "first")
        before, open_before = threads(), len(os.listdir("/proc/self/fd"))
        waiting = [asyncio.create_task(receiver.recv(f"{unique}-{n}")) for n in range(200)]
        await receiver.mark_done(unique + "second")
        assert threads() == before
        assert len(os.listdir("/proc/self/fd")) == open_before
        for each in waiting:
            each.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)

    run(main())


def test_waiting_takes_no_processor_time(run: Run, make: Make, unique: str) -> None:
    receiver = make(1)

    async def main() -> None:
        begin = time.process_time()
        with pytest.raises(sidecar.Timeout):
            await receiver.recv(unique, timeout=1.0)
        assert time.process_time() - begin < 0.3

    run(main())


def test_a_waiting_recv_does_not_hold_up_the_loop(run: Run, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)

    async def main() -> None:
        waiting = asyncio.create_task(receiver.recv(unique))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        await sender.send("here", unique, [[1]])
        assert await waiting == "here"
        await receiver.mark_done(unique)

    run(main())


def test_cancelling_the_task_cancels_the_wait_at_the_sidecar(
    run: Run, make: Make, cluster: Cluster, unique: str
) -> None:
    receiver = make(1)

    async def main() -> None:
        waiting = asyncio.create_task(receiver.recv(unique))
        await waits_there(cluster, 1, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await waits_there(cluster, 1, 0)

    run(main())


def test_asyncios_own_time_limit_cancels_too(run: Run, make: Make, cluster: Cluster, unique: str) -> None:
    receiver = make(1)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await receiver.recv(unique)
        await waits_there(cluster, 1, 0)

    run(main())


def test_a_chunk_that_meets_the_cancellation_on_its_way_is_not_leaked(
    run: Run, make: Make, cluster: Cluster, unique: str
) -> None:
    sender, receiver = make(0), make(1)

    async def main() -> None:
        for n in range(50):
            waiting = asyncio.create_task(receiver.recv(unique, n))
            sent = sender.send(numpy.ones(2000), unique, [[1]], n, 50)
            for _ in range(n % 7):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await sent
            await receiver.mark_done(unique, n)

    run(main())
    gc.collect()
    cluster.becomes_empty([0, 1])


def test_a_cancelled_wait_for_a_send_leaves_the_send_alone(run: Run, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)

    async def main() -> None:
        sent = sender.send(numpy.ones((1024, 1024)), unique, [[1]])

        async def look() -> None:
            await sent

        looking = asyncio.create_task(look())
        await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await sent.delivered
        await receiver.mark_done(unique)

    run(main())


def test_a_timeout_is_one_of_pythons_and_names_the_chunk(run: Run, make: Make, unique: str) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as raised:
            await make(1).recv(unique, 3, timeout=0.05)
        assert isinstance(raised.value, sidecar.Timeout)
        assert (raised.value.id, raised.value.chunk_id) == (unique, 3)

    run(main())


def test_several_loops_in_several_threads_share_a_client(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    failures: list[BaseException] = []

    def work(n: int) -> None:
        async def main() -> None:
            for chunk in range(30):
                waiting = asyncio.create_task(receiver.recv(f"{unique}-{n}", chunk))
                await asyncio.sleep(0)
                await sender.send([n, chunk], f"{unique}-{n}", [[1]], chunk, 30)
                assert await waiting == [n, chunk]
                await receiver.mark_done(f"{unique}-{n}", chunk)

        try:
            (uvloop.run if n % 2 else asyncio.run)(asyncio.wait_for(main(), 50))
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not failures and not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "with tasks that wait"])
def test_loops_that_are_gone_leave_no_descriptors(factory: Any, orderly: bool, make: Make, unique: str) -> None:
    receiver = make(1)

    def use_a_loop() -> None:
        loop = factory()
        waiting = loop.create_task(receiver.recv(unique))
        loop.run_until_complete(asyncio.sleep(0))
        if orderly:
            waiting.cancel()
            loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        else:
            waiting._log_destroy_pending = False
        loop.close()

    use_a_loop()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        use_a_loop()
    gc.collect()
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_shutdown_ends_what_waits_with_cancelled(run: Run, make: Make, unique: str) -> None:
    async def main() -> None:
        async with make(1) as receiver:
            waiting = asyncio.create_task(receiver.recv(unique))
            await asyncio.sleep(0)
            await receiver.shutdown()
            with pytest.raises(sidecar.Cancelled):
                await waiting
            assert not receiver.connected
            with pytest.raises((sidecar.Unavailable, sidecar.Cancelled)):
                await receiver.recv(unique)

    run(main())
