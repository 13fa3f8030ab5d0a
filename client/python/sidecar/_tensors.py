"""Between tensors, arrays and buffers of Python and what the service sends: an address, a type and a shape."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

from sidecar import _core
from sidecar._errors import InvalidArgument, Unavailable

_CODES: dict[str, int] = {name: code for code, name in enumerate(_core.dtypes)}
_CODES["float8_e4m3fn"] = _CODES["float8_e4m3"]  # as torch and ml_dtypes call it
_BYTES = {"bool": 1, "complex128": 16, "float8_e4m3": 1, "float8_e5m2": 1, "bfloat16": 2}
# What numpy itself has no type for: from the package ml_dtypes.
_ML = {"bfloat16": "bfloat16", "float8_e4m3": "float8_e4m3fn", "float8_e5m2": "float8_e5m2"}
# What DLPack, or a torch that is not new, cannot say: these travel through it as integers of the same size.
_AS_INTS = {"bool", "uint16", "uint32", "uint64", "float8_e4m3", "float8_e5m2"}


class Sendable(NamedTuple):
    """What Client.send_array takes."""

    array: Any
    dtype: int  # -1: as the array says
    stream: int  # of the GPU


def dtype_code(dtype: Any) -> int:
    """The service's number of a torch dtype, a numpy dtype or type, or a name. InvalidArgument for others."""
    name = str(dtype)
    if name.startswith("torch."):
        name = name[len("torch.") :]
    elif not isinstance(dtype, str):
        try:
            name = importlib.import_module("numpy").dtype(dtype).name
        except (ImportError, TypeError):
            pass
    code = _CODES.get(name)
    if code is None:
        raise InvalidArgument(f"dtype: {dtype!r} is none that a sidecar sends")
    return code


def dtype_bytes(code: int) -> int:
    name = _core.dtypes[code]
    return _BYTES.get(name) or int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8


def is_torch_dtype(dtype: Any) -> bool:
    return str(dtype).startswith("torch.")


def sendable(data: Any) -> Sendable | None:
    """None: it is an object. InvalidArgument: a tensor or array of a kind that has no plain bytes."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        return _of_torch(torch, data)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(data, numpy.ndarray):
        return _of_numpy(numpy, data)
    if isinstance(data, (bytes, str)):
        return None
    if hasattr(data, "__dlpack__") or _is_buffer(data):
        return Sendable(data, -1, 0)
    return None


def _is_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except TypeError:
        return False
    return True


def is_in_order(data: Any) -> bool:
    """Of a tensor or an array: its elements lie one after the other, as its shape counts them."""
    return bool(data.is_contiguous() if hasattr(data, "is_contiguous") else data.flags.c_contiguous)


def _of_torch(torch: Any, tensor: Any) -> Sendable:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise InvalidArgument(f"data: a tensor of layout {tensor.layout} has no plain bytes; make it dense")
    code = dtype_code(tensor.dtype)
    tensor = tensor.detach().resolve_conj().resolve_neg()
    stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
    if _core.dtypes[code] not in _AS_INTS:
        return Sendable(tensor, -1, stream)
    ints = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype_bytes(code)]
    return Sendable(tensor.view(ints), code, stream)


def _of_numpy(numpy: Any, array: Any) -> Sendable:
    code = dtype_code(array.dtype)
    if not array.dtype.isnative:
        raise InvalidArgument(f"data: an array of dtype {array.dtype} is not in this machine's byte order")
    if array.dtype.name in _ML.values() or array.dtype == bool:
        return Sendable(array.view(f"u{array.dtype.itemsize}"), code, 0)
    return Sendable(array, -1, 0)


def to_torch(memory: _core.Chunk | _core.Memory) -> Any:
    """A CPU tensor that looks at `memory` and keeps it."""
    torch = sys.modules.get("torch") or importlib.import_module("torch")
    name = _core.dtypes[memory.dtype]
    if name not in _AS_INTS:
        return torch.from_dlpack(memory.array(False))
    dtype = getattr(torch, _ML.get(name, name), None)
    if dtype is None:
        raise Unavailable(f"this version of torch has no {name}; receive it with framework='numpy'")
    return torch.from_dlpack(memory.array(True)).view(dtype)


def to_numpy(memory: _core.Chunk | _core.Memory) -> Any:
    """An array that looks at `memory` and keeps it; writeable where the memory is."""
    numpy = sys.modules.get("numpy") or importlib.import_module("numpy")
    name = _core.dtypes[memory.dtype]
    if name not in _ML:
        return numpy.ndarray(memory.shape, name, memory)
    try:
        dtype = getattr(importlib.import_module("ml_dtypes"), _ML[name])
    except ImportError:
        raise Unavailable(f"numpy has no {name} without the package ml_dtypes: pip install ml_dtypes") from None
    return numpy.ndarray(memory.shape, dtype, memory)
