"""Runs ComfyUI's execution tests against Heliograph: python -m tests.comfyui.run CHECKOUT [pytest arguments]."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

TESTS = ("test_execution.py", "test_async_nodes.py", "test_progress_isolation.py")


def main(arguments: list[str]) -> int:
    """pytest's status; 2 where the checkout or a package is missing."""
    checkout = Path(arguments[0] if arguments else "").expanduser().resolve()
    folder = checkout / "tests" / "execution"
    if not (folder / "testing_nodes").is_dir():
        print(f"no ComfyUI checkout with tests/execution at {checkout}", file=sys.stderr)
        return 2
    if find_spec("websocket") is None:
        print("ComfyUI's tests need websocket-client: `pip install websocket-client`", file=sys.stderr)
        return 2
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="heliograph-") as outputs:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        chosen = arguments[1:] if any(".py" in each for each in arguments[1:]) else [*_files(folder), *arguments[1:]]
        command = [
            sys.executable, "-m", "pytest", "-p", "heliograph_stand_in", "-p", "no:randomly", "-p", "no:cacheprovider",
            "-q", "--port", str(port), "--output_dir", outputs, "--skip-timing-checks", *chosen,
        ]  # fmt: skip
        return subprocess.run(command, cwd=checkout, env=_environment(checkout), check=False).returncode


def _files(folder: Path) -> list[str]:
    return [str(folder / name) for name in TESTS if (folder / name).exists()]


def _environment(checkout: Path) -> dict[str, str]:
    """The plugin and the checkout; not this repository, which has a package `tests` as well."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = Path(__file__).resolve().parents[2]
    others = [path for path in given if Path(path).resolve() != own]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(checkout), *others])}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
