"""Which clips an epoch has, and in which order. Pure functions of numbers."""

from collections.abc import Callable

import numpy as np

CLASS_BALANCED = "class_balanced"
Order = Callable[[int], np.ndarray]
"""Epoch, counted from 0 -> the clips of it."""


def shuffled_order(epoch: int, num_clips: int, seed: int) -> np.ndarray:
    """Each clip once, int64 (num_clips,)."""
    return np.random.default_rng([seed, epoch]).permutation(np.arange(num_clips))


def balanced_order(epoch: int, labels: np.ndarray, seed: int) -> np.ndarray:
    """As many clips as there are labels, each class equally often but for a remainder, int64 (N,).

    The classes come in turns, each turn in a new order. A class gives its clips in a random order, all before one comes
    again.

    Args:
        labels: int64 (N,).
    """
    rng = np.random.default_rng([seed, epoch])
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    num_turns = -(-len(labels) // len(classes))
    rows = [
        np.concatenate([rng.permutation(places) for _ in range(-(-num_turns // len(places)))])[:num_turns]
        for places in classes
    ]
    turns = np.stack(rows, axis=1)
    return np.concatenate([turn[rng.permutation(len(classes))] for turn in turns])[: len(labels)]
