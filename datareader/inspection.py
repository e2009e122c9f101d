"""Looks at the videos of a list: which of them are there, and whether some of each class can be read."""

import copy
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from common.console import progress
from datareader.reader import ClipReader
from datareader.records import RecordList

LOOKING_THREADS = 16  # a network disk answers many as fast as one
LOOKS_AT_ONCE = 1000


def missing_files(records: RecordList, heading: str) -> list[int]:
    """The places of the videos whose file does not exist; a bar tells how far the search is."""

    def missing_from(start: int) -> list[int]:
        places = range(start, min(start + LOOKS_AT_ONCE, len(records)))
        return [place for place in places if not os.path.exists(records[place].path)]

    starts = range(0, len(records), LOOKS_AT_ONCE)
    with ThreadPoolExecutor(LOOKING_THREADS) as pool:
        with progress(pool.map(missing_from, starts), len(starts), f"{heading} files") as found:
            return [place for part in found for place in part]


def sample_places(records: RecordList, num_per_class: int, left_out: Iterable[int] = ()) -> dict[int | None, list[int]]:
    """{label: a few places of its videos, spread over the list}; all videos of a list without labels are under None.

    Args:
        left_out: places that are not taken; a class that has no others gets none.
    """
    left_out = set(left_out)
    places: dict[int | None, list[int]] = {}
    for place, classes in enumerate(records.listed_classes()):
        for label in (None,) if classes is None else classes:
            of_class = places.setdefault(label, [])
            if place not in left_out:
                of_class.append(place)
    return {label: _spread(of_class, num_per_class) for label, of_class in sorted(places.items(), key=str)}


def _spread(places: list[int], number: int) -> list[int]:
    picks = np.linspace(0, len(places) - 1, min(number, len(places)))
    return [places[round(pick)] for pick in picks]


class Unreadable(NamedTuple):
    """A video that cannot be read."""

    place: int
    reason: str


def try_reading(reader: ClipReader, places: Iterable[int]) -> list[Unreadable]:
    """Read a clip of each of these records, no other in its place; returns those that cannot be read."""
    alone = copy.copy(reader)
    alone.max_unreadable = 0
    clip, found = np.empty(reader.clip_shape, np.uint8), []
    for place in places:
        found += [Unreadable(*entry) for entry in alone.read(0, place, clip).unreadable]
    return found
