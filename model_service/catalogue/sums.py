"""Files that say what others must be: `B3SUMS`, in the format of the `b3sum` tool, in a models folder.

The starter models that come with Heliograph are listed in one, so that a damaged copy is named as such instead of
giving pictures of nothing. A folder without the file, and a model that it does not list, are nobody's business.
"""

from __future__ import annotations

from pathlib import Path

from kit import starter
from kit.errors import InvalidModel

NAME = "B3SUMS"
MAX_BYTES = 1 << 20
DEPTH = 4  # a models folder has folders by kind, and those may have a few of their own


def check_sum(path: Path, digest: str) -> None:
    """Raises `InvalidModel` (WEIGHTS_DAMAGED) where the nearest B3SUMS above `path` lists it with another digest."""
    for folder in list(path.parents)[:DEPTH]:
        expected = _listed(folder / NAME)
        if expected is None:
            continue
        wanted = expected.get(path.relative_to(folder).as_posix())
        if wanted is not None and wanted != digest:
            raise InvalidModel(
                f"the file is not the one that {NAME} lists"
                + (f"; {starter.ADVICE}" if starter.is_starter(path.name) else ""),
                reason="WEIGHTS_DAMAGED",
                file=path.name,
                digest=digest,
                expected=wanted,
            )
        return


def _listed(file: Path) -> dict[str, str] | None:
    """Digests by relative name; None where there is no such file."""
    try:
        with file.open("rb") as stream:
            lines = stream.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    parts = (line.split(None, 1) for line in lines)
    return {part[1].strip(): part[0] for part in parts if len(part) == 2}
