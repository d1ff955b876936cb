"""The one translation between typed errors and RPC statuses (and the HTTP code that goes with each class).

A status carries `google.rpc.ErrorInfo(reason, domain="heliograph", metadata=facts)`; a wrong request also
`BadRequest`, a missing thing `ResourceInfo`, a retryable failure `RetryInfo`. Facts whose key starts with "@" are ours.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from kit import errors
from kit.errors import Code, HeliographError

DOMAIN = "heliograph"
INTERNAL_TEXT = "internal error; the trace id leads to the cause in the server's log"
# Peers that do not raise their limit accept 8 KiB of trailers, and binary ones travel as base64.
_PLAIN_BODY_BYTES = 2048
_MAX_TEXT = 4096
_MAX_FACT = 1024
_MAX_VIOLATIONS = 32
_RETRY_AFTER_S = {Code.RESOURCE_EXHAUSTED: 1.0, Code.UNAVAILABLE: 0.5, Code.DEADLINE_EXCEEDED: 1.0}

HTTP_STATUS: dict[Code, int] = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
}
"""HTTP status of every code."""

_CLASSES: dict[str, type[HeliographError]] = {
    cls.__name__: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, HeliographError) and cls is not HeliographError
}
_BY_CODE: dict[int, type[HeliographError]] = {
    Code.CANCELLED: errors.Stopped,
    Code.INVALID_ARGUMENT: errors.InvalidRequest,
    Code.DEADLINE_EXCEEDED: errors.TooSlow,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.Conflict,
    Code.RESOURCE_EXHAUSTED: errors.Busy,
    Code.FAILED_PRECONDITION: errors.Blocked,
    Code.UNIMPLEMENTED: errors.Unsupported,
    Code.UNAVAILABLE: errors.Unready,
}
# What a status without our details means: it comes from the transport, not from a servicer.
_TRANSPORT_REASON: dict[int, str] = {
    Code.CANCELLED: "CALL_CANCELLED",
    Code.DEADLINE_EXCEEDED: "CALL_DEADLINE",
    Code.UNAVAILABLE: "BACKEND_DOWN",
    Code.RESOURCE_EXHAUSTED: "MESSAGE_TOO_LARGE",
}


def http_status(error: HeliographError) -> int:
    """HTTP status code of an error."""
    return HTTP_STATUS[error.code]


def retry_after_s(error: HeliographError) -> float | None:
    """Seconds a client should wait before trying again; None: trying again will not help."""
    return _RETRY_AFTER_S.get(error.code, 1.0) if error.retryable else None


def status_message(error: HeliographError, trace_id: str = "") -> status_pb2.Status:
    """The error as `google.rpc.Status`. Our own faults lose their text and keep only the trace id."""
    internal = error.code is Code.INTERNAL
    text = INTERNAL_TEXT if internal else _encodable(str(error)[:_MAX_TEXT])
    status = status_pb2.Status(code=int(error.code), message=text)
    for detail in _details(error, trace_id, internal):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def to_status(error: HeliographError, trace_id: str = "") -> grpc.Status:
    """The error as a status that a servicer context can abort with."""
    return rpc_status.to_status(status_message(error, trace_id))


def from_rpc_error(error: grpc.RpcError) -> HeliographError:
    """The typed error behind a failed call; statuses without our details become the class of their code.

    Works for synchronous and asyncio calls. UNKNOWN and INTERNAL become `Internal`.
    """
    status = _status_of(error)
    info = _error_info(status) if status is not None else None
    if status is None or info is None:
        code, text = _code_and_text(error)
        cls = _BY_CODE.get(code, errors.Internal)
        return cls(text, reason=_TRANSPORT_REASON.get(code))
    facts = dict(info.metadata)
    name = facts.pop("@class", "")
    body = _unpack_body(facts)
    message = facts.pop("@message", status.message)
    cls = _CLASSES.get(name) or _BY_CODE.get(status.code, errors.Internal)
    made: HeliographError
    if issubclass(cls, errors.InvalidPrompt):
        made = cls(message, reason=info.reason, body=body)
    else:
        made = cls(message, reason=info.reason)
    made.facts.update(facts)
    return made


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which JSON can bring and protobuf cannot carry, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _details(error: HeliographError, trace_id: str, internal: bool) -> Iterator[error_details_pb2.ErrorInfo]:
    facts = {} if internal else {key: _encodable(value[:_MAX_FACT]) for key, value in error.facts.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts)
    info.metadata["@class"] = type(error).__name__
    if not internal:
        info.metadata["@message"] = _encodable(error.message[:_MAX_TEXT])
    if trace_id:
        info.metadata["trace_id"] = trace_id
    if isinstance(error, errors.InvalidPrompt) and error.body is not None:
        _pack_body(info, error.body)
    yield info
    if error.code is Code.INVALID_ARGUMENT:
        yield _bad_request(error)
    elif error.code is Code.NOT_FOUND:
        kind, _, _ = error.reason.partition("_NOT_FOUND")
        yield error_details_pb2.ResourceInfo(
            resource_type=kind.lower(),
            resource_name=next(iter(facts.values()), ""),
            description=_encodable(error.message),
        )
    delay = retry_after_s(error)
    if delay is not None:
        nanos = round(delay % 1 * 1e9)
        yield error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(delay), nanos=nanos))


def _bad_request(error: HeliographError) -> error_details_pb2.BadRequest:
    """One violation for each of the body's node errors, else one for each fact; bounded."""
    violations: list[tuple[str, str]] = []
    body = getattr(error, "body", None)
    node_errors = body.get("node_errors") if isinstance(body, dict) else None
    if isinstance(node_errors, dict):
        for node_id, entry in node_errors.items():
            for problem in entry.get("errors", ()):
                field = f"prompt.{node_id}.{problem.get('extra_info', {}).get('input_name', '')}".rstrip(".")
                text = f"{problem.get('type')}: {problem.get('message')}: {problem.get('details')}"
                violations.append((field, text[:160]))
    if not violations:
        violations = [(key, f"{error.message}: {value}"[:160]) for key, value in error.facts.items()]
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=_encodable(field), description=_encodable(text))
            for field, text in violations[:_MAX_VIOLATIONS]
        ]
    )


def _pack_body(info: error_details_pb2.ErrorInfo, body: dict[str, object]) -> None:
    text = json.dumps(body)
    if len(text) <= _PLAIN_BODY_BYTES:
        info.metadata["@body"] = text
    else:
        info.metadata["@body_zlib"] = base64.b64encode(zlib.compress(text.encode())).decode()


def _unpack_body(facts: dict[str, str]) -> dict[str, object] | None:
    packed = facts.pop("@body_zlib", None)
    text = zlib.decompress(base64.b64decode(packed)).decode() if packed else facts.pop("@body", None)
    if text is None:
        return None
    body = json.loads(text)
    return body if isinstance(body, dict) else None


def _status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(cast(Any, error))
    except (AttributeError, ValueError):  # not a call, or code and details disagree: a foreign status
        return None
    return status


def _error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _code_and_text(error: grpc.RpcError) -> tuple[int, str]:
    code = error.code() if callable(getattr(error, "code", None)) else None
    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(Code.INTERNAL)
    text = error.details() if callable(getattr(error, "details", None)) else ""
    return number, text or f"call failed with {code}"
