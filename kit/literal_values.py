"""JSON literals at the wire of NodeProvider; loads no numpy, for processes that start fast."""

from __future__ import annotations

from typing import Any

from heliograph.graph.v1 import node_value_pb2 as pb

from kit.errors import InvalidRequest

MAX_DEPTH = 40  # protobuf itself refuses messages that are nested more than a hundred deep
_INT64 = 1 << 63


def pack_literal(value: Any, depth: int = 0) -> pb.Value:
    """Raises InvalidRequest (NODE_VALUE)."""
    check_depth(depth)
    match value:
        case None:
            return pb.Value()
        case bool():
            return pb.Value(bool_value=value)
        case int():
            return whole(value)
        case float():
            return pb.Value(float_value=value)
        case str():
            return pb.Value(string_value=value)
        case list():
            return pb.Value(list=pb.ValueList(values=[pack_literal(item, depth + 1) for item in value]))
        case dict():
            entries = {key: pack_literal(item, depth + 1) for key, item in value.items()}
            return pb.Value(map=pb.ValueMap(entries=entries))
    raise unfit(value)


def check_depth(depth: int) -> None:
    """Raises InvalidRequest (NODE_VALUE)."""
    if depth > MAX_DEPTH:
        raise InvalidRequest("a value is nested too deeply", reason="NODE_VALUE", max_depth=MAX_DEPTH)


def whole(value: int) -> pb.Value:
    """Raises InvalidRequest (NODE_VALUE) beyond 64 bits."""
    if -_INT64 <= value < _INT64:
        return pb.Value(int_value=value)
    if 0 <= value < 2 * _INT64:
        return pb.Value(uint_value=value)
    raise InvalidRequest("a whole number does not fit 64 bits", reason="NODE_VALUE", bits=value.bit_length())


def unfit(value: object) -> InvalidRequest:
    """Nothing that travels."""
    return InvalidRequest("a value of this type cannot travel", reason="NODE_VALUE", type=type(value).__name__)
