"""Annotations of Kinetics as published: a csv file -> rows. Knows no folders."""

import csv
from pathlib import Path
from typing import NamedTuple

from dataset.list_files import SPLITS

COLUMNS = "label,youtube_id,time_start,time_end,split"
MAX_DIGITS = 9  # of a time in seconds


class Row(NamedTuple):
    """One row of an annotation csv."""

    place: str
    """File and line, for messages."""
    cells: dict[str, str]
    """The columns as published, and the split where none was."""
    split: str
    """train, val or test."""
    label: str
    """Class name; empty where none was published."""
    names: list[str]
    """What its video may be called, without the suffix, best first."""


def read_annotations(path: Path) -> list[Row]:
    """The rows of a csv file; the columns label, split and both times may be absent.

    Raises:
        FileNotFoundError, ValueError: no such file, or one that cannot be understood; the message names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such csv file; correct --annotations")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)  # strict: an unclosed quote would swallow rows without a word
            columns = table.fieldnames or []
            if "youtube_id" not in columns or ("time_start" in columns) != ("time_end" in columns):
                raise ValueError(f"{path}: its columns are {','.join(columns) or 'none'}; expected are {COLUMNS}")
            rows = [_read_row(cells, path, f"{path} line {table.line_num}") for cells in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a csv file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{path}: no rows below the header; leave it out of --annotations")
    return rows


def _read_row(cells: dict[str, str], path: Path, place: str) -> Row:
    if None in cells or None in cells.values():
        raise ValueError(f"{place}: not as many columns as the header has")
    youtube_id, label = cells["youtube_id"].strip(), cells.get("label", "").strip()
    if not youtube_id:
        raise ValueError(f"{place}: youtube_id is empty")
    if len(label.splitlines()) > 1:
        raise ValueError(f"{place}: the label spans lines: {label!r}")
    if "split" not in cells:
        split = next((split for split in ("train", "val", "test") if path.name.lower().startswith(split)), None)
        if split is None:
            raise ValueError(f"{path}: has no column split, so its name must begin with train, val or test")
        cells["split"] = split
    split = SPLITS.get(cells["split"].strip().lower())
    if split is None:
        raise ValueError(f"{place}: unknown split {cells['split']!r}; known are {', '.join(SPLITS)}")
    times = [cells.get(column, "").strip() for column in ("time_start", "time_end")]
    if not any(times):
        return Row(place, cells, split, label, [youtube_id, f"{youtube_id}_*"])
    if not all(time.isdecimal() and len(time) <= MAX_DIGITS for time in times):
        raise ValueError(f"{place}: time_start {times[0]!r}, time_end {times[1]!r}: whole seconds are expected")
    start, end = map(int, times)
    names = [f"{youtube_id}_{start:06d}_{end:06d}", f"{youtube_id}_{start}_{end}", youtube_id]
    return Row(place, cells, split, label, list(dict.fromkeys(names)))
