"""The polling script that ComfyUI users know: submit, poll the history, download. It needs `requests` only.

python examples/run_workflow.py workflows/text-to-image.json
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import requests

SERVER = "http://127.0.0.1:8188"


def run_workflow(path: str, server: str = SERVER, limit_s: float = 3600.0) -> list[Path]:
    """Returns the downloaded files."""
    answer = requests.post(f"{server}/prompt", data=b'{"prompt": ' + Path(path).read_bytes() + b"}", timeout=30)
    answer.raise_for_status()
    prompt_id = answer.json()["prompt_id"]
    deadline = time.monotonic() + limit_s
    while prompt_id not in (history := requests.get(f"{server}/history/{prompt_id}", timeout=30).json()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{prompt_id} did not finish within {limit_s:g} s")
        time.sleep(0.5)
    saved = []
    for output in history[prompt_id]["outputs"].values():
        for item in output.get("images", []):
            picture = requests.get(f"{server}/view", params=item, timeout=60)
            picture.raise_for_status()
            saved.append(Path(Path(item["filename"]).name))
            saved[-1].write_bytes(picture.content)
    return saved


if __name__ == "__main__":
    for file in run_workflow(sys.argv[1]):
        print("downloaded", file)
