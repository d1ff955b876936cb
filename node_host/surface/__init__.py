"""Modules of our own behind the names that ComfyUI's node packs import; used in a pack's process only."""
