"""The request that cannot be read."""

from __future__ import annotations


class MalformedRequest(Exception):
    """A request ComfyUI answers with its 500 text (broken JSON and the like); says nothing about our health.

    Its message follows that text, for whoever reads it.
    """
