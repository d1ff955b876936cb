"""Masks: keeping parts of a latent through a run, and the extra input channels of inpainting models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sampling.conditioning import fit_batch
from sampling.loop import Denoise
from sampling.model_sampling import ModelSampling

# mask_schedule(sigma, mask) -> mask: how the mask of a run changes from step to step.
MaskSchedule = Callable[[Tensor, Tensor], Tensor]

# Latent (scaled by 0.18215) of a mid-grey picture, which SD1.5's inpainting model takes as "nothing known".
_GREY_LATENT: Final = (0.8223, -0.6876, 0.6364, 0.1380)


@dataclass(frozen=True, eq=False)
class MaskedDenoise:
    """A denoiser that redraws only where `mask` is 1 and keeps `latent` where it is 0 (in between: a blend).

    Before each model call the kept part is replaced by the latent noised to the current sigma.
    """

    denoise: Denoise
    model_sampling: ModelSampling
    mask: Tensor
    latent: Tensor
    noise: Tensor
    mask_schedule: MaskSchedule | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        mask = self._mask(sigma)
        return self._kept(self.denoise(self._noised(x, sigma, mask), sigma), mask)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        mask = self._mask(sigma)
        denoised, uncond = self.denoise.with_uncond(self._noised(x, sigma, mask), sigma)
        return self._kept(denoised, mask), uncond

    def _mask(self, sigma: Tensor) -> Tensor:
        return self.mask if self.mask_schedule is None else self.mask_schedule(sigma, self.mask)

    def _noised(self, x: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        kept = self.model_sampling.noise_scaling(sigma, self.noise, self.latent)
        return x * mask + kept * (1 - mask)

    def _kept(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised * mask + self.latent * (1 - mask)


def fitted_mask(mask: Tensor, latent_shape: Sequence[int]) -> Tensor:
    """A noise mask ([h,w], [n,h,w] or [n,1,h,w], any size) as [B,C,h,w] of the latent, resized bilinearly."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    resized: Tensor = torch.nn.functional.interpolate(mask, size=tuple(latent_shape[-2:]), mode="bilinear")
    return fit_batch(resized, latent_shape[0]).expand(-1, latent_shape[1], -1, -1)


def differential_mask(model_sampling: ModelSampling, sigmas: Tensor) -> MaskSchedule:
    """Differential diffusion: a place joins in once the process has passed its mask value; Levin and Fried (2023)."""
    last = torch.maximum(sigmas[-1], model_sampling.sigmas[0].to(sigmas))
    first_timestep, last_timestep = model_sampling.timestep(sigmas[0]), model_sampling.timestep(last)

    def threshold(sigma: Tensor, mask: Tensor) -> Tensor:
        left = (model_sampling.timestep(sigma[0]) - last_timestep) / (first_timestep - last_timestep)
        return (mask >= left).to(mask)

    return threshold


def inpaint_concat(latent_shape: Sequence[int], mask: Tensor | None = None, latent: Tensor | None = None) -> Tensor:
    """The five extra channels [B,5,h,w] of SD1.5's inpainting model, for `Cond.concat`: mask, then the known picture.

    `mask` (1 = redraw) is the one of the conditioning or else the run's noise mask; it is resized and rounded. `latent`
    is the encoded picture with the masked part greyed out before encoding, scaled to model space; without one of its
    own the conditioning takes the latent that the run starts from. Without a mask everything is redrawn, from
    mid-grey.
    """
    batch, _, height, width = latent_shape
    if mask is None:
        known = torch.tensor(_GREY_LATENT).reshape(1, 4, 1, 1).expand(batch, 4, height, width)
        return torch.cat([torch.ones(batch, 1, height, width), known], dim=1)
    if latent is None:
        raise ValueError("an inpainting mask needs the latent of the masked picture")
    redraw = fit_batch(_resized(mask.reshape(-1, 1, *mask.shape[-2:]).float(), (height, width)).round(), batch)
    return torch.cat([redraw, fit_batch(_resized(latent, (height, width)), batch).to(redraw)], dim=1)


def _resized(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut to the aspect ratio of `size` around the centre, then scale bilinearly."""
    height, width = tensor.shape[-2:]
    if (height, width) == size:
        return tensor
    top = left = 0
    if width / height > size[1] / size[0]:
        left = round((width - width * (size[1] / size[0]) / (width / height)) / 2)
    elif width / height < size[1] / size[0]:
        top = round((height - height * (width / height) / (size[1] / size[0])) / 2)
    cut = tensor[..., top : height - top, left : width - left]
    resized: Tensor = torch.nn.functional.interpolate(cut, size=size, mode="bilinear")
    return resized
