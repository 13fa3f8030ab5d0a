"""What the rest of a process does to a client: threads, forks, signals, and ends without goodbye."""

from __future__ import annotations

import signal
import threading
import time

import numpy
import pytest
from conftest import Cluster, Make, Programs, eventually, free_ports

CHILDREN = {
    "recv": "client.recv_sync('x', timeout=1)",
    "send": "client.send(1, 'x', [[0]])",
    "mark_done": "client.mark_done_sync('x')",
    "allocate": "client.allocate((1,), 'uint8').__enter__()",
    "shutdown": "client.shutdown_sync()",
    "another client": "connect(1)",
    "await": "__import__('asyncio').run(client.recv('x'))",
}


@pytest.mark.parametrize("call", CHILDREN)
def test_a_forked_child_is_told_at_once_instead_of_hanging(
    call: str, programs: Programs, cluster: Cluster, make: Make, unique: str
) -> None:
    make(0).send(numpy.arange(9), unique, [[1]]).result(10)
    said = programs.output(f"""
        import os
        client = connect(1)
        view = client.recv_sync({unique!r})
        child = os.fork()
        if child == 0:
            try:
                {CHILDREN[call]}
            except RuntimeError as error:
                print("child:", error, flush=True)
            del view, client
            sys.exit(0)  # with all that the end of an interpreter does
        status = os.waitpid(child, 0)[1]
        print("parent:", status, int(view[8]), client.connected)
        client.mark_done_sync({unique!r})
    """)
    assert said.splitlines()[0].startswith("child: this process was forked from one that uses sidecar")
    assert "spawn" in said
    assert said.splitlines()[1] == "parent: 0 8 True"


def test_a_child_that_ends_leaves_the_parents_calls_alone(programs: Programs, make: Make, unique: str) -> None:
    program = programs.start(f"""
        import os
        client = connect(1)
        call = client._client.recv({unique!r}, 0, 30.0)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        call.wait()
        client.mark_done_sync({unique!r})
        print(call.result().nbytes, flush=True)
    """)
    assert program.stdout is not None and program.stderr is not None
    assert program.stdout.readline() == "0\n", program.communicate(timeout=20)
    make(0).send(numpy.zeros(10), unique, [[1]])
    assert program.stdout.readline() == "80\n"
    assert program.wait(20) == 0


def test_processes_that_are_spawned_use_clients_of_their_own(programs: Programs, make: Make, unique: str) -> None:
    """As in multiprocessing's 'spawn': a new program, from a process that has a client."""
    said = programs.output(f'''
        import subprocess
        client = connect(1)
        code = f"""if True:
            import sys
            sys.path.insert(0, {{sys.path[0]!r}})
            import sidecar
            config = sidecar.SidecarConfig(sidecar_rank=0, send_tensor_shape=1, send_tensor_dtype="uint8",
                                           address={{ADDRESSES[0]!r}})
            client = sidecar.Sidecar(config)
            client.send("hello", {unique!r}, [[1]]).result(10)
        """
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
        print(client.recv_sync({unique!r}))
        client.mark_done_sync({unique!r})
    ''')
    assert said == "hello"


ENDS = {
    "nothing else": "",
    "a live view": "view = client.recv_sync({id!r})",
    "a view in a module": "import json; json.view = client.recv_sync({id!r})[1:]",
    "a view in a cycle": "cycle = [client.recv_sync({id!r})]; cycle.append(cycle); del client",
    "a torch view": "view = connect(1, framework='torch').recv_sync({id!r})",
    "a view after shutdown": "view = client.recv_sync({id!r}); client.shutdown_sync()",
    "a waiting call": "call = client._client.recv('never', 0, 30.0)",
    "a send under way": "sent = client.send(bytearray(100_000), {id!r} + 'sent', [[3]], timeout=1.0)",
    "allocated memory": "memory = client.allocate((5,), 'uint8').__enter__()",
    "a thread that waits": """
import contextlib, threading
def wait():
    with contextlib.suppress(sidecar.Cancelled):
        client.recv_sync('never')
for _ in range(8):
    threading.Thread(target=wait, daemon=True).start()
""",
    "a task that waits": """
import asyncio
loop = asyncio.new_event_loop()
task = loop.create_task(client.recv('never'))
loop.run_until_complete(asyncio.sleep(0))
task._log_destroy_pending = False
""",
}


@pytest.mark.parametrize("left", ENDS)
def test_an_interpreter_that_ends_without_shutdown_ends_clean(
    left: str, make: Make, programs: Programs, cluster: Cluster, unique: str
) -> None:
    make(0).send(numpy.arange(100_000), unique, [[1]]).result(10)
    ended = programs.run("client = connect(1)\n" + ENDS[left].format(id=unique))
    make(1).mark_done_sync(unique)
    make(3).mark_done_sync(unique + "sent")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "Traceback" not in ended.stderr and "Fatal" not in ended.stderr, ended.stderr
    cluster.becomes_empty()


def test_ctrl_c_ends_a_blocking_recv_and_its_wait_at_the_sidecar(
    programs: Programs, cluster: Cluster, unique: str
) -> None:
    program = programs.start(f"""
        client = connect(1)
        try:
            client.recv_sync({unique!r})
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.read()
    """)
    assert eventually(lambda: cluster.status(1)["waiting_recvs"] == 1)
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "interrupted\n"
    assert eventually(lambda: cluster.status(1)["waiting_recvs"] == 0)
    out, err = program.communicate("", timeout=20)
    assert program.returncode == 0 and not err


def test_ctrl_c_ends_the_wait_for_a_sidecar_that_does_not_answer(programs: Programs) -> None:
    [port] = free_ports(1)
    program = programs.start(f"""
        print("waiting", flush=True)
        try:
            connect(0, address="127.0.0.1:{port}")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    assert program.stdout is not None
    assert program.stdout.readline() == "waiting\n"
    time.sleep(0.5)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=10)  # it would wait for 30 s
    assert (program.returncode, out, err) == (0, "interrupted\n", "")


def test_ctrl_c_ends_a_blocking_stream_and_its_wait_at_the_sidecar(
    programs: Programs, cluster: Cluster, unique: str
) -> None:
    program = programs.start(f"""
        client = connect(1)
        try:
            for _ in client.stream({unique!r}):
                pass
        except KeyboardInterrupt as error:
            kept = error  # and with it all that the loop had
            print("interrupted", flush=True)
        sys.stdin.read()
    """)
    assert eventually(lambda: cluster.status(1)["waiting_recvs"] == 1)
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "interrupted\n"
    assert eventually(lambda: cluster.status(1)["waiting_recvs"] == 0)
    assert program.communicate("", timeout=20)[1] == ""


def test_a_blocking_recv_lets_other_threads_run(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1)
    received: list[object] = []
    waiting = threading.Thread(target=lambda: received.append(receiver.recv_sync(unique)))
    waiting.start()
    begin = time.monotonic()
    counted = sum(range(1_000_000))
    sender.send(counted, unique, [[1]])
    waiting.join(20)
    assert received == [counted]
    assert time.monotonic() - begin < 15
    receiver.mark_done_sync(unique)


def test_many_threads_use_one_client(make: Make, unique: str) -> None:
    sender, receiver = make(0), make(2)
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for chunk in range(50):
                sender.send(numpy.full(500, n * 100 + chunk), f"{unique}-{n}", [[2]], chunk, 50)
                assert receiver.recv_sync(f"{unique}-{n}", chunk)[499] == n * 100 + chunk
                receiver.mark_done_sync(f"{unique}-{n}", chunk)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(50)
    assert not failures and not any(worker.is_alive() for worker in workers)


def test_shutdown_from_another_thread_ends_a_blocking_recv(make: Make, cluster: Cluster, unique: str) -> None:
    receiver = make(1)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            receiver.recv_sync(unique)
        except BaseException as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert eventually(lambda: cluster.status(1)["waiting_recvs"] == 1)
    receiver.shutdown_sync()
    waiting.join(20)
    assert [type(error).__name__ for error in ended] == ["Cancelled"]


def test_shutdown_twice_and_as_a_context_is_fine(make: Make) -> None:
    with make(1) as client:
        client.shutdown_sync()
    client.shutdown_sync()
    assert not client.connected
