"""The web UI's settings: one JSON object in a file of the user's. Everything here blocks: call it in threads."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from kit.errors import InvalidRequest, NotFound
from rest_bridge.users.files import UserFiles

FILE = "comfy.settings.json"
MAX_BYTES = 4 * 1024 * 1024

_log = logging.getLogger("heliograph.rest_bridge.users")


class Preferences:
    """Reads and merges; a change that somebody else makes meanwhile is not lost."""

    def __init__(self, files: UserFiles) -> None:
        self._files = files

    def read(self) -> dict[str, object]:
        """All settings; none if there is no file, or one that cannot be read."""
        return self._stored() or {}

    def merge(self, changes: Mapping[str, object]) -> None:
        """Sets these and leaves the others. Raises InvalidRequest (SETTINGS_TOO_LARGE, SETTINGS_NOT_JSON), Busy."""
        with self._files.locked(), self._files.partial() as partial:
            stored = self._stored()
            partial.write(_text({**(stored or {}), **changes}))
            partial.flush()
            if stored is None:  # somebody may want to mend it by hand
                path = self._files.find(FILE)
                path.replace(path.with_name(FILE + ".broken"))
            self._files.keep_locked(partial, FILE, overwrite=True)

    def _stored(self) -> dict[str, object] | None:
        """None: there is a file, and it holds no settings."""
        try:
            with self._files.find(FILE).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
            value = json.loads(raw) if len(raw) <= MAX_BYTES else None
        except (NotFound, FileNotFoundError):
            return {}
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            _log.warning("%s holds no settings that we can read: they start empty", FILE)
            return None
        return value


def _text(settings: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(settings, indent=4, allow_nan=False).encode("ascii")
    except (ValueError, RecursionError):
        raise InvalidRequest("a setting is no JSON that can be stored", reason="SETTINGS_NOT_JSON") from None
    if len(text) > MAX_BYTES:
        raise InvalidRequest(
            "the settings are too large", reason="SETTINGS_TOO_LARGE", bytes=len(text), limit=MAX_BYTES
        )
    return text
