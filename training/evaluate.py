"""`python -m training.evaluate --models models`: how often the starter model shows what held-out captions say."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kit.starter import CHECKPOINT
from training.captions import counted, plain_caption
from training.draw import Pixels
from training.judge import Seen, Verdict, judge, read
from training.run import THREADS
from training.scenes import COLOURS, RELATIONS, SHAPES, Ground, Scene, Thing, held_look, held_out
from training.served import Served
from training.shown import Checkpoint, Settings, contact_sheet

_WHITE = Ground("white")


@dataclass(frozen=True)
class Question:
    """A caption, the scene that it describes and the seed of its picture."""

    prompt: str
    scene: Scene
    seed: int


@dataclass(frozen=True)
class Answered:
    """Counts over one group of questions; `shuffled` are the same pictures under each other's captions."""

    asked: int
    colour: float
    shape: float
    look: float
    count: float
    relation: float
    shuffled_look: float
    shuffled_relation: float


def questions(per_group: int) -> dict[str, list[Question]]:
    """Groups of held-out captions: none of these combinations is in any training picture."""
    looks = [Thing(shape, colour) for colour in COLOURS for shape in SHAPES]
    unseen = [look for look in looks if held_look(look.shape, look.colour)]
    known = [look for look in looks if not held_look(look.shape, look.colour)]
    rng = random.Random("evaluation")
    groups = {
        "single, unseen colour and shape": [Scene((unseen[k % len(unseen)],), _WHITE) for k in range(per_group)],
        "single, seen": [Scene((rng.choice(known),), _WHITE) for _ in range(per_group)],
        "pair, unseen": [_held_pair(rng, known, "") for _ in range(per_group)],
        "relation, unseen": [_held_pair(rng, known, RELATIONS[k % 4]) for k in range(per_group)],
    }
    for number in (2, 3, 4):
        held = [Scene((look,) * number, _WHITE) for look in known if held_out(Scene((look,) * number, _WHITE))]
        groups[f"count {number}, unseen"] = [rng.choice(held) for _ in range(per_group // 2)]
    return {
        name: [Question(plain_caption(scene), scene, 1000 + 7 * k) for k, scene in enumerate(scenes)]
        for name, scenes in groups.items()
    }


def _held_pair(rng: random.Random, looks: Sequence[Thing], relation: str) -> Scene:
    while True:
        scene = Scene((rng.choice(looks), rng.choice(looks)), _WHITE, relation)
        if scene.things[0] != scene.things[1] and held_out(scene):
            return scene


def answered(group: Sequence[Question], seen: Sequence[Seen]) -> Answered:
    """Verdicts of a group as shares, and the ablation: the picture of the next question under this one's caption."""
    right = [judge(question.scene, picture) for question, picture in zip(group, seen, strict=True)]
    others = [*seen[1:], seen[0]]
    wrong = [
        judge(question.scene, picture)
        for k, (question, picture) in enumerate(zip(group, others, strict=True))
        if question.scene.things != group[(k + 1) % len(group)].scene.things
    ]

    def share(verdicts: Sequence[Verdict], field: str) -> float:
        return round(sum(bool(getattr(verdict, field)) for verdict in verdicts) / max(1, len(verdicts)), 4)

    return Answered(
        asked=len(group),
        colour=share(right, "colour"),
        shape=share(right, "shape"),
        look=share(right, "look"),
        count=share(right, "count"),
        relation=share(right, "relation"),
        shuffled_look=share(wrong, "look"),
        shuffled_relation=share(wrong, "relation"),
    )


def negative_prompts(checkpoint: Checkpoint, settings: Settings, count: int) -> dict[str, float]:
    """How often a pair's second thing is there, without and with its name in the negative prompt."""
    rng = random.Random("negative")
    looks = [Thing(shape, colour) for colour in COLOURS for shape in SHAPES if not held_look(shape, colour)]
    scenes = [_held_pair(rng, looks, "") for _ in range(count)]
    shares = {}
    for name in ("empty", "named"):
        shown = 0
        for k, scene in enumerate(scenes):
            second = scene.things[1]
            negative = counted(1, second) if name == "named" else ""
            (picture,) = checkpoint.pictures([plain_caption(scene)], [5000 + k], settings, negative=negative)
            shown += any((t.colour, t.shape) == (second.colour, second.shape) for t in read(picture).things)
        shares[name] = round(shown / count, 4)
    return shares


def evaluate(models: Path, settings: Settings, per_group: int, sheets: Path | None) -> dict[str, Any]:
    """All groups, as shares; contact sheets are written into `sheets`."""
    torch.set_num_threads(THREADS)
    checkpoint = Checkpoint.load(models / CHECKPOINT)
    groups: dict[str, Any] = {}
    began = time.monotonic()
    for name, group in questions(per_group).items():
        pictures = checkpoint.pictures([q.prompt for q in group], [q.seed for q in group], settings)
        if sheets is not None:
            _keep_sheet(pictures[:32], sheets / f"{name.replace(', ', '-').replace(' ', '-')}-{settings.side}.png")
        groups[name] = asdict(answered(group, [read(picture) for picture in pictures]))
        print(_row(name, groups[name]), flush=True)
    taken = time.monotonic() - began
    total = sum(group["asked"] for group in groups.values())
    negative = negative_prompts(checkpoint, replace(settings, steps=12), max(4, per_group // 4))
    print(
        f"second thing of a pair shown: {negative['empty']:.0%}, named in the negative prompt: {negative['named']:.0%}"
    )
    return {
        "settings": asdict(settings),
        "groups": groups,
        "negative_prompt": negative,
        "seconds_per_picture": round(taken / total, 3),
    }


def _keep_sheet(pictures: Sequence[Pixels], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(pictures, 8)).save(file)


_HEAD = f"{'group':34}{'asked':>6}{'colour':>8}{'shape':>8}{'both':>8}{'count':>8}{'relation':>9}{'shuffled':>9}"


def _row(name: str, group: dict[str, Any]) -> str:
    figures = "".join(f"{group[field]:>8.1%}" for field in ("colour", "shape", "look", "count"))
    return f"{name:34}{group['asked']:>6}{figures}{group['relation']:>9.1%}{group['shuffled_relation']:>9.1%}"


def served_like_torch(address: str, models: Path, settings: Settings, per_group: int) -> int:
    """Largest difference, of 255, between pictures of a running server and ours for the same questions."""
    checkpoint, server = Checkpoint.load(models / CHECKPOINT), Served(address)
    largest = 0
    for group in questions(per_group).values():
        for question in group:
            theirs = server.picture(question.prompt, question.seed, settings)
            (own,) = checkpoint.pictures([question.prompt], [question.seed], settings)
            largest = max(largest, int(np.abs(theirs.astype(int) - own).max()))
    return largest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--out", type=Path, default=Path("build/training/evaluation.json"))
    parser.add_argument("--per-group", type=int, default=64)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--cfg", type=float, default=5.0)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--served", help="address of a running Heliograph: only compare its pictures with ours")
    arguments = parser.parse_args()
    settings = Settings(side=arguments.side, cfg=arguments.cfg, sampler=arguments.sampler)
    if arguments.served:
        largest = served_like_torch(arguments.served, arguments.models, settings, 2)
        print(f"largest difference between served and own pictures: {largest} of 255")
        return 0
    print(_HEAD)
    found = evaluate(arguments.models, settings, arguments.per_group, arguments.sheets)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
