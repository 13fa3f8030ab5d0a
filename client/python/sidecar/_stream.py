"""The chunks of a datum, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from sidecar import _core, _loops
from sidecar._arguments import seconds_of
from sidecar._calls import wait_for

if TYPE_CHECKING:
    from sidecar._sidecar import Sidecar


class Stream:
    """What Sidecar.stream() returns: an iterator, for either kind of loop."""

    def __init__(self, owner: Sidecar, id: str, timeout: float | None, mark_done: bool) -> None:
        self._owner = owner
        self._id = id
        self._timeout = timeout
        self._mark_done = mark_done
        self._next = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[Any]:
        while True:
            call = self._owner._client.recv(self._id, self._next, seconds_of(self._timeout))
            chunk = await _loops.result_of(call)
            if _is_end(chunk):
                return
            yield self._owner._value(chunk, self._id, self._next)
            if self._mark_done:
                await self._owner.mark_done(self._id, self._next)
            self._next += 1

    def __iter__(self) -> Iterator[Any]:
        while True:
            chunk = wait_for(self._owner._client.recv(self._id, self._next, seconds_of(self._timeout)))
            if _is_end(chunk):
                return
            yield self._owner._value(chunk, self._id, self._next)
            if self._mark_done:
                self._owner.mark_done_sync(self._id, self._next)
            self._next += 1


def _is_end(chunk: Any) -> bool:
    return isinstance(chunk, _core.Chunk) and chunk.end
