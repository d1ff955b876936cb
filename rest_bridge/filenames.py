"""Names that clients send: which file of which area they mean, and which are refused."""

from __future__ import annotations

import mimetypes
import posixpath
from urllib.parse import quote

AREAS = ("input", "output", "temp")
_MAX_NAME_BYTES = 255
_SVG = "image/svg+xml"
# Own table: the system's would make answers depend on the machine.
_TYPES = mimetypes.MimeTypes(())
_TYPES.add_type("image/webp", ".webp")
_TYPES.add_type("image/avif", ".avif")
_TYPES.add_type("audio/flac", ".flac")
_TYPES.add_type("video/x-matroska", ".mkv")
_PASSIVE_KINDS = ("image/", "audio/", "video/", "font/", "model/")
_PASSIVE_TYPES = frozenset({"text/plain", "text/csv", "application/json", "application/zip"})
_UNKNOWN = "application/octet-stream"


def annotated(filename: str) -> tuple[str, str | None]:
    """Splits `a.png [temp]` into name and area; None without annotation. Always cuts the space before it."""
    for area in AREAS:
        mark = f"[{area}]"
        if filename.endswith(mark):
            return filename[: -len(mark) - 1], area
    return filename, None


def is_unsafe(filename: str) -> bool:
    """True for what `/view` refuses at sight: nothing, absolute names, and anything with two dots in a row."""
    return not filename or filename.startswith("/") or ".." in filename or "\0" in filename


def inside(subfolder: str) -> str | None:
    """A subfolder in normal form ("" for the top); None if it leads outside."""
    normal = posixpath.normpath(subfolder) if subfolder else "."
    if normal.startswith(("/", "../")) or normal == ".." or "\0" in normal:
        return None
    return "" if normal == "." else normal


def upload_name(filename: str) -> str | None:
    """Last part of a client's file name; None if it climbs, is empty or cannot be a name."""
    parts = filename.replace("\\", "/").split("/")
    name = parts[-1]
    if ".." in parts or name in ("", ".") or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        return None
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in name):
        return None
    return name


def content_type(filename: str) -> str:
    """Media type by ending; whatever a browser could run (html, xml, pdf, scripts, styles) is octet-stream."""
    guessed, encoding = _TYPES.guess_type(filename)
    if guessed is None or encoding is not None:
        return _UNKNOWN
    if guessed in _PASSIVE_TYPES or guessed.startswith(_PASSIVE_KINDS):
        return guessed
    return _UNKNOWN


def download_headers(filename: str, media_type: str) -> dict[str, str]:
    """Headers of every file of an area: its name, and what keeps a browser from running it in our origin."""
    return passive_headers(media_type) | {"content-disposition": disposition(filename)}


def passive_headers(media_type: str) -> dict[str, str]:
    """The type, and what keeps a browser from running it in our origin."""
    headers = {"content-type": media_type, "x-content-type-options": "nosniff"}
    if media_type == _SVG:
        headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return headers


def disposition(filename: str) -> str:
    """`filename="a.png"`, without attachment or inline; other than plain ASCII also percent-encoded."""
    plain = "".join(char if 32 <= ord(char) < 127 and char not in '"\\' else "_" for char in filename)
    if plain == filename:
        return f'filename="{plain}"'
    encoded = quote(filename.encode("utf-8", "replace"), safe="")
    return f"filename=\"{plain}\"; filename*=UTF-8''{encoded}"
