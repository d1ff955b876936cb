"""Print which of ComfyUI's own nodes work into docs/nodes.md, from the catalogue and the list of those that do not.

python -m cli.nodes_table [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from orchestrator.graph.catalogue import Catalogue, load
from orchestrator.graph.unserved import unserved
from rest_bridge.translate import COMFYUI_VERSION

PAGE = Path(__file__).resolve().parents[1] / "docs" / "nodes.md"
_ABOUT = """<!-- Printed by code: `make docs`. Do not edit. -->
# Nodes

What ComfyUI {version} brings without custom nodes and without paid services: {done} of {all} nodes work. A prompt with
one of the others is refused in ComfyUI's words, with the reason below in `extra_info` (in `POST /explain` too).
Nodes of one's own: [a guide](guides/own-nodes.md).
"""


def page() -> str:
    """The whole page."""
    catalogue = load(resources.files("orchestrator.graph").joinpath("builtin_nodes.json").read_bytes())
    done = [name for name in catalogue if name not in unserved()]
    every = len(done) + len(unserved())
    head = _ABOUT.format(version=COMFYUI_VERSION, done=len(done), all=every)
    return "\n".join(
        [head, "## Served", "", *_served(catalogue, done), "", "## Not served", "", *_unserved(catalogue), ""]
    )


def _served(catalogue: Catalogue, done: Iterable[str]) -> Iterable[str]:
    yield from ("| node | where the menu has it | what it does |", "|---|---|---|")
    for name in sorted(done, key=str.lower):
        yield f"| `{name}` | {catalogue[name].category} | {_cell(catalogue[name].description)} |"


def _unserved(catalogue: Catalogue) -> Iterable[str]:
    yield from ("| why not | nodes |", "|---|---|")
    by_reason: dict[str, list[str]] = {}
    for name, known in unserved().items():
        shown = f"`{name}` (listed, for the web UI)" if name in catalogue else f"`{name}`"
        by_reason.setdefault(known.reason, []).append(shown)
    for reason, names in by_reason.items():
        yield f"| {_cell(reason)} | {', '.join(names)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Returns 1 if --check finds a stale page."""
    printed = page()
    stale = not PAGE.exists() or PAGE.read_text("utf-8") != printed
    if "--check" in arguments:
        if stale:
            print(f"{PAGE.name} is stale: run `make docs`", file=sys.stderr)
        return int(stale)
    PAGE.write_text(printed, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
