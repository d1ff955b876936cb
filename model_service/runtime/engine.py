"""The port behind which an inference engine stands, and ONNX Runtime behind it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from kit.errors import Busy, Internal, InvalidModel, InvalidRequest, Stopped
from model_service.archs.spec import TensorSpec
from model_service.runtime.session import OpenSession, SessionRecipe, open_session

Array = NDArray[Any]

_DTYPES: Mapping[str, tuple[str, type[np.generic]]] = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(int64)": ("INT64", np.int64),
}

_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "Cannot allocate memory", "CPU memory allocation failed")
_ENGINE_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.NoSuchFile,
    ort_errors.NoModel,
    ort_errors.EngineError,
    ort_errors.RuntimeException,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.InvalidGraph,
    ort_errors.EPFail,
)


class Cancellation:
    """Stops running inferences from another thread; may be given to several calls, one after another or at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[ort.RunOptions] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Stop what runs under this token now and refuse what would start later."""
        with self._lock:
            self._cancelled = True
            for options in self._running:
                options.terminate = True

    def begin(self, options: ort.RunOptions) -> None:
        """Watch one run; raises Stopped if the token was cancelled before."""
        with self._lock:
            if self._cancelled:
                raise Stopped("the inference was cancelled before it started")
            self._running.append(options)

    def end(self, options: ort.RunOptions) -> None:
        with self._lock:
            self._running = [one for one in self._running if one is not options]


class LoadedModel(Protocol):
    """A network in memory, callable from several threads at once.

    `memory_bytes`: what it holds beyond the mapped weights; `mapped_bytes`: weights used from the user's file, which
    the kernel may drop and read again.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def mapped_bytes(self) -> int: ...
    def infer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, cancel: Cancellation | None = None
    ) -> dict[str, Array]:
        """Run the network; raises InvalidRequest (names, types, shapes), Stopped (cancelled), Busy (out of memory)."""

    def close(self) -> None:
        """Release the memory; a later `infer` raises InvalidRequest."""


class Engine(Protocol):
    """Opens models; `overlay` (name -> safetensors dtype and values) replaces weights, as the recipe's overlay does."""

    def open(self, recipe: SessionRecipe, overlay: Mapping[str, tuple[str, Array]] | None = None) -> LoadedModel:
        """Raises InvalidModel where the engine refuses the model or its weights, Busy (NO_MEMORY)."""


@dataclass(frozen=True)
class OrtEngine:
    """ONNX Runtime on the CPU, float32."""

    def open(self, recipe: SessionRecipe, overlay: Mapping[str, tuple[str, Array]] | None = None) -> OrtModel:
        try:
            opened = open_session(recipe, overlay)
        except (OSError, ValueError, MemoryError, *_ENGINE_ERRORS) as error:
            if _out_of_memory(error):
                raise Busy("there is not enough memory to load this model", reason="NO_MEMORY") from error
            raise InvalidModel("the model cannot be opened", model=recipe.model_path, cause=error) from error
        return OrtModel(opened, recipe)


class OrtModel:
    def __init__(self, opened: OpenSession, recipe: SessionRecipe) -> None:
        self._opened: OpenSession | None = opened
        self._held_bytes = opened.held_bytes + Path(recipe.model_path).stat().st_size
        self._mapped_bytes = recipe.mapped_bytes
        self._inputs = tuple(_spec(one) for one in opened.session.get_inputs())
        self._outputs = tuple(_spec(one) for one in opened.session.get_outputs())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    @property
    def memory_bytes(self) -> int:
        return self._held_bytes

    @property
    def mapped_bytes(self) -> int:
        return self._mapped_bytes

    def infer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, cancel: Cancellation | None = None
    ) -> dict[str, Array]:
        opened = self._opened
        if opened is None:
            raise InvalidRequest("the model is closed")
        feeds = _checked(inputs, self._inputs)
        names = _known(outputs, self._outputs)
        options = ort.RunOptions()
        if cancel is not None:
            cancel.begin(options)
        try:
            results = opened.session.run(names, feeds, options)
        except (MemoryError, *_ENGINE_ERRORS) as error:
            raise _typed(error, cancel) from error
        finally:
            if cancel is not None:
                cancel.end(options)
        return dict(zip(names, results, strict=True))

    def close(self) -> None:
        self._opened = None


def _spec(one: ort.NodeArg) -> TensorSpec:
    return TensorSpec(one.name, _DTYPES[one.type][0], tuple(one.shape))


def _known(names: Sequence[str] | None, specs: Sequence[TensorSpec]) -> list[str]:
    known = [spec.name for spec in specs]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InvalidRequest("the model has no such output", outputs=", ".join(unknown), known=", ".join(known))
    return list(names) if names else known


def _checked(inputs: Mapping[str, Array], specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Inputs as the engine wants them: all there, right type and fixed sides, one value for each named side."""
    names = {spec.name for spec in specs}
    if set(inputs) != names:
        raise InvalidRequest("wrong set of inputs", given=", ".join(inputs), expected=", ".join(sorted(names)))
    sides: dict[str, int] = {}
    for spec in specs:
        array = inputs[spec.name]
        expected = dict(_DTYPES.values())[spec.dtype]
        fits = array.dtype == expected and len(array.shape) == len(spec.shape) and 0 not in array.shape
        for given, wanted in zip(array.shape, spec.shape, strict=False):
            fits = fits and given == (sides.setdefault(wanted, given) if isinstance(wanted, str) else wanted)
        if not fits:
            raise InvalidRequest(
                "an input has the wrong type or shape",
                input=spec.name,
                given=f"{array.dtype}{list(array.shape)}",
                expected=f"{spec.dtype}{list(spec.shape)}",
            )
    return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


def _typed(error: Exception, cancel: Cancellation | None) -> Stopped | Busy | Internal:
    if cancel is not None and cancel.cancelled:
        return Stopped("the inference was cancelled")
    if _out_of_memory(error):
        return Busy("there is not enough memory for an inference of this size", reason="NO_MEMORY")
    return Internal("the engine failed", cause=error)


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)
