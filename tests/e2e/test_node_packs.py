"""`heliograph up` with node packs: one setting, their nodes beside ours, models handed through, files for browsers."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import CHECKPOINT
from tests.e2e.test_own_nodes import call, finished
from tests.support.pack_host import PACKS
from tests.support.stack import Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("packs")
    with running_stack(models, folder, extra={"HELIOGRAPH_CUSTOM_NODES": str(PACKS)}) as running:
        until = time.monotonic() + 90
        while "TourPass" not in json.loads(call(running, "/object_info")):
            assert time.monotonic() < until, running.log.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.1)
        yield running


def run(stack: Stack, prompt: dict[str, Any]) -> dict[str, Any]:
    entry = finished(stack, json.loads(call(stack, "/prompt", {"prompt": prompt}))["prompt_id"])
    assert entry["status"]["status_str"] == "success", entry["status"]
    return dict(entry["outputs"])


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def test_models_and_conditionings_pass_through_a_pack(stack: Stack) -> None:
    prompt = {
        "m": n("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "c": n("CLIPTextEncode", text="a house", clip=["m", 1]),
        "p": n("TourPass", model=["m", 0], conditioning=["c", 0], vae=["m", 2]),
        "u": n("TourUnpack", pipe=["p", 3]),
        "l": n("EmptyLatentImage", width=64, height=64, batch_size=1),
        "k": n("KSampler", model=["u", 0], positive=["p", 1], negative=["c", 0], latent_image=["l", 0], seed=1, steps=1,
               cfg=1.5, sampler_name="euler", scheduler="normal", denoise=1.0),
        "d": n("VAEDecode", samples=["k", 0], vae=["u", 1]),
        "s": n("TourStatistics", image=["d", 0]),
        "show": n("TourReport", value=["s", 1]),
    }  # fmt: skip
    assert run(stack, prompt)["show"]["text"] == ["1x64x64x3"]


def test_a_model_cannot_be_looked_into(stack: Stack) -> None:
    prompt = {
        "m": n("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "f": n("TourFails", how="model", model=["m", 0]), "show": n("TourReport", value=["f", 0]),
    }  # fmt: skip
    entry = finished(stack, json.loads(call(stack, "/prompt", {"prompt": prompt}))["prompt_id"])
    (error,) = [data for name, data in entry["status"]["messages"] if name == "execution_error"]
    assert error["node_id"] == "f" and "MODEL.clone" in error["exception_message"]


def test_scripts_of_packs_reach_the_browser(stack: Stack) -> None:
    found = json.loads(call(stack, "/extensions"))
    assert {"/extensions/tour/tour.js", "/extensions/tour/deep/more.js"} <= set(found)
    assert b"a pack's script" in call(stack, "/extensions/tour/tour.js")
    for path in ("/extensions/tour/../notes.txt", "/extensions/tour/%2e%2e/notes.txt", "/extensions/tour/none.js"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(stack, path)
        assert caught.value.code == 404
        caught.value.close()


def test_a_host_that_died_is_started_again(stack: Stack) -> None:
    log = stack.log.read_text("utf-8", "replace")
    assert "the pack reaches is left out: comfy.sd.VAE" in log
    prompt = {"a": n("SingleText", text="x"), "show": n("TourReport", value=["a", 0])}
    assert run(stack, prompt)["show"]["text"] == ["x1"]
    os.kill(_host(stack), signal.SIGKILL)
    until = time.monotonic() + 90
    while True:  # the engine tells that the provider is away until it is back
        entry = finished(
            stack,
            json.loads(call(stack, "/prompt", {"prompt": {**prompt, "a": n("SingleText", text="y")}}))["prompt_id"],
        )
        if entry["status"]["status_str"] == "success":
            break
        (error,) = [data for name, data in entry["status"]["messages"] if name == "execution_error"]
        assert error["exception_type"] == "Unready" and time.monotonic() < until
        time.sleep(0.2)
    assert entry["outputs"]["show"]["text"] == ["y1"]


def _host(stack: Stack) -> int:
    """The process that serves the packs, below its tether below the supervisor."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        parts = found.read_bytes().split(b"\0")
        ours = len(parts) > 1 and parts[1].endswith(b"boot.py") and str(stack.data).encode() in b" ".join(parts)
        if ours:
            return int(found.parent.name)
    raise AssertionError("no host process")
