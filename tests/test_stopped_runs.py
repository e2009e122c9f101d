"""Runs whose pipe breaks, whose every process gets SIGTERM, whose reading process dies: what each saves and says."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import train
from conftest import small_flags
from models.weights import read_weights
from training.checkpoint import load_training_state

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def long_set(small_set, tmp_path_factory) -> Path:
    """The lists of the small set many times over, so that a run is still at work when it is stopped."""
    folder = tmp_path_factory.mktemp("long set")
    for name, times in (("train", 3), ("val", 40), ("infer", 40)):
        lines = (small_set / f"{name}.list").read_text().splitlines()
        content = "".join(f"{small_set}/{line}\n" for line in lines)
        (folder / f"{name}.list").write_text(content * times)
    return folder


@pytest.fixture(scope="module")
def weights(small_set, tmp_path_factory) -> Path:
    save_dir = tmp_path_factory.mktemp("weights")
    train.main(["--pretrain=none", *small_flags(small_set), "--valid_interval=0", f"--save_dir={save_dir}"])
    return save_dir / "TSN_epoch0"


def start(verb: str, *flags: object, stderr=subprocess.PIPE) -> subprocess.Popen:
    """A verb at work: its first log line of a step has come."""
    command = [sys.executable, f"{verb}.py", *map(str, flags), "--log_interval=1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr)
    for line in process.stdout:
        if b", iter 0" in line or b"] iter 0" in line or b"/0.mp4: " in line:
            break
    return process


def training(long_set: Path, save_dir: Path) -> list[str]:
    flags = small_flags(long_set, TRAIN__num_reader_threads=2, VALID__num_reader_threads=0)
    return ["--pretrain=none", *flags, "--valid_interval=0", f"--save_dir={save_dir}", "--resume=auto"]


def children(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_for_end(pids: list[int]) -> None:
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.01)


def only_checkpoint(save_dir: Path) -> int:
    """The step within the first epoch that was saved."""
    (folder,) = save_dir.glob("TSN_*")
    state = load_training_state(folder)
    assert state.epoch == 0 and state.step_in_epoch == state.step > 0 and folder.name == f"TSN_epoch0_step{state.step}"
    return state.step


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.STDOUT], ids=["apart", "in the same pipe"])
def test_ctrl_c_of_a_pipe_saves_although_nobody_reads_the_log(long_set, tmp_path, stderr):
    process = start("train", *training(long_set, tmp_path), stderr=stderr)
    process.stdout.close()  # tee ends first
    process.send_signal(signal.SIGINT)
    said = process.stderr.read().decode() if process.stderr else ""
    assert process.wait(100) == 130, said
    step = only_checkpoint(tmp_path)
    if stderr == subprocess.PIPE:
        process.stderr.close()
        assert f"[TRAIN] saved {tmp_path}/TSN_epoch0_step{step}" in said
        assert said.count("the log goes on here") == 1 and "Error" not in said and "Exception" not in said


def test_sigterm_to_every_process_saves_and_leaves_none(long_set, tmp_path):
    process = start("train", *training(long_set, tmp_path))
    workers = children(process)
    assert len(workers) == min(2, os.cpu_count())
    for pid in [*workers, process.pid]:
        os.kill(pid, signal.SIGTERM)
    said = process.communicate(timeout=100)
    assert process.returncode == 143, said
    only_checkpoint(tmp_path)
    wait_for_end(workers)


def fails_when_a_worker_is_killed(process: subprocess.Popen) -> str:
    """The one line on stderr; no process of it is left."""
    workers = children(process)
    os.kill(workers[0], signal.SIGKILL)
    said = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 2, said
    wait_for_end(workers)
    (line,) = [line for line in said.splitlines() if "WARNING" not in line and "Warning" not in line]
    assert line.startswith(
        f"error: a process that reads videos (pid {workers[0]}) was killed: in most cases the memory"
    )
    assert "lower num_reader_threads" in line
    return line


def test_a_killed_worker_costs_no_step(long_set, tmp_path):
    interrupted, undisturbed = tmp_path / "interrupted", tmp_path / "undisturbed"
    line = fails_when_a_worker_is_killed(start("train", *training(long_set, interrupted)))
    step = only_checkpoint(interrupted)
    assert line.endswith(f"{interrupted}/TSN_epoch0_step{step} is the newest checkpoint, and --resume=auto goes on")
    weights = []
    for save_dir in (interrupted, undisturbed):
        train.main(training(long_set, save_dir))
        weights.append(read_weights(save_dir / "TSN_epoch0").arrays)
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[1]), "the same to the bit"


def test_a_killed_worker_ends_a_test_with_a_line(long_set, weights):
    flags = small_flags(long_set, TEST__num_reader_threads=2)
    fails_when_a_worker_is_killed(start("test", *flags, f"--weights={weights}"))


def test_a_killed_worker_keeps_what_infer_has_done(long_set, weights, tmp_path):
    flags = [*small_flags(long_set, INFER__num_reader_threads=2), f"--weights={weights}", f"--save_dir={tmp_path}"]
    line = fails_when_a_worker_is_killed(start("infer", *flags, "--features"))
    assert line.endswith("; what is done is written, and --skip_done goes on")
    rows = [json.loads(row) for row in (tmp_path / "TSN_infer_result.jsonl").read_text().splitlines()]
    with (tmp_path / "TSN_infer_result").open("rb") as file:
        assert len(pickle.load(file)) == len(rows) > 0
    paths = np.load(tmp_path / "TSN_infer_features.npz")["paths"]
    assert set(paths) == {row["path"] for row in rows}


def test_a_worker_without_memory_ends_training_with_a_line(long_set, tmp_path):
    code = """
import sys
import train
from common import command_line
from datareader.reader import ClipReader

whole = ClipReader.read
ClipReader.read = lambda self, epoch, index, clip: whole(self, epoch, index, clip) if index else bytearray(1 << 62)
command_line.run(train.main)
"""
    command = [sys.executable, "-c", code, *map(str, training(long_set, tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "WARNING" not in line and "Warning" not in line]
    assert line.startswith("error: a process that reads videos (pid ") and "could not get the memory" in line
    assert "lower num_reader_threads or batch_size" in line and line.endswith("--resume=auto goes on")


def test_the_script_is_replaced_by_what_it_starts(tmp_path):
    stub = tmp_path / "python"  # so that SIGTERM to the script is SIGTERM to the run
    stub.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 0 || echo $$\n')
    stub.chmod(0o755)
    for script in (f"{verb}/{verb}_{model}.sh" for verb in ("train", "test", "infer") for model in ("tsn", "tsm")):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FILELIST": "a.list"}
        command = ["bash", ROOT / "scripts" / script]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.read()) == process.pid
