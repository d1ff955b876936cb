"""Fits the preview's linear map to a VAE: encode random colour fields, then least squares from latents to colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kit.errors import Unsupported
from orchestrator.nodes.facts import whole
from orchestrator.ports import Models
from orchestrator.values.models import Vae

_PICTURES, _SIDE, _PATCH = 24, 128, 32


def fit(models: Models, vae: Vae, latent_scale: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows [C, 3]: what each scaled latent channel adds to red, green and blue in -1..1 (for `preview.SD1_TO_RGB`).

    Raises Unsupported where the VAE has no encoder, and what model calls raise.
    """
    if vae.encoder is None:
        raise Unsupported("this VAE file has no encoder", reason="COMPONENT_MISSING", component="vae_encoder")
    servable = models.prepare(vae.encoder)
    cell = whole(vae.encoder, servable.facts, "downscale")
    pictures = colour_fields(seed)
    latents = np.concatenate([models.infer(servable, {"image": picture[None]})["latent"] for picture in pictures])
    rows = _SIDE // cell
    colours = pictures.reshape(-1, 3, rows, cell, rows, cell).mean(axis=(3, 5))  # picture rgb h w
    features = latents.swapaxes(0, 1).reshape(latents.shape[1], -1).T * latent_scale  # place channel
    wanted = colours.swapaxes(0, 1).reshape(3, -1).T  # place rgb
    solution, *_ = np.linalg.lstsq(features, wanted, rcond=None)
    fitted: npt.NDArray[np.float32] = solution.astype(np.float32)
    return fitted


def colour_fields(seed: int) -> npt.NDArray[np.float32]:
    """Pictures [n, 3, H, W] in -1..1: smooth fields of random colours, dark to bright, grey to saturated."""
    random = np.random.default_rng(seed)
    patches = _SIDE // _PATCH + 1
    corners = random.uniform(-1, 1, (_PICTURES, 3, patches, patches)) * random.uniform(0, 1, (_PICTURES, 3, 1, 1))
    corners += random.uniform(-0.8, 0.8, (_PICTURES, 1, 1, 1))
    place = np.linspace(0, patches - 1, _SIDE, dtype=np.float64)
    low = np.minimum(place.astype(int), patches - 2)
    share = place - low
    across = corners[..., low] * (1 - share) + corners[..., low + 1] * share
    down = across[..., low, :] * (1 - share)[:, None] + across[..., low + 1, :] * share[:, None]
    return np.ascontiguousarray(np.clip(down, -1, 1), dtype=np.float32)
