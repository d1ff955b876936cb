"""comfy_api.latest.io and .ui: node classes of the V3 schema, as far as packs without models need them."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from node_host.surface import comfy_nodes

_OPTIONS = {
    "default": "default", "tooltip": "tooltip", "lazy": "lazy", "min": "min", "max": "max", "step": "step",
    "round": "round", "multiline": "multiline", "placeholder": "placeholder", "label_on": "label_on",
    "label_off": "label_off", "raw_link": "rawLink", "force_input": "forceInput", "advanced": "advanced",
    "control_after_generate": "control_after_generate", "dynamic_prompts": "dynamicPrompts",
}  # fmt: skip
_UPLOADS = {"image": "image_upload", "video": "video_upload", "audio": "audio_upload", "model": "file_upload"}


class Hidden(str, Enum):  # noqa: UP042  # packs compare it with texts
    """Inputs that the engine fills."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


class UploadType(str, Enum):  # noqa: UP042  # see above
    """What an upload button takes."""

    image = "image"
    video = "video"
    audio = "audio"
    model = "model"


class NumberDisplay(str, Enum):  # noqa: UP042  # see above
    """How a number is shown."""

    number = "number"
    slider = "slider"


class FolderType(str, Enum):  # noqa: UP042  # see above
    """Areas of files."""

    input = "input"
    output = "output"
    temp = "temp"


class Input:
    """One declared input."""

    io_type = "*"

    def __init__(
        self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None, **rest: Any
    ) -> None:
        self.id = id
        self.optional = optional
        self.choices: list[Any] | None = rest.pop("options", None)
        self.upload = rest.pop("upload", None)
        given = {"tooltip": tooltip, **rest}
        self.options = {
            _OPTIONS[name]: value for name, value in given.items() if name in _OPTIONS and value is not None
        }
        self.options |= rest.get("extra_dict") or {}
        if display_name is not None:
            self.options["display_name"] = display_name
        if self.upload is not None:
            self.options[_UPLOADS[str(getattr(self.upload, "value", self.upload))]] = True

    def as_v1(self) -> tuple[Any, dict[str, Any]]:
        """As INPUT_TYPES has it."""
        return (self.io_type if self.choices is None else [getattr(c, "value", c) for c in self.choices], self.options)


class Output:
    """One declared output."""

    io_type = "*"

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None,
        is_output_list: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self.display_name = display_name or id
        self.is_output_list = is_output_list


def _type(name: str) -> type[Any]:
    made_in = type("Input", (Input,), {"io_type": name})
    made_out = type("Output", (Output,), {"io_type": name})
    return type(name, (), {"Input": made_in, "Output": made_out, "io_type": name, "Type": Any})


def Custom(io_type: str) -> type[Any]:
    """A type of the pack's own."""
    return _type(io_type)


class _MultiTypeInput(Input):
    def __init__(self, id: Any, types: Sequence[Any], **rest: Any) -> None:
        super().__init__(id.id if isinstance(id, Input) else id, **rest)
        self.io_type = ",".join(kind.io_type for kind in types)


class MultiType:
    """One of several types."""

    Input = _MultiTypeInput


Int, Float, String, Boolean, Combo = map(_type, ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"))
Image, Mask, Latent, Conditioning, Audio, Video = map(
    _type, ("IMAGE", "MASK", "LATENT", "CONDITIONING", "AUDIO", "VIDEO")
)
Model, Clip, Vae, ControlNet, ClipVision, ClipVisionOutput, StyleModel = map(
    _type, ("MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION", "CLIP_VISION_OUTPUT", "STYLE_MODEL")
)
Sampler, Sigmas, Noise, Guider, UpscaleModel, Gligen = map(
    _type, ("SAMPLER", "SIGMAS", "NOISE", "GUIDER", "UPSCALE_MODEL", "GLIGEN")
)
AnyType = _type("*")


@dataclass
class Schema:
    """What a class says of itself."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    price_badge: Any = None
    search_aliases: list[str] = field(default_factory=list)


class NodeOutput:
    """What a class returns: outputs in order."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None, block_execution: str | None = None
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[Any, ...]:
        """The outputs."""
        return self.args


class HiddenHolder:
    """Hidden inputs by attribute; None where none was asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update({item.name: None for item in Hidden} | values)


HIDDEN: ContextVar[HiddenHolder] = ContextVar("hidden", default=HiddenHolder({}))  # noqa: B039  # never changed


class _WithHidden(type):
    @property
    def hidden(cls) -> HiddenHolder:
        """Of the call that is running."""
        return HIDDEN.get()


class ComfyNode(metaclass=_WithHidden):
    """Base of node classes; everything is a class method."""

    @classmethod
    def define_schema(cls) -> Schema:
        """What the class is."""
        raise NotImplementedError(f"{cls.__name__} has no define_schema")

    @classmethod
    def execute(cls, **kwargs: Any) -> Any:
        """What it does."""
        raise NotImplementedError(f"{cls.__name__} has no execute")


class PreviewText:
    """ui: a text."""

    def __init__(self, value: str, **_: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """For clients."""
        return {"text": (self.value,)}


class PreviewImage:
    """ui: pictures, written into the temp area."""

    def __init__(self, image: Any, animated: bool = False, cls: Any = None, **_: Any) -> None:
        hidden = HIDDEN.get()
        saver = comfy_nodes.PreviewImage()
        self.values = saver.save_images(image, "ComfyUI", hidden.prompt, hidden.extra_pnginfo)["ui"]  # type: ignore[attr-defined]  # set by name

    def as_dict(self) -> dict[str, Any]:
        """For clients."""
        return dict(self.values)
