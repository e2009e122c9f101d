"""What was found, class by class: as a table to print, as found.csv, and as a contact sheet."""

import statistics
from collections import Counter
from typing import NamedTuple

from common.console import duration, printable
from common.csv_cells import csv_line
from dataset.contact_sheet import CLIPS_SHOWN
from dataset.own.looking import Look
from dataset.own.sources import Clip

FEW = 10  # clips of a class, up to which it is marked
SIZES_SHOWN = 2
COMMON_SHARE = 0.2  # of a class's clips, from which on a size is common
MOST_CLASSES_SHOWN = 120  # on the contact sheet
LONGEST_NAME = 32  # letters of a class in the printed table


class ClassRow(NamedTuple):
    """A class's line."""

    label: int
    name: str
    num_clips: int
    counts: dict[str, int]
    """{column: clips}, a column for each side or fold."""
    total_sec: float
    median_sec: float
    sizes: list[tuple[tuple[int, int], int]]
    """Width and height, the most common first, and how many clips have it."""

    @property
    def note(self) -> str:
        return f"fewer than {FEW}" if self.num_clips < FEW else ""


def class_rows(
    names: list[str],
    clips: list[Clip],
    labels: dict[str, tuple[int, ...]],
    looks: dict[str, Look],
    columns: dict[str, list[Clip]],
) -> list[ClassRow]:
    """A row for each class; a video of several classes counts in each.

    Args:
        names: of the classes, in label order.
        labels: {clip's place: its labels}.
        looks: {path: what is known of the video}.
        columns: {what it is called: the clips of a side, or a fold's test clips}.
    """
    members: list[list[Clip]] = [[] for _ in names]
    for clip in clips:
        for label in labels[clip.place]:
            members[label].append(clip)
    counts = {
        column: Counter(label for clip in side for label in labels[clip.place]) for column, side in columns.items()
    }
    rows = []
    for label, (name, own) in enumerate(zip(names, members, strict=True)):
        seconds = [looks[clip.path].length_sec for clip in own]
        sizes = Counter(looks[clip.path][:2] for clip in own)
        common = sorted(sizes.items(), key=lambda size: (-size[1], size[0]))
        columns_here = {column: counts[column][label] for column in columns}
        median_sec = statistics.median(seconds) if seconds else 0.0
        rows.append(ClassRow(label, name, len(own), columns_here, sum(seconds), median_sec, common))
    return rows


def found_csv(rows: list[ClassRow]) -> str:
    """The table as a file."""
    header = ["label", "class", "clips", *rows[0].counts, "total_sec", "median_sec", "sizes", "note"]
    lines = [csv_line(header)]
    for row in rows:
        sizes = "; ".join(f"{width}x{height} ({number})" for (width, height), number in row.sizes)
        seconds = [f"{row.total_sec:.1f}", f"{row.median_sec:.2f}"]
        lines.append(csv_line([row.label, row.name, row.num_clips, *row.counts.values(), *seconds, sizes, row.note]))
    return "".join(lines)


def table_lines(rows: list[ClassRow]) -> list[str]:
    """The table as lines of text."""
    cells = [["label", "class", "clips", *rows[0].counts, "length", "median", "sizes"]]
    for row in rows:
        name = printable(row.name)
        name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        clips = f"{row.num_clips}{' !' if row.note else ''}"
        lengths = [duration(row.total_sec), f"{row.median_sec:.1f} s"]
        cells.append([str(row.label), name, clips, *map(str, row.counts.values()), *lengths, _sizes_shown(row)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_the_left = (1, len(widths) - 1)  # text; numbers go to the right
    lines = []
    for line in cells:
        padded = [
            cell.ljust(width) if number in to_the_left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _sizes_shown(row: ClassRow) -> str:
    """The most common sizes; their range where none is common."""
    common = [f"{width}x{height} ({number})" for (width, height), number in row.sizes[:SIZES_SHOWN]]
    num_more = len(row.sizes) - len(common)
    if num_more and row.sizes[0][1] < COMMON_SHARE * row.num_clips:
        widths, heights = zip(*(size for size, _ in row.sizes), strict=True)
        return f"{len(row.sizes)} sizes, {min(widths)}..{max(widths)} x {min(heights)}..{max(heights)}"
    return ", ".join(common) + (f", {num_more} more" if num_more else "")


def notes(rows: list[ClassRow]) -> list[str]:
    """What the table does not say by itself."""
    few = [row for row in rows if row.note]
    if not few:
        return []
    return [f"!: fewer than {FEW} clips, in {len(few)} of {len(rows)} classes; what is measured there is mostly chance"]


def shown_clips(names: list[str], clips: list[Clip], labels: dict[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """{class: paths of the clips that stand for it on the contact sheet}, spread over the class."""
    shown = {}
    for label, name in list(enumerate(names))[:MOST_CLASSES_SHOWN]:
        paths = [clip.path for clip in clips if label in labels[clip.place]]
        count = min(CLIPS_SHOWN, len(paths))
        shown[name] = [paths[number * len(paths) // count] for number in range(count)]
    return shown
