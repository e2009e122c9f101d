"""scripts/cross_validate.sh as a user runs it, interrupted once."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from config import dump_config, load_config
from conftest import make_small_set, small_flags

SCRIPT = ["bash", "scripts/cross_validate.sh"]


@pytest.fixture
def data(tmp_path) -> Path:
    """Two folds of six tiny clips each."""
    folder = make_small_set(tmp_path / "my data", num_val=1)
    lines = [f"../{line}\n" for line in (folder / "train.list").read_text().splitlines()]
    halves = {"train": lines[:6], "test": lines[6:]}
    for fold, (train, test) in enumerate((("train", "test"), ("test", "train")), start=1):
        (folder / f"fold{fold}").mkdir()
        (folder / f"fold{fold}" / "train.list").write_text("".join(halves[train]))
        (folder / f"fold{fold}" / "test.list").write_text("".join(halves[test]))
    return folder


@pytest.fixture
def config(data) -> Path:
    """The small settings as a file; its lists are those of no fold."""
    overrides = [part for part in small_flags(data, TRAIN__epoch=2) if "=" in part and not part.startswith("-")]
    path = data / "small net.yaml"
    path.write_text(dump_config(load_config("configs/tsn.yaml", overrides)))
    return path


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [*SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches a whole group, which must not be pytest's
    )


def events(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_campaign_is_interrupted_goes_on_and_ends_with_its_scores(config, data, tmp_path):
    runs = [tmp_path / "all runs" / f"small net_fold{fold}_seed3" for fold in (1, 2)]
    arguments = [
        config,
        data,
        "--seeds",
        "3",
        f"--save_dir={runs[0].parent}",
        "--",
        "--pretrain=none",
        "--log_interval=1",
    ]
    campaign = start(*arguments)
    while campaign.poll() is None and "train" not in events(runs[0]):
        time.sleep(0.01)
    os.killpg(campaign.pid, signal.SIGINT)
    said = campaign.communicate()[0]
    assert campaign.returncode == 130, said
    assert f"== {runs[0]}: ended with exit code 130; this goes on: bash scripts/cross_validate.sh " in said
    assert "end" not in events(runs[0]) and not runs[1].exists()

    campaign = start(*arguments)
    said = campaign.communicate()[0]
    assert campaign.returncode == 0, said
    for run, others in zip(runs, ("start", "resume"), strict=True):
        assert events(run)[-1] == "end" and ("resume" in events(run)) == (others == "start")
        rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        assert [row["num_videos"] for row in rows if row["event"] == "valid"] == [6, 6]
    assert f"== {runs[1]}: run 2 of 2" in said and "1 seed x 2 folds" in said
    assert (tmp_path / "all runs" / "small net.png").read_bytes().startswith(b"\x89PNG")
    lists = [load_config(run / "TSN_epoch1" / "config.yaml") for run in runs]
    assert [found.test.filelist for found in lists] == [f"{data}/fold{fold}/test.list" for fold in (1, 2)]

    campaign = start(*arguments[:5], "--folds=2", *arguments[5:])
    assert "has finished its 2 epochs: nothing is left to train" in campaign.communicate()[0]


def test_a_failing_run_ends_the_campaign_with_its_exit_code(config, data, tmp_path):
    campaign = start(config, data, f"--save_dir={tmp_path}", "--", "-o", "TRAIN.learning_rate=-1")
    said = campaign.communicate()[0]
    assert campaign.returncode == 2
    assert "learning_rate" in said and "fold1_seed0: ended with exit code 2; this goes on: bash" in said
    assert "run 2 of 2" not in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give a config, and the folder that holds fold1"),
        (["configs/tsn.txt", "{data}", "--sedes=1"], "--sedes=1 is no flag of this script"),
        (["configs/tsn.txt", "{data}", "--seeds"], "--seeds needs a value"),
        (["configs/tsn.txt", "{data}", "--seeds=1 b"], "--seeds: 'b' is no whole number"),
        (["configs/tsn.txt", "{data}", "--folds=1 *"], "{data}/fold*/train.list: no such list"),
        (["configs/tsn.txt", "{data}/train"], "{data}/train: holds no fold1/test.list"),
        (["nothing.txt", "{data}"], "nothing.txt: no such config file"),
        (["configs/tsn.txt", "{data}", "--", "--seed=1"], "--seed=1: train.py gets one from this script"),
    ],
)
def test_a_mistake_is_a_line_before_anything_is_trained(data, arguments, message):
    campaign = start(*(argument.format(data=data) for argument in arguments))
    (line,) = campaign.communicate()[0].splitlines()
    assert campaign.returncode == 2 and f"error: {message.format(data=data)}" in line
