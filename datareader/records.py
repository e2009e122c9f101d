"""List files, files and folders -> records. Knows no pixels."""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.folders import VIDEO_SUFFIXES, find_videos

MISTAKES_SHOWN = 5
LOOKS = 10_000  # at files, until a list counts as one whose videos are not here
BLOCK = 10_000  # records that are unpacked at once
LARGEST_LABEL = 2**63 - 1
LONGEST_NAME = 255  # bytes of a file's or folder's name, which no usual file system exceeds
NO_LABEL = -(2**63)
SEPARATOR = "\0"  # of names: no path holds it


class Record(NamedTuple):
    """One video of a list."""

    path: str
    """Where the file is, looked up from the working folder, then from the list's folder."""
    label: int | None
    """Class number, or None where the list has none."""
    name: str
    """The path as the list writes it: what results call the video."""


class RecordList(Sequence[Record]):
    """The videos of a list in a few arrays, which a million of them fill with some 70 MB, and which workers share.

    A video's file is looked up when its record is asked for: a list costs no look at the disk.

    Args:
        folder: the list's; a relative path is looked up from the working folder, then from there.
    """

    def __init__(self, folder: str | Path = ""):
        self.folder = folder
        self._names = bytearray()
        self._starts = array("q", [0])
        self._labels = array("q")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        ((name, label),) = self._block(number, number + 1)
        return Record(_find(name, self.folder), label, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def append(self, name: str, label: int | None) -> None:
        """Add a video; names that are no text are those of `os.fsdecode`."""
        self._names.extend(f"{name}{SEPARATOR}".encode(errors="surrogateescape"))
        self._starts.append(len(self._names))
        self._labels.append(NO_LABEL if label is None else label)

    def listed(self) -> Iterator[tuple[str, int | None]]:
        """Each video's name and label, without a look at its file."""
        for start in range(0, len(self), BLOCK):
            yield from self._block(start, min(start + BLOCK, len(self)))

    def likely_paths(self) -> Iterator[str]:
        """Each video's path without a look at its file: as if all were where the first that exists is."""
        first = self.first_found()
        folder = self.folder if first and first.path != first.name else ""
        return (os.path.join(folder, name) for name, _ in self.listed())

    def without(self, names: set[str]) -> "RecordList":
        """The videos of other names."""
        if not names:
            return self
        rest = RecordList(self.folder)
        for name, label in self.listed():
            if name not in names:
                rest.append(name, label)
        return rest

    def at(self, places: Iterable[int]) -> "RecordList":
        """The videos at these places, in this order."""
        some = RecordList(self.folder)
        for place in places:
            ((name, label),) = self._block(place, place + 1)
            some.append(name, label)
        return some

    def first_found(self) -> Record | None:
        """A video whose file exists, the first of at most LOOKS that are spread over the list; None: none of them."""
        for number in range(0, len(self), -(-len(self) // LOOKS)):
            record = self[number]
            if os.path.exists(record.path):
                return record
        return None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names and labels: the steps of an epoch follow from them, the seed and the batch size."""
        digest = hashlib.sha256()
        for start in range(0, len(self), BLOCK):
            lines = [f"{name} {label}\n" for name, label in self._block(start, min(start + BLOCK, len(self)))]
            digest.update("".join(lines).encode(errors="surrogateescape"))
        return digest.hexdigest()

    @property
    def labels(self) -> np.ndarray:
        """Each video's label, int64 (N,); NO_LABEL where the list has none."""
        return np.array(self._labels)

    def label_counts(self) -> Counter[int]:
        """How many videos each class has; those without a label are left out."""
        labels, numbers = np.unique(self.labels, return_counts=True)
        return Counter(
            {label: n for label, n in zip(labels.tolist(), numbers.tolist(), strict=True) if label != NO_LABEL}
        )

    def label_mistakes(self, num_classes: int) -> tuple[np.ndarray, bool]:
        """The places of labels that are no class's, and whether the labels seem to count from 1."""
        labels = self.labels
        (places,) = np.nonzero((labels < 0) | (labels >= num_classes))
        return places, bool(len(places)) and labels.min() == 1 and labels.max() == num_classes

    def _block(self, start: int, end: int) -> Iterator[tuple[str, int | None]]:
        names = self._names[self._starts[start] : self._starts[end] - 1].decode(errors="surrogateescape")
        labels = (None if label == NO_LABEL else label for label in self._labels[start:end])
        return zip(names.split(SEPARATOR), labels, strict=True)


def read_list(list_path: str | Path, clip_format: str = "mp4", num_classes: int | None = None) -> RecordList:
    """Read a list file.

    A line of a mp4 list is `path label`; the path may contain spaces. Without `num_classes` labels are optional, as for
    inference. A line of a pkl list is a path: the label is inside the file. Blank lines and lines that begin with # are
    passed over. A relative path is looked up from the working folder, then from the list's folder.

    Args:
        list_path: the list file, UTF-8.
        clip_format: "mp4" or "pkl".
        num_classes: if given, every line needs a label from 0 to num_classes - 1.

    Raises:
        FileNotFoundError: the list, or every video in it (of a long list, every one of LOOKS), is absent.
        ValueError: no videos in the list, or lines that cannot be read; the message names file and lines.
    """
    list_path = Path(list_path)
    records, mistakes, numbers = RecordList(list_path.parent), _Mistakes(), array("q")
    for number, line in enumerate(_read_lines(list_path), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, label = _split_line(line, list_path, clip_format, num_classes is not None)
            _check_length(name)
            records.append(name, label)
        except ValueError as error:
            mistakes.add(f"{list_path} line {number}: {error}")
            continue
        numbers.append(number)
    if clip_format == "mp4" and num_classes is not None:
        _check_labels(records, numbers, list_path, num_classes, mistakes)
    mistakes.refuse()
    if not records:
        raise ValueError(f"{list_path}: no videos in this list; it needs a line 'path label' per video")
    if not records.first_found():
        looks = f" of the {LOOKS:,} that were looked for" if len(records) > LOOKS else ""
        raise FileNotFoundError(
            f"{list_path}: none of its videos exists{looks} (it lists {len(records):,}); the first, "
            f"{records[0].name!r}, was looked up from the working folder and from {list_path.parent}"
        )
    return records


class _Mistakes:
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


def records_of(paths: Iterable[str], is_address: Callable[[str], bool] = lambda path: False) -> RecordList:
    """The videos of files, in their order, and of folders, sorted; what results call them is their path.

    Args:
        is_address: whether a path is no file, and taken as it is.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a path is empty, or a folder holds no video.
    """
    records = RecordList()
    for path in paths:
        if not path:  # which Path would take for the working folder
            raise ValueError("the path of a video is empty; a variable of the shell may not be set")
        if is_address(path):
            records.append(path, None)
            continue
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path}: no such video file or folder; correct its path")
        found = [path]
        if Path(path).is_dir():
            found = [str(video) for video in find_videos(Path(path))[0]]
            if not found:
                raise ValueError(f"{path}: no video in this folder; known endings: {', '.join(VIDEO_SUFFIXES)}")
        for video in found:
            records.append(video, None)
    return records


def _read_lines(list_path: Path) -> Iterator[str]:
    if list_path.is_dir():
        raise ValueError(
            f"{list_path}: is a folder, and a list is a text file with a line 'path label' per video; infer.py takes "
            "folders by --video"
        )
    if not list_path.is_file():
        raise FileNotFoundError(f"{list_path}: no such list file; correct its path")
    try:
        with list_path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield from line.splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{list_path}: not a text file in UTF-8: {error}") from error


def _split_line(line: str, list_path: Path, clip_format: str, needs_label: bool) -> tuple[str, int | None]:
    if SEPARATOR in line:
        raise ValueError("holds a NUL character: no path does")
    if clip_format == "pkl":
        return line, None
    path, _, last = line.rpartition(" ") if "\t" not in line else line.rpartition("\t")
    path, has_label = path.strip(), last.lstrip("+-").isdecimal()
    if path and has_label:
        # without need the label may be absent, so a path with spaces may end like one
        is_path = not needs_label and os.path.exists(_find(line, list_path.parent))
        return (line, None) if is_path else (path, _label(last))
    if needs_label:
        raise ValueError(f"expected 'path label', got {line!r}{_likely_cause(line, path, last)}")
    return line, None


def _check_length(path: str) -> None:
    encoded = path.encode()
    longest = max(map(len, encoded.split(b"/"))) if len(encoded) > LONGEST_NAME else 0  # few paths are split
    if longest > LONGEST_NAME:
        raise ValueError(
            f"a name of {longest} bytes, and file systems take {LONGEST_NAME}: {path[:40]!r}...; are lines joined?"
        )


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


def _check_labels(
    records: RecordList, numbers: Sequence[int], list_path: Path, num_classes: int, mistakes: _Mistakes
) -> None:
    """A message for each label that is no class's; one in all if the labels count from 1."""
    places, from_one = records.label_mistakes(num_classes)
    if from_one:
        mistakes.add(
            f"{list_path}: its labels run from 1 to {num_classes}, but labels count from 0: subtract 1 from each"
        )
        return
    for place in places[:MISTAKES_SHOWN].tolist():
        record = records[place]
        mistakes.add(
            f"{list_path} line {numbers[place]}: label {record.label} of {record.name!r} is outside "
            f"0..{num_classes - 1}; correct it or set MODEL.num_classes"
        )
    mistakes.add_unseen(len(places[MISTAKES_SHOWN:]))


def _find(name: str, folder: str | Path) -> str:
    """Where a list's video is: as seen from the working folder, else from the list's."""
    beside_list = str(Path(folder, name))
    return name if os.path.exists(name) or not os.path.exists(beside_list) else beside_list
