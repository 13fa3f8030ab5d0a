"""What is refused before anything is sent, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from conftest import Make
from sidecar import InvalidArgument, Sidecar, SidecarConfig, SidecarError

SHAPE = {"send_tensor_shape": (-1, 8), "send_tensor_dtype": torch.float32}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sidecar_rank": 0}, "send_tensor_shape, recv_tensor_shape"),
        ({"sidecar_rank": -1, **SHAPE}, "negative"),
        ({"sidecar_rank": 0, "group": [0, -1], **SHAPE}, "group"),
        ({"sidecar_rank": 0, "group": [1, 2], **SHAPE}, "own rank, 0"),
        ({"sidecar_rank": 0, "group": [0, 1, 1], **SHAPE}, "twice"),
        ({"sidecar_rank": 0, "group": [], **SHAPE}, "group"),
        ({"sidecar_rank": 0, "max_workers": 0, **SHAPE}, "max_workers"),
        ({"sidecar_rank": 0, "send_tensor_shape": (-1, 8)}, "send_tensor_dtype"),
        ({"sidecar_rank": 0, "send_tensor_dtype": torch.float32, "recv_tensor_shape": (1, 2)}, "one without the other"),
        ({"sidecar_rank": 0, "recv_tensor_shape": (-1, 8)}, "recv_tensor_dtype"),
        ({"sidecar_rank": 0, "send_tensor_shape": (-1, 0), "send_tensor_dtype": torch.float32}, "send_tensor_shape"),
        ({"sidecar_rank": 0, "send_tensor_shape": (8, -1), "send_tensor_dtype": torch.float32}, "send_tensor_shape"),
        ({"sidecar_rank": 0, "send_tensor_shape": (-2, 8), "send_tensor_dtype": torch.float32}, "send_tensor_shape"),
        ({"sidecar_rank": 0, "send_tensor_shape": (), "send_tensor_dtype": torch.float32}, "send_tensor_shape"),
        ({"sidecar_rank": 0, "send_tensor_shape": 0, "send_tensor_dtype": torch.float32}, "send_tensor_shape"),
        ({"sidecar_rank": 0, "send_tensor_shape": (-1, 8), "send_tensor_dtype": "float31"}, "float31"),
        ({"sidecar_rank": 0, "send_tensor_shape": (-1, 8), "send_tensor_dtype": torch.qint8}, "qint8"),
        ({"sidecar_rank": 0, "framework": "jax", **SHAPE}, "jax"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_configuration_that_makes_no_sense_is_a_value_error_that_names_it(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        SidecarConfig(**settings)
    assert isinstance(raised.value, InvalidArgument)
    assert isinstance(raised.value, SidecarError)


@pytest.mark.parametrize("shape", [(-1, 8), (4, 8), (-1,), 4096, (-1, 2, 3, 4)])
def test_a_shape_is_a_tuple_with_a_free_or_a_fixed_first_dimension_or_a_number(shape: Any) -> None:
    SidecarConfig(sidecar_rank=0, send_tensor_shape=shape, send_tensor_dtype=torch.bfloat16)


def test_the_rest_of_a_shape_is_the_hint() -> None:
    config = SidecarConfig(
        sidecar_rank=0,
        send_tensor_shape=(-1, 16, 4096),
        send_tensor_dtype=torch.bfloat16,
        recv_tensor_shape=100,
        recv_tensor_dtype="float64",
    )
    settings = config.client_settings()
    assert settings["send_unit_bytes"] == 16 * 4096 * 2
    assert settings["recv_unit_bytes"] == 100 * 8


def test_a_group_is_sorted_and_its_smallest_rank_serves_it(make: Make) -> None:
    assert SidecarConfig(sidecar_rank=3, group=[3, 2], **SHAPE).group == [2, 3]
    assert make(3, group=[3, 2])._client.rank == 2


def test_a_rank_is_taken_from_the_environment_when_it_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_RANK", "7")
    assert SidecarConfig(**SHAPE).sidecar_rank == 7  # type: ignore[arg-type]
    monkeypatch.setenv("SIDECAR_RANK", "seven")
    with pytest.raises(ValueError, match="SIDECAR_RANK"):
        SidecarConfig(**SHAPE)  # type: ignore[arg-type]


def test_sidecar_is_local_false_makes_the_address_that_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDECAR_ADDRESS", raising=False)
    config = SidecarConfig(sidecar_rank=3, group=[2, 3], **SHAPE)  # type: ignore[arg-type]
    monkeypatch.setenv("SIDECAR_IS_LOCAL", "true")
    here = config.client_settings().get("address", "")
    monkeypatch.setenv("SIDECAR_IS_LOCAL", "false")
    there = config.client_settings()["address"]
    assert there != here
    assert "-2" in there  # of the leader
    assert not there.startswith(("127.", "localhost"))


def sending(**changes: Any) -> Callable[[Sidecar], Any]:
    arguments: dict[str, Any] = {"data": 1, "id": "x", "dst_sidecar_ranks": [[1]]} | changes
    return lambda client: client.send(**arguments)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (sending(dst_sidecar_ranks=[[0]]), "own"),
        (sending(dst_sidecar_ranks=[[1], [2, 0]]), "own"),
        (sending(dst_sidecar_ranks=[[-1]]), "rank"),
        (sending(dst_sidecar_ranks=[["1"]]), "rank"),
        (sending(dst_sidecar_ranks=[]), "empty"),
        (sending(dst_sidecar_ranks=[[]]), "empty"),
        (sending(dst_sidecar_ranks=[[1], [1]]), "twice|leader|two"),
        (sending(dst_sidecar_ranks=[[2, 3], [3, 2]]), "twice|leader|two"),
        (sending(id=""), "id"),
        (sending(id="x" * 256), "id"),
        (sending(id=7), "id"),
        (sending(chunk_id=-1), "-1"),
        (sending(chunk_id=3, num_chunks=3), "chunk"),
        (sending(num_chunks=0), "chunk"),
        (sending(timeout=-1.0), "timeout"),
        (sending(timeout=float("nan")), "timeout"),
        (sending(data=object()), "allow_pickle"),
        (sending(data={1, 2}), "allow_pickle"),
        (sending(data=numpy.array(["a"])), "dtype"),
        (sending(data=numpy.array([1], ">i4")), "byte order"),
        (sending(data=torch.eye(3).to_sparse()), "layout"),
        (sending(data=torch.empty(3, device="meta")), "data"),
        (sending(data=numpy.zeros((1,) * 17)), "dimensions"),
        (lambda client: client.recv_sync(""), "id"),
        (lambda client: client.recv_sync("half \ud800"), "id"),
        (lambda client: client.recv_sync("x", -1), "-1"),
        (lambda client: client.recv_sync("x", 2**32), "number"),
        (lambda client: client.mark_done_sync(""), "id"),
        (lambda client: client.stream("x" * 300), "id"),
        (lambda client: client.close_stream("x", -1, [[1]]), "num_chunks"),
        (lambda client: client.close_stream("x", 1, [[0]]), "own"),
        (lambda client: client.allocate((-1, 2)), "-1"),
        (lambda client: client.allocate((2,), "int7"), "int7"),
    ],
)
def test_a_call_that_makes_no_sense_is_a_value_error_at_once(
    call: Callable[[Sidecar], Any], named: str, make: Make
) -> None:
    with pytest.raises(ValueError, match=named):
        call(make(0))


def test_a_member_of_a_group_does_not_send_to_the_others_of_its_own(make: Make) -> None:
    with pytest.raises(ValueError, match="own"):
        make(2, group=[2, 3]).send(1, "x", [[3]])


def test_a_refused_send_leaves_the_chunk_free_to_be_sent(make: Make, unique: str) -> None:
    client, other = make(0), make(1)
    with pytest.raises(ValueError, match="allow_pickle"):
        client.send(object(), unique, [[1]])
    client.send("after all", unique, [[1]]).result(10)
    assert other.recv_sync(unique) == "after all"
    other.mark_done_sync(unique)


def test_recv_says_when_a_group_is_not_the_one_that_was_sent_to(make: Make, unique: str) -> None:
    """The data of the group [2, 3] lies at 2; 3 alone is another executor, which never gets it."""
    make(0).send(1, unique, [[2, 3]]).result(10)
    with pytest.raises(TimeoutError):
        make(3).recv_sync(unique, timeout=0)
    make(3, group=[2, 3]).mark_done_sync(unique)
