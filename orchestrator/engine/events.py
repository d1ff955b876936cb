"""What happens while a run is worked on, in ComfyUI's terms; mirrors event.proto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.ports import PreviewImage


@dataclass(frozen=True)
class Started:
    """A worker took the run."""


@dataclass(frozen=True)
class Cached:
    """These nodes need not run, in the prompt's order; always sent, possibly empty."""

    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class NodeState:
    """Where one node stands; ids as in event.proto."""

    node_id: str
    value: float
    max: float
    finished: bool
    display_node_id: str
    parent_node_id: str
    real_node_id: str


@dataclass(frozen=True)
class NodeStates:
    """All nodes that are not pending any more, in the order they left it."""

    nodes: tuple[NodeState, ...]


@dataclass(frozen=True)
class Executing:
    """A node begins."""

    node_id: str
    display_node_id: str


@dataclass(frozen=True)
class Progress:
    """A node's own counter."""

    node_id: str
    value: float
    max: float


@dataclass(frozen=True)
class Executed:
    """A node has something to show: ComfyUI's ui object, or None."""

    node_id: str
    display_node_id: str
    output: Mapping[str, object] | None


@dataclass(frozen=True)
class Previewed:
    """A picture of work in progress."""

    node_id: str
    display_node_id: str
    parent_node_id: str
    real_node_id: str
    image: PreviewImage


@dataclass(frozen=True)
class Succeeded:
    """All outputs are there."""


@dataclass(frozen=True)
class Failed:
    """A node failed; `reason` and `facts` are set for typed errors."""

    node_id: str
    node_type: str
    executed: tuple[str, ...]
    exception_message: str
    exception_type: str
    traceback: tuple[str, ...] = ()
    current_inputs: Mapping[str, object] = field(default_factory=dict)
    current_outputs: tuple[str, ...] = ()
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Interrupted:
    """Somebody stopped it; an empty node id: before the first."""

    node_id: str
    node_type: str
    executed: tuple[str, ...]


Event = Started | Cached | NodeStates | Executing | Progress | Executed | Previewed | Succeeded | Failed | Interrupted
