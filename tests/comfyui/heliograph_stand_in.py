"""A pytest plugin: where ComfyUI's own tests start `python main.py ...`, a Heliograph starts in its place.

Nothing of ComfyUI is here or is executed but its tests and its pack of test nodes, from a checkout of the user's:
`make comfyui-tests COMFYUI=/path/to/ComfyUI`. It imports nothing of ours: the checkout has a package `tests` too.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
START_LIMIT_S = 120.0
PACKS = Path("tests") / "execution" / "testing_nodes"
_POPEN = subprocess.Popen


def _argument(command: Sequence[str], name: str, default: str) -> str:
    return str(command[command.index(name) + 1]) if name in command else default


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Heliograph:
    """What the tests take for ComfyUI's process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="heliograph-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        (folder / "models").mkdir()
        port = _argument(command, "--port", "8188")
        front, models = _free_ports(2)
        settings = {
            **os.environ,
            "HELIOGRAPH_DATA_DIR": str(folder / "data"),
            "HELIOGRAPH_MODELS_DIR": str(folder / "models"),
            "HELIOGRAPH_REST_PORT": port,
            "HELIOGRAPH_FRONT_ADDRESS": f"127.0.0.1:{front}",
            "HELIOGRAPH_MODEL_ADDRESS": f"127.0.0.1:{models}",
            "HELIOGRAPH_REST_WEB_UI": "off",
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "protos" / "py")]),
            **({"HELIOGRAPH_CACHE_MIB": "0"} if "--cache-none" in command else {}),
        }
        self._rest = f"http://127.0.0.1:{port}"
        log = Path(os.environ.get("COMFYUI_TESTS_LOG", str(folder / "service.log")))
        with log.open("ab") as output:
            self._process = _POPEN(
                (sys.executable, "-m", "cli.main", "up", "--custom-nodes", str(PACKS.resolve())),
                cwd=REPO, env=settings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._wait(log)

    def _wait(self, log: Path) -> None:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._rest + "/object_info", timeout=10) as answer:
                    if "TestLazyMixImages" in json.load(answer):
                        return
            except (urllib.error.URLError, OSError, ValueError):
                pass
            time.sleep(0.1)
        text = log.read_text("utf-8", "replace")[-4000:]
        self.kill()
        raise RuntimeError(f"Heliograph did not start\n{text}")

    def kill(self) -> None:
        """Ends it, and waits: the next one takes the same port."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    terminate = kill

    def wait(self, timeout: float | None = None) -> int:
        """As Popen's."""
        return self._process.wait(timeout)


class Popen(_POPEN):  # type: ignore[type-arg]
    """Makes one of these for `python main.py`, else what it always made."""

    def __new__(cls, command: Any = (), *_: Any, **__: Any) -> Any:
        if isinstance(command, list) and command[:2] == ["python", "main.py"]:
            return Heliograph([str(part) for part in command])  # no Popen: `__init__` is not called
        return super().__new__(cls)


def pytest_configure(config: Any) -> None:
    """Before any test module is imported."""
    subprocess.Popen = Popen  # type: ignore[misc]
