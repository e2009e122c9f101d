"""Videos that cannot be read: one warning for each, a sum at the end, an end to training when there are too many."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence

from common.console import count
from datareader.loader import Batch, Loader
from datareader.records import Record
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks

WARNINGS_SHOWN = 50  # of an epoch, a line each; a folder that is gone would fill the log
NAMES_SHOWN = 20  # of a summary
MIN_TRIED, HOPELESS_FRACTION = 200, 0.5

logger = logging.getLogger(__name__)


class UnreadableVideos:
    """The unreadable videos of one list.

    An epoch may have some of them, `max_fraction` of the list. Of a long list these are so many that a run would go on
    for days with a disk that is gone: so it ends too once half of the videos tried could not be read, of at least
    MIN_TRIED; if `max_fraction` is above a half, that share of them.

    Args:
        records: the list, to name files.
        max_fraction: share of the list that may be unreadable in one epoch; 1: all of it.
    """

    def __init__(self, records: Sequence[Record], max_fraction: float = 1.0):
        self.records = records
        self.max_fraction = max_fraction
        self.this_epoch: dict[int, str] = {}
        """{index in the list: reason}, in the order they were met."""
        self._warned: set[int] = set()
        self._num_warnings = self._num_known = self._num_read = 0

    def add(self, entries: list[list]) -> None:
        """Note [index, reason] entries of a batch.

        Raises:
            ReadingFailed: more than `max_fraction` of the list is unreadable.
        """
        for index, reason in entries:
            self.this_epoch[index] = reason
            if index not in self._warned:
                self._warned.add(index)
                self._warn(index, reason)
        if len(self.this_epoch) > self.max_fraction * len(self.records):
            self._refuse(len(self.records))

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a training epoch as they are, each after its unreadable videos have been noted.

        Raises:
            ReadingFailed: as `add` does, or too many of the videos tried so far are unreadable.
        """
        for batch in batches:
            self.add(batch.unreadable)
            self._num_read += len(batch.indices)
            num_failed = len(self.this_epoch) - self._num_known
            num_tried = self._num_read + num_failed
            if num_tried >= MIN_TRIED and num_failed > max(HOPELESS_FRACTION, self.max_fraction) * num_tried:
                self._refuse(num_tried)
            yield batch

    def _warn(self, index: int, reason: str) -> None:
        self._num_warnings += 1
        if self._num_warnings <= WARNINGS_SHOWN:
            logger.warning("cannot read %s: %s", self.records[index].path, reason)
        elif self._num_warnings == WARNINGS_SHOWN + 1:
            logger.warning("more videos cannot be read; from here on they are only counted")

    def _refuse(self, num_videos: int) -> None:
        index, reason = next(iter(self.this_epoch.items()))
        raise ReadingFailed(
            f"{len(self.this_epoch)} of {count(num_videos, 'video')} cannot be read, more than TRAIN.max_bad_fraction "
            f"{self.max_fraction} allows; the first is {self.records[index].path}; repair the list, or raise "
            "max_bad_fraction"
        )

    def start_epoch(self, known: Iterable[list] = ()) -> None:
        """Forget the last epoch; `known` are the [index, reason] entries of the part of this one that was before."""
        self.this_epoch = {index: reason for index, reason in known}
        self._num_known = len(self.this_epoch)
        self._num_warnings = self._num_read = 0

    def summary(self) -> str:
        """Empty if every video could be read, else the number and the names of those that could not."""
        if not self.this_epoch:
            return ""
        names = ", ".join(self.records[index].name for index in itertools.islice(self.this_epoch, NAMES_SHOWN))
        more = f" and {len(self.this_epoch) - NAMES_SHOWN:,} more" if len(self.this_epoch) > NAMES_SHOWN else ""
        return f"{len(self.this_epoch)} of {count(len(self.records), 'video')} could not be read: {names}{more}"


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
