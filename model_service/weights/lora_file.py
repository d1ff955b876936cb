"""What a LoRA file holds: its modules, by the endings of its keys; no weights are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kit.errors import InvalidModel, Unsupported
from model_service.weights.header import Header, TensorEntry

# (up, down) endings of the trainers and libraries that write plain LoRA.
_PAIRS: tuple[tuple[str, str], ...] = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
    (".lora_B", ".lora_A"),
)
_ALPHA = ".alpha"

# Endings that tell another kind of adapter, and what people call it.
_OTHER_KINDS: tuple[tuple[str, str], ...] = (
    (".hada_w1_a", "LoHa"), (".hada_w1_b", "LoHa"), (".hada_w2_a", "LoHa"), (".hada_w2_b", "LoHa"),
    (".hada_t1", "LoHa"), (".hada_t2", "LoHa"),
    (".lokr_w1", "LoKr"), (".lokr_w2", "LoKr"), (".lokr_t2", "LoKr"), (".lokr_w1_a", "LoKr"), (".lokr_w1_b", "LoKr"),
    (".lokr_w2_a", "LoKr"), (".lokr_w2_b", "LoKr"),
    (".dora_scale", "DoRA"), (".lora_magnitude_vector", "DoRA"), (".lora_magnitude_vector.weight", "DoRA"),
    (".lora_mid.weight", "LoCon with Tucker decomposition"), (".reshape_weight", "LoRA that reshapes its weight"),
    (".diff", "full difference"), (".diff_b", "full difference"), (".set_weight", "full weight"),
    (".w_norm", "norm difference"), (".b_norm", "norm difference"),
    (".oft_blocks", "OFT or BOFT"), (".oft_diag", "OFT"), (".boft_R", "BOFT"),
    (".a1.weight", "GLoRA"), (".a2.weight", "GLoRA"), (".b1.weight", "GLoRA"), (".b2.weight", "GLoRA"),
    (".on_input", "IA3"),
)  # fmt: skip


@dataclass(frozen=True)
class LoraModule:
    """One low-rank pair: `up` [out, rank(, 1, 1)], `down` [rank, in(, kh, kw)]; `alpha` None means no scaling."""

    stem: str
    up: TensorEntry
    down: TensorEntry
    alpha: TensorEntry | None

    @property
    def rank(self) -> int:
        return self.down.shape[0]


@dataclass(frozen=True)
class LoraContent:
    """The modules of a file by stem, and the keys that belong to no module."""

    modules: dict[str, LoraModule]
    strangers: tuple[str, ...]


def lora_content(header: Header) -> LoraContent:
    """Sort the keys of a LoRA file.

    Raises `Unsupported` (LORA_KIND) where the file holds another kind of adapter, `InvalidModel` (LORA_BROKEN) where
    a pair is incomplete or its shapes do not make a product.
    """
    ups: dict[str, TensorEntry] = {}
    downs: dict[str, TensorEntry] = {}
    alphas: dict[str, TensorEntry] = {}
    strangers: list[str] = []
    for key, entry in header.tensors.items():
        _refuse_other_kinds(header, key)
        if key.endswith(_ALPHA):
            alphas[key.removesuffix(_ALPHA)] = entry
            continue
        side, stem = _side(key)
        if side is None:
            strangers.append(key)
            continue
        target = ups if side == "up" else downs
        if stem in target:
            raise InvalidModel("two pairs have one name", reason="LORA_BROKEN", file=header.path.name, module=stem)
        target[stem] = entry
    modules: dict[str, LoraModule] = {}
    for stem in {**ups, **downs}:
        if stem not in ups or stem not in downs:
            raise InvalidModel("half of a pair is missing", reason="LORA_BROKEN", file=header.path.name, module=stem)
        modules[stem] = _checked(header, LoraModule(stem, ups[stem], downs[stem], alphas.get(stem)))
    strangers += [stem + _ALPHA for stem in alphas if stem not in modules]
    return LoraContent(modules, tuple(strangers))


def _side(key: str) -> tuple[str | None, str]:
    for up, down in _PAIRS:
        if key.endswith(up):
            return "up", key.removesuffix(up)
        if key.endswith(down):
            return "down", key.removesuffix(down)
    return None, key


def _refuse_other_kinds(header: Header, key: str) -> None:
    for ending, kind in _OTHER_KINDS:
        if key.endswith(ending):
            raise Unsupported(
                f"this file is a {kind} adapter, which is not supported yet; plain LoRA is",
                reason="LORA_KIND", kind=kind, file=header.path.name, key=key,
            )  # fmt: skip


def _checked(header: Header, module: LoraModule) -> LoraModule:
    up, down = module.up.shape, module.down.shape
    fits = len(up) >= 2 and len(down) >= 2 and module.rank > 0 and math.prod(up[1:]) == module.rank
    scalar = module.alpha is None or math.prod(module.alpha.shape) == 1
    if not fits or not scalar:
        raise InvalidModel(
            "the shapes of a pair make no product",
            reason="LORA_BROKEN", file=header.path.name, module=module.stem, up=list(up), down=list(down),
        )  # fmt: skip
    return module
