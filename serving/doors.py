"""Who may come in: a bounded number of requests, none once the server is to stop."""

import contextlib
import math
import time
from collections.abc import Iterator

from serving.refusals import Refusal

UPLOADS_PER_PLACE = 4  # slow senders take the place of other senders, not of those who wait for an answer
LONGEST_WAIT_SEC = 60
CLOSED_SEC = 5
WEIGHT = 0.2  # of the last request in the running mean


class Doors:
    """Counts the requests that are inside, in two halls: those that are sending, and those that wait or run.

    Args:
        num_places: of the second hall.
    """

    def __init__(self, num_places: int):
        self.num_places = num_places
        self.num_sending = 0
        self.num_inside = 0
        self.is_closed = False
        """Whether the server is to stop: nobody new comes in, who is in is served."""
        self._interval_sec = 0.0  # from answer to answer, a running mean
        self._last_answer_sec = 0.0

    @property
    def is_empty(self) -> bool:
        return not self.num_sending and not self.num_inside

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """The time that a request is sent in.

        Raises:
            Refusal: there is no place, or the server is to stop.
        """
        if self.is_closed:
            raise Refusal(503, "the server is shutting down", CLOSED_SEC)
        if self.num_sending >= UPLOADS_PER_PLACE * self.num_places:
            raise self._full(f"{self.num_sending} requests are being sent already")
        self._check_place()
        self.num_sending += 1
        try:
            yield
        finally:
            self.num_sending -= 1

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The time that a request waits and is worked on; it has been let in before.

        Raises:
            Refusal: there is no place.
        """
        self._check_place()
        begun_sec = time.monotonic()
        self.num_inside += 1
        try:
            yield
        finally:
            self.num_inside -= 1
            now_sec = time.monotonic()
            since_sec = now_sec - max(self._last_answer_sec, begun_sec)
            self._interval_sec += WEIGHT * (since_sec - self._interval_sec)
            self._last_answer_sec = now_sec

    def _check_place(self) -> None:
        if self.num_inside >= self.num_places:
            raise self._full(f"{self.num_places} requests are waiting already")

    def _full(self, reason: str) -> Refusal:
        wait_sec = min(max(math.ceil(self._interval_sec * self.num_inside), 1), LONGEST_WAIT_SEC)
        return Refusal(429, reason, wait_sec)
