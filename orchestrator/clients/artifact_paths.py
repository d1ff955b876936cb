"""Where files of the areas "input", "output" and "temp" are; every name ends inside its area's root or is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kit.errors import InvalidRequest

PARTIAL = ".partial"
"""Folder inside each area where files grow before they get their name."""

_ANNOTATED = re.compile(r"^(?P<name>.*?) ?\[(?P<area>input|output|temp)\]$", re.DOTALL)


@dataclass(frozen=True)
class ArtifactRef:
    """A file: area, folder below it with forward slashes ("" is the top), file name without folders."""

    area: str
    subfolder: str
    filename: str


class Areas:
    """The three roots."""

    def __init__(self, data_dir: Path) -> None:
        self._roots: Mapping[str, Path] = {name: data_dir / name for name in ("input", "output", "temp")}

    def create(self) -> None:
        """Makes the folders and removes what a killed process left half-written."""
        for root in self._roots.values():
            partial = root / PARTIAL
            partial.mkdir(parents=True, exist_ok=True)
            for left in partial.iterdir():
                left.unlink(missing_ok=True)

    def root(self, area: str) -> Path:
        """Raises InvalidRequest (UNKNOWN_AREA)."""
        try:
            return self._roots[area]
        except KeyError:
            raise InvalidRequest("no such area", reason="UNKNOWN_AREA", area=area) from None

    def folder(self, area: str, subfolder: str) -> Path:
        """Real path of a folder, which need not exist. Raises InvalidRequest (UNSAFE_PATH)."""
        return self._inside(area, subfolder)

    def path(self, ref: ArtifactRef) -> Path:
        """Real path of a file, which need not exist. Raises InvalidRequest (UNSAFE_PATH, NO_NAME)."""
        name = ref.filename
        if not name or name in (".", ".."):
            raise InvalidRequest("a file name is needed", reason="NO_NAME", filename=name)
        if "/" in name or "\\" in name:
            raise InvalidRequest("a file name must not name folders", reason="UNSAFE_PATH", filename=name)
        return self._inside(ref.area, os.path.join(ref.subfolder, name))  # noqa: PTH118  # absolute parts must show

    def parse(self, annotated_name: str, default_area: str = "input") -> ArtifactRef:
        """Splits `sub/a.png` or `a.png [output]`."""
        found = _ANNOTATED.match(annotated_name)
        name, area = (found["name"], found["area"]) if found else (annotated_name, default_area)
        subfolder, _, filename = name.rpartition("/")
        if name.startswith("/"):
            raise InvalidRequest("a name must be relative", reason="UNSAFE_PATH", filename=annotated_name)
        return ArtifactRef(area, subfolder, filename)

    def _inside(self, area: str, relative: str) -> Path:
        root = Path(os.path.realpath(self.root(area)))
        parts = relative.replace("\\", "/").split("/")
        if "\0" in relative or relative.startswith("/") or ".." in parts or PARTIAL in parts:
            raise InvalidRequest("the name leads outside its area", reason="UNSAFE_PATH", area=area, name=relative)
        try:
            path = Path(os.path.realpath(root / relative))
        except OSError as problem:  # a loop of links
            raise InvalidRequest("the name leads nowhere", reason="UNSAFE_PATH", name=relative) from problem
        if path != root and root not in path.parents:
            raise InvalidRequest("the name leads outside its area", reason="UNSAFE_PATH", area=area, name=relative)
        return path
