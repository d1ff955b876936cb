"""NodeSpec: everything the world needs to know of a node class without its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from orchestrator.graph.kinds import AudioRecord, Bool, Float, InputFile, Int, Json, Kind, Link, Lists, OneOf, Text

__all__ = [
    "AudioRecord", "Blocker", "Bool", "CustomCheck", "Float", "HiddenInput", "Input", "InputFile", "Int", "Json",
    "Kind", "Lane", "Link", "Lists", "NodeOutput", "NodeSpec", "OneOf", "Output", "Text",
]  # fmt: skip

Lane = Literal["cpu", "accelerator"]


@dataclass(frozen=True)
class Input:
    """One declared input; optional ones may be missing from a prompt and then take the function's default."""

    name: str
    kind: Kind
    required: bool = True
    any_type: bool = False  # takes a link of any type, whatever type it shows
    shown: bool = True  # else ComfyUI's class declares it among its hidden inputs: only expansions give it

    @property
    def lazy(self) -> bool:
        """Its source runs only if the node asks for it."""
        return bool((self.kind.options or {}).get("lazy"))


@dataclass(frozen=True)
class Output:
    """One output slot; `is_list` makes consumers run once per element."""

    type: str
    name: str
    is_list: bool = False
    any_type: bool = False  # fits an input of any type, whatever type it shows


@dataclass(frozen=True)
class CustomCheck:
    """A class validates these inputs by itself: limits, choices and (`input_types`) link types are left to it."""

    inputs: frozenset[str] = frozenset()
    all_inputs: bool = False
    input_types: bool = False

    def takes(self, name: str) -> bool:
        """Whether it looks at the input."""
        return self.all_inputs or name in self.inputs


@dataclass(frozen=True)
class HiddenInput:
    """An input the engine fills: PROMPT, EXTRA_PNGINFO, UNIQUE_ID, DYNPROMPT."""

    name: str
    type: str


@dataclass(frozen=True)
class NodeSpec:
    """A node class. `version` grows when its result changes for equal inputs (it enters the cache key).

    `v3` is ComfyUI's newer wire form (COMBO inputs, all flags written, display_name null when there is none).
    """

    id: str
    category: str
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    hidden: tuple[HiddenInput, ...] = ()
    display_name: str | None = None
    python_module: str = "nodes"
    description: str = ""
    output_node: bool = False
    input_is_list: bool = False
    deprecated: bool = False
    experimental: bool = False
    v3: bool = False
    lane: Lane = "cpu"
    version: int = 1
    idempotent: bool = True
    fingerprinted: bool = False
    custom: CustomCheck | None = None

    def input(self, name: str) -> Input | None:
        """The declared input of that name."""
        return self._by_name.get(name)

    @property
    def required(self) -> tuple[Input, ...]:
        """Inputs that a prompt must give."""
        return tuple(item for item in self.inputs if item.required)

    @property
    def optional(self) -> tuple[Input, ...]:
        """Inputs that a prompt may leave out."""
        return tuple(item for item in self.inputs if not item.required)

    def is_lazy(self, name: str) -> bool:
        """Whether the input of this name is declared, and lazy."""
        item = self._by_name.get(name)
        return item is not None and item.lazy

    def wants(self, hidden_type: str) -> bool:
        """Whether a hidden input of this type is declared."""
        return any(item.type == hidden_type for item in self.hidden)

    _by_name: Mapping[str, Input] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        by_name = MappingProxyType({item.name: item for item in self.inputs})
        object.__setattr__(self, "_by_name", by_name)


@dataclass(frozen=True)
class Blocker:
    """A value that stops whoever would take it, and those behind; `message`: told to the client, the run goes on."""

    message: str | None = None


@dataclass(frozen=True)
class NodeOutput:
    """What an output node returns: `ui` for clients ({"images": [...]}), `result` for links.

    `expand`: nodes in API format that take this node's place; `result` then may hold links, [node id, slot].
    """

    ui: Mapping[str, list[Json]] | None = None
    result: tuple[object, ...] = ()
    expand: Mapping[str, Json] | None = None
