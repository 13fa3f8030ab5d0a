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
        # The call stays here until it is over, also when nobody waits for it any more.
        self._waiting: dict[int, tuple[asyncio.Future[None], _core.Call]] = {}
        loop.add_reader(self._completions.fd, self._take)

    def watch(self, call: _core.Call, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        token = next(self._tokens)
        future = loop.create_future()
        self._waiting[token] = (future, call)
        call.notify(self._completions, token)
        return future

    def _take(self) -> None:
        for token in self._completions.take():
            future, _ = self._waiting.pop(token)
            if not future.done():
                future.set_result(None)


_ports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Port] = weakref.WeakKeyDictionary()


async def result_of(call: _core.Call, cancel: bool = True) -> Any:
    """Waits for the call's result. When the waiting task is cancelled, so is the call, unless `cancel` is False."""
    if not call.done():
        loop = asyncio.get_running_loop()
        port = _ports.get(loop)
        if port is None:
            port = _ports[loop] = _Port(loop)
        try:
            await port.watch(call, loop)
        except asyncio.CancelledError:
            if cancel:
                call.cancel()
            raise
    return call.result()
