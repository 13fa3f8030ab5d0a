"""One process with others that bring their own gRPC, protobuf or UCX: in either order of import, both work."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from conftest import Programs

ORDERS = pytest.mark.parametrize("first", [True, False], ids=["imported before", "imported after"])

USE_GRPC = """
import concurrent.futures, grpc

def call_myself():
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/test/Echo")(b"abc", timeout=20) == b"cba"
    server.stop(None).wait(20)

call_myself()
"""
USE_TORCH = """
import torch
assert torch.nn.Linear(64, 64)(torch.ones(3, 64)).sum().backward() is None
"""
USE_NIXL = """
from nixl_cu12._api import nixl_agent, nixl_agent_config
agent = nixl_agent("test", nixl_agent_config(backends=["UCX"]))
assert agent.get_agent_metadata()
"""
# Some of its versions crash in their own libnl when a process ends that has used nothing else.
END_AT_ONCE = """
import os
for client in (near, far, receiver):
    client.shutdown_sync()
os._exit(0)
"""
USE_LIBUCX = """
import libucx
loaded = libucx.load_library()
"""
MOVE = """
import numpy
near, far, receiver = connect(1), connect(2), connect(0)
for n, sender in enumerate((near, far)):
    sender.send(numpy.arange(100_000), f"{id}-{{n}}", [[0]]).result(20)
    assert receiver.recv_sync(f"{id}-{{n}}")[99_999] == 99_999
    receiver.mark_done_sync(f"{id}-{{n}}")
assert receiver.shares_memory
"""


@ORDERS
@pytest.mark.parametrize("use", [USE_GRPC, USE_TORCH, USE_GRPC + USE_TORCH], ids=["grpcio", "torch", "both"])
def test_data_moves_in_one_process_with(use: str, first: bool, programs: Programs, unique: str) -> None:
    if first:
        programs.output(MOVE.format(id=unique) + use, before=use)
    else:
        programs.output(MOVE.format(id=unique) + use + MOVE.format(id=unique + "again"))


@ORDERS
def test_data_moves_in_one_process_with_nixl(first: bool, programs: Programs, unique: str) -> None:
    programs.output(MOVE.format(id=unique) + USE_NIXL + END_AT_ONCE, before=USE_NIXL if first else "")


def test_another_ucx_under_the_same_name_is_refused_in_words(programs: Programs, unique: str) -> None:
    """The package libucx loads its libraries for all, by the names that the system's have: the first one is it."""
    if importlib.util.find_spec("libucx") is None:
        pytest.skip(f"libucx is not installed for {sys.executable}: pip install libucx-cu12")
    ended = programs.run(MOVE.format(id=unique), before=USE_LIBUCX)
    assert ended.returncode == 0 or "these do not work together: install the same UCX" in ended.stderr
