"""Cuts the committed part of the recorded /object_info: our own nodes, and those that tests of graph and engine use.

python -m tests.golden.object_info.refresh REFERENCE_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILTIN = HERE.parents[2] / "orchestrator" / "graph" / "builtin_nodes.json"
ALSO = (
    "ImageCrop",
    "SaveAnimatedWEBP",
    "RebatchImages",
    "PreviewAny",
    "PrimitiveInt",
    "ImageBlend",
    "LoraSave",
    "LatentAdd",
)

# Of a file that ComfyUI's repository brings as a custom node, which the recording was made without.
UNRECORDED = frozenset({"SaveImageWebsocket"})


def main() -> None:
    """Writes recorded.json beside this file, one class a line."""
    whole = json.loads((Path(sys.argv[1]) / "object_info.json").read_text())
    names = [item["id"] for item in json.loads(BUILTIN.read_text())["nodes"] if item["id"] not in UNRECORDED]
    lines = (f"{json.dumps(name)}: {json.dumps(whole[name])}" for name in dict.fromkeys((*names, *ALSO)))
    (HERE / "recorded.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
