"""Folders -> the videos in them. Knows no lists."""

import os
from collections.abc import Callable
from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".flv", ".ts", ".3gp")
"""What videos in a folder end with; a file that is named itself may end with anything."""


def find_videos(folder: Path, on_error: Callable[[OSError], None] = lambda error: None) -> tuple[list[Path], set[Path]]:
    """The videos below a folder, sorted, hidden ones left out, and the folders looked into, without links.

    Args:
        on_error: gets what keeps a folder from being read.
    """
    videos, seen = [], set()
    for parent, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        real = Path(parent).resolve()
        if real in seen or real in folder.resolve().parents:  # a link to a folder above would never end
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        videos += [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    return sorted(videos), seen
