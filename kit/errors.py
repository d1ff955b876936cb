"""Typed errors: one class per kind of failure, facts instead of sentences to parse.

This module owns the codes so that the core stays free of gRPC; `kit.status` alone translates them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """The canonical RPC codes (numerically gRPC's) that our errors use."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class HeliographError(Exception):
    """Base of every error that may cross a service's border.

    `message` is for people; `reason` is the stable machine word (UPPER_SNAKE); `facts` are string-able values
    (names, sizes, limits) that travel to the client unchanged.
    """

    code: ClassVar[Code] = Code.INTERNAL
    default_reason: ClassVar[str] = "BUG"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, reason: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.facts: dict[str, str] = {key: str(value) for key, value in facts.items()}

    def __str__(self) -> str:
        if not self.facts:
            return self.message
        return f"{self.message} ({', '.join(f'{key}={value}' for key, value in self.facts.items())})"


class InvalidPrompt(HeliographError):
    """The prompt (or another request body) is wrong; `body` is ComfyUI's own JSON answer where there is one."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_PROMPT"

    def __init__(
        self, message: str, *, reason: str | None = None, body: dict[str, object] | None = None, **facts: object
    ) -> None:
        super().__init__(message, reason=reason, **facts)
        self.body = body


class InvalidModel(HeliographError):
    """A model file is corrupt, truncated, malicious or does not have the tensors its family needs."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_MODEL"


class InvalidRequest(HeliographError):
    """A call's arguments are wrong (unsafe name, bad tensor, size over a limit)."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_REQUEST"


class NotFound(HeliographError):
    """A named thing does not exist: PROMPT_, ARTIFACT_, WEIGHTS_, SERVABLE_NOT_FOUND."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class Conflict(HeliographError):
    """The id is taken by something else (PROMPT_ID_TAKEN)."""

    code = Code.ALREADY_EXISTS
    default_reason = "CONFLICT"


class Blocked(HeliographError):
    """Policy forbids it (CONTENT_BLOCKED)."""

    code = Code.FAILED_PRECONDITION
    default_reason = "BLOCKED"


class Busy(HeliographError):
    """A bound is reached (QUEUE_FULL, NO_MEMORY); back off and try again."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "BUSY"
    retryable = True


class Unready(HeliographError):
    """A part is starting or down (WARMING, BACKEND_DOWN); try again."""

    code = Code.UNAVAILABLE
    default_reason = "UNREADY"
    retryable = True


class TooSlow(HeliographError):
    """A deadline passed (NODE_DEADLINE, CALL_DEADLINE)."""

    code = Code.DEADLINE_EXCEEDED
    default_reason = "DEADLINE"
    retryable = True


class Stopped(HeliographError):
    """Somebody asked for it to stop (USER_INTERRUPT)."""

    code = Code.CANCELLED
    default_reason = "USER_INTERRUPT"


class Unsupported(HeliographError):
    """We know what is asked and cannot do it (ARCH_UNKNOWN, LORA_KIND, NODE_MODE); the message names what to do."""

    code = Code.UNIMPLEMENTED
    default_reason = "UNSUPPORTED"


class Internal(HeliographError):
    """Our own fault; clients get a fixed text and a trace id."""

    code = Code.INTERNAL
    default_reason = "BUG"
