"""Pictures in the terminal, where it can show any."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

SHOWN = (".png", ".jpg", ".jpeg", ".webp")
MOST = 4  # a batch of sixteen would push everything else off the screen


def show_pictures(paths: list[Path], console: Console) -> None:
    """The first few pictures, drawn in the terminal: by its graphics protocol (Sixel, Kitty's) or in coloured half
    cells. Does nothing where standard output is no terminal or knows no colours."""
    pictures = [path for path in paths if path.suffix.lower() in SHOWN][:MOST]
    if not pictures or not sys.stdout.isatty() or not console.is_terminal or console.color_system is None:
        return
    # Asks the terminal what it understands, so only now.
    from textual_image.renderable import Image

    for path in pictures:
        console.print(Image(path, width="auto", height=min(24, max(8, console.height - 6))))
