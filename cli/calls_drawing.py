"""Draw `docs/calls.svg`: our processes and who calls which gRPC service of whom, read from the code.

python -m cli.calls_drawing [--check]

A process is an entry module and all that it imports. It serves the services whose servicers are in there, and calls
those whose stubs are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "calls.svg"
_TOKEN = re.compile(r"\b([A-Z]\w+Service|NodeProvider)(Async)?(Stub|Servicer)\b")
_WIDTH, _HEIGHT, _BOX, _TALL = 940, 430, 200, 84


@dataclass(frozen=True)
class Process:
    """A process by its entry module; `x`, `y`: where its box stands."""

    name: str
    note: str
    entry: str
    x: int
    y: int


PROCESSES = (
    Process("heliograph", "the command", "cli.run", 20, 40),
    Process("rest_bridge", "HTTP and WebSocket", "rest_bridge.app.main", 20, 250),
    Process("front", "queue, history, events", "orchestrator.app.front", 370, 190),
    Process("worker", "graph engine, nodes, sampling", "orchestrator.app.worker", 720, 40),
    Process("model service", "files, servables, engine", "model_service.app.main", 720, 300),
    Process("node providers", "nodes of one's own, any language", "node_host.provider", 370, 20),
)


@dataclass(frozen=True)
class Spoken:
    """Names of the services that a process serves and calls."""

    serves: frozenset[str]
    calls: frozenset[str]


def spoken(process: Process, graph: grimp.ImportGraph) -> Spoken:
    """What the modules that the process imports mention."""
    modules = {process.entry, *graph.find_upstream_modules(process.entry)}
    found = {"Stub": set[str](), "Servicer": set[str]()}
    for module in modules:
        path = ROOT / Path(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        for name, _, role in _TOKEN.findall(file.read_text("utf-8")):
            found[role].add(name)
    return Spoken(frozenset(found["Servicer"]), frozenset(found["Stub"]))


def drawing() -> str:
    """The SVG."""
    packages = ("cli", "rest_bridge", "orchestrator", "model_service", "node_host", "kit", "sampling")
    graph = grimp.build_graph(*packages, cache_dir=None)
    known = {process: spoken(process, graph) for process in PROCESSES}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for caller in PROCESSES:
        for served in PROCESSES:
            if caller is not served and (names := known[caller].calls & known[served].serves):
                parts += _arrow(caller, served, sorted(names))
    for process in PROCESSES:
        parts += _box(process)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(process: Process) -> Iterable[str]:
    middle = process.x + _BOX // 2
    yield (
        f'<rect x="{process.x}" y="{process.y}" width="{_BOX}" height="{_TALL}" rx="10" '
        'fill="#eef2fb" stroke="#3f51b5"/>'
    )
    yield _text(middle, process.y + 36, process.name, 17, "#1a237e", around=' font-weight="bold"')
    yield _text(middle, process.y + 60, process.note, 12, "#444")


def _arrow(caller: Process, served: Process, names: list[str]) -> Iterable[str]:
    """From edge to edge; the services' names stand at its middle."""
    if caller.x == served.x:
        down = caller.y < served.y
        x1 = x2 = caller.x + _BOX // 2
        y1, y2 = (caller.y + _TALL, served.y) if down else (caller.y, served.y + _TALL)
    else:
        right = caller.x < served.x
        x1, x2 = (caller.x + _BOX, served.x) if right else (caller.x, served.x + _BOX)
        lean = (caller.y > served.y) - (caller.y < served.y)  # arrows to one box end apart
        y1, y2 = caller.y + _TALL // 2, served.y + _TALL // 2 + 22 * lean
    yield f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#555" stroke-width="1.5" marker-end="url(#tip)"/>'
    top = (y1 + y2) // 2 - 7 * len(names)
    for number, name in enumerate(names):
        place = (x1 + x2) // 2, top + 14 * number + 11
        yield _text(*place, name, 11, "#fff", around=' stroke="#fff" stroke-width="5"')
        yield _text(*place, name, 11, "#222")


def _text(x: int, y: int, text: str, size: int, colour: str, *, around: str = "") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="middle" fill="{colour}"{around}>{escape(text)}</text>'
    )


def main(arguments: list[str]) -> int:
    """Returns 1 if --check finds a stale file."""
    drawn = drawing()
    if "--check" not in arguments:
        FILE.write_text(drawn, "utf-8")
    elif not FILE.exists() or FILE.read_text("utf-8") != drawn:
        print(f"{FILE.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
