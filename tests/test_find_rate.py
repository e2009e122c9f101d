"""The learning-rate range test: its numbers by hand, and the command on a small run."""

import sys

import numpy as np
import pytest

from config import load_config
from conftest import ROOT, small_flags
from training import rate_range
from training.rate_range import Suggestion, has_diverged, rate_at, smoothed, suggest

sys.path.insert(0, str(ROOT / "scripts"))
import find_rate  # noqa: E402


def test_the_rate_rises_geometrically():
    assert [rate_at(step, 1e-4, 1.0, 5) for step in range(5)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_smoothing_is_corrected_for_its_beginning():
    # 0.1 * 2 / 0.1; (0.9 * 0.2 + 0.1 * 4) / 0.19; (0.9 * 0.58 + 0.1 * 0) / 0.271
    assert smoothed([2.0, 4.0, 0.0]).tolist() == pytest.approx([2.0, 0.58 / 0.19, 0.522 / 0.271])
    assert smoothed([3.0] * 50).tolist() == pytest.approx([3.0] * 50)


def test_the_test_ends_where_the_loss_bursts():
    assert not has_diverged([1.0, 1.0, 8.0]), "0.9 * 0.19 + 0.8 over 0.271 is 3.58"
    assert has_diverged([1.0, 1.0, 10.0]), "and with 10 it is 4.32"
    assert has_diverged([1.0, float("nan")]) and has_diverged([1.0, float("inf")])
    assert not has_diverged([1.0])


def test_what_is_suggested():
    rates = [10.0**power for power in range(-12, 0)]
    #        five that settle       then      steepest: from 1.8 to 0.9, in the middle at 1e-4
    means = [0.1, 0.1, 9.0, 0.1, 0.1, 2.0, 1.9, 1.8, 1.4, 0.9, 0.8, 3.0]
    assert suggest(rates, means) == Suggestion(steepest=pytest.approx(1e-4), lowest=pytest.approx(1e-2))
    assert suggest(rates, means).safe == pytest.approx(1e-3)
    assert suggest(rates, [1.0] * 5 + [1, 2, 3, 4, 5, 6, 7]) is None, "it only rises"
    assert suggest(rates[:6], means[:6]) is None, "too short"
    last = suggest(rates[:-1], means[:-1])
    assert last.lowest == pytest.approx(1e-2), "a test that ends before the loss bursts"


def test_the_recommended_rate_is_the_configs():
    suggestion = Suggestion(0.002, 0.05)
    train = load_config("configs/tsn.txt", ["TRAIN.batch_size=16"]).train
    assert find_rate.advice(suggestion, [0.1], train) == [
        "the smoothed loss falls fastest at rate 0.002, and is lowest at 0.05",
        "recommended, a tenth of the latter, for a batch size of 16: -o TRAIN.learning_rate=0.005",
    ]
    train = load_config("configs/tsn.txt", ["TRAIN.batch_size=16", "TRAIN.rate_for_batch=64"]).train
    assert find_rate.advice(suggestion, [0.1], train)[-1].endswith("-o TRAIN.learning_rate=0.02")
    assert "a higher --highest" in find_rate.advice(suggestion, [0.01, 0.05], train)[1]
    assert "the loss falls at no rate of these" in find_rate.advice(None, [0.1], train)[0]


@pytest.fixture
def find(small_set, tmp_path, monkeypatch, caplog):
    """Run the command beside an empty folder; returns what it has said."""
    (tmp_path / "here").mkdir()

    def run(*flags: str, **settings) -> str:
        with caplog.at_level("INFO"):
            find_rate.main([*small_flags(small_set, **settings), "--pretrain=none", *flags])
        return "\n".join(record.getMessage() for record in caplog.records)

    return run


def test_the_command_trains_at_rising_rates_and_leaves_a_picture_only(find, tmp_path):
    picture = tmp_path / "here" / "rate.png"
    settings = {"VALID__filelist": "none", "TRAIN__schedule": "cosine", "TRAIN__warmup_epochs": 1}
    text = find("--lowest=1e-4", "--highest=1e-2", "--steps=16", f"--picture={picture}", **settings)
    assert "range test: 16 steps at most, from rate 0.0001 to 0.01" in text
    rows = [line.split() for line in text.splitlines() if line.split()[:1] and line.split()[0].isdecimal()]
    steps, rates = zip(*((int(row[0]), float(row[1])) for row in rows if len(row) == 4), strict=True)
    assert steps == tuple(range(16)), "more than an epoch"
    assert rates[:2] == pytest.approx([1e-4, 1e-4 * 100 ** (1 / 15)], rel=1e-3), "whatever the config's schedule"
    assert "-o TRAIN.learning_rate=" in text.splitlines()[-1] or "falls at no rate" in text.splitlines()[-1]
    assert picture.read_bytes().startswith(b"\x89PNG") and list(picture.parent.iterdir()) == [picture]


def test_a_loss_that_bursts_ends_the_test(find, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_range, "DIVERGED", np.inf)  # so that it goes on until there is no number
    text = find("--lowest=1e-3", "--highest=1e30", "--steps=16", f"--picture={tmp_path}/rate.svg")
    assert " of 16 steps" in text and "all of 16 steps" not in text


def test_mistakes_are_told_in_a_line(find, capsys, monkeypatch):
    for flags in (["--lowest=0"], ["--lowest=1", "--highest=0.1"]):
        with pytest.raises(SystemExit):
            find(*flags)
        assert "the first must be above 0 and smaller" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no picture has the ending '.xyz'"):
        find("--picture=rate.xyz")
    with pytest.raises(FileNotFoundError, match="nowhere/rate.png: there is no such folder; make it, or choose anothe"):
        find("--picture=nowhere/rate.png")
    monkeypatch.setattr(find_rate, "range_test", lambda *args: ([], []))
    with pytest.raises(ValueError, match="the loss of the first step is no number, which no rate has to do with"):
        find()
