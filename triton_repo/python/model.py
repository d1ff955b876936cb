"""Model of Triton's Python backend: opens the servable that lies beside it and runs it.

The folder is complete: `session.py` (a copy of model_service/runtime/session.py), `recipe.json`, `model.onnx` and the
files that hold its weights. Runs in Triton's own Python environment: numpy and onnxruntime, nothing of ours.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))

from session import SessionRecipe, open_session  # noqa: E402  # it lies beside this file

_WATCH_S = 0.05
_SERVER_LOOK_S = 1.0


class _Watch:
    """Ends the run whose client went away; looks every 50 ms while something runs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._request: Any = None
        self._options: ort.RunOptions | None = None
        threading.Thread(target=self._loop, name="watch", daemon=True).start()

    def begin(self, request: Any, options: ort.RunOptions) -> None:
        with self._changed:
            self._request, self._options = request, options
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._request = self._options = None

    def _loop(self) -> None:
        with self._changed:
            while True:
                self._changed.wait(None if self._request is None else _WATCH_S)
                if self._options is not None and self._request.is_cancelled():
                    self._options.terminate = True


def _end_with(server: int) -> None:
    """Ends this process when its server was killed: a run would go on, and `is_cancelled` wait for ever."""
    while os.getppid() == server:
        time.sleep(_SERVER_LOOK_S)
    os._exit(1)


class TritonPythonModel:
    """One instance of the servable."""

    def initialize(self, args: Mapping[str, str]) -> None:
        recipe = SessionRecipe.from_json((_HERE / "recipe.json").read_text("utf-8"))
        self._opened = open_session(
            replace(recipe, model_path=str(_HERE / recipe.model_path), weights_folder=str(_HERE))
        )
        self._inputs = self._opened.session.get_inputs()
        self._outputs = [one.name for one in self._opened.session.get_outputs()]
        self._watch = _Watch()
        threading.Thread(target=_end_with, args=(os.getppid(),), name="server-watch", daemon=True).start()

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        del self._opened

    def _answer(self, request: Any) -> Any:
        if request.is_cancelled():
            return _refusal("the call was cancelled", pb_utils.TritonError.CANCELLED)
        feeds = {one.name: _array(request, one.name) for one in self._inputs}
        problem = self._mismatch(feeds)
        if problem:
            return _refusal(problem, pb_utils.TritonError.INVALID_ARG)
        wanted = request.requested_output_names()
        names = [name for name in self._outputs if name in wanted]
        options = ort.RunOptions()
        self._watch.begin(request, options)
        try:
            results = self._opened.session.run(names, feeds, options)
        except Exception as error:  # noqa: BLE001  # boundary: the client gets it as the answer to its call
            cancelled = options.terminate
            code = pb_utils.TritonError.CANCELLED if cancelled else pb_utils.TritonError.INTERNAL
            return _refusal("the call was cancelled" if cancelled else str(error), code)
        finally:
            self._watch.end()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in zip(names, results)]
        )

    def _mismatch(self, feeds: Mapping[str, Any]) -> str:
        """What Triton's configuration cannot say: sides that must agree between inputs."""
        sides: dict[str, int] = {}
        for one in self._inputs:
            for given, wanted in zip(feeds[one.name].shape, one.shape):
                if given != (sides.setdefault(wanted, given) if isinstance(wanted, str) else wanted):
                    return f"input {one.name} has shape {list(feeds[one.name].shape)}, expected {list(one.shape)}"
        return ""


def _array(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _refusal(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
