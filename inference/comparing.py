"""Whether an export computes what its source does, and what a smaller precision costs."""

import logging
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
from tabulate import tabulate

from common.console import size
from inference.engines.engine import Engine

LARGEST_DIFFERENCE = 1e-4  # of probabilities, and of features as a share of the largest
TIMED_RUNS = 3
CLIPS_AT_ONCE = 4

logger = logging.getLogger("export")


class Samples(NamedTuple):
    """Clips of a list."""

    names: list[str]
    clips: list[np.ndarray]
    """uint8 (1, T, 3, H, W) each."""
    labels: list[tuple[int, ...] | None]
    """The true classes of each; None: not known."""


class Contender(NamedTuple):
    """An engine in one precision."""

    precision: str
    engine: Engine
    num_bytes: int
    """Of its files."""


class Row(NamedTuple):
    """What a precision makes of some clips, beside float32."""

    precision: str
    top1: float | None
    """Share of the labelled clips whose best class is a true one; None: no clip has a label."""
    max_difference: float
    mean_difference: float
    agreement: float
    """Share of the clips whose best class is the same."""
    num_bytes: int
    clips_per_sec: float


def compare(source: Engine, exported: Engine, clips: list[tuple[str, np.ndarray]], target: Path) -> None:
    """Print the largest differences between two engines, and how fast they are.

    Args:
        clips: (name, frames), uint8 (N, T, 3, H, W); the last is what the speed is measured on.
        target: what the export is to be, for messages.

    Raises:
        ValueError: a difference is above LARGEST_DIFFERENCE.
    """
    worst, worst_of_features, num_other_best = 0.0, 0.0, 0
    for name, frames in clips:
        ours, theirs = (engine(paddle.to_tensor(frames)) for engine in (source, exported))
        difference = float(np.abs(ours.probabilities - theirs.probabilities).max())
        of_features = float(np.abs(ours.features - theirs.features).max() / np.abs(ours.features).max())
        num_other_best += int((ours.probabilities.argmax(1) != theirs.probabilities.argmax(1)).sum())
        logger.info("[EXPORT] %s: probabilities differ by %.1e, features by %.1e", name, difference, of_features)
        worst, worst_of_features = max(worst, difference), max(worst_of_features, of_features)
    logger.info(
        "[EXPORT] largest difference %.1e (features: %.1e of the largest), another best class for %d clips; at most %g "
        "is allowed",
        worst, worst_of_features, num_other_best, LARGEST_DIFFERENCE,
    )  # fmt: skip
    if not max(worst, worst_of_features) <= LARGEST_DIFFERENCE:  # NaN fails too
        raise ValueError(
            f"{target}: the exported model computes something else: probabilities differ by {worst:.1e}, features by "
            f"{worst_of_features:.1e}, more than {LARGEST_DIFFERENCE:g}; nothing was written"
        )
    frames = paddle.to_tensor(clips[-1][1])
    times = [statistics.median(_seconds(engine, frames) for _ in range(TIMED_RUNS)) for engine in (source, exported)]
    logger.info("[EXPORT] %s: %.1f times as fast as %s here", exported.title, times[0] / times[1], source.title)


def compare_precisions(contenders: list[Contender], samples: Samples) -> list[Row]:
    """A row for each contender; the first is float32, which the others are measured by. They take turns."""
    probabilities: list[list[np.ndarray]] = [[] for _ in contenders]
    seconds = [0.0] * len(contenders)
    for contender in contenders:
        contender.engine(paddle.to_tensor(samples.clips[0]))  # the first run makes plans
    for start in range(0, len(samples.clips), CLIPS_AT_ONCE):
        frames = paddle.to_tensor(np.concatenate(samples.clips[start : start + CLIPS_AT_ONCE]))
        for place, contender in enumerate(contenders):
            started_sec = time.perf_counter()
            probabilities[place].append(contender.engine(frames).probabilities)
            seconds[place] += time.perf_counter() - started_sec
    said = [np.concatenate(parts) for parts in probabilities]
    return [
        _row(contender, of, said[0], samples.labels, took_sec)
        for contender, of, took_sec in zip(contenders, said, seconds, strict=True)
    ]


def _row(
    contender: Contender, said: np.ndarray, reference: np.ndarray, labels: list[tuple[int, ...] | None], took_sec: float
) -> Row:
    differences, best = np.abs(said - reference), said.argmax(axis=1)
    right = [int(answer) in classes for answer, classes in zip(best, labels, strict=True) if classes is not None]
    return Row(
        contender.precision,
        sum(right) / len(right) if right else None,
        float(differences.max()),
        float(differences.mean()),
        float((best == reference.argmax(axis=1)).mean()),
        contender.num_bytes,
        len(said) / took_sec,
    )


def precision_table(rows: list[Row]) -> str:
    """The rows for people."""
    headers = ["precision", "top-1", "largest difference", "mean difference", "same best class", "size", "clips/s"]
    cells = [
        [
            row.precision,
            "no labels" if row.top1 is None else f"{row.top1:.4f}",
            f"{row.max_difference:.1e}",
            f"{row.mean_difference:.1e}",
            f"{row.agreement:.2%}",
            size(row.num_bytes),
            f"{row.clips_per_sec:.1f}",
        ]
        for row in rows
    ]
    return tabulate(cells, headers, "github", disable_numparse=True)


def check_loss(rows: list[Row], max_loss: float, target: Path) -> None:
    """Compare the last row with the first.

    Args:
        max_loss: points of top-1, that is hundredths, that may be lost.

    Raises:
        ValueError: more is lost; without labels, the best class changes for more clips than that.
    """
    first, last = rows[0], rows[-1]
    is_scored = first.top1 is not None and last.top1 is not None
    loss = 100 * (first.top1 - last.top1 if is_scored else 1 - last.agreement)
    if not loss <= max_loss or not np.isfinite(last.max_difference):
        what = "points of top-1 are lost" if is_scored else "% of the clips get another best class"
        raise ValueError(
            f"{target}: in {last.precision} {loss:.2f} {what}, more than --max_loss={max_loss:g}; nothing was written. "
            "More calibration clips (--calibration) or bf16 lose less"
        )


def _seconds(engine: Engine, frames: paddle.Tensor) -> float:
    started_sec = time.perf_counter()
    engine(frames)
    return time.perf_counter() - started_sec
