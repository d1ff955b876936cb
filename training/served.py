"""Pictures from a running Heliograph over ComfyUI's REST API, to check the served path with the same judge."""

from __future__ import annotations

import io
import json
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from training.draw import Pixels
from training.shown import Settings

_POLL_S = 0.2
_LIMIT_S = 120.0


@dataclass(frozen=True)
class Served:
    """A server's address, such as http://127.0.0.1:8188, and the names of the files to use."""

    address: str
    checkpoint: str = "heliograph-starter.safetensors"
    lora: str = ""

    def picture(self, prompt: str, seed: int, settings: Settings, negative: str = "") -> Pixels:
        """The picture of one run, RGB [side, side, 3]. Raises RuntimeError where the run fails."""
        body = json.dumps({"prompt": self._graph(prompt, seed, settings, negative)}).encode()
        request = urllib.request.Request(
            self.address + "/prompt", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_LIMIT_S) as answer:
            run = json.load(answer)["prompt_id"]
        image = self._finished(run)["outputs"]["8"]["images"][0]
        query = urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.address}/view?{query}", timeout=_LIMIT_S) as answer:
            return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))

    def _finished(self, run: str) -> dict[str, Any]:
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.address}/history/{run}", timeout=_LIMIT_S) as answer:
                entry: dict[str, Any] | None = json.load(answer).get(run)
            if entry is not None:
                if entry["status"]["status_str"] != "success":
                    raise RuntimeError(f"the run failed: {entry['status']}")
                return entry
            time.sleep(_POLL_S)
        raise RuntimeError(f"run {run} did not end within {_LIMIT_S:.0f} s")

    def _graph(self, prompt: str, seed: int, settings: Settings, negative: str) -> dict[str, Any]:
        def node(class_type: str, **inputs: Any) -> dict[str, Any]:
            return {"class_type": class_type, "inputs": inputs}

        source = "2" if self.lora else "1"
        graph = {
            "1": node("CheckpointLoaderSimple", ckpt_name=self.checkpoint),
            "3": node("CLIPTextEncode", text=prompt, clip=[source, 1]),
            "4": node("CLIPTextEncode", text=negative, clip=[source, 1]),
            "5": node("EmptyLatentImage", width=settings.side, height=settings.side, batch_size=1),
            "6": node(
                "KSampler", model=[source, 0], positive=["3", 0], negative=["4", 0], latent_image=["5", 0], seed=seed,
                steps=settings.steps, cfg=settings.cfg, sampler_name=settings.sampler, scheduler=settings.scheduler,
                denoise=1.0,
            ),
            "7": node("VAEDecode", samples=["6", 0], vae=["1", 2]),
            "8": node("SaveImage", images=["7", 0], filename_prefix="evaluation"),
        }  # fmt: skip
        if self.lora:
            graph["2"] = node(
                "LoraLoader", model=["1", 0], clip=["1", 1], lora_name=self.lora, strength_model=1.0, strength_clip=1.0
            )
        return graph
