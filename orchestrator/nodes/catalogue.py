"""All built-in nodes; `python -m orchestrator.nodes.catalogue [--check]` writes the file that the front reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import orchestrator.graph
from orchestrator.graph.catalogue import dump
from orchestrator.graph.declare import NodeImpl, catalogue_of, collect
from orchestrator.nodes import (
    animation,
    announced,
    audio,
    audio_io,
    batches,
    compositing,
    conditioning,
    empty_latents,
    image,
    latent,
    latent_batch,
    latent_composite,
    latent_math,
    latent_operations,
    latent_transform,
    loaders,
    masks,
    picture_source,
    postprocessing,
    preview_any,
    primitives,
    regexes,
    sampling,
    sigmas,
    strings,
    transform,
    vae,
    video,
    websocket_image,
)

MODULES = (
    loaders, conditioning, latent, empty_latents, latent_batch, latent_transform, latent_composite, latent_math,
    latent_operations, sampling, sigmas, vae, image, picture_source, transform, compositing, postprocessing, batches,
    masks, animation, primitives, strings, regexes, preview_any, audio, audio_io, video, websocket_image, announced,
)  # fmt: skip
"""Every module that declares nodes."""

FILE = Path(orchestrator.graph.__file__).with_name("builtin_nodes.json")


def builtin_nodes() -> Mapping[str, NodeImpl]:
    """Specs and functions by class; importing them loads no torch."""
    return MappingProxyType(dict(collect(MODULES)))


def main(arguments: Sequence[str]) -> int:
    """Writes the catalogue file; with --check only compares, and returns 1 if it is stale."""
    wanted = dump(catalogue_of(builtin_nodes()))
    if "--check" not in arguments:
        FILE.write_text(wanted, encoding="utf-8")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{FILE.name} is stale: run python -m orchestrator.nodes.catalogue\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
