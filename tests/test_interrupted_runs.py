"""Runs that are killed, stopped or run out of disk: nothing is lost, and the end is the same to the bit.

The suite interrupts a run a few times; TSN_LONG=1 kills it 30 times.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import train
from common import command_line
from conftest import small_flags
from models.weights import read_weights
from training.checkpoint import load_training_arrays, load_training_state

IS_LONG = "TSN_LONG" in os.environ
NUM_KILLS, NUM_EPOCHS = (30, 60) if IS_LONG else (1, 4)
LONGEST_DELAY_SEC = {"starting": 3.0, "training": 1.5 if IS_LONG else 0.7, "writing": 0.15 if IS_LONG else 0.02}
EXIT_CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def start(flags: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "train.py", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(process: subprocess.Popen, has_happened) -> None:
    """Wait until something has happened, or the process has ended."""
    while process.poll() is None and not has_happened():
        time.sleep(0.002)


def interrupt(process: subprocess.Popen, save_dir: Path, how: str, number: signal.Signals, rng) -> None:
    """Send a signal at a random moment: from the start on, while it trains, or while a checkpoint is written."""
    metrics = save_dir / "metrics.jsonl"
    size = metrics.stat().st_size if metrics.exists() else 0
    if how != "starting":
        wait_for(process, lambda: metrics.exists() and metrics.stat().st_size > size)
    if how == "writing":
        wait_for(process, lambda: list(save_dir.glob(".*.unfinished")))
    time.sleep(rng.uniform(0, LONGEST_DELAY_SEC[how]))
    process.send_signal(number)


def result(save_dir: Path) -> tuple[dict, dict, dict, list]:
    """Final weights, optimizer state, best weights and figures, without the times."""
    folder = save_dir / f"TSN_epoch{NUM_EPOCHS - 1}"
    state, arrays = load_training_state(folder), load_training_arrays(folder)
    history = [{key: value for key, value in row.items() if key != "minutes"} for row in state.history]
    weights, best = (read_weights(save_dir / f"TSN_{label}").arrays for label in (f"epoch{NUM_EPOCHS - 1}", "best"))
    return weights, arrays, best, [*history, state.best_top1, state.step]


def test_a_run_that_is_interrupted_again_and_again_ends_the_same_to_the_bit(small_set, tmp_path, caplog):
    settings = {"TRAIN__epoch": NUM_EPOCHS, "TRAIN__save_interval_steps": 2, "TRAIN__keep_last": 2}
    # everything that has a state of its own
    settings |= {"TRAIN__ema_decay": 0.9, "TRAIN__accumulate_steps": 2, "TRAIN__clip_grad_norm": 5.0}
    settings |= {"TRAIN__optimizer": "adamw", "TRAIN__schedule": "cosine", "TRAIN__warmup_epochs": 1.5}
    settings |= {"TRAIN__precise_bn_steps": 1, "TRAIN__frozen_stages": 1, "TRAIN__head_rate": 5.0}
    # and everything that draws
    settings |= {"TRAIN__mixup": 0.2, "TRAIN__cutmix": 1.0, "TRAIN__dropout": 0.3, "TRAIN__color_jitter": 0.4}
    settings |= {"TRAIN__crop": "multi_scale", "TRAIN__sampling": "class_balanced", "TRAIN__label_smoothing": 0.1}
    flags = ["--pretrain=none", *small_flags(small_set, **settings), "--valid_interval=2", "--log_interval=2"]
    undisturbed = tmp_path / "undisturbed"
    train.main([*flags, f"--save_dir={undisturbed}"])

    interrupted = tmp_path / "interrupted"
    flags += [f"--save_dir={interrupted}", "--resume=auto"]
    rng = np.random.default_rng()
    kinds = [(("writing", "training", "starting")[n % 3], signal.SIGKILL) for n in range(NUM_KILLS)]
    kinds += [("training", signal.SIGTERM), ("writing", signal.SIGINT)]
    num_unfinished = 0
    for number, (how, signal_number) in enumerate(kinds):
        workers = 1 + number % 2 if number % 5 else 0  # results do not depend on them
        process = start([*flags, "-o", f"TRAIN.num_reader_threads={workers}"])
        interrupt(process, interrupted, how, signal_number, rng)
        output = process.communicate()[0].decode()
        print(how, signal_number.name, process.returncode, sorted(path.name for path in interrupted.glob("*TSN_*")))
        assert process.returncode == EXIT_CODES[signal_number], output
        num_unfinished += any(interrupted.glob(".*.unfinished"))
    assert num_unfinished > 0, "no kill met a checkpoint that was being written"
    train.main(flags)
    assert not list(interrupted.glob(".TSN_*"))
    for theirs, ours in zip(result(undisturbed), result(interrupted), strict=True):
        if isinstance(theirs, list):
            assert ours == theirs
            continue
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    with caplog.at_level("INFO"):
        train.main(flags)
    assert f"has finished its {NUM_EPOCHS} epochs: nothing is left to train" in caplog.text


def test_a_second_signal_ends_the_run_at_once():
    code = "import os, signal\nfrom distributed.signals import StopRequest\nwith StopRequest() as stop:\n"
    code += "    os.kill(os.getpid(), signal.SIGINT)\n    print(stop.signal_number, flush=True)\n"
    code += "    os.kill(os.getpid(), signal.SIGTERM)\n    print('not reached')\n"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 143
    assert done.stdout.splitlines() == [
        "stopping: this step ends, then a checkpoint is saved; a second signal ends the run at once",
        "2",
        "stopped without saving",
    ]
    launched = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PADDLE_TRAINER_ID": "0"})
    assert "not reached" in launched.stdout, "the launcher sends three SIGTERMs in 0.6 s and means one"


@pytest.fixture
def small_disk(tmp_path):
    """A disk that holds one checkpoint of the small model, but not two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_or_warns_as_the_config_says(small_set, small_disk, tmp_path, capsys, monkeypatch, caplog):
    flags = [
        "--pretrain=none",
        *small_flags(small_set, TRAIN__epoch=3),
        "--valid_interval=0",
        f"--save_dir={small_disk}",
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    with pytest.raises(SystemExit) as caught:
        command_line.run(train.main)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "TSN_epoch1: cannot be saved (No space left on device)" in line
    assert (
        f"{small_disk / 'TSN_epoch0'} is the newest checkpoint; free some space, then go on with --resume=auto" in line
    )
    assert load_training_state(small_disk / "TSN_epoch0").epoch == 1

    train.main([*flags, "--resume=auto", "-o", "TRAIN.on_save_error=continue"])
    assert sum("training goes on (TRAIN.on_save_error)" in record.getMessage() for record in caplog.records) == 2
    assert load_training_state(small_disk / "TSN_epoch0").epoch == 1
    assert json.loads((small_disk / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "end"
