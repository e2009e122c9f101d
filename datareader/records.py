"""List files, files and folders -> records. Knows no pixels."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

MISTAKES_SHOWN = 5
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".flv", ".ts", ".3gp")
"""What videos in a folder end with; a file that is named itself may end with anything."""


class Record(NamedTuple):
    """One video of a list."""

    path: str
    """Where the file is, looked up from the working folder, then from the list's folder."""
    label: int | None
    """Class number, or None where the list has none."""
    name: str
    """The path as the list writes it: what results call the video."""


def read_list(list_path: str | Path, clip_format: str = "mp4", num_classes: int | None = None) -> list[Record]:
    """Read a list file.

    A line of a mp4 list is `path label`; the path may contain spaces. Without `num_classes` labels are optional, as for
    inference. A line of a pkl list is a path: the label is inside the file. Blank lines and lines that begin with # are
    passed over. A relative path is looked up from the working folder, then from the list's folder.

    Args:
        list_path: the list file, UTF-8.
        clip_format: "mp4" or "pkl".
        num_classes: if given, every line needs a label from 0 to num_classes - 1.

    Raises:
        FileNotFoundError: the list, or every video in it, is absent.
        ValueError: no videos in the list, or lines that cannot be read; the message names file and lines.
    """
    list_path = Path(list_path)
    records, mistakes, numbers = [], [], []
    for number, line in enumerate(_read_lines(list_path), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, label = _split_line(line, list_path, clip_format, num_classes is not None)
        except ValueError as error:
            mistakes.append(f"{list_path} line {number}: {error}")
            continue
        records.append(Record(_find(name, list_path), label, name))
        numbers.append(number)
    if clip_format == "mp4" and num_classes is not None:
        mistakes += _check_labels(records, numbers, list_path, num_classes)
    if mistakes:
        more = f" (and {len(mistakes) - MISTAKES_SHOWN} more bad lines)" if len(mistakes) > MISTAKES_SHOWN else ""
        raise ValueError("\n".join(mistakes[:MISTAKES_SHOWN]) + more)
    if not records:
        raise ValueError(f"{list_path}: no videos in this list; it needs a line 'path label' per video")
    if not any(Path(record.path).exists() for record in records):
        raise FileNotFoundError(
            f"{list_path}: none of its videos exists (it lists {len(records):,}); the first, {records[0].name!r}, "
            f"was looked up from the working folder and from {list_path.parent}"
        )
    return records


def records_of(paths: Iterable[str]) -> list[Record]:
    """The videos of files, in their order, and of folders, sorted; what results call them is their path.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder holds no video.
    """
    records = []
    for path in paths:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such video file or folder; correct its path")
        found = [path]
        if Path(path).is_dir():
            found = [str(video) for video in find_videos(Path(path))[0]]
            if not found:
                raise ValueError(f"{path}: no video in this folder; known endings: {', '.join(VIDEO_SUFFIXES)}")
        records += [Record(video, None, video) for video in found]
    return records


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


def _read_lines(list_path: Path) -> list[str]:
    if list_path.is_dir():
        raise ValueError(
            f"{list_path}: is a folder, and a list is a text file with a line 'path label' per video; infer.py takes "
            "folders by --video"
        )
    if not list_path.is_file():
        raise FileNotFoundError(f"{list_path}: no such list file; correct its path")
    try:
        return list_path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{list_path}: not a text file in UTF-8: {error}") from error


def _split_line(line: str, list_path: Path, clip_format: str, needs_label: bool) -> tuple[str, int | None]:
    if clip_format == "pkl":
        return line, None
    path, _, last = line.rpartition(" ") if "\t" not in line else line.rpartition("\t")
    path, has_label = path.strip(), last.lstrip("+-").isdecimal()
    if path and has_label:
        # without need the label may be absent, so a path with spaces may end like one
        is_path = not needs_label and Path(_find(line, list_path)).exists()
        return (line, None) if is_path else (path, int(last))
    if needs_label:
        raise ValueError(f"expected 'path label', got {line!r}{_likely_cause(line, path, last)}")
    return line, None


def _likely_cause(line: str, path: str, last: str) -> str:
    """Why a line has no label at its end, where that can be guessed."""
    if line.split()[0].lstrip("+-").isdecimal():
        return ": the path comes first, the label last"
    if path.lower().endswith(VIDEO_SUFFIXES):
        return f": {last!r} is no number; labels are class numbers, counted from 0 (MODEL.label_file has the names)"
    if line.rpartition(",")[2].strip().lstrip("+-").isdecimal():
        return ": a space or a tab separates the two, not a comma"
    return ""


def _check_labels(records: list[Record], numbers: list[int], list_path: Path, num_classes: int) -> list[str]:
    """A message for each label that is no class's; one in all if the labels count from 1."""
    labels = [record.label for record in records]
    if labels and min(labels) == 1 and max(labels) == num_classes:
        return [f"{list_path}: its labels run from 1 to {num_classes}, but labels count from 0: subtract 1 from each"]
    return [
        f"{list_path} line {number}: label {record.label} of {record.name!r} is outside 0..{num_classes - 1}; correct "
        "it or set MODEL.num_classes"
        for number, record in zip(numbers, records, strict=True)
        if not 0 <= record.label < num_classes
    ]


def _find(name: str, list_path: Path) -> str:
    beside_list = list_path.parent / name
    return name if Path(name).exists() or not beside_list.exists() else str(beside_list)
