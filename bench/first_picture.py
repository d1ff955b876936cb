"""From submission to the first 256x256 picture of a checkpoint the server has never seen, one step, full SD1.5 size."""

from __future__ import annotations

import json
import time
import urllib.request

from bench.report import Row
from bench.service import service
from bench.weights import FOLDER, checkpoint
from tests.support.workflows import load

LIMIT_S = 600.0


def measure() -> list[Row]:
    """Wall seconds; the baseline is the same prompt with another seed, everything loaded."""
    checkpoint("bench-a", seed=1)
    with service(FOLDER) as stack:
        _finish(stack.rest, load("no-model"))  # the worker is up
        cold = _finish(stack.rest, _one_step(seed=1))
        warm = _finish(stack.rest, _one_step(seed=2))
    return [
        Row("first picture, 256x256, one step", cold, warm, "s", "file in the page cache; baseline: the next picture")
    ]


def _one_step(seed: int) -> dict[str, object]:
    graph = load("text-to-image")
    graph["1"]["inputs"]["ckpt_name"] = "bench-a.safetensors"
    graph["4"]["inputs"].update(width=256, height=256)
    graph["5"]["inputs"].update(steps=1, seed=seed, sampler_name="euler", scheduler="normal")
    return graph


def _finish(rest: str, graph: dict[str, object]) -> float:
    """Seconds from submission until the history has the run."""
    begun = time.perf_counter()
    with urllib.request.urlopen(rest + "/prompt", json.dumps({"prompt": graph}).encode(), timeout=60) as answer:
        run = json.load(answer)["prompt_id"]
    while time.perf_counter() - begun < LIMIT_S:
        with urllib.request.urlopen(f"{rest}/history/{run}", timeout=60) as answer:
            entry = json.load(answer).get(run)
        if entry:
            if entry["status"]["status_str"] != "success":
                raise RuntimeError(f"the run failed: {entry['status']['messages'][-1]}")
            return time.perf_counter() - begun
        time.sleep(0.02)
    raise TimeoutError(f"no picture within {LIMIT_S:g} s")
