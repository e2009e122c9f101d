"""Keeps count of the videos that cannot be read: one warning for each, a sum at the end, an end to it when too many."""

import logging
from collections.abc import Iterable

from datareader.records import Record

logger = logging.getLogger(__name__)


class BrokenVideos:
    """Unreadable videos of one list.

    Args:
        records: the list, to name files.
        max_fraction: share of the list that may be unreadable in one epoch; 1: all of it.
    """

    def __init__(self, records: list[Record], max_fraction: float = 1.0):
        self.records = records
        self.max_fraction = max_fraction
        self.this_epoch: dict[int, str] = {}
        """{index in the list: reason}, in the order they were met."""
        self._warned: set[int] = set()

    def add(self, entries: list[list]) -> None:
        """Note [index, reason] entries of a batch.

        Raises:
            ValueError: more than `max_fraction` of the list is unreadable.
        """
        for index, reason in entries:
            self.this_epoch[index] = reason
            if index not in self._warned:
                self._warned.add(index)
                logger.warning("cannot read %s: %s", self.records[index].path, reason)
        if len(self.this_epoch) > self.max_fraction * len(self.records):
            raise ValueError(
                f"{len(self.this_epoch)} of {len(self.records)} videos cannot be read, more than "
                f"TRAIN.max_bad_fraction {self.max_fraction} allows; the first is "
                f"{self.records[next(iter(self.this_epoch))].path}; repair the list, or raise max_bad_fraction"
            )

    def start_epoch(self, known: Iterable[list] = ()) -> None:
        """Forget the last epoch; `known` are the [index, reason] entries of the part of this one that was before."""
        self.this_epoch = {index: reason for index, reason in known}

    def summary(self) -> str:
        """Empty if every video could be read, else the number and the names of those that could not."""
        if not self.this_epoch:
            return ""
        names = ", ".join(self.records[index].name for index in self.this_epoch)
        return f"{len(self.this_epoch)} of {len(self.records)} videos could not be read: {names}"
