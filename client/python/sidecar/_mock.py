"""A Sidecar without a sidecar, for developing an executor alone."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar import _tensors
from sidecar._calls import Pending, Sent
from sidecar._config import SidecarConfig
from sidecar._errors import InvalidArgument, NotFound
from sidecar._sidecar import Allocation, Sidecar
from sidecar._stream import Stream

_SUFFIXES = (".pt", ".pth", ".npy", ".json")


class _Over(Sent):
    """A send to a file, which is over when it returns."""

    def __init__(self) -> None:
        self.captured = self

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> None:
        return None

    def cancel(self) -> None:
        pass

    async def _wait(self) -> None:
        return None


class MockSidecar(Sidecar):
    """What Sidecar(config) is when config.mock says so. Chunk 3 of the datum "x" is the file that config.mock has for
    "x-3", or, when it is a folder, the file x-3.pt, .pth, .npy or .json in it: tensors as .pt and .pth (torch) or .npy
    (numpy), all else as JSON. send() writes it and recv() reads it; one that does not exist reads as the end of the
    datum. mark_done() leaves it. Tuples come back as lists: they are JSON's.
    """

    def __init__(self, config: SidecarConfig) -> None:
        self.config = config
        self._torch = config.receives_torch()
        self._view_shape = config.view_shape()

    def send(
        self,
        data: Any,
        id: str,
        dst_sidecar_ranks: Sequence[Sequence[int]],
        chunk_id: int = 0,
        num_chunks: int = 1,
        stream: bool = False,
        *,
        timeout: float | None = None,
    ) -> Sent:
        self._where(id, dst_sidecar_ranks, chunk_id, num_chunks, stream, timeout)
        torch = sys.modules.get("torch")
        is_torch = torch is not None and isinstance(data, torch.Tensor)
        is_array = not is_torch and _tensors.sendable(data) is not None
        path = self._path(id, chunk_id, ".pt" if is_torch else ".npy" if is_array else ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_torch and torch is not None:
            torch.save(data, path)
        elif is_array:
            import numpy

            array = numpy.asarray(data)
            if array.dtype.kind == "V":
                raise InvalidArgument(f"data: .npy files have no {array.dtype}; use torch in mock mode", id=id)
            with path.open("wb") as file:  # numpy.save would add a suffix
                numpy.save(file, array)
        else:
            try:
                path.write_text(json.dumps(data))
            except TypeError as error:
                raise InvalidArgument(f"data: unsupported in mock mode, which writes JSON: {error}", id=id) from None
        return _Over()

    def allocate(self, shape: Sequence[int], dtype: Any = None, *, timeout: float | None = None) -> Allocation:
        return _MockAllocation(self, tuple(shape), self.config.send_tensor_dtype if dtype is None else dtype, 0.0)

    def close_stream(
        self, id: str, num_chunks: int, dst_sidecar_ranks: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> Pending:
        self._where(id, dst_sidecar_ranks, 0, max(num_chunks, 1), True, timeout)
        return _Over()

    async def recv(self, id: str, chunk_id: int = 0, *, timeout: float | None = None) -> Any:
        return self.recv_sync(id, chunk_id)

    def recv_sync(self, id: str, chunk_id: int = 0, *, timeout: float | None = None) -> Any:
        path = self._path(id, chunk_id, None)
        if not path.exists():
            return None
        value: Any
        if path.suffix in (".pt", ".pth"):
            import torch

            value = torch.load(path, map_location="cpu")
        elif path.suffix == ".npy":
            import numpy

            value = numpy.load(path)
            if self._torch:
                import torch

                value = torch.from_numpy(value)
        else:
            return json.loads(path.read_text())
        if self._view_shape is None:
            return value
        try:
            return value.reshape(self._view_shape)
        except (RuntimeError, ValueError):
            raise InvalidArgument(
                f"recv_tensor_shape: a tensor of shape {tuple(value.shape)} cannot be viewed as {self._view_shape}",
                id=id,
                chunk_id=chunk_id,
            ) from None

    def stream(self, id: str, *, timeout: float | None = None, mark_done: bool = False) -> Stream:
        return _MockStream(self, id, timeout, mark_done)

    async def mark_done(self, id: str, chunk_id: int = 0) -> None:
        self._path(id, chunk_id, None)

    def mark_done_sync(self, id: str, chunk_id: int = 0) -> None:
        self._path(id, chunk_id, None)

    def shutdown_sync(self) -> None:
        pass

    @property
    def connected(self) -> bool:
        return True

    @property
    def shares_memory(self) -> bool:
        return False

    def _path(self, id: str, chunk_id: int, suffix: str | None) -> Path:
        """`suffix`: of the file to be written; None: of one that is there, if any."""
        key = f"{id}-{chunk_id}"
        mock = self.config.mock
        if isinstance(mock, Mapping):
            if key not in mock:
                raise NotFound(f"mock: it maps no {key!r} to a file", id=id, chunk_id=chunk_id)
            return Path(mock[key])
        assert mock is not None
        folder = Path(mock)
        if "/" in key or key.startswith("."):
            raise InvalidArgument("id: no name for a file, which mock needs with a folder", id=id)
        candidates = [folder / (key + each) for each in _SUFFIXES]
        if suffix is not None:
            for other in candidates:
                other.unlink(missing_ok=True)
            return folder / (key + suffix)
        return next((path for path in candidates if path.exists()), candidates[-1])


class _MockAllocation(Allocation):
    """Ordinary memory."""

    def __enter__(self) -> Any:
        if _tensors.is_torch_dtype(self._dtype):
            import torch

            return torch.empty(self._shape, dtype=self._dtype)
        import numpy

        return numpy.empty(self._shape, self._dtype)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    def _leave(self) -> None:
        pass


class _MockStream(Stream):
    async def _chunks(self) -> AsyncIterator[Any]:
        for value in self:
            yield value

    def __iter__(self) -> Iterator[Any]:
        try:
            while (value := self._owner.recv_sync(self._id, self._next)) is not None:
                yield value
                self._next += 1
        except NotFound:
            return
