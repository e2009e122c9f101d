"""What a run says: lines on the console, figures in metrics.jsonl, a bar on a terminal."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def start_logging() -> None:
    """Plain lines on stdout, with the time in front; warnings say that they are warnings.

    Raises:
        ValueError: the environment variable TSN_LOG_LEVEL, "info" without it, is no level.
    """
    level = os.environ.get("TSN_LOG_LEVEL", "info").upper()
    if level not in LEVELS:
        raise ValueError(f"TSN_LOG_LEVEL is {level.lower()!r}; it takes {', '.join(LEVELS).lower()}")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.setLevel(level)
    # Paddle may have put a console handler there, which would print every line twice
    root.handlers = [old for old in root.handlers if type(old) is not logging.StreamHandler] + [handler]


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        severity = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {severity}{record.getMessage()}"


@contextmanager
def progress(batches: Iterable[Any], total: int, what: str) -> Iterator[Iterable[Any]]:
    """A tqdm bar over the batches if stderr is a terminal; log lines appear above it."""
    if not sys.stderr.isatty():
        yield batches
        return
    with logging_redirect_tqdm(), tqdm(batches, total=total, desc=what, unit="step", leave=False) as bar:
        yield bar


class MetricsFile:
    """A file that gets one JSON object per line, for every figure of a run; a resumed run adds to it.

    Args:
        path: the file; None writes nothing, as on ranks other than 0.
    """

    def __init__(self, path: Path | None):
        self.path = path

    def write(self, **figures: Any) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                row = {"time": round(time.time(), 3), **{key: _or_null(figure) for key, figure in figures.items()}}
                file.write(json.dumps(row) + "\n")


def _or_null(figure: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
