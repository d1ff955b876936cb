"""Python clients of ComfyUI from PyPI (dev group), each along its own quick start; only the address is ours."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfyui_utils import comfy, gen_prompts
from comfyuiclient import ComfyUIClient, ComfyUIClientAsync
from PIL import Image

from tests.e2e.conftest import CHECKPOINT
from tests.support.stack import Stack
from tests.support.workflows import write_picture

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
Write = Callable[..., Path]


def small_picture(path: Path) -> Path:
    with Image.open(write_picture(path)) as large:
        large.crop((32, 32, 96, 96)).save(path)
    return path


def picture(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as found:
        assert found.format == "PNG"
        found.load()
        return found


# --- comfy-api-simplified 1.6.0: a socket opened after the submission; whatever binary comes is taken for the result


def test_comfy_api_simplified_waits_for_two_pictures(stack: Stack, workflow: Write) -> None:
    api = ComfyApiWrapper(stack.rest + "/")
    wf = ComfyWorkflowWrapper(str(workflow("text-to-image", seed=101)))
    wf.set_node_param("Empty Latent Image", "batch_size", 2)
    results = api.queue_and_wait_images(wf, "Save Image")
    assert len(results) == 2 and all(name.startswith("text-to-image_") for name in results)
    for image_data in results.values():
        found = picture(image_data)
        assert found.size == (64, 64)
        assert json.loads(found.info["prompt"])["4"]["inputs"]["batch_size"] == 2


def test_comfy_api_simplified_sends_an_input_picture(stack: Stack, workflow: Write, tmp_path: Path) -> None:
    api = ComfyApiWrapper(stack.rest)
    metadata = api.upload_image(str(small_picture(tmp_path / "input.png")))
    wf = ComfyWorkflowWrapper(str(workflow("img2img", seed=102)))
    wf.set_node_param("Load Image", "image", f"{metadata['subfolder']}/{metadata['name']}")
    (image_data,) = api.queue_and_wait_images(wf, "Save Image").values()
    assert picture(image_data).size == (64, 64)


def test_comfy_api_simplified_reads_the_queue_and_interrupts(stack: Stack, workflow: Write) -> None:
    api = ComfyApiWrapper(stack.rest)
    running = api.queue_prompt(ComfyWorkflowWrapper(str(workflow("text-to-image", seed=103, steps=10_000))))[
        "prompt_id"
    ]
    waiting = api.queue_prompt(ComfyWorkflowWrapper(str(workflow("no-model"))))["prompt_id"]
    while not api.get_queue()["queue_running"]:
        time.sleep(0.05)
    assert (api.get_queue_size_before(running), api.get_queue_size_before(waiting)) == (0, 1)
    api.interrupt()
    while waiting not in api.get_history(waiting):
        time.sleep(0.05)
    assert api.get_history(running)[running]["status"]["status_str"] == "error"
    assert len(api.get_history(waiting)[waiting]["outputs"]["5"]["images"]) == 2


def test_comfy_api_simplified_discovers_nodes_and_models(stack: Stack) -> None:
    api = ComfyApiWrapper(stack.rest)
    assert {"KSampler", "SaveImage"} <= api.get_object_info().keys()
    loader = api.get_object_info("CheckpointLoaderSimple")["CheckpointLoaderSimple"]
    assert CHECKPOINT in loader["input"]["required"]["ckpt_name"][0]
    assert api.get_system_stats()["devices"][0]["vram_total"] > 0
    assert isinstance(api.get_embeddings(), list)


# --- comfyui-utils 0.0.1: every message has to be text; cached runs are looked up in the history by their prompt


class Updates(comfy.Callbacks):
    """What the sample script prints."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.progress: list[tuple[int, int, int]] = []
        self.output: dict[str, Any] = {}

    async def queue_position(self, position: int) -> None:
        self.positions.append(position)

    async def in_progress(self, node_id: int, progress: int, total: int) -> None:
        self.progress.append((node_id, progress, total))

    async def completed(self, outputs: dict[str, Any], cached: bool) -> None:
        self.output = outputs


async def test_comfyui_utils_reports_progress_and_fetches(address: str, workflow: Write) -> None:
    prompt_config = gen_prompts.make_config(
        "GenImg", [gen_prompts.IntArg("num_steps", default_value=12, min_value=1, max_value=80)]
    )
    parsed = gen_prompts.parse_args("a smiling potato $num_steps=20", prompt_config)
    prompt = json.loads(workflow("text-to-image", seed=104).read_text())
    prompt["2"]["inputs"]["text"] = parsed.cleaned
    prompt["5"]["inputs"]["steps"] = parsed.result.num_steps
    comfyui = comfy.ComfyAPI(address)
    updates = Updates()
    await comfyui.submit(prompt, updates)
    assert updates.positions and set(updates.positions) == {0}
    assert (5, 20, 20) in updates.progress  # it connects after submitting, so the first steps may be gone

    received = []

    async def on_load(data_file: io.BytesIO) -> None:
        received.append(data_file.getvalue())

    await comfyui.fetch(updates.output["images"][0], on_load)
    assert picture(received[0]).size == (64, 64)
    again = Updates()
    await comfyui.submit(prompt, again)
    assert again.output == updates.output


async def test_comfyui_utils_names_what_is_wrong(address: str, workflow: Write) -> None:
    prompt = json.loads(workflow("text-to-image").read_text())
    prompt["5"]["inputs"]["steps"] = 0
    with pytest.raises(ValueError, match="Node 5, steps: Value 0 smaller than min of 1"):
        await comfy.ComfyAPI(address).submit(prompt, Updates())


# --- comfyui-workflow-client 0.1.0: polls (sync) or listens (async), uploads pictures


def test_comfyui_workflow_client_polls(address: str, workflow: Write, tmp_path: Path) -> None:
    client = ComfyUIClient(address, str(workflow("img2img")))
    client.connect()
    client.set_data(key="KSampler", seed=12345)
    client.set_data(key="Prompt", text="beautiful landscape")
    with Image.open(small_picture(tmp_path / "input.png")) as image:
        client.set_data(key="LoadImage", image=image)
    results = client.generate(["Save Image"])
    client.close()
    assert [(key, image.size) for key, image in results.items()] == [("Save Image", (64, 64))]
    made = json.loads(results["Save Image"].info["prompt"])
    assert made["5"]["inputs"]["seed"] == 12345 and made["8"]["inputs"]["image"].startswith("temp/temp")


async def test_comfyui_workflow_client_listens(stack: Stack, address: str, workflow: Write) -> None:
    client = ComfyUIClientAsync(address, str(workflow("text-to-image")))
    await client.connect()
    await client.set_data(key="KSampler", seed=23456)
    results = await client.generate(["Save Image"])
    await client.close()
    assert [(key, image.size) for key, image in results.items()] == [("Save Image", (64, 64))]
    history = await asyncio.to_thread(lambda: requests.get(f"{stack.rest}/history?max_items=1", timeout=10).json())
    ((entry,),) = (history.values(),)
    assert entry["prompt"][2]["5"]["inputs"]["seed"] == 23456 and entry["status"]["completed"]
