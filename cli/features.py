"""Print what works today into README.md and docs/index.md, between their marks, from the code's own registries.

python -m cli.features [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module, resources
from pathlib import Path

from model_service.archs.foreign import FAMILIES
from model_service.archs.registry import IDS
from orchestrator.graph.catalogue import load
from rest_bridge.routes import ENDPOINTS
from sampling.names import SAMPLER_NAMES, SCHEDULER_NAMES

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md")
BEGIN, END = "<!-- features: printed by code, `make docs` -->", "<!-- /features -->"


def table() -> str:
    """The Markdown table."""
    nodes = load(resources.files("orchestrator.graph").joinpath("builtin_nodes.json").read_bytes())
    by_group: dict[str, list[str]] = {}
    for name in nodes:
        by_group.setdefault(nodes[name].category.split("/")[0], []).append(name)
    rows = [
        *((f"network `{name}`", _title(name)) for name in IDS),
        ("model files", "safetensors, .ckpt, .pt (by a reader that constructs tensors and nothing else); "
                        "float32, float16, bfloat16"),
        ("patches", "plain LoRA (kohya, diffusers and LDM keys), textual inversion"),
        (f"{len(SAMPLER_NAMES)} samplers", _listed(SAMPLER_NAMES)),
        (f"{len(SCHEDULER_NAMES)} schedulers", _listed(SCHEDULER_NAMES)),
        *((f"{len(names)} nodes: {group}", _listed(names)) for group, names in by_group.items()),
        ("HTTP", _listed(sorted(each.path for each in ENDPOINTS if each.aliased)) + "; each also under `/api`"),
        ("HTTP, under this name only", _listed(sorted(each.path for each in ENDPOINTS if not each.aliased))),
        ("gRPC", _listed(_services())),
        ("recognised, refused by name", ", ".join(name for name, _ in FAMILIES)),
    ]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *(f"| {head} | {text} |" for head, text in rows)])


def _title(arch_id: str) -> str:
    """First line of the architecture's own description."""
    text = import_module(f"model_service.archs.{arch_id}").__doc__ or arch_id
    return text.strip().splitlines()[0].rstrip(".")


def _services() -> Iterable[str]:
    for package in ("graph", "model", "artifact"):
        folder = ROOT / "protos" / "heliograph" / package / "v1"
        for line in sorted(line for file in folder.glob("*.proto") for line in file.read_text("utf-8").splitlines()):
            if line.startswith("service "):
                yield line.split()[1]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def filled(page: str, printed: str) -> str:
    """The page with what stands between its marks replaced. Raises ValueError where it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page lacks its marks")
    return f"{before}{BEGIN}\n{printed}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Returns 1 if --check finds a stale page."""
    printed = table()
    pages: Mapping[Path, str] = {path: path.read_text("utf-8") for path in PAGES}
    stale = {path: new for path, old in pages.items() if (new := filled(old, printed)) != old}
    for path, new in stale.items():
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        else:
            path.write_text(new, "utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
