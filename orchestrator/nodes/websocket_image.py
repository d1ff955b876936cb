"""Pictures that go to the client's socket and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Mapping

from orchestrator.graph.declare import node
from orchestrator.graph.spec import NodeOutput
from orchestrator.nodes.links import ImageIn
from orchestrator.ports import Ctx, PreviewImage

_COMPRESSION = 1  # a result is sent once: time counts more than bytes


def _never_the_same(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    """Who asks again wants the pictures again: nothing of them was kept."""
    return None


@node(
    "SaveImageWebsocket", category="api/image", python_module="custom_nodes.websocket_image_save", output_node=True,
    fingerprint=_never_the_same,
)  # fmt: skip
def save_image_websocket(ctx: Ctx, images: ImageIn) -> NodeOutput:
    """Sends each picture of the batch to the client as a lossless preview, unscaled; writes no file."""
    from orchestrator.nodes.picture_file import write_png

    for number, image in enumerate(images):
        ctx.check_cancelled()
        file = io.BytesIO()
        write_png(image, {}, _COMPRESSION, file)
        ctx.progress(number, len(images), PreviewImage("image/png", file.getvalue()))
    return NodeOutput()
