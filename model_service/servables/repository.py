"""Writes Triton model repository folders: everything that a servable needs lies inside its own folder."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
import onnx
from onnx import TensorProto

from kit.errors import Internal, InvalidRequest
from model_service.archs.spec import Signature, TensorSpec
from model_service.graphs.options import GraphOptions
from model_service.runtime.session import SessionRecipe
from model_service.servables.folders import MODEL, OVERLAY
from model_service.weights.reader import read_header

VERSION_FOLDER = "1"
WEIGHTS, MARK = "weights", ".heliograph"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorRT:
    """The TensorRT accelerator of the ONNX Runtime backend. `precision`: FP32 or FP16."""

    precision: Literal["FP32", "FP16"] = "FP32"
    workspace_bytes: int = 1 << 30
    cache_path: str = "trt_cache"


@dataclass(frozen=True)
class TritonOptions:
    """How Triton hosts servables.

    `backend` python runs everywhere (also on a CPU-only Triton without the ONNX Runtime backend). `max_batch` above 0
    turns dynamic batching on where a network's every tensor has a batch side. `environment`: a Python environment
    for the Python backend, empty for the server's own.
    """

    backend: Literal["python", "onnxruntime"] = "python"
    gpu: bool = False
    instances: int = 1
    max_batch: int = 0
    queue_delay_us: int = 2000
    tensorrt: TensorRT | None = None
    environment: str = ""

    def __post_init__(self) -> None:
        if self.backend == "python" and (self.gpu or self.tensorrt is not None):
            raise InvalidRequest("GPU and TensorRT need the onnxruntime backend", reason="TRITON_OPTIONS")
        if self.tensorrt is not None and not self.gpu:
            raise InvalidRequest("TensorRT needs a GPU", reason="TRITON_OPTIONS")


@dataclass(frozen=True)
class Servable:
    """What a folder is written for."""

    id: str
    signature: Signature
    recipe: SessionRecipe


class RepositoryWriter:
    """Writes below `root` from the templates in `templates` (triton_repo)."""

    def __init__(self, root: Path, templates: Path, options: TritonOptions) -> None:
        self._root = root
        self._templates = templates
        self._options = options
        self.options = GraphOptions(portable=options.tensorrt is not None)
        kind = "gpu" if options.gpu else "cpu"
        accelerator = f"-tensorrt-{options.tensorrt.precision.lower()}" if options.tensorrt else ""
        self.engine = f"triton-{options.backend}-{kind}{accelerator}"
        root.mkdir(parents=True, exist_ok=True)

    def owns(self, name: str) -> bool:
        """Whether a folder of this name was written here."""
        return (self._root / name / MARK).is_file()

    def write(self, servable: Servable) -> Path:
        """Its folder, whole or not at all; an older one is replaced."""
        # Triton looks at no folder without a config.pbtxt, and it is asked for by name only after the rename.
        temporary = Path(tempfile.mkdtemp(dir=self._root, prefix=f".{servable.id}."))
        final = self._root / servable.id
        try:
            temporary.chmod(0o755)
            version = temporary / VERSION_FOLDER
            version.mkdir()
            self._fill(version, servable)
            (temporary / "config.pbtxt").write_text(config_text(servable, self._options, self._templates), "utf-8")
            (temporary / MARK).write_text(self.engine, "utf-8")
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return final

    def remove(self, name: str) -> None:
        """Remove a folder that was written here."""
        if self.owns(name):
            shutil.rmtree(self._root / name)

    def _fill(self, version: Path, servable: Servable) -> None:
        recipe = servable.recipe
        write_standalone(recipe, version)
        if self._options.backend == "python":
            shutil.copyfile(self._templates / "python" / "model.py", version / "model.py")
            shutil.copyfile(_session_source(), version / "session.py")
            inside = replace(recipe, model_path=MODEL, weights_folder="", overlay_path=None, copied=())
            (version / "recipe.json").write_text(inside.to_json(), "utf-8")


def write_standalone(recipe: SessionRecipe, folder: Path) -> None:
    """A model in `folder` that needs nothing else: replaced tensors by their own file, weights linked beside it."""
    model = onnx.load_model(recipe.model_path, load_external_data=False)
    weights = {one.name: one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL}
    if recipe.overlay_path is not None:
        place_beside(Path(recipe.overlay_path), folder / OVERLAY)
        for name, entry in read_header(Path(recipe.overlay_path)).tensors.items():
            _point(weights.pop(name), OVERLAY, entry.offset, entry.nbytes)
    source = Path(recipe.weights_folder) / recipe.weights_location
    for name, _, _, offset in recipe.copied:
        _embed(weights.pop(name), source, offset)
    if weights:
        place_beside(source, folder / WEIGHTS)
    for weight in weights.values():
        _point(weight, WEIGHTS, _external(weight, "offset"), _external(weight, "length"))
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))


def place_beside(source: Path, target: Path) -> None:
    """A hard link, or a copy across file systems; never a symlink, ONNX Runtime refuses them."""
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError as error:
        _LOG.info("%s is copied, a hard link is not possible: %s", real.name, error.strerror)
        shutil.copyfile(real, target)


def config_text(servable: Servable, options: TritonOptions, templates: Path) -> str:
    """`config.pbtxt` of a servable."""
    loader = jinja2.FileSystemLoader(templates)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["quoted"] = json.dumps  # protobuf's text format shares JSON's escapes
    batched = options.max_batch if _has_batch(servable.signature) else 0
    return environment.get_template(f"{options.backend}/config.pbtxt.j2").render(
        name=servable.id,
        max_batch_size=batched,
        inputs=[_tensor(spec, bool(batched)) for spec in servable.signature.inputs],
        outputs=[_tensor(spec, bool(batched)) for spec in servable.signature.outputs],
        instances=options.instances,
        gpu=options.gpu,
        queue_delay_us=options.queue_delay_us,
        tensorrt=options.tensorrt,
        environment=options.environment,
    )


def _has_batch(signature: Signature) -> bool:
    """Whether the first side of every tensor is one and the same varying side, and not its only one.

    Triton cannot describe a batch of scalars: a UNet with its `timesteps` [batch] is not batched.
    """
    tensors = (*signature.inputs, *signature.outputs)
    firsts = {spec.shape[0] if len(spec.shape) > 1 else 0 for spec in tensors}
    return len(firsts) == 1 and all(isinstance(side, str) for side in firsts)


def _tensor(spec: TensorSpec, batched: bool) -> Mapping[str, object]:
    """Triton's dims leave the batch side out where it batches."""
    dims = [-1 if isinstance(side, str) else side for side in spec.shape][batched:]
    word = "STRING" if spec.dtype == "BYTES" else spec.dtype
    return {"name": spec.name, "data_type": f"TYPE_{word}", "dims": dims}


def _point(weight: TensorProto, location: str, offset: int, length: int) -> None:
    del weight.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        weight.external_data.add(key=key, value=value)


def _embed(weight: TensorProto, source: Path, offset: int) -> None:
    """Put a tensor's bytes into the model: its place in the file cannot be used (see graphs.bind.CopiedTensor)."""
    length = _external(weight, "length")
    data = np.fromfile(source, np.uint8, length, offset=offset).tobytes()
    if len(data) != length:
        raise Internal("the weights' file ends early", file=source.name)
    del weight.external_data[:]
    weight.data_location = TensorProto.DEFAULT
    weight.raw_data = data


def _external(weight: TensorProto, key: str) -> int:
    return int(next(entry.value for entry in weight.external_data if entry.key == key))


def _session_source() -> Path:
    """The file of model_service.runtime.session, without importing it."""
    found = importlib.util.find_spec("model_service.runtime.session")
    if found is None or found.origin is None:
        raise Internal("model_service/runtime/session.py is missing")
    return Path(found.origin)
