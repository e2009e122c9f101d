"""One line of a list -> the video's name and its class numbers, or what is wrong with it."""

import os
from collections import Counter
from pathlib import Path

from datareader.folders import VIDEO_SUFFIXES

MISTAKES_SHOWN = 5
LARGEST_LABEL = 2**63 - 1
LONGEST_NAME = 255  # bytes of a file's or folder's name, which no usual file system exceeds
NO_CLASS = "none"  # in a multi-label list, the label of a video that shows none of the classes
SEPARATOR = "\0"  # of names: no path holds it


class Mistakes:
    """A list's bad lines: the first ones in words, all by number."""

    def __init__(self):
        self._shown: list[str] = []
        self._num_more = 0

    def add(self, message: str) -> None:
        if len(self._shown) < MISTAKES_SHOWN:
            self._shown.append(message)
        else:
            self._num_more += 1

    def add_unseen(self, number: int) -> None:
        """More of them, which are not shown."""
        self._num_more += number

    def refuse(self) -> None:
        """Raise ValueError if there are any."""
        if self._shown:
            more = f" (and {self._num_more} more bad lines)" if self._num_more else ""
            raise ValueError("\n".join(self._shown) + more)


def split_line(
    line: str, folder: Path, clip_format: str, needs_label: bool, multi_label: bool
) -> tuple[str, tuple[int, ...] | None]:
    """The name and the class numbers that a line ends with, several of them separated by commas; None if it has none.

    In a multi-label list NO_CLASS stands for ().

    Args:
        line: without spaces around it, not empty.
        folder: the list's.
        multi_label: whether it may have several, or no class.

    Raises:
        ValueError: it has no label though it needs one, or several though it may not; the message says why.
    """
    if SEPARATOR in line:
        raise ValueError("holds a NUL character: no path does")
    if clip_format == "pkl":
        return line, None
    path, _, last = line.rpartition(" ") if "\t" not in line else line.rpartition("\t")
    path, numbers = path.strip(), last.split(",")
    is_no_class = multi_label and last == NO_CLASS
    if path and (is_no_class or all(number.lstrip("+-").isdecimal() for number in numbers)):
        # without need the label may be absent, so a path with spaces may end like one
        if not needs_label and os.path.exists(find(line, folder)):
            return line, None
        if is_no_class:
            return path, ()
        if multi_label:
            return path, _several(path, numbers)
        if len(numbers) == 1:
            return path, (_label(last),)
        if needs_label or path.lower().endswith(VIDEO_SUFFIXES):
            raise ValueError(
                f"{path!r} has several labels, {last}; set MODEL.multi_label if a video may have several classes"
            )
    if needs_label:
        raise ValueError(f"expected 'path label', got {line!r}{_likely_cause(line, path, last)}")
    return line, None


def check_length(path: str) -> None:
    """Raise ValueError if no file can have that name."""
    encoded = path.encode()
    longest = max(map(len, encoded.split(b"/"))) if len(encoded) > LONGEST_NAME else 0  # few paths are split
    if longest > LONGEST_NAME:
        raise ValueError(
            f"a name of {longest} bytes, and file systems take {LONGEST_NAME}: {path[:40]!r}...; are lines joined?"
        )


def find(name: str, folder: str | Path) -> str:
    """Where a list's video is: as seen from the working folder, else from the list's."""
    beside_list = str(Path(folder, name))
    return name if os.path.exists(name) or not os.path.exists(beside_list) else beside_list


def _several(path: str, numbers: list[str]) -> tuple[int, ...]:
    if path.endswith(","):
        raise ValueError(f"{path!r} ends with a comma; no space stands between labels: 'path 3,7'")
    labels = tuple(map(_label, numbers))
    if len(set(labels)) < len(labels):
        ((label, _),) = Counter(labels).most_common(1)
        raise ValueError(f"{path!r} has the label {label} twice; name each class once")
    return labels


def _label(text: str) -> int:
    label = int(text)
    if abs(label) > LARGEST_LABEL:
        raise ValueError(f"label {label} is no class number")
    return label


def _likely_cause(line: str, path: str, last: str) -> str:
    """Why a line has no label at its end, where that can be guessed."""
    if line.split()[0].lstrip("+-").isdecimal():
        return ": the path comes first, the label last"
    if path.lower().endswith(VIDEO_SUFFIXES):
        return f": {last!r} is no number; labels are class numbers, counted from 0 (MODEL.label_file has the names)"
    if line.rpartition(",")[2].strip().lstrip("+-").isdecimal():
        return ": a space or a tab separates the two, not a comma"
    return ""
