"""Log entries go to standard error, one a line."""

from __future__ import annotations

import logging
import sys


def start_logging(level: str) -> None:
    """Call it once, in `main`."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
