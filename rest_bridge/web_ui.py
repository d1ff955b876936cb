"""The official web UI's static files, where the package `comfyui-frontend-package` (extra `ui`) is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from kit.errors import Unready

PACKAGE = "comfyui_frontend_package"
Choice = Literal["auto", "on", "off"]

_INDEX_HEADERS = {"cache-control": "no-cache", "pragma": "no-cache", "expires": "0"}
_PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class WebUi:
    """`root`: the folder with index.html."""

    root: Path

    @property
    def scripts(self) -> list[str]:
        """URLs of the scripts that the UI loads as extensions, as `/extensions` lists them."""
        folder = self.root / "extensions"
        return sorted(f"/extensions/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.js"))


def web_ui(choice: Choice) -> WebUi | None:
    """The installed UI; None: there is none, or none is wanted. Raises Unready (WEB_UI) if one must be there."""
    spec = find_spec(PACKAGE) if choice != "off" else None
    places = spec.submodule_search_locations if spec is not None else None
    root = next(
        (root for place in places or () if (root := Path(place) / "static").joinpath("index.html").exists()), None
    )
    if root is None and choice == "on":
        raise Unready(
            "the web UI is wanted but not installed: install the extra `ui` (`pip install -e .[ui]`)", reason="WEB_UI"
        )
    return WebUi(root) if root is not None else None


class WebFiles(StaticFiles):
    """The files with ComfyUI's cache headers: by the path's ending."""

    def __init__(self, ui: WebUi) -> None:
        super().__init__(directory=ui.root, html=True)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Starlette's answer (ETag, ranges, 304) with those headers added."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers.update(cache_headers(Path(full_path).name))
        return answer


def cache_headers(name: str) -> Mapping[str, str]:
    """For a file of this name."""
    if name == "index.html":
        return _INDEX_HEADERS
    if name.endswith((".js", ".css")) or (name.startswith("index") and name.endswith(".json")):
        return {"cache-control": "no-cache"}
    return {"cache-control": "public, max-age=86400"} if name.endswith(_PICTURES) else {}
