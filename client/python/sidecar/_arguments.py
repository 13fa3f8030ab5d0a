"""Arguments that are the same in many calls: each function gives what the library is told, or raises."""

from __future__ import annotations

from sidecar._errors import InvalidArgument

_DEFAULT = -1.0  # seconds: the client's own


def text_of(id: str) -> str:
    try:
        fits = 1 <= len(id.encode()) <= 255
    except (AttributeError, UnicodeEncodeError):  # no string, or half of a surrogate pair
        fits = False
    if not fits:
        raise InvalidArgument(f"id: {id!r} is not a string of 1 to 255 bytes of UTF-8")
    return id


def index_of(number: int) -> int:
    if not isinstance(number, int) or not 0 <= number < 2**32:
        raise InvalidArgument(f"{number!r} is not a number from 0 to 2^32 - 1")
    return number


def seconds_of(timeout: float | None) -> float:
    if timeout is None:
        return _DEFAULT
    if not timeout >= 0:
        raise InvalidArgument(f"timeout: {timeout} seconds")
    return float(timeout)
