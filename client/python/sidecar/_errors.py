"""How calls fail. Every class says which rank, id and chunk it concerns."""

from __future__ import annotations

from sidecar import _core


class SidecarError(Exception):
    """A call that did not succeed, and the base of all reasons.

    Attributes:
        rank: the sidecar that it concerns; None: none in particular.
        id, chunk_id: what the call was about; None where it was about no chunk.
        failed: of a send to several groups, the leaders that did not get it, each with the class of its error.
            The others did get it.
    """

    def __init__(
        self,
        message: str,
        *,
        rank: int | None = None,
        id: str | None = None,
        chunk_id: int | None = None,
        failed: dict[int, type[SidecarError]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.rank = rank
        self.id = id
        self.chunk_id = chunk_id
        self.failed = failed or {}

    def __str__(self) -> str:
        about = []
        if self.rank is not None:
            about.append(f"rank {self.rank}")
        if self.id is not None:
            about.append(f"id {self.id!r}" + ("" if self.chunk_id is None else f", chunk {self.chunk_id}"))
        return self.message + (f" ({', '.join(about)})" if about else "")


class InvalidArgument(SidecarError, ValueError):
    """The caller's mistake; nothing was done. The message names the argument."""


class NotFound(SidecarError, LookupError):
    """There is no such thing."""


class AlreadyExists(SidecarError):
    """This chunk was sent before; the first data stays."""


class AlreadyDone(SidecarError):
    """This chunk was marked done."""


class NoSpace(SidecarError):
    """It can never fit, or more is under way than one client may have."""


class Timeout(SidecarError, TimeoutError):
    """The call's time was over."""


class Cancelled(SidecarError):
    """Cancelled by the caller, or by the end of the client."""


class PeerLost(SidecarError, ConnectionError):
    """The sidecar that held the data, or was to receive it, is gone for good."""


class ProtocolError(SidecarError):
    """Bytes that make no sense: from another version, or broken."""


class Unauthorized(SidecarError):
    """The sidecar, or a setting, does not allow it."""


class Unavailable(SidecarError, ConnectionError):
    """Not connected, not registered, or draining."""


class IoError(SidecarError):
    """The system or the transport said no."""


_NAMES: dict[str, type[SidecarError]] = {
    "InvalidArgument": InvalidArgument,
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "AlreadyDone": AlreadyDone,
    "NoSpace": NoSpace,
    "Timeout": Timeout,
    "Cancelled": Cancelled,
    "PeerLost": PeerLost,
    "Protocol": ProtocolError,
    "Unauthorized": Unauthorized,
    "Unavailable": Unavailable,
    "Io": IoError,
}
_CLASSES = {code: _NAMES.get(name, SidecarError) for name, code in _core.codes.items()}


def error_of(failure: _core.Failure, id: str | None = None, chunk_id: int | None = None) -> SidecarError:
    """The exception that says what `failure` says."""
    return _CLASSES.get(failure.code, SidecarError)(
        failure.message,
        rank=failure.rank if failure.rank >= 0 else None,
        id=id,
        chunk_id=chunk_id,
        failed={rank: _CLASSES.get(code, SidecarError) for rank, code in failure.failed},
    )


def name_chunk(error: SidecarError, id: str, chunk_id: int) -> None:
    """It is about this chunk, if it names none."""
    if error.id is None:
        error.id, error.chunk_id = id, chunk_id
