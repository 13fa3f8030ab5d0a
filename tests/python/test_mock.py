"""Mock mode: files instead of sidecars, for developing an executor alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sidecar import InvalidArgument, MockSidecar, NotFound, Sidecar, SidecarConfig


def mocked(mock: Any, **settings: Any) -> Sidecar:
    defaults: dict[str, Any] = {"send_tensor_shape": (-1, 8), "send_tensor_dtype": torch.float32}
    return Sidecar(SidecarConfig(sidecar_rank=0, mock=mock, **(defaults | settings)))


def test_a_mock_is_a_sidecar_that_connects_to_nothing(tmp_path: Path) -> None:
    client = mocked(tmp_path)
    assert isinstance(client, Sidecar) and isinstance(client, MockSidecar)
    assert client.connected and not client.shares_memory


def test_a_pt_file_is_read_as_a_tensor_where_the_mapping_says(tmp_path: Path) -> None:
    torch.save(torch.arange(16, dtype=torch.bfloat16), tmp_path / "hidden.pt")
    received = mocked({"request-0": tmp_path / "hidden.pt"}).recv_sync("request")
    assert torch.equal(received, torch.arange(16, dtype=torch.bfloat16))


def test_an_npy_file_is_read_as_what_the_dtypes_are_of(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.arange(16, dtype="float32"))
    mapping = {"x-3": str(tmp_path / "x.npy")}
    as_torch = mocked(mapping).recv_sync("x", 3)
    as_numpy = mocked(mapping, send_tensor_dtype=numpy.float32).recv_sync("x", 3)
    assert isinstance(as_torch, torch.Tensor) and as_torch.tolist() == list(range(16))
    assert isinstance(as_numpy, numpy.ndarray) and as_numpy.tolist() == list(range(16))


def test_all_other_files_are_json(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text('{"a": [1, null]}')
    assert mocked({"x-0": tmp_path / "x.txt"}).recv_sync("x") == {"a": [1, None]}


def test_a_tensor_is_viewed_in_the_configured_shape_or_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(16), tmp_path / "x-0.pt")
    fits = mocked(tmp_path, recv_tensor_shape=(-1, 8), recv_tensor_dtype=torch.float32)
    assert fits.recv_sync("x").shape == (2, 8)
    misfits = mocked(tmp_path, recv_tensor_shape=(-1, 7), recv_tensor_dtype=torch.float32)
    with pytest.raises(InvalidArgument, match="recv_tensor_shape"):
        misfits.recv_sync("x")


@pytest.mark.parametrize("value", [1, "text", [1, 2], {"a": None}, torch.ones(3, 8), numpy.ones((2, 8))], ids=str)
@pytest.mark.parametrize("folder", [True, False], ids=["folder", "mapping"])
def test_what_is_sent_can_be_received(value: Any, folder: bool, tmp_path: Path) -> None:
    suffix = {torch.Tensor: ".pt", numpy.ndarray: ".npy"}.get(type(value), ".json")
    client = mocked(tmp_path if folder else {"x-1": tmp_path / f"deeper/x{suffix}"})
    sent = client.send(value, "x", [[1]], 1, 2)
    sent.captured.result()
    sent.result()
    received = client.recv_sync("x", 1)
    assert bool((torch.as_tensor(received) == torch.as_tensor(value)).all() if suffix != ".json" else received == value)
    client.mark_done_sync("x", 1)
    assert client.recv_sync("x", 1) is not None  # marking done leaves the file


def test_a_missing_file_reads_as_the_end_of_the_stream(tmp_path: Path) -> None:
    client = mocked(tmp_path)
    for n in range(3):
        client.send(n, "x", [[1]], n, stream=True)
    client.close_stream("x", 3, [[1]]).result()
    assert client.recv_sync("x", 3) is None
    assert list(client.stream("x", mark_done=True)) == [0, 1, 2]
    assert client.recv_sync("unknown") is None


def test_a_chunk_that_the_mapping_does_not_name_is_not_found(tmp_path: Path) -> None:
    client = mocked({"x-0": tmp_path / "x.json"})
    with pytest.raises(NotFound, match="'x-1'") as raised:
        client.recv_sync("x", 1)
    assert (raised.value.id, raised.value.chunk_id) == ("x", 1)
    with pytest.raises(NotFound):
        client.send(1, "y", [[1]])


def test_the_same_program_runs_on_an_event_loop(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with mocked(tmp_path) as client:
            async with client.allocate((2, 8)) as memory:
                memory[:] = 1
                await client.send(memory, "x", [[1]], 0, 2)
            await client.send({"end": True}, "x", [[1]], 1, 2)
            assert (await client.recv("x")).sum() == 16
            await client.mark_done("x")
            return [each async for each in client.stream("x")]

    assert asyncio.run(main())[1] == {"end": True}


def test_arguments_are_checked_as_by_a_real_one(tmp_path: Path) -> None:
    client = mocked(tmp_path)
    for arguments in ({"dst_sidecar_ranks": [[0]]}, {"dst_sidecar_ranks": []}, {"chunk_id": -1}, {"id": ""}):
        with pytest.raises(ValueError):
            client.send(**({"data": 1, "id": "x", "dst_sidecar_ranks": [[1]]} | arguments))
    with pytest.raises(ValueError):
        client.recv_sync("../x")
    with pytest.raises(ValueError, match="mock mode"):
        client.send({1, 2}, "x", [[1]])


@pytest.mark.parametrize("switch", ["1", "true", "True"])
def test_the_environment_names_of_the_original_switch_it_on(
    switch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.json").write_text("[1]")
    monkeypatch.setenv("CORNSERVE_MOCK_SIDECAR", switch)
    monkeypatch.setenv("CORNSERVE_MOCK_SIDECAR_MAPPING", json.dumps({"x-0": str(tmp_path / "x.json")}))
    config = SidecarConfig(sidecar_rank=0, send_tensor_shape=1, send_tensor_dtype="uint8")
    assert Sidecar(config).recv_sync("x") == [1]


def test_the_environment_that_says_no_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORNSERVE_MOCK_SIDECAR_MAPPING", "{")
    monkeypatch.setenv("CORNSERVE_MOCK_SIDECAR", "0")
    assert SidecarConfig(sidecar_rank=0, send_tensor_shape=1, send_tensor_dtype="uint8").mock is None
    monkeypatch.setenv("CORNSERVE_MOCK_SIDECAR", "1")
    with pytest.raises(ValueError, match="CORNSERVE_MOCK_SIDECAR_MAPPING"):
        SidecarConfig(sidecar_rank=0, send_tensor_shape=1, send_tensor_dtype="uint8")
