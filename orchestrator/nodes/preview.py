"""Quick previews: a linear map from SD1 latents to colours, as JPEG, made beside the sampling loop."""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchestrator.ports import Ctx, PreviewImage

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST: Final = 512
_UPSCALE: Final = 8
_QUALITY: Final = 95
"""Longest side in pixels, the factor from latent cells to pixels, and JPEG quality."""

# Latent channels (scaled) to red, green, blue in -1..1. A map of our own that keeps brightness (channels 0, 1 and the
# inverse of 3) and the two colour axes (2, and 0 against 1) of SD1's latents; `fit_preview` fits one to a real VAE.
SD1_TO_RGB: Final = (
    (0.30, 0.22, 0.26),
    (0.24, 0.36, 0.22),
    (-0.22, 0.12, 0.20),
    (-0.20, -0.24, -0.46),
)


def preview_of(latent: npt.NDArray[np.float32]) -> PreviewImage | None:
    """`latent` [4, h, w] (scaled) at eight times its size, at most 512 pixels; None for other channels."""
    if latent.shape[0] != len(SD1_TO_RGB):
        return None
    colours = np.tensordot(latent, np.array(SD1_TO_RGB, np.float32), axes=(0, 0))  # h w rgb
    levels = np.clip(np.nan_to_num((colours + 1.0) * 127.5), 0, 255).astype(np.uint8)
    picture = Image.fromarray(levels)
    factor = min(_UPSCALE, _LARGEST / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    content = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(content, "JPEG", quality=_QUALITY)
    return PreviewImage("image/jpeg", content.getvalue())


class StepReporter:
    """Tells every sampling step in order, from a thread of its own so that encoding a preview delays no model call.

    Only the newest step waiting gets a preview. What `ctx.progress` raises (Stopped) comes out of the next report or of
    leaving the block, which waits for all reports. `ctx.settings["previews"]` False switches previews off.
    """

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._previews = ctx.settings.get("previews", True) is not False
        self._newest = 0
        self._sent: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, "step-report")

    def __call__(self, step: int, total: int, denoised: Tensor, x: Tensor) -> None:
        """A sampler's callback: step from 0, the estimate [B, C, h, w] of the clean latent."""
        self._raise_failures()
        self._newest = step + 1
        latent = denoised[0].numpy().copy() if self._previews else None
        self._sent.append(self._thread.submit(self._send, step + 1, total, latent))

    def __enter__(self) -> StepReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            self._raise_failures()

    def _send(self, number: int, total: int, latent: npt.NDArray[Any] | None) -> None:
        preview = preview_of(latent) if latent is not None and number == self._newest else None
        self._ctx.progress(number, total, preview)

    def _raise_failures(self) -> None:
        for report in [report for report in self._sent if report.done()]:
            self._sent.remove(report)
            report.result()
