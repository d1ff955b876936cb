"""A training loop that may be killed at any moment: state is written atomically, data depends on the step only."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# loss(step): everything random in it is drawn from generators that the step number seeds.
Loss = Callable[[int], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long and how fast: `rate` is reached after `warmup` steps and goes down over the last `cooldown`."""

    steps: int
    rate: float
    warmup: int = 100
    cooldown: int = 0
    ema: float = 0.0  # 0: the weights themselves are the result
    clip: float = 1.0
    gentle: tuple[str, ...] = ()  # parameters whose names end like this have a tenth of the rate
    save_every_s: float = 60.0
    say_every_s: float = 20.0

    def rate_at(self, step: int) -> float:
        """Linear warm-up, constant, then a half cosine to zero."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1, self.cooldown)
        down = 0.5 - 0.5 * math.cos(math.pi * left) if left < 1 else 1.0
        return self.rate * up * down


@dataclass
class Training:
    """Parameters under training, by name, with optimiser and average; `file` holds its state between runs."""

    name: str
    parameters: dict[str, nn.Parameter]
    loss: Loss
    plan: Plan
    file: Path
    say: Say = print
    step: int = 0
    seconds: float = 0.0
    average: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gentle = [value for name, value in self.parameters.items() if name.endswith(self.plan.gentle)]
        others = [value for name, value in self.parameters.items() if not name.endswith(self.plan.gentle)]
        groups = [{"params": others, "share": 1.0}, *([{"params": gentle, "share": 0.1}] if gentle else [])]
        self.optimiser = torch.optim.AdamW(groups, lr=self.plan.rate, betas=(0.9, 0.99), weight_decay=0.0, foreach=True)
        self.average = {name: value.detach().clone() for name, value in self.parameters.items()}
        if self.file.exists():
            self._restore(torch.load(self.file, weights_only=True))

    def run(self, until: int | None = None) -> dict[str, Tensor]:
        """Train to the plan's end (or to step `until`); the averaged weights, or the last ones without averaging."""
        end = self.plan.steps if until is None else until
        saved = said = began = time.monotonic()
        before, first, recent = self.seconds, self.step, 0.0
        while self.step < end:
            value = self._update()
            recent = value if recent == 0.0 else 0.98 * recent + 0.02 * value
            now = time.monotonic()
            self.seconds = before + now - began
            if now - said > self.plan.say_every_s:
                said, pace = now, (now - began) / (self.step - first)
                eta = pace * (self.plan.steps - self.step) / 60
                at = f"{self.name}: {self.step}/{self.plan.steps}"
                self.say(f"{at}  loss {recent:.4f}  {pace:.3f} s/step  ETA {eta:.1f} min")
            if now - saved > self.plan.save_every_s:
                saved = now
                self.save()
        self.save()
        return self.average if self.plan.ema else {name: value.detach() for name, value in self.parameters.items()}

    def _update(self) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * self.plan.rate_at(self.step)
        loss = self.loss(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self.parameters.values(), self.plan.clip)
        self.optimiser.step()
        self.step += 1
        if self.plan.ema:
            # Short averages at first: early weights are worth nothing later.
            decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)
        return float(loss.detach())

    def save(self) -> None:
        """Write the state beside the file and move it into place: a kill leaves the old or the new one."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(self.file.name + ".partial")
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.file)

    def _restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.average = dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def draws(seed: int, step: int) -> torch.Generator:
    """The generator of one step: the same whether or not the run was interrupted before it."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
