"""A provider beside `heliograph up`: its nodes over HTTP, as a ComfyUI client sees them."""

from __future__ import annotations

import io
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.providers import ROOT, provider_process
from tests.support.stack import Stack, free_ports, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0xFFFFFF}},
    "2": {"class_type": "ExampleRepeatVignette", "inputs": {"image": ["1", 0], "strength": 1.0, "times": 2}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "own"}},
}


def call(stack: Stack, path: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(stack.rest + path, data, headers), timeout=30) as answer:
        return bytes(answer.read())


def finished(stack: Stack, prompt_id: str) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = json.loads(call(stack, f"/history/{prompt_id}"))
        if found:
            return found[prompt_id]
        time.sleep(0.05)
    raise AssertionError("the run did not end")


def test_own_nodes_over_http(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    models = tmp_path / "models"
    models.mkdir()
    command = [sys.executable, str(ROOT / "examples" / "provider_python" / "nodes.py"), address]
    with running_stack(models, tmp_path, extra={"HELIOGRAPH_NODE_PROVIDERS": address}) as stack:
        with pytest.raises(urllib.error.HTTPError) as caught:  # the provider is not there yet
            call(stack, "/prompt", {"prompt": PROMPT})
        assert "does not exist" in json.loads(caught.value.read())["error"]["message"]
        with provider_process(port, tmp_path, command):
            while "ExampleVignette" not in (info := json.loads(call(stack, "/object_info"))):
                time.sleep(0.05)
            assert info["ExampleVignette"]["display_name"] == "Vignette" and "KSampler" in info
            prompt_id = json.loads(call(stack, "/prompt", {"prompt": PROMPT}))["prompt_id"]
            entry = finished(stack, prompt_id)
            assert entry["status"]["status_str"] == "success", entry["status"]
            (image,) = entry["outputs"]["3"]["images"]
            with Image.open(io.BytesIO(call(stack, "/view?" + urllib.parse.urlencode(image)))) as picture:
                assert picture.getpixel((0, 0)) == (0, 0, 0) and picture.convert("L").getpixel((32, 32)) > 250
        inputs = {"image": ["1", 0], "strength": 0.5, "times": 1}
        changed = {**PROMPT, "2": {"class_type": "ExampleRepeatVignette", "inputs": inputs}}
        entry = finished(stack, json.loads(call(stack, "/prompt", {"prompt": changed}))["prompt_id"])
        (error,) = [data for name, data in entry["status"]["messages"] if name == "execution_error"]
        assert error["exception_type"] == "Unready" and error["node_id"] == "2"
