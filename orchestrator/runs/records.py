"""What a run is while it waits, works and is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class RunState(IntEnum):
    """Life of a run; the numbers are stored and equal the wire's."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    INTERRUPTED = 5


@dataclass(frozen=True)
class SubmitRequest:
    """What a caller sends. `targets` None: all output nodes; `number` None: the server's counter."""

    prompt_json: bytes
    extra_data_json: bytes = b""
    client_id: str = ""
    prompt_id: str = ""
    number: float | None = None
    front: bool = False
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ValidPrompt:
    """A prompt that may run: values converted, outputs chosen; JSON texts in UTF-8."""

    prompt_json: bytes
    outputs_to_execute: tuple[str, ...]
    node_errors_json: bytes = b"{}"


@dataclass(frozen=True)
class Receipt:
    """Answer to a submission; the same for every repetition of it."""

    run_id: str
    number: float
    number_given: bool
    node_errors_json: bytes


@dataclass(frozen=True)
class RunRecord:
    """A run as stored. Times in Unix milliseconds, 0: not yet. `order` grows by one a submission.

    `losses` counts workers that vanished with it, `attempts` how often one began it. `workflow_id` is known only in
    selections, which leave out prompt and extra_data.
    """

    run_id: str
    order: int
    number: float
    number_given: bool
    prompt_json: bytes
    extra_data_json: bytes
    client_id: str
    outputs_to_execute: tuple[str, ...]
    node_errors_json: bytes
    body_hash: bytes
    created_ms: int
    state: RunState = RunState.PENDING
    attempts: int = 0
    losses: int = 0
    lease_id: str = ""
    cancelled: bool = False
    started_ms: int = 0
    ended_ms: int = 0
    outputs_json: bytes = b"{}"
    messages_json: bytes = b"[]"
    meta_json: bytes = b"{}"
    workflow_id: str = ""

    @property
    def receipt(self) -> Receipt:
        """The answer its submission got."""
        return Receipt(self.run_id, self.number, self.number_given, self.node_errors_json)

    @property
    def bytes(self) -> int:
        """Size of what the caller sent."""
        return len(self.prompt_json) + len(self.extra_data_json)


class HistoryOrder(IntEnum):
    """By what a selection of finished runs is ordered; the numbers equal the wire's."""

    ENDED = 0
    CREATED = 1
    DURATION = 2


@dataclass(frozen=True)
class Selection:
    """Which finished runs, in which order; no `states`: all, `workflow_id` None: all."""

    states: tuple[RunState, ...] = ()
    workflow_id: str | None = None
    order: HistoryOrder = HistoryOrder.ENDED
    descending: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a worker says a run ended; JSON objects {node: ui} and {node: meta}."""

    state: RunState
    outputs_json: bytes = b"{}"
    meta_json: bytes = b"{}"


@dataclass(frozen=True)
class FreeRequest:
    """What workers are asked to let go of before their next run."""

    unload_models: bool = False
    free_memory: bool = False

    def __or__(self, other: FreeRequest) -> FreeRequest:
        return FreeRequest(self.unload_models or other.unload_models, self.free_memory or other.free_memory)

    def __bool__(self) -> bool:
        return self.unload_models or self.free_memory


@dataclass(frozen=True)
class LeaseOffer:
    """What a worker does next: a leased run, or something to free."""

    run: RunRecord | None
    free: FreeRequest
