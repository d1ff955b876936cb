"""Parts of ComfyUI that a node pack may name and that are not here."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn


class NotGiven(AttributeError):
    """A pack reached for a part of ComfyUI that its process does not have."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what} is a part of ComfyUI that node packs do not get here{advice and f': {advice}'}")
        self.what = what


class MissingModule(ModuleType):
    """May be imported; whoever takes something out of it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise NotGiven(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        # `from comfy.sd import load_clip` cannot be told from the import of a module.
        raise NotGiven(self.__name__)


def missing_class(what: str) -> type[Any]:
    """A class by that name which cannot be made, nor asked for anything."""

    class Asked(type):
        def __getattr__(cls, name: str) -> NoReturn:
            if name.startswith("__") and name.endswith("__"):
                raise AttributeError(name)
            raise NotGiven(f"{what}.{name}")

        def __call__(cls, *_: Any, **__: Any) -> NoReturn:
            raise NotGiven(what)

    return Asked(what.rpartition(".")[2], (), {})


class Opaque:
    """MODEL, CLIP, VAE and whatever else only the engine understands: to be handed on, not to be looked into."""

    __slots__ = ("_kind", "_ref")

    def __init__(self, ref: Any, kind: str) -> None:
        self._ref = ref
        self._kind = kind

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        advice = "a model stays with the engine; a pack can hand it on and nothing else"
        raise NotGiven(f"{self._kind or 'object'}.{name}", advice)

    def __repr__(self) -> str:
        return f"<{self._kind or 'object'} of the engine>"


def ref_of(value: Opaque) -> Any:
    """What it stands for at the wire."""
    return value._ref
