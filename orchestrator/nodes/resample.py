"""Sound at another sample rate. Imports torch: only node functions import it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from kit.errors import InvalidRequest
from orchestrator.nodes.bounds import MAX_SAMPLE_RATE, bounded

_ZEROS, _ROLLOFF = 6, 0.99
"""Zero crossings of the filter on each side, and its edge as a share of the lower rate's (torchaudio's defaults)."""
_CHUNK = 65_536


def resampled(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """`waveform` [..., T] by a sinc with a Hann window, band-limited to the lower rate (Smith, "Digital Audio
    Resampling", 2002). Raises InvalidRequest (SAMPLE_RATE, TENSOR_SIZE).
    """
    if not 0 < min(rate, wanted) <= max(rate, wanted) <= MAX_SAMPLE_RATE:
        raise InvalidRequest(
            "sound of this sample rate cannot be converted", reason="SAMPLE_RATE", rates=[rate, wanted],
            limit=MAX_SAMPLE_RATE,
        )  # fmt: skip
    if rate == wanted:
        return waveform
    divisor = math.gcd(rate, wanted)
    source, target = rate // divisor, wanted // divisor
    length = -(-waveform.shape[-1] * target // source)
    flat = waveform.reshape(math.prod(waveform.shape[:-1]), waveform.shape[-1])  # N T
    bounded(flat.shape[0], length)
    half, weights = _filters(source, target)
    chunk = weights.shape[0]
    padded = functional.pad(flat, (half, half))
    offsets = torch.arange(chunk) * source // target
    result = torch.empty(flat.shape[0], length)
    for start in range(0, length, chunk):
        count = min(chunk, length - start)
        windows = padded.unfold(-1, weights.shape[1], 1)[:, start * source // target + offsets[:count]]  # N count taps
        result[:, start : start + count] = (windows * weights[:count]).sum(-1)
    return result.reshape(*waveform.shape[:-1], length)


def _filters(source: int, target: int) -> tuple[int, Tensor]:
    """Taps on each side, and a filter for each of some outputs [n, taps], n a multiple of the period `target`."""
    edge = min(source, target) * _ROLLOFF
    half = math.ceil(_ZEROS * source / edge)
    count = max(1, _CHUNK // target) * target
    phases = (torch.arange(target) * source % target).double() / target
    distance = (torch.arange(-half, half + 1) - phases[:, None]) * (edge / source)  # target taps
    distance = distance.clamp(-_ZEROS, _ZEROS)
    window = (distance * (math.pi / _ZEROS / 2)).cos() ** 2
    weights = (torch.sinc(distance) * window * (edge / source)).float()
    return half, weights.repeat(count // target, 1)
