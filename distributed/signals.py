"""SIGTERM and Ctrl-C: the first asks a run to stop at the next step, a second one ends it at once."""

import os
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from common.console import write_now

# paddle.distributed.launch ends a rank with three SIGTERMs, 0.2 s apart
LAUNCHER_REPEATS_SEC = 2.0
LOOK_UP_SEC = 0.2  # how often waiting for a line looks whether it should stop


class Stopped(Exception):
    """Raised by the loops at the step where all ranks have agreed to stop."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_code = 128 + signal_number
        """The exit code that shells expect: 143 for SIGTERM, 130 for Ctrl-C."""


class StopRequest:
    """Listens for both signals as long as its context lasts.

    Args:
        what_follows: told at the first signal: what is done once the step has ended.
    """

    def __init__(self, what_follows: str = "a checkpoint is saved"):
        self._what_follows = what_follows
        self.signal_number = 0
        """The first signal's number; 0: none has come."""
        self.is_over = False
        """Whether the context has ended."""
        self._first_sec = 0.0
        self._is_launched = "PADDLE_TRAINER_ID" in os.environ
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over = True
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_number:
            self.signal_number = number
            self._first_sec = time.monotonic()
            write_now(f"stopping: this step ends, then {self._what_follows}; a second signal ends the run at once")
        elif not (self._is_launched and time.monotonic() - self._first_sec < LAUNCHER_REPEATS_SEC):
            write_now("stopped without saving")
            os._exit(128 + number)


def lines_until_stopped(descriptor: int, stop: StopRequest) -> Iterator[str]:
    """The lines of a pipe or a terminal, each as soon as it is there, to the end or until a stop is asked for.

    They end with the context of `stop` too: a thread that waits for one would keep the process that an error ends.
    Reading through Python's file objects would go on waiting for a line after the signal.
    """
    rest = b""
    while not stop.signal_number and not stop.is_over:
        if not select.select([descriptor], [], [], LOOK_UP_SEC)[0]:
            continue
        content = os.read(descriptor, 1 << 16)
        *lines, rest = (rest + content).split(b"\n")
        if not content and rest:
            lines, rest = [rest], b""
        for line in lines:
            if stop.signal_number:
                return
            yield os.fsdecode(line)
        if not content:
            return
