"""Objects as bytes: msgpack, and pickle where both sides allow it.

A tuple and an int of more than 64 bits travel as msgpack's extension types, so that what arrives is what was sent.
"""

from __future__ import annotations

import pickle
from typing import Any

import msgpack

from sidecar._errors import InvalidArgument, ProtocolError, Unauthorized

# What tells a receiver how to read an object. Numbers of the service's users: C++ programs see them as they are.
BYTES = 0  # as they are
MSGPACK = 1
PICKLE = 2

_TUPLE = 1
_INT = 2


class _Unsupported(TypeError):
    pass


def _extend(value: Any) -> msgpack.ExtType:
    if type(value) is tuple:
        return msgpack.ExtType(_TUPLE, _pack(list(value)))
    if type(value) is int:
        return msgpack.ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise _Unsupported(type(value).__name__)


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_extend, strict_types=True, unicode_errors="surrogatepass")
    return packed


def _restore(code: int, data: bytes) -> Any:
    if code == _TUPLE:
        return tuple(_unpack(data))
    if code == _INT:
        return int.from_bytes(data, "big", signed=True)
    raise ValueError(f"an extension of type {code}, which is none of ours")


def _unpack(data: Any) -> Any:
    return msgpack.unpackb(data, ext_hook=_restore, strict_map_key=False, unicode_errors="surrogatepass")


def encode(value: Any, allow_pickle: bool) -> tuple[bytes, int]:
    """The bytes, and how to read them. InvalidArgument for types that have no such form."""
    if type(value) is bytes:
        return value, BYTES
    try:
        return _pack(value), MSGPACK
    except (_Unsupported, ValueError, OverflowError, RecursionError) as error:
        if allow_pickle:
            return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL), PICKLE
        what = f"of type {error}" if isinstance(error, _Unsupported) else str(error)
        raise InvalidArgument(
            f"data: unsupported ({what}): neither a tensor, array or buffer nor None, bool, int, float, str, bytes, "
            "list, tuple or dict of these. allow_pickle=True on both sides sends anything that can be pickled"
        ) from None


def decode(data: Any, codec: int, allow_pickle: bool) -> Any:
    """What encode() was given; `data` is a buffer."""
    if codec == BYTES:
        return bytes(data)
    if codec == PICKLE and not allow_pickle:
        raise Unauthorized(
            "a pickled object, which this side does not load, since that can run the sender's code: "
            "SidecarConfig(allow_pickle=True) allows it"
        )
    if codec not in (MSGPACK, PICKLE):
        raise ProtocolError(f"an object of codec {codec}, which this version does not know")
    try:
        return pickle.loads(bytes(data)) if codec == PICKLE else _unpack(data)
    except Exception as error:  # whatever the bytes make the decoder say
        raise ProtocolError(f"an object that cannot be decoded ({type(error).__name__}: {error})") from error
