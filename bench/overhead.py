"""What a server adds to one sampling step: the same call through every way, over the bare engine call in this process.

The network is an SD1.5-layout UNet of tiny width on a tiny latent, so that the call itself is short; a long context
makes the round trip 812 KB, about that of a 512x512 picture at batch 2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.report import Row, interleaved, median
from bench.service import service
from bench.weights import random_tensor
from orchestrator.clients.models import GrpcModels, ModelClientOptions
from orchestrator.values.models import NetworkRef
from tests.support.stack import REPO

ROUNDS, BLOCK = 12, 25
SIDE = 16
TOKENS = 131
WAYS = (("embedded", "auto"), ("embedded", "off"), ("triton", "auto"), ("triton", "off"))
NAMES = {"auto": "shared memory", "off": "gRPC"}


def measure() -> list[Row]:
    """One row per way; Triton's are left out where the CPU Triton is not installed.

    One server at a time beside the bare call: more would take each other's cores.
    """
    inputs = _inputs()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        bare = _tiny_unet(models / "diffusion_models" / "tiny.safetensors", models)
        for serving, memory in WAYS:
            if serving == "triton" and not (REPO / ".venv-triton").is_dir():
                continue
            with _through(models, serving, memory) as call:
                seconds = interleaved(
                    ROUNDS, block=BLOCK, bare=lambda: bare(inputs), served=lambda call=call: call(inputs)
                )
            base, served = (median(seconds[name]) * 1e3 for name in ("bare", "served"))
            note = f"+{served - base:.2f} ms; median of {ROUNDS * BLOCK}, in turns of {BLOCK}; baseline: the bare call"
            rows.append(Row(f"a step, {serving}, {NAMES[memory]}", served, base, "ms", note))
    return rows


def _inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "x": random.standard_normal((2, 4, SIDE, SIDE), dtype=np.float32),
        "timesteps": np.array([500.0, 500.0], np.float32),
        "context": random.standard_normal((2, TOKENS, 768), dtype=np.float32),
    }


@contextmanager
def _through(models: Path, serving: str, memory: str) -> Iterator[Callable[[dict[str, np.ndarray]], object]]:
    with service(models, serving) as running:
        options = ModelClientOptions(running.models, shared_memory="auto" if memory == "auto" else "off")
        client = GrpcModels(options)
        info = client.describe("diffusion_models", "tiny.safetensors")
        found = next(each for each in info.components if each.component == "unet")
        servable = client.prepare(NetworkRef("unet", info.file, found.arch, facts=found.facts))
        try:
            yield lambda inputs: client.infer(servable, inputs)
        finally:
            client.close()


def _tiny_unet(path: Path, scratch: Path) -> Callable[[dict[str, np.ndarray]], object]:
    """Write the weights; returns the bare call of the same engine on them."""
    from safetensors.numpy import save_file

    from model_service.archs.registry import arch, detect
    from model_service.archs.sd15_unet import Level, UNetConfig
    from model_service.graphs.bind import bind
    from model_service.graphs.options import GraphOptions
    from model_service.graphs.store import GraphStore
    from model_service.runtime.engine import OrtEngine
    from model_service.runtime.recipe import recipe_for
    from model_service.weights.reader import read_header

    random = np.random.Generator(np.random.SFC64(1))
    # Attention in the middle only: at full side it would take seconds, and drown what is measured.
    config = UNetConfig(32, 4, 4, 768, (Level(32, (0,), (0, 0)),) * 4, 1)
    module = arch("sd15_unet").build(config).to_empty(device="cpu")
    path.parent.mkdir(parents=True)
    # Scaled so that values stay ordinary: denormal ones are slow to compute with.
    save_file({name: random_tensor(random, tuple(value.shape)) for name, value in module.state_dict().items()}, path)
    component = next(each for each in detect(read_header(path)) if each.kind == "unet")
    graph = GraphStore(scratch / "graphs").graph_for(component.arch, component.config, GraphOptions())
    bound = bind(graph, component.part, component.arch.unused, overlay=None)
    model_path = scratch / "bare.onnx"
    model_path.write_bytes(bound.model)
    return OrtEngine().open(recipe_for(bound, model_path, threads=0, overlay_path=None), overlay=None).infer
