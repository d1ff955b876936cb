"""Plain LoRA as a patch of a component: only the tensors that change, computed as ComfyUI computes them.

A weight W becomes W + strength * alpha / rank * (up @ down) (Hu et al. 2021, https://arxiv.org/abs/2106.09685), all in
float32, one LoRA after the other, rounded once at the end: UNet weights stay float32, a text encoder's are float16
before and after.

The bands of rows are too small for threads of the BLAS library to help: a process that patches while other threads
compute should start with OPENBLAS_NUM_THREADS=1, or those threads spend more time waiting than the sum takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.errors import InvalidModel, InvalidRequest
from model_service.weights.header import Header, TensorEntry
from model_service.weights.lora_file import LoraModule, lora_content
from model_service.weights.lora_names import belongs_elsewhere, lora_aliases
from model_service.weights.reader import TensorFile
from model_service.weights.widen import widen

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float32]

# Architectures whose weights are kept in float16 while serving (PARITY: text encoders are stored float16).
_HALF_ARCHS = frozenset({"clip_l"})

_BAND_ELEMENTS = 1 << 18
_SHOWN = 3


@dataclass(frozen=True)
class LoraUse:
    """One LoRA file with the strength for this component (any sign; 0 leaves everything as it is)."""

    header: Header
    strength: float


@dataclass(frozen=True)
class Patch:
    """`tensors`: component tensor name -> its new value, changed ones only.

    `unmatched`: for each use, the stems and keys that name nothing in this component (another component's usually).
    """

    tensors: Mapping[str, Array]
    unmatched: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Change:
    module: LoraModule
    file: TensorFile
    header: Header
    strength: float


def apply_loras(uses: Sequence[LoraUse], base: Header, entries: Mapping[str, TensorEntry], arch: str) -> Patch:
    """Patch a component of `base` with LoRAs in order.

    `entries`: the component's own tensor names (LDM layout for a UNet) -> places in `base`; `arch`: its architecture.
    Result dtype float32, for text encoders float16. Raises `Unsupported` (LORA_KIND, LORA_ARCH), `InvalidModel`
    (LORA_BROKEN; LORA_MISFIT where a pair has another shape than the weight it names; LORA_UNMATCHED where a file
    names no weight of this component and nothing that another component of the model could have), `InvalidRequest`
    for a strength that is no number.
    """
    aliases = lora_aliases(arch, entries)
    changes: dict[str, list[_Change]] = {}
    unmatched: list[tuple[str, ...]] = []
    for use in uses:
        if not math.isfinite(use.strength):
            raise InvalidRequest("a LoRA's strength is no number", reason="LORA_STRENGTH", strength=use.strength)
        content = lora_content(use.header)
        file = TensorFile(use.header)
        lost = list(content.strangers)
        for stem, module in content.modules.items():
            name = aliases.get(stem)
            if name is None:
                lost.append(stem)
                continue
            change = _Change(module, file, use.header, use.strength)
            _check_fit(change, name, entries[name])
            if use.strength:
                changes.setdefault(name, []).append(change)
        if not any(stem in aliases or belongs_elsewhere(arch, stem) for stem in content.modules):
            raise _unmatched(use.header, lost, arch)
        unmatched.append(tuple(lost))
    base_file = TensorFile(base) if changes else None
    tensors: dict[str, Array] = {}
    for name, stack in changes.items():
        assert base_file is not None
        tensors[name] = _patched(base_file.at(entries[name]), stack, half=arch in _HALF_ARCHS)
    return Patch(tensors, tuple(unmatched))


def _unmatched(header: Header, lost: Sequence[str], arch: str) -> InvalidModel:
    return InvalidModel(
        "the LoRA was made for another kind of model, or is none: it names no weight of this one",
        reason="LORA_UNMATCHED", file=header.path.name, arch=arch, seen=", ".join(lost[:_SHOWN]),
    )  # fmt: skip


def _check_fit(change: _Change, name: str, entry: TensorEntry) -> None:
    up, down = change.module.up.shape, change.module.down.shape
    # A linear pair may patch a 1x1 convolution and the other way round: only the products of the sides must agree.
    if not entry.shape or entry.shape[0] != up[0] or math.prod(entry.shape[1:]) != math.prod(down[1:]):
        raise InvalidModel(
            "the LoRA was made for another model: a pair has another shape than the weight it names",
            reason="LORA_MISFIT", file=change.header.path.name, module=change.module.stem, tensor=name,
            weight=list(entry.shape), up=list(up), down=list(down),
        )  # fmt: skip


def _patched(weight: Array, stack: Sequence[_Change], half: bool) -> Array:
    """The new value of one tensor, computed in bands of rows that stay in the processor's cache."""
    rows = weight.reshape(weight.shape[0], -1)
    pairs = [_Pair.read(change) for change in stack]
    band = max(1, _BAND_ELEMENTS // max(1, rows.shape[1]))
    scratch = np.empty((min(band, len(rows)), rows.shape[1]), np.float32)
    wide: Wide = np.empty_like(scratch) if half else np.empty(rows.shape, np.float32)
    result: Array = np.empty(rows.shape, np.float16) if half else wide
    for start in range(0, len(rows), band):
        part = rows[start : start + band]
        total = wide[: len(part)] if half else wide[start : start + band]
        widen(_rounded(part) if half else part, total)
        for pair in pairs:
            difference = scratch[: len(part)]
            np.matmul(pair.up[start : start + band], pair.down, out=difference)
            np.multiply(difference, pair.scale, out=difference)
            np.add(total, difference, out=total)
        if half:
            result[start : start + band] = _rounded(total)
    return result.reshape(weight.shape)


@dataclass(frozen=True)
class _Pair:
    """One low-rank pair in float32: `up` [out, rank], `down` [rank, in * kh * kw], and strength * alpha / rank."""

    up: Wide
    down: Wide
    scale: np.float32

    @staticmethod
    def read(change: _Change) -> _Pair:
        module, file = change.module, change.file
        return _Pair(
            file.at(module.up).reshape(-1, module.rank).astype(np.float32),
            file.at(module.down).reshape(module.rank, -1).astype(np.float32),
            np.float32(_scale(change)),
        )


def _scale(change: _Change) -> float:
    if change.module.alpha is None:
        return change.strength
    alpha = float(change.file.at(change.module.alpha).reshape(-1)[0])
    if not math.isfinite(alpha):
        raise InvalidModel(
            "a LoRA's alpha is no number",
            reason="LORA_BROKEN", file=change.header.path.name, module=change.module.stem, alpha=alpha,
        )  # fmt: skip
    return change.strength * (alpha / change.module.rank)


def _rounded(array: Array) -> Array:
    if array.dtype == np.float16:
        return array
    with np.errstate(over="ignore"):  # a weight beyond float16's range becomes infinite, as it does in ComfyUI
        return array.astype(np.float16)
