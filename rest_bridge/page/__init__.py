"""The page at `/`: one HTML file, allowed to run exactly the script and the style that are in it."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page() -> bytes:
    """The file."""
    return resources.files(__name__).joinpath("index.html").read_bytes()


@cache
def policy() -> str:
    """Content-Security-Policy: nothing from elsewhere, no frames around it, no other script or style."""
    hashes = {"script": "", "style": ""}
    for kind, text in _INLINE.findall(page().decode("utf-8")):
        digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        hashes[kind] += f" 'sha256-{digest}'"
    return (
        f"default-src 'none'; script-src{hashes['script']}; style-src{hashes['style']}; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
