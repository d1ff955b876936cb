"""Three nodes of one's own, in a process of their own: `python examples/provider_python/nodes.py 127.0.0.1:8195`.

Heliograph finds them with HELIOGRAPH_NODE_PROVIDERS=127.0.0.1:8195.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from PIL import Image

from node_host.nodes import Call, Expansion, Preview, ProvidedNode, describe
from node_host.provider import serve

ADDRESS = "127.0.0.1:8195"
Pixels = np.ndarray[Any, np.dtype[np.float32]]  # [B, H, W, C] in 0..1


def vignette(call: Call, image: Pixels, strength: float) -> tuple[Pixels]:
    """An image node: one picture of the batch after the other, with progress and a preview of each."""
    _, height, width, _ = image.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    shade = (1 - strength * np.clip((x * x + y * y) / 2, 0, 1)).astype(np.float32)[..., None]
    made = []
    for index, picture in enumerate(image):
        made.append(picture * shade)
        call.progress(index + 1, len(image), preview_of(made[-1]))  # stops here if the run was cancelled
    return (np.stack(made),)


def preview_of(picture: Pixels) -> Preview:
    """A small JPEG."""
    shown = Image.fromarray((picture[..., :3] * 255).astype(np.uint8))
    shown.thumbnail((256, 256))
    file = io.BytesIO()
    shown.save(file, "JPEG")
    return Preview("image/jpeg", file.getvalue())


def choose(call: Call, first_one: bool, first: Any = None, second: Any = None) -> tuple[Any]:
    """A lazy switch: only what is chosen has run."""
    return (first if first_one else second,)


def needed(call: Call, first_one: bool, **_: Any) -> list[str]:
    """Asked before the node runs; inputs that have not run are None here."""
    return ["first" if first_one else "second"]


def repeat_vignette(call: Call, image: Pixels, strength: float, times: int) -> Expansion:
    """An expanding node: a chain of other nodes takes its place, and each is cached, shown and timed by itself."""
    graph = call.graph()
    link: Any = image  # what came in may be an input of the graph's nodes, as any value and any link
    for _ in range(times):
        link = graph.node("ExampleVignette", image=link, strength=strength).out(0)
    return Expansion(graph, (link,))


IMAGE = (("IMAGE", "IMAGE"),)
STRENGTH = ["FLOAT", {"default": 0.5, "min": 0, "max": 1, "step": 0.01}]
LAZY = ["*", {"lazy": True}]

NODES = (
    ProvidedNode(
        "ExampleVignette",
        vignette,
        describe(
            {"required": {"image": ["IMAGE"], "strength": STRENGTH}},
            IMAGE,
            category="image/example",
            display_name="Vignette",
            description="Darker towards the corners.",
        ),
    ),
    ProvidedNode(
        "ExampleSwitch",
        choose,
        describe(
            {
                "required": {"first_one": ["BOOLEAN", {"default": True}]},
                "optional": {"first": LAZY, "second": LAZY},
            },
            (("*", "chosen"),),
            category="logic/example",
            display_name="Lazy Switch",
        ),
        lazy=needed,
    ),
    ProvidedNode(
        "ExampleRepeatVignette",
        repeat_vignette,
        describe(
            {
                "required": {
                    "image": ["IMAGE"],
                    "strength": STRENGTH,
                    "times": ["INT", {"default": 2, "min": 0, "max": 9}],
                }
            },
            IMAGE,
            category="image/example",
            display_name="Repeat Vignette",
        ),
        expands=True,
    ),
)

if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) > 1 else ADDRESS, NODES)
