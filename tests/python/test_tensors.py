"""Tensors and arrays of every kind arrive with their dtype and shape, at the same node and at another."""

from __future__ import annotations

import array
from typing import Any

import ml_dtypes
import numpy
import pytest
import torch
from conftest import Make
from sidecar import InvalidArgument, Unavailable

NODES = pytest.mark.parametrize("to", [1, 2], ids=["same node", "other node"])
TORCH = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
]  # fmt: skip
NUMPY = [
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "float32", "float64", "complex64", "complex128",
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
]  # fmt: skip


def carried(make: Make, id: str, data: Any, to: int = 1, **settings: Any) -> Any:
    receiver = make(to, **settings)
    make(0).send(data, id, [[to]])
    received = receiver.recv_sync(id)
    copy = received.clone() if isinstance(received, torch.Tensor) else received.copy()
    receiver.mark_done_sync(id)
    return copy


@NODES
@pytest.mark.parametrize("dtype", TORCH, ids=str)
def test_torch_tensors_keep_their_dtype_and_values(dtype: torch.dtype, to: int, make: Make, unique: str) -> None:
    tensor = (torch.arange(6 * 1024).reshape(6, 1024) % 100).to(dtype)
    received = carried(make, unique, tensor, to, framework="torch")
    assert received.dtype == dtype
    assert torch.equal(received, tensor)


@NODES
@pytest.mark.parametrize("dtype", NUMPY, ids=lambda dtype: numpy.dtype(dtype).name)
def test_numpy_arrays_keep_their_dtype_and_values(dtype: Any, to: int, make: Make, unique: str) -> None:
    given = (numpy.arange(6 * 1024).reshape(6, 1024) % 100).astype(dtype)
    received = carried(make, unique, given, to)
    assert received.dtype == given.dtype
    assert received.tobytes() == given.tobytes()
    assert received.shape == (6, 1024)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 5, 7), (1,) * 16], ids=str)
def test_every_shape_arrives(shape: tuple[int, ...], make: Make, unique: str) -> None:
    given = numpy.random.default_rng(1).random(shape)
    received = carried(make, unique, given)
    assert received.shape == shape
    assert numpy.array_equal(received, given)


@NODES
def test_a_tensor_larger_than_one_message_arrives_whole(to: int, make: Make, unique: str) -> None:
    given = numpy.random.default_rng(2).random((1500, 1024))
    assert numpy.array_equal(carried(make, unique, given, to), given)


@pytest.mark.parametrize(
    "strided",
    [
        lambda tensor: tensor.t(),
        lambda tensor: tensor[::2],
        lambda tensor: tensor[:, 3:17],
        lambda tensor: tensor[3:, 5],
        lambda tensor: tensor[:1].expand(9, -1),
        lambda tensor: tensor.to(torch.complex64).conj(),
        lambda tensor: (tensor + 0j).conj().imag,  # negated when it is read
        lambda tensor: tensor.clone().requires_grad_(),
    ],
    ids=["transposed", "stepped", "columns", "column", "expanded", "conjugate", "negated", "grad"],
)
def test_views_of_torch_tensors_arrive_as_what_they_show(strided: Any, make: Make, unique: str) -> None:
    tensor = strided(torch.arange(32 * 64, dtype=torch.float32).reshape(32, 64))
    received = carried(make, unique, tensor, framework="torch")
    assert received.shape == tensor.shape
    assert torch.equal(received, tensor.detach())


def test_views_of_numpy_arrays_arrive_as_what_they_show(make: Make, unique: str) -> None:
    given = numpy.arange(32 * 64, dtype=numpy.float32).reshape(32, 64)
    for n, each in enumerate([given.T, given[::-1], given[:, ::3], numpy.asfortranarray(given), given[::-2, 5:9]]):
        assert numpy.array_equal(carried(make, f"{unique}-{n}", each), each)


def test_arrays_that_may_not_be_written_can_be_sent(make: Make, unique: str) -> None:
    given = numpy.arange(100)
    given.flags.writeable = False
    assert numpy.array_equal(carried(make, unique, given), given)


class DlpackOnly:
    """A tensor of some other library."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **arguments: Any) -> Any:
        return self._tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()  # type: ignore[no-any-return]


def test_anything_with_dlpack_arrives_as_a_tensor(make: Make, unique: str) -> None:
    tensor = torch.arange(50, dtype=torch.bfloat16).reshape(5, 10)
    received = carried(make, unique, DlpackOnly(tensor), framework="torch")
    assert torch.equal(received, tensor)


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        (bytearray(b"abc"), numpy.frombuffer(b"abc", "uint8")),
        (memoryview(b"abcd"), numpy.frombuffer(b"abcd", "uint8")),
        (array.array("d", [1.5, 2.5]), numpy.array([1.5, 2.5])),
        (memoryview(bytearray(range(12))).cast("B", [3, 4]), numpy.arange(12, dtype="uint8").reshape(3, 4)),
    ],
    ids=["bytearray", "memoryview", "array", "matrix"],
)
def test_buffers_arrive_as_tensors(buffer: Any, expected: Any, make: Make, unique: str) -> None:
    received = carried(make, unique, buffer)
    assert received.dtype == expected.dtype
    assert numpy.array_equal(received, expected)


def test_torch_reads_what_numpy_sent_and_the_other_way_round(make: Make, unique: str) -> None:
    given = numpy.arange(12, dtype="float32").reshape(3, 4)
    assert torch.equal(carried(make, unique + "1", given, framework="torch"), torch.from_numpy(given))
    assert numpy.array_equal(carried(make, unique + "2", torch.from_numpy(given)), given)
    sent = torch.arange(8).to(torch.bfloat16)
    received = carried(make, unique + "3", sent)
    assert received.dtype == ml_dtypes.bfloat16
    assert received.tolist() == sent.tolist()


def test_the_framework_follows_the_dtypes_of_the_configuration(make: Make, unique: str) -> None:
    torch_like = make(1, framework=None, send_tensor_dtype=torch.float32)
    numpy_like = make(1, framework=None, send_tensor_dtype=numpy.float32)
    make(0).send(numpy.zeros(4), unique, [[1]])
    assert isinstance(torch_like.recv_sync(unique), torch.Tensor)
    assert isinstance(numpy_like.recv_sync(unique), numpy.ndarray)
    numpy_like.mark_done_sync(unique)


def test_a_dtype_that_this_torch_does_not_have_says_what_to_do(make: Make, unique: str) -> None:
    if hasattr(torch, "float8_e5m2"):
        pytest.skip("this torch has float8")
    receiver = make(1, framework="torch")
    make(0).send(numpy.zeros(4, ml_dtypes.float8_e5m2), unique, [[1]])
    with pytest.raises(Unavailable, match="framework='numpy'"):
        receiver.recv_sync(unique)
    receiver.mark_done_sync(unique)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize(
    ("sent", "configured", "seen"),
    [
        ((6, 1024), (-1, 1024), (6, 1024)),
        ((6, 1024), (-1, 2, 512), (6, 2, 512)),
        ((6 * 1024,), (-1, 1024), (6, 1024)),
        ((6, 1024), (6, 1024), (6, 1024)),
        ((6, 1024), 6 * 1024, (6 * 1024,)),
    ],
    ids=str,
)
def test_a_received_tensor_is_viewed_in_the_configured_shape(
    sent: Any, configured: Any, seen: Any, framework: str, make: Make, unique: str
) -> None:
    receiver = make(1, framework=framework, recv_tensor_shape=configured, recv_tensor_dtype="float32")
    make(0).send(numpy.ones(sent, "float64"), unique, [[1]])
    received = receiver.recv_sync(unique)
    assert tuple(received.shape) == seen
    assert str(received.dtype).endswith("float64")  # the sender's
    receiver.mark_done_sync(unique)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("configured", [(-1, 1000), (5, 1024), 1024], ids=str)
def test_a_received_tensor_that_does_not_fit_the_shape_raises(
    configured: Any, framework: str, make: Make, unique: str
) -> None:
    receiver = make(1, framework=framework, recv_tensor_shape=configured, recv_tensor_dtype="float32")
    make(0).send(numpy.ones((6, 1024), "float32"), unique, [[1]])
    with pytest.raises(InvalidArgument, match="recv_tensor_shape") as raised:
        receiver.recv_sync(unique)
    assert (raised.value.id, raised.value.chunk_id) == (unique, 0)
    receiver.mark_done_sync(unique)
