"""What may differ between two graphs of one network."""

from __future__ import annotations

from dataclasses import dataclass

GRAPH_VERSION = 1  # raise it whenever a graph made from the same network would differ
OPSET = 20


@dataclass(frozen=True)
class GraphOptions:
    """`portable`: only operators of the ONNX standard (TensorRT, OpenVINO); otherwise ONNX Runtime's own are used."""

    portable: bool = False

    @property
    def tag(self) -> str:
        return "portable" if self.portable else "ort"
