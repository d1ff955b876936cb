"""What can be wrong with a node's inputs, in ComfyUI 0.3.64's words."""

from __future__ import annotations

from dataclasses import dataclass

from kit import starter
from orchestrator.graph.kinds import Json

SHOWN_CHOICES = 20
"""ComfyUI does not repeat longer lists when a value is in none of them."""

MANY_CHOICES = 200
"""Nor do we anywhere: folders with thousands of files would make an answer huge."""


@dataclass(frozen=True)
class Problem:
    """One entry of `node_errors[id].errors`."""

    type: str
    message: str
    details: str
    extra_info: dict[str, Json]

    def as_json(self) -> dict[str, Json]:
        """ComfyUI's object."""
        return {
            "type": self.type,
            "message": self.message,
            "details": self.details,
            "extra_info": self.extra_info,
        }


@dataclass(frozen=True)
class BrokenLink:
    """A node that cannot be looked at: ComfyUI shows the Python exception (`exception_type`, `text`) of its attempt."""

    exception_type: str
    text: str

    def as_output(self) -> Problem:
        """Seen at an output node."""
        extra: dict[str, Json] = {"exception_type": self.exception_type, "traceback": []}
        return Problem("exception_during_validation", "Exception when validating node", self.text, extra)

    def as_inner(self, input_name: str, config: Json, linked_node: Json) -> Problem:
        """Seen from the input of the node that consumes it."""
        extra: dict[str, Json] = {
            "input_name": input_name,
            "input_config": config,
            "exception_message": self.text,
            "exception_type": self.exception_type,
            "traceback": [],
            "linked_node": linked_node,
        }
        return Problem("exception_during_inner_validation", "Exception when validating inner node", self.text, extra)


def error_body(kind: str, message: str, details: str) -> dict[str, Json]:
    """The `error` object of a refused prompt."""
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def missing_input(name: str) -> Problem:
    return Problem("required_input_missing", "Required input is missing", name, {"input_name": name})


def bad_link(name: str, config: Json, value: Json) -> Problem:
    text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    return Problem("bad_linked_input", text, name, _received(name, config, value))


def type_mismatch(name: str, config: list[Json], received: str, linked_node: Json) -> Problem:
    expected = config[0]
    long = isinstance(expected, list) and len(expected) > MANY_CHOICES
    shown = f"(list of length {len(expected)})" if isinstance(expected, list) and long else expected
    details = f"{name}, received_type({received}) mismatch input_type({shown})"
    extra: dict[str, Json] = {
        "input_name": name,
        "input_config": None if long else config,
        "received_type": received,
        "linked_node": linked_node,
    }
    return Problem("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def not_convertible(name: str, config: Json, wire: str, value: Json, reason: str) -> Problem:
    message = f"Failed to convert an input value to a {wire} value"
    extra = {**_received(name, config, value), "exception_message": reason}
    return Problem("invalid_input_type", message, f"{name}, {value}, {reason}", extra)


def too_small(name: str, config: Json, value: Json, least: Json) -> Problem:
    message = f"Value {value} smaller than min of {least}"
    return Problem("value_smaller_than_min", message, name, _received(name, config, value))


def too_big(name: str, config: Json, value: Json, most: Json) -> Problem:
    message = f"Value {value} bigger than max of {most}"
    return Problem("value_bigger_than_max", message, name, _received(name, config, value))


def not_in_list(name: str, config: Json, value: Json, choices: list[Json]) -> Problem:
    long = len(choices) > SHOWN_CHOICES
    shown = f"(list of length {len(choices)})" if long else str(choices)
    extra = _received(name, None if long else config, value)
    advice = f"; {starter.ADVICE}" if starter.is_starter(value) else ""
    return Problem("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}{advice}", extra)


def invalid_file(name: str, content: str, value: Json) -> Problem:
    return custom_failed(name, f"Invalid {content} file: {value}")


def custom_failed(name: str, reason: str) -> Problem:
    """A class's own validation refused; ComfyUI says so once for each input that it looked at."""
    details = f"{name} - {reason}" if reason else name
    return Problem("custom_validation_failed", "Custom validation failed for node", details, {"input_name": name})


def _received(name: str, config: Json, value: Json) -> dict[str, Json]:
    return {"input_name": name, "input_config": config, "received_value": value}
