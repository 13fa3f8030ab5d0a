"""What a call that was started looks like to the one who started it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sidecar import _core, _loops
from sidecar._errors import error_of


class Pending:
    """One result that is still on its way: wait with result() or await. Looking is not needed, and may be done on
    any thread and loop, any number of times."""

    __slots__ = ("_call", "_chunk_id", "_client", "_id")

    def __init__(self, client: _core.Client, call: _core.Call, id: str, chunk_id: int | None = None) -> None:
        self._client = client  # which would end with its last reference, and the call with it
        self._call = call
        self._id = id
        self._chunk_id = chunk_id

    def done(self) -> bool:
        return self._call.done()

    def refused(self) -> bool:
        """It was over at once, for an argument. Asking is no look at the result."""
        return self._call.refused()

    def result(self, timeout: float | None = None) -> None:
        """Waits, at most `timeout` seconds (TimeoutError; the call goes on). Raises what the call failed with."""
        if not self._call.wait(-1.0 if timeout is None else max(timeout, 0.0)):
            raise TimeoutError(f"not over after {timeout} s")
        self._check(self._call.result())

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What result() would raise."""
        try:
            self.result(timeout)
        except Exception as error:
            return error
        return None

    def cancel(self) -> None:
        """Asks for an early end; it may succeed all the same."""
        self._call.cancel()

    async def _wait(self) -> None:
        self._check(await _loops.result_of(self._call, cancel=False))

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    def _check(self, result: Any) -> None:
        if result is not None:
            raise error_of(result, self._id, self._chunk_id)


class Sent(Pending):
    """A send that was started. As a Pending: that it was delivered. Ignoring it is fine; if it fails and nobody has
    looked, the log says so.

    Attributes:
        captured: the source may be changed or freed.
        delivered: every destination's sidecar holds the chunk.
    """

    __slots__ = ("captured",)

    def __init__(self, client: _core.Client, calls: tuple[_core.Call, _core.Call], id: str, chunk_id: int) -> None:
        super().__init__(client, calls[1], id, chunk_id)
        self.captured = Pending(client, calls[0], id, chunk_id)

    @property
    def delivered(self) -> Pending:
        return self


def wait_for(call: _core.Call) -> Any:
    """Its result. What interrupts the wait, such as KeyboardInterrupt, ends the call."""
    try:
        call.wait()
    except BaseException:
        call.cancel()
        raise
    return call.result()
