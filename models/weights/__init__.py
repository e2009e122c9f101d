"""Weights of any origin: download, read, rename, load with a report of what matched, write. Knows no config."""

from models.weights.download import RESNET50_IMAGENET, TSM_KINETICS, TSN_KINETICS, Published, published_weights
from models.weights.files import Weights, find_weights, read_weights, write_weights
from models.weights.loading import MatchReport, load_weights

__all__ = [
    "RESNET50_IMAGENET",
    "TSM_KINETICS",
    "TSN_KINETICS",
    "MatchReport",
    "Published",
    "Weights",
    "find_weights",
    "load_weights",
    "published_weights",
    "read_weights",
    "write_weights",
]
