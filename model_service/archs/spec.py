"""What an architecture is: one network component, recognised and configured from a file header alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kit.errors import InvalidModel
from model_service.weights.header import Header, TensorEntry

if TYPE_CHECKING:
    from torch import nn

Side = int | str
Fact = str | int | float | bool


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a string in `shape` names a side that varies. `dtype` is KServe's word (FP32, INT64)."""

    name: str
    dtype: str
    shape: tuple[Side, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a network, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Part:
    """The tensors of one component in one file, with the component's prefix already removed.

    `entries` maps the network's own tensor name to the place of its bytes; `path` is the file.
    """

    header: Header
    prefix: str
    entries: Mapping[str, TensorEntry]

    def need(self, name: str, rank: int | None) -> tuple[int, ...]:
        """Shape of the tensor `name`; InvalidModel if the file lacks it or it has another rank (None: any)."""
        entry = self.entries.get(name)
        if entry is None:
            raise InvalidModel("a tensor that this network needs is missing", tensor=self.prefix + name)
        if rank is not None and len(entry.shape) != rank:
            raise InvalidModel("a tensor has the wrong rank", tensor=entry.name, shape=entry.shape, rank=rank)
        return entry.shape

    def has(self, start: str) -> bool:
        """Whether any tensor's name begins with `start`."""
        return any(name.startswith(start) for name in self.entries)

    def count(self, pattern: str) -> int:
        """How many consecutive n = 0, 1, ... have a tensor whose name begins with `pattern.format(n)`."""
        number = 0
        while self.has(pattern.format(number)):
            number += 1
        return number


def _keep_name(name: str) -> str:
    return name


@dataclass(frozen=True)
class Arch:
    """One network component.

    `prefixes`: where its tensors may live in a file; the longest one that leads to all `marks` is removed.
    `marks` must all be present and `absent` must not (each is the beginning of a tensor name); `fits` tells closer
    relatives apart by shapes. `configure` raises `kit.errors.InvalidModel` where shapes contradict each other.
    `build` imports torch. `optional`: beginnings of names that a file may lack or have without any use for them.
    `owns`: beginnings of names that belong to it; others under an empty prefix are a neighbour's.
    """

    id: str
    component: str
    prefixes: tuple[str, ...]
    marks: tuple[str, ...]
    absent: tuple[str, ...]
    owns: tuple[str, ...]
    configure: Callable[[Part], Any]
    build: Callable[[Any], nn.Module]
    tensors: Callable[[Any], Signature]
    facts: Callable[[Any], Mapping[str, Fact]]
    samples: tuple[Any, ...]
    rename: Callable[[str], str] = _keep_name
    unused: tuple[str, ...] = ()
    fits: Callable[[Part], bool] = field(default=lambda part: True)


@dataclass(frozen=True)
class Component:
    """An architecture found in a file, with its configuration and its tensors."""

    arch: Arch
    config: Any
    part: Part

    @property
    def kind(self) -> str:
        return self.arch.component

    @property
    def facts(self) -> Mapping[str, Fact]:
        return self.arch.facts(self.config)
