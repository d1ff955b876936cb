"""Values of one call on the provider's side: handles resolved, and what came in recognised when it goes out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kit.node_values import Blocked, FileName, HandleRef, HostRef, NodeLink, SameAs
from node_host.handles import Handles

_TRAVELS = (bool, int, float, str, bytes, bytearray, np.generic, Mapping, list, tuple)
_WIRE = (Blocked, FileName, HandleRef, HostRef, NodeLink, SameAs)


class CallValues:
    """Translates the values of one call."""

    WIRE = _WIRE

    def __init__(self, handles: Handles, holder: str, *, lists: bool) -> None:
        self._handles = handles
        self._holder = holder
        self._lists = lists
        self._came: dict[int, tuple[Any, object, SameAs]] = {}
        self._kept: dict[int, tuple[Any, HandleRef]] = {}

    def inward(self, value: Any) -> Any:
        """Raises HandleLost."""
        return self._handles.get(self._holder, value.id) if isinstance(value, HandleRef) else value

    def came(self, inputs: Mapping[str, Any], again: Callable[[str], Any] | None = None) -> None:
        """Remembers what came in, so that it need not travel back; `again` reads an input once more."""
        for name, value in inputs.items():
            self._remember(value, SameAs(name))
            if self._lists and isinstance(value, list):
                for index, item in enumerate(value):
                    self._remember(item, SameAs(name, index))

    def outward(self, value: Any) -> Any:
        """Raises HandleLost."""
        found = self._came.get(id(value))
        if found is not None and found[0] is value and _content(value) == found[1]:
            return found[2]
        if value is None or isinstance(value, (*_TRAVELS, *_WIRE)):
            return value
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return value
        if hasattr(value, "detach") and hasattr(value, "numpy"):  # torch's, which this package does not import
            return value.detach().cpu().numpy()
        return self._keep(value)

    def _keep(self, value: Any) -> HandleRef:
        if id(value) not in self._kept:
            self._kept[id(value)] = (value, self._handles.keep(self._holder, value, self._size_of(value)))
        return self._kept[id(value)][1]

    def _size_of(self, value: Any) -> int | None:
        """Bytes that the engine's cache counts; None: the value's own `nbytes`."""
        return None

    def _remember(self, value: Any, same: SameAs) -> None:
        # Numbers and texts are not worth it; equal objects of these are often one.
        if value is not None and not isinstance(value, (bool, int, float, str, bytes)):
            self._came.setdefault(id(value), (value, _content(value), same))


def _content(value: Any) -> object:
    """Changes if a container's items were replaced since."""
    if isinstance(value, dict):
        return tuple((key, id(item)) for key, item in value.items())
    return tuple(map(id, value)) if isinstance(value, (list, tuple)) else None
