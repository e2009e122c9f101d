"""Weights: a file's arrays -> the model, with a report of what matched. Knows no config."""

from models.weights.files import read_weights
from models.weights.loading import MatchReport, load_weights

__all__ = ["MatchReport", "load_weights", "read_weights"]
