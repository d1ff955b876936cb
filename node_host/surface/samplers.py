"""comfy.samplers: the names, for lists of choices."""

from __future__ import annotations

from typing import Any, NoReturn

from node_host.surface.missing import NotGiven
from sampling.names import SAMPLER_NAMES as _SAMPLERS
from sampling.names import SCHEDULER_NAMES as _SCHEDULERS

SAMPLER_NAMES = list(_SAMPLERS)
KSAMPLER_NAMES = list(_SAMPLERS)
SCHEDULER_NAMES = list(_SCHEDULERS)
SCHEDULER_HANDLERS = dict.fromkeys(_SCHEDULERS)


class KSampler:
    """Its lists only; sampling happens in the engine: expand into a KSampler node instead."""

    SAMPLERS = SAMPLER_NAMES
    SCHEDULERS = SCHEDULER_NAMES

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("KSampler")


def sampler_object(name: str) -> NoReturn:
    """Not here."""
    _refuse("sampler_object")


def _refuse(name: str) -> NoReturn:
    raise NotGiven(f"comfy.samplers.{name}", "sampling happens in the engine; expand into its nodes instead")
