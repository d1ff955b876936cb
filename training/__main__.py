"""`python -m training --out models`: train everything, or go on where it stopped."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from training.run import Workshop, run, snapshot


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models"), help="models folder to write into")
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="folder for what is resumed from")
    parser.add_argument("--snapshot", action="store_true", help="write the starter checkpoint as far as it has come")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{(time.monotonic() - began) / 60:6.1f} min] {text}", flush=True)

    shop = Workshop(arguments.work, arguments.out, say)
    (snapshot if arguments.snapshot else run)(shop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
