"""The learning-rate range test: how the loss goes while the rate rises, and which rates that speaks for.

Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3; the smoothing and the end
are those of fast.ai.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from datareader.loader import Batch
from training.finite import NonFiniteLoss
from training.run import Run
from training.steps import train_steps

SMOOTHING = 0.9  # share of the mean so far that a step keeps
DIVERGED = 4.0  # times the lowest loss: where the test ends
SETTLING_STEPS = 5  # whose mean is still that of a few batches
SAFE_SHARE = 0.1  # of the rate at which the loss is lowest


class Suggestion(NamedTuple):
    """What a range test speaks for."""

    steepest: float
    """The rate at which the smoothed loss falls fastest."""
    lowest: float
    """The rate at which it is lowest."""

    @property
    def safe(self) -> float:
        """A tenth of the rate at which it is lowest: there it is about to rise."""
        return SAFE_SHARE * self.lowest


def rate_at(step: int, lowest: float, highest: float, num_steps: int) -> float:
    """The rate of a step, counted from 0: it rises geometrically, from the lowest at the first to the highest."""
    return lowest * (highest / lowest) ** (step / (num_steps - 1))


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Exponential moving averages of the losses, each divided by the sum of its weights; float64 (N,)."""
    mean, means = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**number))
    return np.array(means)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last smoothed loss is no number, or too far above the lowest."""
    means = smoothed(losses)
    return not np.isfinite(means[-1]) or means[-1] > DIVERGED * means.min()


def suggest(rates: Sequence[float], means: Sequence[float]) -> Suggestion | None:
    """The rates that a test speaks for; None if its loss never falls.

    Args:
        rates: of its steps, rising.
        means: their smoothed losses.
    """
    rates, means = np.asarray(rates)[SETTLING_STEPS:], np.asarray(means)[SETTLING_STEPS:]
    if len(means) < 2 or (lowest := int(means.argmin())) == 0:
        return None
    slopes = np.gradient(means, np.log(rates))[: lowest + 1]
    return Suggestion(float(rates[slopes.argmin()]), float(rates[lowest]))


def range_test(run: Run, lowest: float, highest: float, num_steps: int) -> tuple[list[float], list[float]]:
    """Train while the rate rises, until the loss has diverged; returns the rates and losses of the steps.

    Args:
        run: saves nothing; its weights are of no use afterwards.

    Raises:
        ReadingFailed: too many videos cannot be read.
    """
    learner = run.learner._replace(learning_rate_at=lambda step: rate_at(step, lowest, highest, num_steps))
    rates, losses = [], []
    batches = itertools.islice(_epochs(run), num_steps)
    try:
        for figures in train_steps(learner, batches, run.meter, log_interval=1):
            if figures is None:
                continue  # not one video of the batch could be read
            rates.append(figures["learning_rate"].value)
            losses.append(figures["loss"].value)
            if has_diverged(losses):
                break
    except NonFiniteLoss:
        pass  # the rate is far too high by now
    return rates, losses


def _epochs(run: Run) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    for epoch in itertools.count():
        run.unreadable.start_epoch()
        yield from run.unreadable.watch(run.train_loader.epoch(epoch))
