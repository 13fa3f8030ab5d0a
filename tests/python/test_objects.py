"""Objects arrive as they were sent, and pickles only where both sides want them."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from conftest import Make
from sidecar import InvalidArgument, ProtocolError, Unauthorized, _codec

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    2**64,
    -(2**64),
    10**400,
    -(10**400),
    0.1,
    math.inf,
    -0.0,
    "",
    "héllo \U0001f600",
    "\ud800",  # half of a pair
    "\x00",
    b"",
    b"\x00\xff" * 5,
    [],
    (),
    {},
    [1, [2, [3, []]]],
    (1, (2, ()), [3]),
    {"a": {"b": (1, None)}},
    {1: "int", None: "none", (1, 2): "tuple", b"b": "bytes", 1.5: "float", True: "bool"},
    [b"x" * 300_000, "y" * 300_000],  # more than a message's header holds
]


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a, b)) and all(map(same, a.values(), b.values()))
    return bool(a == b) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@pytest.mark.parametrize("to", [1, 2], ids=["same node", "other node"])
def test_every_value_arrives_as_what_it_was(to: int, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(to)
    for chunk, value in enumerate(VALUES):
        sender.send(value, unique, [[to]], chunk, len(VALUES))
    for chunk, value in enumerate(VALUES):
        received = receiver.recv_sync(unique, chunk)
        assert same(received, value), (received, value)
        receiver.mark_done_sync(unique, chunk)


def test_nan_arrives_as_nan(make: Make, unique: str) -> None:
    make(0).send([math.nan], unique, [[1]])
    receiver = make(1)
    assert math.isnan(receiver.recv_sync(unique)[0])
    receiver.mark_done_sync(unique)


def test_none_is_told_from_the_end_by_where_it_stands(make: Make, unique: str) -> None:
    """recv gives None for both; a stream tells them apart."""
    make(0).send(None, unique, [[1]])
    receiver = make(1)
    assert list(receiver.stream(unique, mark_done=True)) == [None]


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x


class Number(int):
    pass


@pytest.mark.parametrize(
    "value", [Point(1), {1, 2}, frozenset(), 1j, range(3), Number(3), [1, {"deep": Point(2)}], int], ids=repr
)
def test_what_has_no_form_raises_and_names_the_option(value: Any, make: Make) -> None:
    with pytest.raises(InvalidArgument, match="unsupported.*allow_pickle=True on both sides"):
        make(0).send(value, "x", [[1]])


def test_a_list_that_holds_itself_raises_instead_of_recursing_for_ever(make: Make) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidArgument, match="data"):
        make(0).send(endless, "x", [[1]])


def test_pickles_travel_when_both_sides_switch_them_on(make: Make, unique: str) -> None:
    sender, receiver = make(0, allow_pickle=True), make(1, allow_pickle=True)
    value = [Point(3), {1, 2}, 1j, Number(4)]
    sender.send(value, unique, [[1]])
    received = receiver.recv_sync(unique)
    assert received == value
    assert [type(each) for each in received] == [Point, set, complex, Number]
    receiver.mark_done_sync(unique)


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("loading the pickle ran the sender's code",)


def test_a_receiver_that_did_not_switch_pickles_on_never_loads_one(make: Make, unique: str) -> None:
    make(0, allow_pickle=True).send(Bomb(), unique, [[1]])
    receiver = make(1)
    with pytest.raises(Unauthorized, match="allow_pickle=True") as raised:
        receiver.recv_sync(unique)
    assert raised.value.id == unique
    receiver.mark_done_sync(unique)


def test_with_pickles_on_what_msgpack_can_say_is_not_pickled(make: Make, unique: str) -> None:
    make(0, allow_pickle=True).send({"a": (1, 2)}, unique, [[1]])
    receiver = make(1)  # refuses pickles
    assert receiver.recv_sync(unique) == {"a": (1, 2)}
    receiver.mark_done_sync(unique)


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (b"\xc1", _codec.MSGPACK),
        (b"", _codec.MSGPACK),
        (b"\x93\x01", _codec.MSGPACK),
        (b"\xc7\x01\x63\x00", _codec.MSGPACK),
        (b"\x91" * 100_000 + b"\xc0", _codec.MSGPACK),
        (b"no pickle", _codec.PICKLE),
        (pickle.dumps(Point(1))[:-3], _codec.PICKLE),
        (b"", 77),
    ],
    ids=["bad byte", "empty", "cut", "extension", "deep", "pickle", "cut pickle", "codec"],
)
def test_bytes_that_make_no_sense_are_a_protocol_error(data: bytes, codec: int, make: Make, unique: str) -> None:
    sender, receiver = make(0), make(1, allow_pickle=True)
    sender._client.send_object(data, codec, sender._where(unique, [[1]], 0, 1, False, None))
    with pytest.raises(ProtocolError) as raised:
        receiver.recv_sync(unique)
    assert raised.value.id == unique
    receiver.mark_done_sync(unique)
