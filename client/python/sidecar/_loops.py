"""Waiting for calls on asyncio's loops.

Each running loop has one descriptor that it watches; the library's thread makes it readable when a call is over. No
thread waits, and nothing is asked again and again.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import Any

from sidecar import _core


class _Port:
    """Where calls that are over come in, for one loop; used on its thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completions = _core.Completions()
        self._tokens = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._completions.fd, self._take)

    async def wait(self, call: _core.Call, loop: asyncio.AbstractEventLoop) -> None:
        token = next(self._tokens)
        future = self._waiting[token] = loop.create_future()
        try:
            call.notify(self._completions, token)
            await future
        finally:
            self._waiting.pop(token, None)

    def _take(self) -> None:
        for token in self._completions.take():
            future = self._waiting.pop(token, None)  # None: nobody waits any more
            if future is not None and not future.done():
                future.set_result(None)


# A loop keeps its port, by what it watches. The port keeps the loop, by its futures, so nothing else may keep the port.
_ports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Port]] = weakref.WeakKeyDictionary()


def _port_of(loop: asyncio.AbstractEventLoop) -> _Port:
    known = _ports.get(loop)
    port = known() if known is not None else None
    if port is None:
        port = _Port(loop)
        _ports[loop] = weakref.ref(port)
    return port


async def result_of(call: _core.Call, cancel: bool = True) -> Any:
    """Waits for the call's result. When the waiting task is cancelled, so is the call, unless `cancel` is False."""
    if not call.done():
        loop = asyncio.get_running_loop()
        try:
            await _port_of(loop).wait(call, loop)
        except (asyncio.CancelledError, GeneratorExit):  # the latter: the loop is gone, and the task with it
            if cancel:
                call.cancel()
            raise
    return call.result()
