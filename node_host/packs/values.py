"""Values as packs know them: torch tensors that are theirs alone, latents as dicts, models as opaque objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

from kit.node_values import Blocked, HandleRef, HostRef, SameAs
from node_host.surface.graph_utils import ExecutionBlocker
from node_host.surface.missing import Opaque, ref_of
from node_host.values import CallValues

_TUPLE = "__heliograph_tuple__"
_MAX_PARTS = 10_000
_PLAIN = (bool, int, float, str, bytes)


class Kept:
    """A value that stays in this process though it could travel."""

    def __init__(self, value: Any) -> None:
        self.value = value


class PackValues(CallValues):
    """Translates the values of one call.

    What comes in is a copy, so that a pack may change it; what goes out unchanged is named and does not travel.
    """

    def inward(self, value: Any) -> Any:
        """Raises HandleLost."""
        match value:
            case HandleRef():
                return super().inward(value)
            case HostRef():
                return Opaque(value, value.type)
            case np.ndarray():
                return as_tensor(value)
            case {"__heliograph_tuple__": list() as items} if len(value) == 1:
                return tuple(items)
        return value

    def came(self, inputs: Mapping[str, Any], again: Callable[[str], Any] | None = None) -> None:
        """`again`: an input as it came, whatever has been done to it since."""
        super().came(inputs, again)
        self._again = again

    def outward(self, value: Any) -> Any:
        """Raises HandleLost."""
        if isinstance(value, Kept):
            return self._keep(value.value)
        found = self._came.get(id(value))
        if found is not None and found[0] is value and self._unchanged(value, found[2]):
            return found[2]
        match value:
            case ExecutionBlocker():
                return Blocked(value.message)
            case Opaque():
                return ref_of(value)
            case torch.Tensor():
                return as_array(value)
            case np.ndarray() if not value.dtype.hasobject:
                return value
            case dict() | list() | tuple() | None | np.generic():
                return value
        if isinstance(value, _PLAIN):
            return str.__str__(value) if isinstance(value, str) else value
        return value if isinstance(value, self.WIRE) else self._keep(value)

    def _size_of(self, value: Any) -> int | None:
        return tensor_bytes(value)

    def _unchanged(self, value: Any, same: SameAs) -> bool:
        if self._again is None or isinstance(value, Opaque):
            return True
        before = self._again(same.input)
        return deep_equal(value, before if same.index is None else before[same.index])


def as_tensor(array: Any) -> torch.Tensor:
    """Its own copy."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def as_array(tensor: torch.Tensor) -> Any:
    """For the wire."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:  # numpy has no word for it
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def tensor_bytes(value: Any) -> int:
    """Of all tensors and arrays in containers and objects, so that the cache knows what it keeps alive here."""
    total, todo, seen = 0, [value], set[int]()
    while todo and len(seen) < _MAX_PARTS:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (torch.Tensor, np.ndarray)):
            total += int(item.nbytes)
        elif isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo.extend(item)
        elif not isinstance(item, (*_PLAIN, Opaque, type)) and hasattr(item, "__dict__"):
            todo.extend(vars(item).values())
    return total


def deep_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same through and through; tensors with NaN are not."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    match one:
        case torch.Tensor():
            return one.dtype == other.dtype and one.shape == other.shape and bool(torch.equal(one, other))
        case dict():
            return list(one) == list(other) and all(deep_equal(one[key], other[key]) for key in one)
        case list() | tuple():
            return len(one) == len(other) and all(map(deep_equal, one, other))
        case Opaque():
            return bool(ref_of(one) == ref_of(other))
        case _ if isinstance(one, _PLAIN):
            return bool(one == other)
    return False


def travels(value: Any, depth: int = 0) -> bool:
    """Whether it can go over the wire as it is, with nothing but numbers, texts, tensors and models in it."""
    match value:
        case dict():
            return depth < 16 and all(isinstance(k, str) and travels(v, depth + 1) for k, v in value.items())
        case list() | tuple():
            return depth < 16 and all(travels(item, depth + 1) for item in value)
    return value is None or isinstance(value, (*_PLAIN, np.generic, torch.Tensor, Opaque, ExecutionBlocker))


def tagged(value: Any) -> Any:
    """With tuples marked, so that the next node of a pack gets tuples and no lists."""
    match value:
        case dict():
            return {key: tagged(item) for key, item in value.items()}
        case list():
            return [tagged(item) for item in value]
        case tuple():
            return {_TUPLE: [tagged(item) for item in value]}
    return value


def has_opaque(value: Any) -> bool:
    """Whether a model or the like is in it: then it must travel, for it means nothing here after the call."""
    match value:
        case dict():
            return any(map(has_opaque, value.values()))
        case list() | tuple():
            return any(map(has_opaque, value))
    return isinstance(value, Opaque)
