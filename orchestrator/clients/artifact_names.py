"""ComfyUI's names of saved files: %tokens% of the prefix and the counter after it."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path


def substitute(prefix: str, size: tuple[int, int], now: datetime) -> str:
    """Replaces %width% %height% %year% %month% %day% %hour% %minute% %second%; other tokens stay."""
    if "%" not in prefix:
        return prefix
    values = {
        "width": str(size[0]), "height": str(size[1]), "year": f"{now.year}", "month": f"{now.month:02}",
        "day": f"{now.day:02}", "hour": f"{now.hour:02}", "minute": f"{now.minute:02}", "second": f"{now.second:02}",
    }  # fmt: skip
    for token, value in values.items():
        prefix = prefix.replace(f"%{token}%", value)
    return prefix


def highest_counter(folder: Path, stem: str) -> int:
    """The highest number among entries named `stem_DIGITS_...`; 0: none."""
    pattern = re.compile(re.escape(stem) + r"_(\d+)_")
    with os.scandir(folder) as entries:
        found = (pattern.match(entry.name) for entry in entries)
        return max((int(match[1]) for match in found if match), default=0)


def numbered(stem: str, counter: int, extension: str) -> str:
    """`stem_00001_.png`; `extension` without dot."""
    return f"{stem}_{counter:05}_.{extension}"


def with_copy_number(filename: str, copy: int) -> str:
    """`a (1).png`; copy 0 is the name itself."""
    if copy == 0:
        return filename
    stem, dot, ending = filename.rpartition(".")
    return f"{stem} ({copy}).{ending}" if dot and stem else f"{filename} ({copy})"
