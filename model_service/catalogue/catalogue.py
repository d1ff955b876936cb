"""The model catalogue: folder kinds, names, files, headers and digests in one place."""

from __future__ import annotations

import difflib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from kit.errors import InvalidModel, NotFound
from model_service.catalogue.folders import Folders
from model_service.catalogue.identity import FileStamp, Identities, stamp_of
from model_service.catalogue.listing import Listings
from model_service.catalogue.sums import check_sum
from model_service.weights.header import Header
from model_service.weights.reader import read_header

KEPT_HEADERS = 64
NEAREST_NAMES = 5


class Catalogue:
    """What model files there are; safe to share between threads.

    A name from a client leads to a file only if the listing has it, so no name can leave the search paths.
    """

    def __init__(self, folders: Folders, identities: Identities) -> None:
        self._folders = folders
        self._identities = identities
        self._listings = Listings()
        self._guard = threading.Lock()
        self._headers: OrderedDict[tuple[Path, FileStamp], Header] = OrderedDict()

    def folders(self) -> Sequence[str]:
        """Names of all kinds, in ComfyUI's order."""
        return tuple(self._folders.by_name)

    def directories(self, folder: str) -> Sequence[Path]:
        """Search paths of a kind; `NotFound` (FOLDER_NOT_FOUND)."""
        return self._folders[folder].directories

    def list(self, folder: str) -> Sequence[str]:
        """File names of a kind, sorted; `NotFound` (FOLDER_NOT_FOUND)."""
        return tuple(self._listings.files(self._folders[folder]))

    def resolve(self, folder: str, name: str) -> Path:
        """The file of a name, as it is linked (resolve it before handing it to something that forbids symlinks).

        Raises `NotFound`: FOLDER_NOT_FOUND, or WEIGHTS_NOT_FOUND with the fact `nearest` (names, comma-separated).
        """
        files = self._listings.files(self._folders[folder])
        path = files.get(name)
        if path is None:
            shown = name[:256].encode("utf-8", "backslashreplace").decode("utf-8")
            raise NotFound(
                "there is no such model file",
                reason="WEIGHTS_NOT_FOUND",
                folder=folder,
                name=shown,
                nearest=", ".join(_nearest(shown, list(files))),
            )
        return path

    def header(self, folder: str, name: str) -> Header:
        """The header of a file, kept while the file does not change; errors as `resolve` and `read_header`."""
        return self.header_at(self.resolve(folder, name))

    def header_at(self, path: Path) -> Header:
        """The header of a file that `resolve` gave."""
        key = (path, stamp_of(path))
        with self._guard:
            known = self._headers.get(key)
            if known is not None:
                self._headers.move_to_end(key)
                return known
        try:
            header = read_header(path)
        except InvalidModel:
            self.digest_at(path)  # says more where the file is listed
            raise
        with self._guard:
            self._headers[key] = header
            while len(self._headers) > KEPT_HEADERS:
                self._headers.popitem(last=False)
        return header

    def digest(self, folder: str, name: str) -> str:
        """BLAKE3 of a file's content; errors as `resolve`, `Identities.digest` and `check_sum`."""
        return self.digest_at(self.resolve(folder, name))

    def digest_at(self, path: Path) -> str:
        """BLAKE3 of a file that `resolve` gave."""
        digest = self._identities.digest(path)
        check_sum(path, digest)
        return digest


def _nearest(name: str, names: list[str]) -> list[str]:
    lowered = {other.lower(): other for other in names}
    return [lowered[near] for near in difflib.get_close_matches(name.lower(), lowered, n=NEAREST_NAMES, cutoff=0.5)]
