"""Loaders: they name networks in files and load nothing. Patching (LoRA) makes a new value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from kit.errors import InvalidModel, Unsupported
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Link, OneOf
from orchestrator.nodes.links import ModelIn
from orchestrator.ports import Ctx, ModelInfo
from orchestrator.values.models import Clip, Lora, Model, NetworkRef, Vae

_WEIGHT_DTYPES = ("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")
_CLIP_TYPES = (
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2",
    "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image",
)  # fmt: skip
PIXEL_SPACE = "pixel_space"

# The SD1 configurations that come with ComfyUI: all epsilon prediction; the value is the CLIP layer they stop at.
_SD1_CONFIGS: Mapping[str, int | None] = {
    "v1-inference": None,
    "v1-inference_fp16": None,
    "v1-inference_clip_skip_2": -2,
    "v1-inference_clip_skip_2_fp16": -2,
    "v1-inpainting-inference": None,
    "anything_v3": -2,
}

CheckpointName = Annotated[str, OneOf.catalogue("checkpoints")]
Strength = Annotated[float, Float(default=1.0, min=-100.0, max=100.0, step=0.01)]
_CHECKPOINT = (("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE"))


def _digest_of(folder: str, name_input: str) -> Callable[[Ctx, Mapping[str, object]], str | None]:
    """A fingerprint: the content of the named file."""

    def fingerprint(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
        name = inputs.get(name_input)
        if not isinstance(name, str):
            return None
        return "" if name == PIXEL_SPACE else ctx.models.describe(folder, name).file.digest

    return fingerprint


def _network(info: ModelInfo, component: Literal["unet", "text_encoder", "vae_decoder", "vae_encoder"]) -> NetworkRef:
    found = [part for part in info.components if part.component == component]
    if len(found) != 1:
        raise InvalidModel(
            f"this file has no {component.replace('_', ' ')}" if not found else f"this file has several {component}s",
            reason="COMPONENT_MISSING", folder=info.file.folder, file=info.file.name, kind=info.kind,
        )  # fmt: skip
    return NetworkRef(component, info.file, found[0].arch, facts=found[0].facts)


def _vae(info: ModelInfo) -> Vae:
    """Either half may be missing; a file without both is no VAE."""
    halves = {part.component for part in info.components}
    decoder = _network(info, "vae_decoder") if "vae_decoder" in halves else None
    encoder = _network(info, "vae_encoder") if "vae_encoder" in halves or decoder is None else None
    return Vae(decoder, encoder)


def _checkpoint(ctx: Ctx, name: str) -> tuple[Model, Clip, Vae]:
    info = ctx.models.describe("checkpoints", name)
    return Model(_network(info, "unet")), Clip(_network(info, "text_encoder")), _vae(info)


@node(
    "CheckpointLoaderSimple", category="loaders", display_name="Load Checkpoint", outputs=_CHECKPOINT,
    fingerprint=_digest_of("checkpoints", "ckpt_name"),
)  # fmt: skip
def checkpoint_loader_simple(
    ctx: Ctx, ckpt_name: Annotated[str, OneOf.catalogue("checkpoints", options={})]
) -> tuple[Model, Clip, Vae]:
    """Names the diffusion model, the text encoder and the VAE of a checkpoint."""
    return _checkpoint(ctx, ckpt_name)


@node(
    "CheckpointLoader", category="advanced/loaders", display_name="Load Checkpoint With Config (DEPRECATED)",
    outputs=_CHECKPOINT, deprecated=True, fingerprint=_digest_of("checkpoints", "ckpt_name"),
)  # fmt: skip
def checkpoint_loader(
    ctx: Ctx, config_name: Annotated[str, OneOf.catalogue("configs")], ckpt_name: CheckpointName
) -> tuple[Model, Clip, Vae]:
    """A checkpoint with one of the well-known SD1 configurations; what the configuration says is known by its name."""
    stem = config_name.rsplit("/", 1)[-1].removesuffix(".yaml")
    if stem not in _SD1_CONFIGS:
        raise Unsupported(
            "only the stock SD1 configurations are known; CheckpointLoaderSimple recognises the model by itself",
            reason="CONFIG_UNKNOWN", config=config_name, known=", ".join(_SD1_CONFIGS),
        )  # fmt: skip
    model, clip, vae = _checkpoint(ctx, ckpt_name)
    return model, Clip(clip.network, _SD1_CONFIGS[stem]), vae


@node(
    "UNETLoader", category="advanced/loaders", display_name="Load Diffusion Model", outputs=(("MODEL", "MODEL"),),
    fingerprint=_digest_of("diffusion_models", "unet_name"),
)  # fmt: skip
def unet_loader(
    ctx: Ctx,
    unet_name: Annotated[str, OneOf.catalogue("diffusion_models")],
    weight_dtype: Annotated[str, OneOf(_WEIGHT_DTYPES)],
) -> tuple[Model]:
    """Names a diffusion model in a file of its own."""
    if weight_dtype != "default":
        raise Unsupported(
            "weights are served in the precision they are stored in: choose weight_dtype default",
            reason="WEIGHT_DTYPE", weight_dtype=weight_dtype,
        )  # fmt: skip
    return (Model(_network(ctx.models.describe("diffusion_models", unet_name), "unet")),)


@node(
    "CLIPLoader", category="advanced/loaders", display_name="Load CLIP", outputs=(("CLIP", "CLIP"),),
    fingerprint=_digest_of("text_encoders", "clip_name"),
)  # fmt: skip
def clip_loader(
    ctx: Ctx,
    clip_name: Annotated[str, OneOf.catalogue("text_encoders")],
    type: Annotated[str, OneOf(_CLIP_TYPES)],
    *,
    device: Annotated[str, OneOf(("default", "cpu"), options={"advanced": True})] = "default",
) -> tuple[Clip]:
    """Names a text encoder in a file of its own. `device` changes nothing: the model service decides where it runs."""
    if type != "stable_diffusion":
        raise Unsupported(
            "only text encoders of type stable_diffusion can be loaded", reason="CLIP_TYPE", type=type, file=clip_name
        )
    return (Clip(_network(ctx.models.describe("text_encoders", clip_name), "text_encoder")),)


@node(
    "VAELoader", category="loaders", display_name="Load VAE", outputs=(("VAE", "VAE"),),
    fingerprint=_digest_of("vae", "vae_name"),
)  # fmt: skip
def vae_loader(ctx: Ctx, vae_name: Annotated[str, OneOf.catalogue("vae", extra=(PIXEL_SPACE,))]) -> tuple[Vae]:
    """Names an image autoencoder in a file of its own."""
    if vae_name == PIXEL_SPACE:
        raise Unsupported(
            "models that work on pixels instead of latents are not served: choose a VAE file",
            reason="VAE_KIND", vae=vae_name,
        )  # fmt: skip
    return (_vae(ctx.models.describe("vae", vae_name)),)


def _lora(ctx: Ctx, name: str, strength: float) -> Lora:
    info = ctx.models.describe("loras", name)
    if info.kind != "lora":
        raise InvalidModel("this file is no LoRA", reason="NOT_A_LORA", file=name, kind=info.kind)
    return Lora(info.file, strength)


@node(
    "LoraLoader", category="loaders", display_name="Load LoRA", outputs=(("MODEL", "MODEL"), ("CLIP", "CLIP")),
    fingerprint=_digest_of("loras", "lora_name"),
)  # fmt: skip
def lora_loader(
    ctx: Ctx,
    model: Annotated[Model, Link("MODEL", options={})],
    clip: Annotated[Clip, Link("CLIP", options={})],
    lora_name: Annotated[str, OneOf.catalogue("loras", options={})],
    strength_model: Strength,
    strength_clip: Strength,
) -> tuple[Model, Clip]:
    """The model and the text encoder with a LoRA on top of what patches they have; strength 0 changes nothing."""
    if strength_model != 0:
        model = Model(model.network.patched(_lora(ctx, lora_name, strength_model)))
    if strength_clip != 0:
        clip = Clip(clip.network.patched(_lora(ctx, lora_name, strength_clip)), clip.stop_at_layer)
    return model, clip


@node(
    "LoraLoaderModelOnly", category="loaders", display_name="LoraLoaderModelOnly", outputs=(("MODEL", "MODEL"),),
    fingerprint=_digest_of("loras", "lora_name"),
)  # fmt: skip
def lora_loader_model_only(
    ctx: Ctx, model: ModelIn, lora_name: Annotated[str, OneOf.catalogue("loras")], strength_model: Strength
) -> tuple[Model]:
    """The model with a LoRA on top; the text encoder stays as it is."""
    if strength_model == 0:
        return (model,)
    return (Model(model.network.patched(_lora(ctx, lora_name, strength_model))),)
