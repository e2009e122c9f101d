"""SIGTERM and Ctrl-C: the first asks a run to stop at the next step, a second one ends it at once."""

import os
import signal
import time
from types import FrameType
from typing import Any

# paddle.distributed.launch ends a rank with three SIGTERMs, 0.2 s apart
LAUNCHER_REPEATS_SEC = 2.0


class Stopped(Exception):
    """Raised by the loops at the step where all ranks have agreed to stop."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_code = 128 + signal_number
        """As shells have it: 143 for SIGTERM, 130 for Ctrl-C."""


class StopRequest:
    """Listens for both signals as long as its context lasts."""

    def __init__(self):
        self.signal_number = 0
        """Of the first signal; 0: none has come."""
        self._first_sec = 0.0
        self._is_launched = "PADDLE_TRAINER_ID" in os.environ
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_number:
            self.signal_number = number
            self._first_sec = time.monotonic()
            # straight to the file descriptor, because a log line may be under way
            os.write(1, b"stopping: this step ends, then a checkpoint is saved; a second signal ends the run at once\n")
        elif not (self._is_launched and time.monotonic() - self._first_sec < LAUNCHER_REPEATS_SEC):
            os.write(1, b"stopped without saving\n")
            os._exit(128 + number)
