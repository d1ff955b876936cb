"""Input kinds: what an input accepts, written as `Annotated` metadata of a node function's parameter.

A kind says how ComfyUI's wire form looks; `None` leaves an option out. `default` belongs here only where Python
forbids a default in the signature (a required input before one without default); writing it twice is refused.
`options` adds wire options as they are; `options={}` asks for an empty object where ComfyUI has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Number = int | float


class Lists(Protocol):
    """Names that are known only at run time; answers come from a cache, never from slow storage."""

    def model_files(self, folder: str) -> tuple[str, ...]:
        """File names in a model folder ("checkpoints", "loras" ...), forward slashes, ComfyUI's order."""

    def input_files(self, content: str) -> tuple[str, ...]:
        """Top-level files of the input area that hold `content` ("image", "latent", "audio", "video", "3d")."""

    def input_exists(self, annotated_name: str) -> bool:
        """Whether `sub/a.png` or `a.png [output]` names an existing file inside its area."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What every kind has."""

    default: Json = field(default=None, hash=False)
    tooltip: str = ""
    options: Mapping[str, Json] | None = field(default=None, hash=False)
    wire: ClassVar[str] = ""

    @property
    def wire_type(self) -> str:
        """Type name on the wire, which a link into this input is compared with."""
        return self.wire

    def known_options(self) -> dict[str, Json]:
        """Options in ComfyUI's order, without those of `options` and without the tooltip."""
        return {}

    def problem(self, value: object) -> str | None:
        """Why `value` cannot be this input's default; None: it can."""
        return None


def _given(**options: Json) -> dict[str, Json]:
    return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Numeric(Kind):
    """A number with limits."""

    min: Number | None = None
    max: Number | None = None
    step: Number | None = None
    round: Number | None = None
    display: str | None = None
    control_after_generate: bool | None = None
    force_input: bool | None = None

    def known_options(self) -> dict[str, Json]:
        return _given(
            default=self.default, min=self.min, max=self.max, step=self.step, round=self.round, display=self.display,
            control_after_generate=self.control_after_generate, forceInput=self.force_input,
        )  # fmt: skip

    def problem(self, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "is not a number"
        if self.min is not None and value < self.min:
            return f"is smaller than min {self.min}"
        if self.max is not None and value > self.max:
            return f"is bigger than max {self.max}"
        return None


@dataclass(frozen=True, kw_only=True)
class Int(Numeric):
    """A whole number."""

    wire: ClassVar[str] = "INT"

    def problem(self, value: object) -> str | None:
        return super().problem(value) if isinstance(value, int) else "is not a whole number"


@dataclass(frozen=True, kw_only=True)
class Float(Numeric):
    """A number."""

    wire: ClassVar[str] = "FLOAT"


@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """Text (ComfyUI's STRING)."""

    multiline: bool | None = None
    dynamic_prompts: bool | None = None
    force_input: bool | None = None
    wire: ClassVar[str] = "STRING"

    def known_options(self) -> dict[str, Json]:
        return _given(
            default=self.default, multiline=self.multiline, dynamicPrompts=self.dynamic_prompts,
            forceInput=self.force_input,
        )  # fmt: skip

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, str) else "is not text"


@dataclass(frozen=True, kw_only=True)
class AudioRecord(Text):
    """The name of a file that the web UI records and uploads."""

    wire: ClassVar[str] = "AUDIO_RECORD"


@dataclass(frozen=True, kw_only=True)
class Bool(Kind):
    """True or false."""

    wire: ClassVar[str] = "BOOLEAN"

    def known_options(self) -> dict[str, Json]:
        return _given(default=self.default)

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, bool) else "is not true or false"


@dataclass(frozen=True)
class OneOf(Kind):
    """One of fixed `values`, or of a model folder's files (see `catalogue`).

    `uploads`: or any file of the input area, for the values may be a list of these that is not quite the newest.
    """

    values: tuple[Json, ...] = field(default=(), hash=False)
    folder: str | None = None
    uploads: bool = False
    wire: ClassVar[str] = "COMBO"

    @classmethod
    def catalogue(cls, folder: str, extra: tuple[str, ...] = (), options: Mapping[str, Json] | None = None) -> OneOf:
        """The files of a model folder, then the names in `extra` (which are always there)."""
        return cls(extra, folder, options=options)

    def choices(self, lists: Lists) -> list[Json]:
        """All accepted values, in the order they are shown."""
        return [*(lists.model_files(self.folder) if self.folder else ()), *self.values]

    def known_options(self) -> dict[str, Json]:
        return _given(default=self.default)

    def problem(self, value: object) -> str | None:
        return None if self.folder or value in self.values else "is not one of its values"


@dataclass(frozen=True)
class InputFile(Kind):
    """A file of the input area holding `content`; `upload` names the web UI's upload button ("image_upload").

    Files holding `also` are shown among them.
    `shown_as` is the type on the wire in place of a list, where the web UI comes by the name itself ("WEBCAM").
    """

    content: str = "image"
    upload: str | None = None
    also: str | None = None
    shown_as: str | None = None
    wire: ClassVar[str] = "COMBO"

    @property
    def wire_type(self) -> str:
        return self.shown_as or self.wire

    def choices(self, lists: Lists) -> list[Json]:
        """Top-level files; validation accepts any existing annotated name, not only these."""
        found = lists.input_files(self.content)
        return list(found if self.also is None else sorted({*found, *lists.input_files(self.also)}))

    def known_options(self) -> dict[str, Json]:
        return {self.upload: True} if self.upload else {}


@dataclass(frozen=True)
class Link(Kind):
    """Something that only another node can give: "IMAGE", a union "FLOAT,INT", or "*" for anything.

    `takes_values`: or a value of a widget that only its own class understands.
    """

    type: str = "*"
    takes_values: bool = False

    @property
    def wire_type(self) -> str:
        return self.type

    def known_options(self) -> dict[str, Json]:
        return _given(default=self.default)
