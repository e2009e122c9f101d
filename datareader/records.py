"""List files, files and folders -> records. Knows no pixels."""

import hashlib
import itertools
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.folders import VIDEO_SUFFIXES, find_videos
from datareader.list_lines import MISTAKES_SHOWN, SEPARATOR, Mistakes, check_length, find, split_line

LOOKS = 10_000  # at files, until a list counts as one whose videos are not here
BLOCK = 10_000  # records that are unpacked at once
NO_LABEL = -(2**63)


class Record(NamedTuple):
    """One video of a list."""

    path: str
    """Where the file is, looked up from the working folder, then from the list's folder."""
    label: int | None
    """Class number, or None where the list has none, or where it has several classes for a video."""
    name: str
    """The path as the list writes it: what results call the video."""
    labels: tuple[int, ...] | None = None
    """Class numbers of a multi-label list, () for a video of no class; None where they are not known."""

    @property
    def classes(self) -> tuple[int, ...] | None:
        """All true classes, however many a video of the list may have; None where they are not known."""
        return self.labels if self.label is None else (self.label,)


class RecordList(Sequence[Record]):
    """The videos of a list in a few arrays, which a million of them fill with some 70 MB, and which workers share.

    A video's file is looked up when its record is asked for: a list costs no look at the disk.

    Args:
        folder: the list's; a relative path is looked up from the working folder, then from there.
        multi_label: whether a video may have several classes.
    """

    def __init__(self, folder: str | Path = "", multi_label: bool = False):
        self.folder = folder
        self.multi_label = multi_label
        self._names = bytearray()
        self._starts = array("q", [0])
        self._labels = array("q")
        self._label_starts = array("q", [0])  # of several labels each; a list of single ones needs none

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        ((name, label, labels),) = self._block(number, number + 1)
        return Record(find(name, self.folder), label, name, labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def append(self, name: str, label: int | None, labels: Sequence[int] | None = None) -> None:
        """Add a video; names that are no text are those of `os.fsdecode`, and `labels` are for a multi-label list."""
        self._names.extend(f"{name}{SEPARATOR}".encode(errors="surrogateescape"))
        self._starts.append(len(self._names))
        if self.multi_label:
            self._labels.extend([NO_LABEL] if labels is None else labels)
            self._label_starts.append(len(self._labels))
        else:
            self._labels.append(NO_LABEL if label is None else label)

    def listed(self) -> Iterator[tuple[str, int | None]]:
        """Each video's name and label, without a look at its file; None as the label in a multi-label list."""
        return ((name, label) for name, label, _ in self._all())

    def listed_classes(self) -> Iterator[tuple[int, ...] | None]:
        """All classes of each video; None where they are not known."""
        return (labels if label is None else (label,) for _, label, labels in self._all())

    def likely_paths(self) -> Iterator[str]:
        """Each video's path without a look at its file: as if all were where the first that exists is."""
        first = self.first_found()
        folder = self.folder if first and first.path != first.name else ""
        return (os.path.join(folder, name) for name, _ in self.listed())

    def without(self, names: set[str]) -> "RecordList":
        """The videos of other names."""
        if not names:
            return self
        rest = RecordList(self.folder, self.multi_label)
        for name, *labels in self._all():
            if name not in names:
                rest.append(name, *labels)
        return rest

    def at(self, places: Iterable[int]) -> "RecordList":
        """The videos at these places, in this order."""
        some = RecordList(self.folder, self.multi_label)
        for place in places:
            ((name, *labels),) = self._block(place, place + 1)
            some.append(name, *labels)
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
            block = self._block(start, min(start + BLOCK, len(self)))
            lines = [
                f"{name} {label if labels is None else ','.join(map(str, labels))}\n" for name, label, labels in block
            ]
            digest.update("".join(lines).encode(errors="surrogateescape"))
        return digest.hexdigest()

    @property
    def labels(self) -> np.ndarray:
        """Each video's label, int64 (N,); NO_LABEL where the list has none. Of a multi-label list all, one by one."""
        return np.array(self._labels)

    def label_counts(self) -> Counter[int]:
        """How many videos each class has, one of several classes in each; those without a label are left out."""
        labels, numbers = np.unique(self.labels, return_counts=True)
        return Counter(
            {label: n for label, n in zip(labels.tolist(), numbers.tolist(), strict=True) if label != NO_LABEL}
        )

    def label_mistakes(self, num_classes: int) -> tuple[np.ndarray, bool]:
        """The places of videos with a label that is no class's, and whether the labels seem to count from 1."""
        labels = self.labels
        (places,) = np.nonzero((labels < 0) | (labels >= num_classes))
        from_one = bool(len(places)) and labels.min() == 1 and labels.max() == num_classes
        if self.multi_label:
            places = np.unique(np.searchsorted(np.array(self._label_starts), places, side="right") - 1)
        return places, from_one

    def _all(self) -> Iterator[tuple[str, int | None, tuple[int, ...] | None]]:
        for start in range(0, len(self), BLOCK):
            yield from self._block(start, min(start + BLOCK, len(self)))

    def _block(self, start: int, end: int) -> Iterator[tuple[str, int | None, tuple[int, ...] | None]]:
        """The name, the label and the labels of each video."""
        names = self._names[self._starts[start] : self._starts[end] - 1].decode(errors="surrogateescape")
        if self.multi_label:
            ends = itertools.pairwise(self._label_starts[start : end + 1])
            several = (tuple(self._labels[first:last]) for first, last in ends)
            known = [None if labels == (NO_LABEL,) else labels for labels in several]
            return zip(names.split(SEPARATOR), [None] * len(known), known, strict=True)
        labels = (None if label == NO_LABEL else label for label in self._labels[start:end])
        return zip(names.split(SEPARATOR), labels, itertools.repeat(None, end - start), strict=True)


def read_list(
    list_path: str | Path, clip_format: str = "mp4", num_classes: int | None = None, multi_label: bool = False
) -> RecordList:
    """Read a list file.

    A line of a mp4 list is `path label`; where a video may have several classes, or none, `path label,label,...` or
    `path none`. The path may contain spaces. Without `num_classes` labels are optional, as for inference. A line of a
    pkl list is a path: the label is inside the file, one only. Blank lines and lines that begin with # are passed over.
    A relative path is looked up from the working folder, then from the list's folder.

    Args:
        list_path: the list file, UTF-8.
        clip_format: "mp4" or "pkl".
        num_classes: if given, every line needs a label from 0 to num_classes - 1.
        multi_label: whether a video may have several classes, or none.

    Raises:
        FileNotFoundError: the list, or every video in it (of a long list, every one of LOOKS), is absent.
        ValueError: no videos in the list, or lines that cannot be read; the message names file and lines.
    """
    list_path = Path(list_path)
    if clip_format == "pkl" and multi_label:
        raise ValueError(
            f"{list_path}: a pkl holds one label, but MODEL.multi_label is set; use MODEL.format=mp4 and a list with "
            "labels, or -o MODEL.multi_label=False"
        )
    records, mistakes, numbers = RecordList(list_path.parent, multi_label), Mistakes(), array("q")
    for number, line in enumerate(_read_lines(list_path), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, labels = split_line(line, list_path.parent, clip_format, num_classes is not None, multi_label)
            check_length(name)
            records.append(name, labels[0] if labels else None, labels)
        except ValueError as error:
            mistakes.add(f"{list_path} line {number}: {error}")
            continue
        numbers.append(number)
    if clip_format == "mp4" and num_classes is not None:
        _check_labels(records, numbers, list_path, num_classes, mistakes)
    mistakes.refuse()
    _check_presence(records, list_path)
    return records


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


def _check_presence(records: RecordList, list_path: Path) -> None:
    """Refuse a list without videos, or without one whose file is there."""
    if not records:
        raise ValueError(f"{list_path}: no videos in this list; it needs a line 'path label' per video")
    if not records.first_found():
        looks = f" of the {LOOKS:,} that were looked for" if len(records) > LOOKS else ""
        raise FileNotFoundError(
            f"{list_path}: none of its videos exists{looks} (it lists {len(records):,}); the first, "
            f"{records[0].name!r}, was looked up from the working folder and from {list_path.parent}"
        )


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


def _check_labels(
    records: RecordList, numbers: Sequence[int], list_path: Path, num_classes: int, mistakes: Mistakes
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
        wrong = next(label for label in record.classes if not 0 <= label < num_classes)
        mistakes.add(
            f"{list_path} line {numbers[place]}: label {wrong} of {record.name!r} is outside "
            f"0..{num_classes - 1}; correct it or set MODEL.num_classes"
        )
    mistakes.add_unseen(len(places[MISTAKES_SHOWN:]))
