"""Which endpoint a path means. Segments are told apart before they are decoded: `%2F` inside one separates nothing."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from rest_bridge.bridge import Endpoint

_ALIAS = "/api"
_TAIL = ":path}"
Found = tuple[Endpoint, dict[str, str]]


class Paths:
    """All endpoints under all their names; refuses two with one name."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._exact: dict[tuple[str, ...], Endpoint] = {}
        self._shaped: list[tuple[tuple[str, ...], Endpoint]] = []
        for endpoint in endpoints:
            for name in names(endpoint):
                self._add(tuple(name.split("/")[1:]), endpoint)

    def _add(self, shape: tuple[str, ...], endpoint: Endpoint) -> None:
        if shape in self._exact or any(shape == known for known, _ in self._shaped):
            raise ValueError(f"two endpoints are named /{'/'.join(shape)}")
        if any(part.startswith("{") for part in shape):
            self._shaped.append((shape, endpoint))
        else:
            self._exact[shape] = endpoint

    def find(self, raw_path: bytes) -> Found | None:
        """The endpoint and its decoded parameters; None: no such path."""
        parts = tuple(_decoded(part) for part in raw_path.split(b"/")[1:])
        endpoint = self._exact.get(parts)
        if endpoint is not None:
            return endpoint, {}
        for shape, candidate in self._shaped:
            params = _match(shape, parts)
            if params is not None:
                return candidate, params
        return None


def names(endpoint: Endpoint) -> tuple[str, ...]:
    """The path, and the same below `/api` where ComfyUI has it."""
    return (endpoint.path, _ALIAS + endpoint.path) if endpoint.aliased else (endpoint.path,)


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace")


def _match(shape: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    tail = shape[-1].endswith(_TAIL)
    if len(parts) < len(shape) if tail else len(parts) != len(shape):
        return None
    found: dict[str, str] = {}
    for index, part in enumerate(shape):
        if not part.startswith("{"):
            if part != parts[index]:
                return None
        elif part.endswith(_TAIL):
            found[part[1 : -len(_TAIL)]] = "/".join(parts[index:])
        elif not parts[index]:
            return None
        else:
            found[part[1:-1]] = parts[index]
    return found
