"""The comparison with PyTorch, without running it."""

import importlib.util

import pytest
from paddle import nn

from benchmarks import train_peer


def test_without_pytorch_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install torch"):
        train_peer.main([])


def test_ratio_is_the_median_over_rounds_and_not_the_ratio_of_medians():
    rounds = [{"paddle": {"ms": ours}, "torch": {"ms": theirs}} for ours, theirs in ((10, 10), (60, 20), (40, 40))]
    median, fastest = train_peer.step_rows(train_peer.parse_args(["--threads=1"]), rounds)
    assert median == {"what": "step, 1 thread, median", "paddle_ms": 40, "torch_ms": 20, "ratio": 1.0}
    assert fastest == {"what": "step, 1 thread, fastest", "paddle_ms": 10, "torch_ms": 10, "ratio": 1.0}


def test_layers_have_the_names_that_their_peers_have():
    layers = [nn.Conv2D(3, 8, 7, 2), nn.Conv2D(3, 8, 1), nn.BatchNorm2D(8), nn.ReLU(), nn.MaxPool2D(3, 2)]
    names = ["convolution 7x7 / 2", "convolution 1x1", "batch norm", "relu", "max pooling"]
    assert list(map(train_peer.kind_of, layers)) == names
