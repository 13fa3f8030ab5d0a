"""The client of an executor."""

from __future__ import annotations

import atexit
import faulthandler
import os
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sidecar import _codec, _core, _loops, _tensors
from sidecar._arguments import index_of, seconds_of, text_of
from sidecar._calls import Pending, Sent, wait_for
from sidecar._config import SidecarConfig
from sidecar._errors import Cancelled, InvalidArgument, SidecarError, error_of, name_chunk
from sidecar._stream import Stream


class Sidecar:
    """Sends tensors and objects to other executors and receives theirs, through this executor's sidecar.

    Any thread and any number of event loops may use one Sidecar. A fork ends it for the child: create another there.

    Received tensors are views of memory that is shared with the sidecar: nothing was copied. They stay valid until
    the last reference to their memory is gone (slices count) or this process calls mark_done for the chunk,
    whichever comes first; using one after one's own mark_done is the caller's error (SidecarConfig.debug finds it).
    They may not be written (numpy refuses, torch ends the process) unless writable_views says otherwise.

    Args:
        config: see SidecarConfig.

    Raises:
        Unavailable: no sidecar answers. InvalidArgument, Unauthorized: it does not take this client.
    """

    def __new__(cls, config: SidecarConfig) -> Sidecar:
        if cls is Sidecar and config.mock is not None:
            from sidecar._mock import MockSidecar

            return object.__new__(MockSidecar)
        return object.__new__(cls)

    def __init__(self, config: SidecarConfig) -> None:
        self.config = config
        client = _core.Client.connect(config.client_settings())
        if isinstance(client, _core.Failure):
            raise error_of(client)
        self._client = client
        self._torch = config.receives_torch()
        self._view_shape = config.view_shape()
        self._allocated: dict[int, weakref.ref[Allocation]] = {}
        self._guarded: weakref.WeakKeyDictionary[_core.Chunk, tuple[str, int]] = weakref.WeakKeyDictionary()
        if config.debug and not faulthandler.is_enabled():
            faulthandler.enable()  # shows where a tensor was used too late
        _open.add(self)

    # --- sending

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
        """Starts sending one chunk to every group of ranks.

        Args:
            data: a torch tensor (CPU or CUDA), a numpy array, anything with __dlpack__, a buffer other than bytes
                (bytearray, memoryview, array): they arrive as tensors. Or None, bool, int, float, str, bytes, list,
                tuple, dict of these, nested. The memory must not change until `captured`; what allocate() gave, never
                again.
            id: names the datum: 1 to 255 bytes of UTF-8.
            dst_sidecar_ranks: groups, each with all its ranks.
            chunk_id, num_chunks: which chunk of how many.
            stream: the number is not known yet: num_chunks is not looked at, close_stream() tells it.
            timeout: seconds; None: the configuration's.

        Raises:
            InvalidArgument. All else is told by what is returned.
        """
        where = self._where(id, dst_sidecar_ranks, chunk_id, num_chunks, stream, timeout)
        try:
            return self._send(data, where, id, chunk_id)
        except SidecarError as error:
            name_chunk(error, id, chunk_id)
            raise

    def _send(self, data: Any, where: _core.Where, id: str, chunk_id: int) -> Sent:
        if self._allocated and (memory := self._allocation_of(data)) is not None:
            return self._sent(self._client.send_memory(memory, where), id, chunk_id)
        array = _tensors.sendable(data)
        if array is None:
            encoded, codec = _codec.encode(data, self.config.allow_pickle)
            return self._sent(self._client.send_object(encoded, codec, where), id, chunk_id)
        try:
            return self._sent(self._client.send_array(array.array, array.dtype, array.stream, where), id, chunk_id)
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(f"data: an array that cannot be sent ({error})") from None

    def allocate(self, shape: Sequence[int], dtype: Any = None, *, timeout: float | None = None) -> Allocation:
        """Memory inside the sidecar's own: what is written there is sent without a copy.

            with sidecar.allocate((16, 4096), torch.bfloat16) as t:
                model(out=t)
                sidecar.send(t, "request-1", [[2]])

        Entering waits for room (`async with` does so without blocking the loop) and gives a tensor or array, as
        `dtype` is one of torch's or numpy's; dtype None: the configuration's send_tensor_dtype. Leaving gives the
        memory back, unless it was sent, as soon as nothing refers to the tensor any more; what was sent is not to be
        written any more.
        """
        dtype = self.config.send_tensor_dtype if dtype is None else dtype
        if dtype is None:
            raise InvalidArgument("dtype: neither given nor configured (send_tensor_dtype)")
        return Allocation(self, tuple(shape), dtype, seconds_of(timeout))

    def close_stream(
        self, id: str, num_chunks: int, dst_sidecar_ranks: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> Pending:
        """Tells the groups of a stream how many chunks it has; before, between or after the chunks."""
        where = self._where(id, dst_sidecar_ranks, 0, max(num_chunks, 1), True, timeout)
        if num_chunks < 0:
            raise InvalidArgument(f"num_chunks: {num_chunks}", id=id)
        call = self._client.close_stream(where.id, num_chunks, where.to, where.timeout)
        return self._refused(Pending(self._client, call, id))

    # --- receiving

    async def recv(self, id: str, chunk_id: int = 0, *, timeout: float | None = None) -> Any:
        """Waits for a chunk: a tensor or an object, as it was sent; None at or past the end of the datum.

        Any member of the group, and any process of it, may receive the same chunk, any number of times, until one
        marks it done. Cancelling the task cancels the wait at the sidecar.

        Raises:
            Timeout, AlreadyDone, PeerLost (the rest of the datum can not come any more), Unavailable, Cancelled.
            InvalidArgument: the tensor does not fit the configured recv_tensor_shape.
        """
        call = self._client.recv(text_of(id), index_of(chunk_id), seconds_of(timeout))
        return self._value(await _loops.result_of(call), id, chunk_id)

    def recv_sync(self, id: str, chunk_id: int = 0, *, timeout: float | None = None) -> Any:
        """recv() that blocks the calling thread, and lets the others run."""
        call = self._client.recv(text_of(id), index_of(chunk_id), seconds_of(timeout))
        return self._value(wait_for(call), id, chunk_id)

    def stream(self, id: str, *, timeout: float | None = None, mark_done: bool = False) -> Stream:
        """The chunks of a datum, in order, to its end: for `async for` and `for`.

        Args:
            timeout: for each chunk.
            mark_done: each chunk is marked done when the next one is asked for, and must not be used from then on.
        """
        return Stream(self, text_of(id), timeout, mark_done)

    async def mark_done(self, id: str, chunk_id: int = 0) -> None:
        """Frees the chunk, for good and for the whole group. In any order, also before it has arrived, and twice."""
        self._forbid(id, chunk_id)
        self._done(await _loops.result_of(self._client.mark_done(text_of(id), index_of(chunk_id))), id, chunk_id)

    def mark_done_sync(self, id: str, chunk_id: int = 0) -> None:
        """mark_done() that blocks the calling thread."""
        self._forbid(id, chunk_id)
        self._done(wait_for(self._client.mark_done(text_of(id), index_of(chunk_id))), id, chunk_id)

    # --- the end

    async def shutdown(self) -> None:
        """Ends the calls under way (Cancelled) and the connection. Received tensors stay valid."""
        self.shutdown_sync()

    def shutdown_sync(self) -> None:
        """shutdown(), which blocks for no longer than the message to the sidecar takes."""
        self._client.close()
        _open.discard(self)

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown_sync()

    async def __aenter__(self) -> Sidecar:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.shutdown()

    @property
    def connected(self) -> bool:
        """False while the sidecar is lost, and after shutdown."""
        return self._client.connected

    @property
    def shares_memory(self) -> bool:
        """Whether the sidecar's memory is mapped here, so that receiving and allocate() copy nothing."""
        return self._client.shares_memory

    # --- details

    def _where(
        self, id: str, to: Sequence[Sequence[int]], chunk_id: int, num_chunks: int, stream: bool, timeout: float | None
    ) -> _core.Where:
        groups = [list(group) for group in to]
        if not groups or not all(groups):
            raise InvalidArgument("dst_sidecar_ranks: empty, or with an empty group", id=id)
        for rank in (rank for group in groups for rank in group):
            if not isinstance(rank, int) or rank < 0:
                raise InvalidArgument(f"dst_sidecar_ranks: {rank!r} is no rank (0, 1, ...)", id=id)
            if rank == self.config.sidecar_rank:
                raise InvalidArgument(f"dst_sidecar_ranks: {rank} is this executor's own", id=id)
        chunk, count = index_of(chunk_id), index_of(num_chunks)
        return _core.Where(text_of(id), groups, chunk, count, bool(stream), seconds_of(timeout))

    def _sent(self, calls: tuple[_core.Call, _core.Call], id: str, chunk_id: int) -> Sent:
        sent = Sent(self._client, calls, id, chunk_id)
        self._refused(sent)
        return sent

    @staticmethod
    def _refused(pending: Pending) -> Pending:
        """Arguments are looked at before anything is sent: what is wrong with them is raised at once."""
        if pending.refused():
            pending.result()
        return pending

    def _allocation_of(self, data: Any) -> _core.Memory | None:
        address = _address(data)
        reference = self._allocated.get(address) if address is not None else None
        allocation = reference() if reference is not None else None
        if allocation is None or not allocation.is_whole(data):
            return None
        if not allocation.memory.valid:
            raise InvalidArgument("data: allocated memory that was sent already; allocate another")
        return allocation.memory

    def _value(self, chunk: Any, id: str, chunk_id: int) -> Any:
        if isinstance(chunk, _core.Failure):
            raise error_of(chunk, id, chunk_id)
        if chunk.end:
            return None
        try:
            return self._content(chunk, id, chunk_id)
        except SidecarError as error:
            name_chunk(error, id, chunk_id)
            raise

    def _content(self, chunk: _core.Chunk, id: str, chunk_id: int) -> Any:
        if chunk.is_object:
            return _codec.decode(chunk, chunk.codec, self.config.allow_pickle)
        if self.config.debug:
            chunk = chunk.guarded()
            self._guarded[chunk] = (id, chunk_id)
        value = _tensors.to_torch(chunk) if self._torch else _tensors.to_numpy(chunk)
        if self._view_shape is None:
            return value
        try:
            return value.view(self._view_shape) if self._torch else value.reshape(self._view_shape)
        except (RuntimeError, ValueError):
            raise InvalidArgument(
                f"recv_tensor_shape: a tensor of shape {chunk.shape} cannot be viewed as {self._view_shape}"
            ) from None

    def _forbid(self, id: str, chunk_id: int) -> None:
        for chunk, of in list(self._guarded.items()):
            if of == (id, chunk_id):
                chunk.forbid(f"a tensor of chunk {chunk_id} of {id!r}")
                del self._guarded[chunk]

    @staticmethod
    def _done(result: Any, id: str, chunk_id: int) -> None:
        if result is not None:
            raise error_of(result, id, chunk_id)


class Allocation:
    """What Sidecar.allocate() returns: a context."""

    def __init__(self, owner: Sidecar, shape: tuple[int, ...], dtype: Any, timeout: float) -> None:
        self._owner = owner
        self._dtype = dtype
        self._code = _tensors.dtype_code(dtype)
        self._shape = tuple(index_of(extent) for extent in shape)
        self._timeout = timeout
        self.memory: _core.Memory

    def _start(self) -> _core.Call:
        return self._owner._client.allocate(list(self._shape), self._code, self._timeout)

    def _enter(self, result: Any) -> Any:
        if isinstance(result, _core.Failure):
            raise error_of(result)
        self.memory = result
        torch = _tensors.is_torch_dtype(self._dtype) or (isinstance(self._dtype, str) and self._owner._torch)
        value = _tensors.to_torch(result) if torch else _tensors.to_numpy(result)
        if result.nbytes > 0:
            self._owner._allocated[result.address] = weakref.ref(self)
        return value

    def _leave(self) -> None:
        self._owner._allocated.pop(self.memory.address, None)
        self.memory.give_back()
        del self.memory

    def is_whole(self, data: Any) -> bool:
        """Not a slice of it, nor turned, nor seen as something else."""
        return (
            tuple(data.shape) == self._shape
            and _tensors.dtype_code(data.dtype) == self._code
            and _tensors.is_in_order(data)
        )

    def __enter__(self) -> Any:
        return self._enter(wait_for(self._start()))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()

    async def __aenter__(self) -> Any:
        return self._enter(await _loops.result_of(self._start()))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._leave()


def _address(data: Any) -> int | None:
    pointer = getattr(data, "data_ptr", None)
    if pointer is not None:
        return int(pointer())
    interface = getattr(data, "__array_interface__", None)
    return int(interface["data"][0]) if interface is not None else None


_open: weakref.WeakSet[Sidecar] = weakref.WeakSet()


def _shut_down_all() -> None:
    for each in list(_open):
        try:
            each.shutdown_sync()
        except (Cancelled, RuntimeError):  # a forked child's are the parent's
            pass


atexit.register(_shut_down_all)
os.register_at_fork(after_in_child=_open.clear)
