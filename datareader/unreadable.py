"""Videos that cannot be read: one warning for each, a sum at the end, an end to training when there are too many."""

import logging
from collections.abc import Iterable, Iterator

from common.console import count
from datareader.loader import Batch, Loader
from datareader.records import Record
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks

logger = logging.getLogger(__name__)


class UnreadableVideos:
    """The unreadable videos of one list.

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
            ReadingFailed: more than `max_fraction` of the list is unreadable.
        """
        for index, reason in entries:
            self.this_epoch[index] = reason
            if index not in self._warned:
                self._warned.add(index)
                logger.warning("cannot read %s: %s", self.records[index].path, reason)
        if len(self.this_epoch) > self.max_fraction * len(self.records):
            raise ReadingFailed(
                f"{len(self.this_epoch)} of {count(len(self.records), 'video')} cannot be read, more than "
                f"TRAIN.max_bad_fraction {self.max_fraction} allows; the first is "
                f"{self.records[next(iter(self.this_epoch))].path}; repair the list, or raise max_bad_fraction"
            )

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches as they are, each after its unreadable videos have been noted; raises as `add` does."""
        for batch in batches:
            self.add(batch.unreadable)
            yield batch

    def start_epoch(self, known: Iterable[list] = ()) -> None:
        """Forget the last epoch; `known` are the [index, reason] entries of the part of this one that was before."""
        self.this_epoch = {index: reason for index, reason in known}

    def summary(self) -> str:
        """Empty if every video could be read, else the number and the names of those that could not."""
        if not self.this_epoch:
            return ""
        names = ", ".join(self.records[index].name for index in self.this_epoch)
        return f"{len(self.this_epoch)} of {count(len(self.records), 'video')} could not be read: {names}"


def report_reading(
    heading: str, unreadable: UnreadableVideos, loader: Loader, ranks: Ranks, consequence: str = ""
) -> None:
    """Gather from all ranks, and tell, which videos could not be read and how many had to be decoded in order.

    Args:
        heading: begins each line.
        unreadable: holds the videos of all ranks in the end.
        loader: what has read them; likewise.
        consequence: ends the line on unreadable videos.

    Raises:
        ReadingFailed: too many are unreadable, see `UnreadableVideos.add`.
    """
    unreadable.add(ranks.chain(unreadable.this_epoch.items()))
    loader.in_order.update(ranks.chain(loader.in_order.items()))
    if unreadable.summary():
        logger.warning("%s %s%s", heading, unreadable.summary(), consequence)
    if loader.in_order:
        logger.info("%s %s", heading, loader.in_order_summary())
