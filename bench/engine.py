"""The exact engine against torch eager: seconds per UNet forward of batch 2 at full SD1.5 width, interleaved."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.report import Row, interleaved, median
from bench.weights import PREFIXES, checkpoint

ROUNDS = {32: 5, 64: 2}


def measure() -> list[Row]:
    """Rows for 256x256 and 512x512 pictures (latent sides 32 and 64)."""
    import torch

    from model_service.archs.registry import detect
    from model_service.graphs.bind import bind
    from model_service.graphs.options import GraphOptions
    from model_service.graphs.store import GraphStore
    from model_service.runtime.engine import OrtEngine
    from model_service.runtime.recipe import recipe_for
    from model_service.weights.reader import read_header, read_tensor

    header = read_header(checkpoint("bench-a", seed=1))
    component = next(each for each in detect(header) if each.kind == "unet")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        graph = GraphStore(Path(folder)).graph_for(component.arch, component.config, GraphOptions())
        bound = bind(graph, component.part, component.arch.unused, overlay=None)
        model_path = Path(folder) / "model.onnx"
        model_path.write_bytes(bound.model)
        ours = OrtEngine().open(recipe_for(bound, model_path, threads=0, overlay_path=None), overlay=None)
        eager = component.arch.build(component.config).to_empty(device="cpu").eval()
        prefix = PREFIXES["sd15_unet"]
        eager.load_state_dict(
            {
                name: torch.from_numpy(read_tensor(header, prefix + name).astype(np.float32))
                for name in eager.state_dict()
            }
        )
        for side, rounds in ROUNDS.items():
            rows.append(_compare(ours, eager, side, rounds))
        ours.close()
    return rows


def _compare(ours: object, eager: object, side: int, rounds: int) -> Row:
    import torch

    random = np.random.default_rng(side)
    inputs = {
        "x": random.standard_normal((2, 4, side, side), dtype=np.float32),
        "timesteps": np.array([500.0, 500.0], np.float32),
        "context": random.standard_normal((2, 77, 768), dtype=np.float32),
    }
    tensors = [torch.from_numpy(value) for value in inputs.values()]

    def run_eager() -> object:
        with torch.inference_mode():
            return eager(*tensors)  # type: ignore[operator]  # a torch module

    seconds = interleaved(rounds, torch=run_eager, ours=lambda: ours.infer(inputs))  # type: ignore[attr-defined]  # a LoadedModel
    note = f"{side * 8}x{side * 8} picture, batch 2; median of {rounds}, interleaved"
    return Row("torch eager fp32 over ours (speed-up)", median(seconds["torch"]), median(seconds["ours"]), "s", note)
