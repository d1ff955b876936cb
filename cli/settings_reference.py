"""Write the settings' documentation from the settings classes: `deploy/.env.example` and `docs/settings.md`.

python -m cli.settings_reference [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from cli.up import UpSettings
from kit.settings import KitSettings, env_example, variable
from model_service.app.settings import ModelServiceSettings
from orchestrator.app.settings import FrontSettings, WorkerSettings
from rest_bridge.app.settings import Settings as BridgeSettings

ROOT = Path(__file__).resolve().parents[1]
CLASSES: tuple[type[KitSettings], ...] = (
    FrontSettings,
    WorkerSettings,
    ModelServiceSettings,
    BridgeSettings,
    UpSettings,
)
HEAD = """# Settings

Environment variables; wrong ones stop the start with a list of every problem. Printed by code: do not edit.
"""


def settings_page() -> str:
    """The Markdown page: one table per service, a shared variable in the first that has it."""
    lines = [HEAD]
    seen: set[str] = set()
    for cls in CLASSES:
        lines += [f"## {(cls.__doc__ or cls.__name__).strip().splitlines()[0]}", "", "| variable | default | meaning |"]
        lines.append("|---|---|---|")
        for name, field in cls.model_fields.items():
            if name not in seen:
                seen.add(name)
                default = "" if field.default in (None, PydanticUndefined) else field.default
                lines.append(f"| `{variable(name)}` | `{default}` | {field.description} |".replace("| `` |", "| |"))
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Returns 1 if --check finds a stale file."""
    files = {ROOT / "deploy" / ".env.example": env_example(CLASSES), ROOT / "docs" / "settings.md": settings_page()}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(files[path], "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
