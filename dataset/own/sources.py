"""What a user has of a data set, a folder of class folders, lists or csv files -> clips. Opens no video."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common.console import count
from datareader.folders import VIDEO_SUFFIXES, find_videos
from datareader.list_lines import NO_CLASS
from datareader.records import RecordList
from dataset.list_files import SPLITS, read_text, refuse_all

ENDINGS_SHOWN = 3
NUMBER = re.compile(r"[+-]?\d{1,18}")
LABELLED = re.compile(rf"(?P<path>.*\S)(?:\t\s*| )(?P<labels>{NO_CLASS}|[+-]?\d{{1,18}}(?:,\d{{1,18}})*)")
"""A list's line: the path, which may hold spaces, and a label, several, or NO_CLASS."""


class Clip(NamedTuple):
    """A video that the user names, by a folder or in a file."""

    path: str
    """Absolute."""
    name: str
    """The path as the input has it: relative to its folder, or as the list writes it."""
    classes: tuple[str, ...]
    """Class names, or label numbers as text: one, several, or () of a video that shows none of the classes."""
    split: str
    """train, val or test; empty where the input does not say."""
    place: str
    """File and line, or the path where a folder was given: for messages, and no other clip's."""


def called(clip: Clip) -> str:
    """What a message calls a clip: its path, and where that was read."""
    return clip.path if clip.place == clip.path else f"{clip.path} ({clip.place})"


class Source(NamedTuple):
    """What was found."""

    clips: list[Clip]
    is_numbered: bool
    """Classes are label numbers."""
    warnings: list[str]


def read_inputs(paths: list[Path]) -> Source:
    """The clips of a folder, or of one or more list and csv files; several files are a split each, by their name.

    Raises:
        FileNotFoundError, ValueError: they cannot be understood; a line for each mistake, the first five.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such folder, list or csv file; correct its path")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"{' '.join(map(str, paths))}: names a file twice; give it once")
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise ValueError(
            f"{folders[0]}: is a folder, and a folder is given alone; several inputs are lists or csv files"
        )
    if folders:
        return read_folder(paths[0])
    mistakes: list[str] = []
    clips = [clip for path in paths for clip in _read_file(path, len(paths) > 1, mistakes)]
    refuse_all(mistakes, "bad lines")
    unsplit = next((clip for clip in clips if not clip.split), None)
    if unsplit and any(clip.split for clip in clips):
        raise ValueError(f"{unsplit.place}: names no split, and other rows do; name one in each row, or in none")
    names = [name for clip in clips for name in clip.classes]
    if not names:
        raise ValueError(f"{' '.join(map(str, paths))}: no video is of a class: each line says {NO_CLASS}")
    return Source(clips, all(map(NUMBER.fullmatch, names)), _classless(clips))


def read_folder(folder: Path) -> Source:
    """The videos of FOLDER/CLASS/**, or of FOLDER/SPLIT/CLASS/** where all of its folders are called as splits are."""
    warnings: list[str] = []
    below = _folders_in(folder)
    if len(below) > 1 and all(one.name.lower() in SPLITS for one in below):
        warnings.append(
            f"{folder}: its folders {', '.join(one.name for one in below)} are taken for a split, not for classes"
        )
        classes = [(SPLITS[split.name.lower()], one) for split in below for one in _folders_in(split)]
    else:
        classes = [("", one) for one in below]
    for place in {one.parent: None for _, one in classes} | {folder: None}:
        loose = sorted(path.name for path in place.iterdir() if _is_video(path))
        if loose:
            warnings.append(
                f"{place}: outside a class folder, and left out: {count(len(loose), 'video')}, {loose[0]} for one"
            )
    clips = [clip for split, one in classes for clip in _read_class(folder, split, one, warnings)]
    if not clips:
        raise ValueError(
            f"{folder}: no video in a class folder; videos are looked for as {folder}/CLASS/NAME{VIDEO_SUFFIXES[0]}, "
            f"with the endings {', '.join(VIDEO_SUFFIXES)}"
        )
    return Source(clips, False, warnings)


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_class(folder: Path, split: str, class_folder: Path, warnings: list[str]) -> list[Clip]:
    videos, _ = find_videos(class_folder, on_error=lambda error: warnings.append(f"passed over: {error}"))
    if not videos:
        warnings.append(f"{class_folder}: holds no video; it is no class here")
    paths = sorted(class_folder.rglob("[!.]*"))
    warnings += [f"{path}: left out: a link to nothing" for path in paths if path.is_symlink() and not path.exists()]
    others = Counter(path.suffix.lower() or "none" for path in paths if path.is_file())
    others = {ending: number for ending, number in others.most_common() if ending not in VIDEO_SUFFIXES}
    if others:
        endings = ", ".join(list(others)[:ENDINGS_SHOWN])
        number = count(sum(others.values()), "file")
        warnings.append(f"{class_folder}: passed over: {number} with endings that no video has here: {endings}")
    name = class_folder.name.strip()
    return [
        Clip(os.path.abspath(path), str(path.relative_to(folder)), (name,), split, os.path.abspath(path))
        for path in videos
    ]


def _read_file(path: Path, is_named_split: bool, mistakes: list[str]) -> list[Clip]:
    split = split_of_name(path) if is_named_split else ""
    rows = _csv_rows(path, mistakes) if path.suffix.lower() == ".csv" else _list_rows(path, mistakes)
    records, rest = RecordList(path.parent), []
    for name, classes, own_split, place in rows:
        records.append(name, None)
        rest.append((name, classes, own_split or split, place))
    if not rest and not mistakes:
        raise ValueError(f"{path}: names no video; a list has a line 'path label' for each, a csv 'path,class name'")
    return [Clip(os.path.abspath(record.path), *row) for record, row in zip(records, rest, strict=True)]


def split_of_name(path: Path) -> str:
    """train, val or test, by the words of a file's name: train.list, ucf_trainlist01.txt."""
    words = re.split(r"[\W\d_]+", path.stem.lower())
    found = {split for split in ("train", "val", "test") for word in words if word.startswith(split)}
    if len(found) != 1:
        raise ValueError(
            f"{path}: of several files each is a split, so its name must say train, val or test, one of them"
        )
    return found.pop()


def _classless(clips: list[Clip]) -> list[str]:
    """What it means that videos show none of the classes, if any does."""
    number = sum(not clip.classes for clip in clips)
    if not number:
        return []
    return [f"{count(number, 'video')} with the label {NO_CLASS}: the config is for several classes per video, or none"]


Row = tuple[str, tuple[str, ...], str, str]
"""Path as written, classes, split, place."""


def _list_rows(path: Path, mistakes: list[str]) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line, place = line.strip(), f"{path} line {number}"
        if not line or line.startswith("#"):
            continue
        match = LABELLED.fullmatch(line)
        if match is None or "\0" in line:
            mistakes.append(
                f"{place}: expected 'path label', 'path 3,7' for several classes, or 'path {NO_CLASS}', "
                f"got {line[:200]!r}"
            )
            continue
        labels = [] if match["labels"] == NO_CLASS else match["labels"].split(",")
        yield match["path"], tuple(dict.fromkeys(str(int(label)) for label in labels)), "", place


def _csv_rows(path: Path, mistakes: list[str]) -> Iterator[Row]:
    """Rows `path,class name` or `path,class name,split`; the first is a header if its path is none of a video."""
    table = csv.reader(read_text(path).splitlines(keepends=True), strict=True)  # strict: of an unclosed quote
    try:
        for number, cells in enumerate(table):
            cells, place = [cell.strip() for cell in cells], f"{path} line {table.line_num}"
            is_header = number == 0 and cells and not _names_video(cells[0], path)
            if not any(cells) or is_header:
                continue
            classes = tuple(dict.fromkeys(filter(None, map(str.strip, cells[1].split(";"))))) if cells[1:] else ()
            split = SPLITS.get(cells[2].lower()) if cells[2:] else ""
            if len(cells) not in (2, 3) or not cells[0] or not classes or "\0" in cells[0]:
                mistakes.append(
                    f"{place}: expected path,class name or path,class name,split, got {','.join(cells)[:200]!r}"
                )
            elif split is None:
                mistakes.append(f"{place}: unknown split {cells[2]!r}; known are {', '.join(SPLITS)}")
            else:
                yield cells[0], classes, split, place
    except csv.Error as error:
        raise ValueError(f"{path} line {table.line_num}: not a csv file: {error}") from error


def _names_video(name: str, csv_path: Path) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) or any(os.path.isfile(one) for one in (name, csv_path.parent / name))
