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
CURVES = {"loss", "top1", "top5", "learning_rate", "grad_norm", "clips_per_sec", "wait_fraction"}

logger = logging.getLogger(__name__)


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


def log_reading(heading: str, broken: Any, loader: Any, ranks: Any, consequence: str = "") -> None:
    """Gather from all ranks, and tell, which videos could not be read and how many had to be decoded in order.

    Args:
        heading: begins each line.
        broken: the list's BrokenVideos; holds those of all ranks in the end.
        loader: its Loader; likewise.
        consequence: ends the line on unreadable videos.

    Raises:
        ValueError: too many are unreadable, see `BrokenVideos.add`.
    """
    broken.add(ranks.chain(broken.this_epoch.items()))
    loader.in_order.update(ranks.chain(loader.in_order.items()))
    if broken.summary():
        logger.warning("%s %s%s", heading, broken.summary(), consequence)
    if loader.in_order:
        logger.info("%s %s", heading, loader.in_order_summary())


@contextmanager
def progress(batches: Iterable[Any], total: int, what: str, initial: int = 0) -> Iterator[Iterable[Any]]:
    """A tqdm bar over the batches if stderr is a terminal; log lines appear above it."""
    if not sys.stderr.isatty():
        yield batches
        return
    with (
        logging_redirect_tqdm(),
        tqdm(batches, total=total, initial=initial, desc=what, unit="step", leave=False) as bar,
    ):
        yield bar


class Metrics:
    """Every figure of a run: a JSON object per line in a file, which a resumed run adds to, and curves for VisualDL.

    Args:
        path: the file; None writes nothing, as on ranks other than 0.
        curves_dir: folder for VisualDL; None: no curves.
        goes_on: whether a file that cannot be written, on a full disk, is a warning only.

    Raises:
        ValueError: curves are wanted and VisualDL is not installed.
    """

    def __init__(self, path: Path | None, curves_dir: Path | None = None, goes_on: bool = False):
        self.path = path
        self.goes_on = goes_on
        self._curves = _visualdl_writer(curves_dir) if path and curves_dir else None
        if path and path.exists():
            content = path.read_bytes()
            if not content.endswith(b"\n"):  # a run was killed while it wrote the last line
                os.truncate(path, content.rfind(b"\n") + 1)

    def write(self, event: str, step: int, **figures: Any) -> None:
        """Add the figures of an event ("train", "epoch", "valid", ...) at a step since the start of training."""
        if self.path is None:
            return
        row = {"time": round(time.time(), 3), "event": event, "step": step}
        row |= {key: _or_null(figure) for key, figure in figures.items()}
        length = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            os.truncate(self.path, length)  # what a full disk took of the line
            message = f"{self.path}: cannot be written ({error.strerror})"
            if not self.goes_on:
                raise OSError(f"{message}; free some space, then go on with --resume=auto") from error
            logger.error("%s: training goes on (TRAIN.on_save_error)", message)
        for key in CURVES.intersection(figures) if self._curves else ():
            self._curves.add_scalar(f"{event}/{key}", figures[key], step)

    def close(self) -> None:
        if self._curves:
            self._curves.close()


def _visualdl_writer(folder: Path) -> Any:
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ValueError(
            f"TRAIN.visualdl needs VisualDL ({error}); pip install visualdl, or -o TRAIN.visualdl=False"
        ) from error
    return LogWriter(logdir=str(folder))


def _or_null(figure: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys, as text in columns; None is a dash."""
    columns = [[key, *(_cell(row[key]) for row in rows)] for key in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
