"""All architectures, and which of them a file holds. Headers only: no weights are read, torch is not imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module

from kit.errors import InvalidModel, Unsupported
from model_service.archs.foreign import recognise
from model_service.archs.spec import Arch, Component, Part
from model_service.weights.header import Header, TensorEntry

IDS = ("sd15_unet", "clip_l", "kl_vae_decoder", "kl_vae_encoder")

# Where checkpoints keep their components: each that a file has must be understood.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "model.diffusion_model.": ("unet",),
    "cond_stage_model.": ("text_encoder",),
    "conditioner.": ("text_encoder",),
    "first_stage_model.": ("vae_decoder", "vae_encoder"),
}
_SHOWN = 3


@cache
def all_archs() -> tuple[Arch, ...]:
    """Every registered architecture; importing one is light (its network is imported when it is built)."""
    archs = tuple(import_module(f"model_service.archs.{name}").ARCH for name in IDS)
    if tuple(arch.id for arch in archs) != IDS:
        raise ValueError(f"folder and id differ: {[arch.id for arch in archs]}")
    return archs


def arch(arch_id: str) -> Arch:
    """The architecture with this id; Unsupported (ARCH_UNKNOWN) if there is none."""
    for candidate in all_archs():
        if candidate.id == arch_id:
            return candidate
    raise Unsupported("no such architecture", reason="ARCH_UNKNOWN", arch=arch_id, known=", ".join(IDS))


def detect(header: Header) -> tuple[Component, ...]:
    """Components of a file, in the registry's order.

    Raises Unsupported (ARCH_UNKNOWN) where the file, or one component of it, belongs to no architecture or to several,
    with `family` (what it looks like) or `candidates`; InvalidModel where one fits and shapes contradict it. Each has
    the file's name.
    """
    try:
        matches = [(one, part) for one in all_archs() if (part := _match(one, header)) is not None]
        _refuse_ambiguous(matches)
        _refuse_unknown(header, {one.component for one, _ in matches})
        return tuple(Component(one, one.configure(part), part) for one, part in matches)
    except (InvalidModel, Unsupported) as error:
        error.facts.setdefault("file", header.path.name)
        raise


def _match(one: Arch, header: Header) -> Part | None:
    for prefix in one.prefixes:
        part = _part(one, header, prefix)
        if all(mark in part.entries for mark in one.marks):
            fits = not any(part.has(start) for start in one.absent) and one.fits(part)
            return part if fits else None
    return None


def _part(one: Arch, header: Header, prefix: str) -> Part:
    entries: dict[str, TensorEntry] = {}
    for name, entry in header.tensors.items():
        if not name.startswith(prefix):
            continue
        bare = name[len(prefix) :]
        if bare.startswith(one.owns):
            own = one.rename(bare)
            if own in entries:
                raise InvalidModel("two tensors of this file have one meaning", first=entries[own].name, second=name)
            entries[own] = entry
    return Part(header, prefix, entries)


def _refuse_ambiguous(matches: Iterable[tuple[Arch, Part]]) -> None:
    by_component: dict[str, list[str]] = {}
    for one, _ in matches:
        by_component.setdefault(one.component, []).append(one.id)
    for component, ids in by_component.items():
        if len(ids) > 1:
            raise Unsupported(
                "several architectures fit this file",
                reason="ARCH_UNKNOWN",
                component=component,
                candidates=", ".join(ids),
            )


def _refuse_unknown(header: Header, found: set[str]) -> None:
    present = [place for place in _PLACES if any(name.startswith(place) for name in header.tensors)]
    unknown = [place for place in present if not found.intersection(_PLACES[place])]
    if found and not unknown:
        return
    family = recognise(header.tensors)
    message = f"the file looks like {family}, which is not served" if family else "the model's family is unknown"
    raise Unsupported(
        message,
        reason="ARCH_UNKNOWN",
        file=header.path.name,
        family=family or "unknown",
        parts=", ".join(unknown) or "whole file",
        tensors=len(header.tensors),
        seen=", ".join(list(header.tensors)[:_SHOWN]),
        known=", ".join(IDS),
    )
