"""The models that come with Heliograph: their names, and what to do where one is missing or damaged."""

from __future__ import annotations

CHECKPOINT = "checkpoints/heliograph-starter.safetensors"
LORA = "loras/heliograph-sketch.safetensors"
EMBEDDING = "embeddings/heliograph-crescent.safetensors"
CONTROLNET = "controlnet/heliograph-edges.safetensors"
TAESD_ENCODER = "vae_approx/taesd_encoder.safetensors"
TAESD_DECODER = "vae_approx/taesd_decoder.safetensors"
UPSCALER = "upscale_models/heliograph-2x.safetensors"

FILES = (CHECKPOINT, LORA, EMBEDDING, CONTROLNET, TAESD_ENCODER, TAESD_DECODER, UPSCALER)
"""Below `models/`."""

ADVICE = "it comes with Heliograph: `git checkout models` restores it, `python -m training --out models` rebuilds it"

_NAMES = frozenset(file.partition("/")[2] for file in FILES)


def is_starter(name: object) -> bool:
    """Whether a client's value names one of these files, as its folder's list would show it."""
    return isinstance(name, str) and name in _NAMES
