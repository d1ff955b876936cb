"""comfy.comfy_types: what node classes are annotated with, and the names of types."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal, TypedDict


class IO(str, Enum):  # noqa: UP042  # StrEnum compares as texts do
    """Types of inputs and outputs."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    LOSS_MAP = "LOSS_MAP"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    WEBCAM = "WEBCAM"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    VIDEO = "VIDEO"
    ANY = "*"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"

    def __str__(self) -> str:
        return self.value

    def __ne__(self, value: object) -> bool:
        """Unions fit where they have everything that is asked for."""
        if self.value == "*" or value == "*":
            return False
        if not isinstance(value, str):
            return True
        return not set(self.value.split(",")) <= set(value.split(","))

    __hash__ = str.__hash__


class InputTypeOptions(TypedDict, total=False):
    """Options of an input; any others may be there."""

    default: Any
    tooltip: str
    lazy: bool
    rawLink: bool
    forceInput: bool
    min: float
    max: float
    step: float
    multiline: bool


class HiddenInputTypeDict(TypedDict, total=False):
    """Hidden inputs by the name they usually have."""

    node_id: Literal["UNIQUE_ID"]
    unique_id: Literal["UNIQUE_ID"]
    prompt: Literal["PROMPT"]
    extra_pnginfo: Literal["EXTRA_PNGINFO"]
    dynprompt: Literal["DYNPROMPT"]


class InputTypeDict(TypedDict, total=False):
    """What INPUT_TYPES returns."""

    required: dict[str, Any]
    optional: dict[str, Any]
    hidden: Any


class ComfyNodeABC:
    """Base of node classes; gives their optional attributes."""

    DESCRIPTION: str = ""
    CATEGORY: str = ""
    EXPERIMENTAL: bool = False
    DEPRECATED: bool = False
    API_NODE: bool | None = None
    RETURN_TYPES: tuple[Any, ...] = ()
    FUNCTION: str = ""


class CheckLazyMixin:
    """Asks for every lazy input that has not run."""

    def check_lazy_status(self, **kwargs: Any) -> list[str]:
        """Names of those that are None."""
        return [name for name, value in kwargs.items() if value is None]


class FileLocator(TypedDict):
    """A file as a node's ui names it."""

    filename: str
    subfolder: str
    type: Literal["input", "output", "temp"]
