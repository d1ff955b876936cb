"""Cuts the small set of HTTP and WebSocket recordings that a clean clone needs out of the wide reference.

    python -m tests.golden.http.refresh REFERENCE_FOLDER

Left out: routes that are not served yet, tooltips and tracebacks (texts of ComfyUI's authors).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROUTES = (
    "prompt", "queue", "history", "upload", "view", "interrupt", "system_stats", "features", "embeddings", "models",
    "view_metadata", "extensions", "free", "nope", "subgraphs", "global_subgraphs", "users", "settings", "userdata",
    "v2", "i18n", "workflow_templates", "experiment", "internal",
)  # fmt: skip


def ours(value: Any) -> Any:
    """The same JSON without keys named `tooltip` and with empty tracebacks."""
    if isinstance(value, dict):
        return {key: [] if key == "traceback" else ours(item) for key, item in value.items() if key != "tooltip"}
    if isinstance(value, list):
        return [ours(item) for item in value]
    return value


def served(sample: dict[str, Any]) -> bool:
    """True for requests to routes of ours."""
    path = sample["request"]["path"].partition("?")[0].strip("/")
    parts = path.removeprefix("api/").split("/")
    return parts[0] in ROUTES


def main() -> None:
    """Writes http_samples.json and ws_samples.json beside this file."""
    source = Path(sys.argv[1])
    http = json.loads((source / "http_samples.json").read_text("utf-8"))
    for key in ("requests", "flags"):
        http[key] = [ours(sample) for sample in http[key] if served(sample)]
    http.pop("files")
    sockets = ours(json.loads((source / "ws_samples.json").read_text("utf-8")))
    for name, value in (("http_samples.json", http), ("ws_samples.json", sockets)):
        (HERE / name).write_text(json.dumps(value, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
