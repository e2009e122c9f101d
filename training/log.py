"""The figures of a run: on the console, in metrics.jsonl, as curves in VisualDL, as a table in the end."""

import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

logger = logging.getLogger(__name__)


class Figure(NamedTuple):
    """A number that a run writes down."""

    value: float | int
    text: str | None = None
    """How the log line says it, with {} for the number; None: not at all."""


def log_line(figures: dict[str, Figure]) -> str:
    """The figures that a log line has."""
    return ", ".join(figure.text.format(figure.value) for figure in figures.values() if figure.text)


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

    def write(self, event: str, step: int, **values: Any) -> None:
        """Add a line for an event ("train", "epoch", "valid", ...) at a step since the start of training.

        Its floats are points of curves too. docs/training.md lists the events and their columns.
        """
        if self.path is None:
            return
        row = {"time": round(time.time(), 3), "event": event, "step": step}
        row |= {key: _or_null(value) for key, value in values.items()}
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
        for key, value in values.items() if self._curves else ():
            if isinstance(value, float):
                self._curves.add_scalar(f"{event}/{key}", value, step)

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


def _or_null(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys, as text in columns; None is a dash."""
    return tabulate(
        rows, headers="keys", tablefmt="plain", floatfmt=".4g", numalign="right", stralign="right", missingval="-"
    )
