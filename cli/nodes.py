"""`heliograph nodes`: serve unmodified ComfyUI node packs in a process of their own, or look what they have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from kit.errors import NotFound
from model_service.catalogue.folders import model_folders
from orchestrator.graph.catalogue import load

ROOT = Path(__file__).resolve().parents[1]
BOOT = ROOT / "node_host" / "packs" / "boot.py"


def serve_packs(paths: Sequence[Path], listen: str, python: Path | None) -> int:
    """Becomes the host process; does not return unless it cannot start."""
    command = host_command(paths, listen, python)
    os.execv(command[0], command)  # the interpreter takes our place


def check_packs(paths: Sequence[Path], python: Path | None) -> int:
    """Loads the packs in their process and prints what they have; 1 if something is left out."""
    command = [str(interpreter(paths, python)), str(BOOT), "check", _ours(), place_json(), *map(str, _absolute(paths))]
    return subprocess.run(command, check=False).returncode


def host_command(paths: Sequence[Path], listen: str, python: Path | None = None) -> tuple[str, ...]:
    """What serves these packs. Raises NotFound (NODE_PACK)."""
    return (
        str(interpreter(paths, python)), str(BOOT), "serve", _ours(), listen, place_json(), *map(str, _absolute(paths))
    )  # fmt: skip


def interpreter(paths: Sequence[Path], python: Path | None) -> Path:
    """`python`, else that of a .venv in the one folder that is named, else our own. Raises NotFound (PYTHON)."""
    if python is not None:
        if not os.access(python, os.X_OK):
            raise NotFound("this is no Python interpreter", reason="PYTHON", path=str(python))
        return Path(os.path.abspath(python))  # noqa: PTH100  # a venv's python is a link that must stay one
    own = _absolute(paths)[0] / ".venv" / "bin" / "python"
    return own if len(paths) == 1 and own.exists() else Path(sys.executable)


def place_json() -> str:
    """Where packs find files and models: as the services have them with the same environment."""
    data = Path(os.environ.get("HELIOGRAPH_DATA_DIR", "data")).resolve()
    models = Path(os.environ.get("HELIOGRAPH_MODELS_DIR", "models")).resolve()
    extra = os.environ.get("HELIOGRAPH_EXTRA_MODEL_PATHS", "")
    folders = model_folders(models, output_root=data / "output", extra_paths=Path(extra) if extra else None)
    builtin = load(resources.files("orchestrator.graph").joinpath("builtin_nodes.json").read_bytes())
    return json.dumps(
        {
            "data": str(data), "models": str(models), "class_types": list(builtin),
            "kinds": {
                name: [[str(path) for path in folder.directories], sorted(folder.endings)]
                for name, folder in folders.by_name.items()
            },
        }
    )  # fmt: skip


def _ours() -> str:
    """Folders that our code and what it needs are in."""
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return os.pathsep.join([str(ROOT), str(ROOT / "protos" / "py"), *installed])


def _absolute(paths: Sequence[Path]) -> list[Path]:
    found = [path.expanduser().resolve() for path in paths]
    for path in found:
        if not path.exists():
            raise NotFound("no node pack is here: the path does not exist", reason="NODE_PACK", path=str(path))
    return found
