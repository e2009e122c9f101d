"""Several processes: the same numbers as one, and no rank that dies unnoticed."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import peer_networks
import train
from config import load_config
from conftest import NUM_CLASSES, small_flags, write_multi_label_lists
from datareader.build import build_loader, build_records
from distributed.ranks import Ranks, check_port, start
from torch_files import save

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = [sys.executable, "-m", "paddle.distributed.launch"]
LIST_LENGTHS = (1, 2, 13)
NUM_CLASSES_KEPT = 3


@pytest.fixture(scope="module")
def trained(small_set, tmp_path_factory) -> Path:
    """A checkpoint whose batch norm has seen data."""
    save_dir = tmp_path_factory.mktemp("trained")
    flags = small_flags(small_set, TRAIN__epoch=2, TRAIN__learning_rate=0.003)
    train.main(["--pretrain=none", *flags, "--valid_interval=0", f"--save_dir={save_dir}"])
    return save_dir / "TSN_epoch1"


@pytest.fixture(scope="module")
def lists(small_set, tmp_path_factory) -> dict[int, Path]:
    """Lists of each length; all but the shortest hold an unreadable video, the longest three in a row."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "cut.mp4").write_bytes(b"no video")
    names = [line.rsplit(" ", 1) for line in (small_set / "val.list").read_text().splitlines()]
    made = {}
    for length in LIST_LENGTHS:
        lines = [f"{small_set / name} {label}" for name, label in (names * 5)[:length]]
        for broken in {1: [], 13: [4, 5, 6]}.get(length, [1]):
            lines[broken] = f"{folder / 'cut.mp4'} {broken % 3}"
        made[length] = folder / f"{length}.list"
        made[length].write_text("\n".join(lines))
    return made


@pytest.fixture(scope="module")
def jobs(small_set, trained, lists, tmp_path_factory) -> list[list]:
    """[verb, flags] of what is done by one process and by two; {out} is where to."""
    # batch norm is frozen, because its statistics are those of a rank's own videos
    settings = {"TRAIN__freeze_bn": True, "TRAIN__learning_rate": 0.0001}
    recipe = {"TRAIN__mixup": 0.2, "TRAIN__cutmix": 1.0, "TRAIN__dropout": 0.3, "TRAIN__color_jitter": 0.4}
    recipe |= {"TRAIN__crop": "random_resized", "TRAIN__class_weights": "balanced", "TRAIN__label_smoothing": 0.1}
    recipe |= {"TRAIN__batch_size": 4, "TRAIN__sampling": "class_balanced", "TRAIN__head_rate": 5.0}
    flags = small_flags(small_set, **settings, **recipe)
    found = [["train", [*flags, f"--pretrain={trained}", "--log_interval=1", "--save_dir={out}/run"]]]
    for length, path in lists.items():
        flags = [*small_flags(small_set, TEST__filelist=path, INFER__batch_size=3), f"--weights={trained}"]
        found.append(["test", flags])
        found.append(["infer", [*flags, f"--filelist={path}", f"--save_dir={{out}}/{length}"]])
    several = write_multi_label_lists(small_set, tmp_path_factory.mktemp("several"))
    flags = [*small_flags(small_set, **settings), "-o", "MODEL.multi_label=True"]
    flags += [part for key in ("VALID", "TEST") for part in ("-o", f"{key}.filelist={several / 'val.list'}")]
    flags += ["-o", f"TRAIN.filelist={several / 'train.list'}"]
    found.append(["train", [*flags, f"--pretrain={trained}", "--save_dir={out}/several"]])
    found.append(["test", [*flags, f"--weights={trained}"]])
    arrays = peer_networks.efficientnet_lite_arrays(0, NUM_CLASSES, seed=0)
    weights = save(tmp_path_factory.mktemp("lite") / "lite.pth", arrays, legacy=True)
    flags = [*small_flags(small_set, **settings), f"--pretrain={weights}", "--log_interval=1", "--save_dir={out}/lite"]
    flags += ["-o", "MODEL.backbone=efficientnet_lite", "-o", "MODEL.num_layers=0", "--valid_interval=0"]
    found.append(["train", flags])
    flags = [*small_flags(small_set, **settings, TRAIN__dropout=0.5), "--model_name=TSM", "--valid_interval=0"]
    found.append(["train", [*flags, f"--pretrain={trained}", "--log_interval=1", "--save_dir={out}/tsm"]])
    return found


def within(jobs: list[list], out: Path) -> list[list]:
    return [[verb, [flag.replace("{out}", str(out)) for flag in flags]] for verb, flags in jobs]


def run_jobs(jobs: list[list], out: Path, launch: list[str]) -> tuple[list[dict], str]:
    """Have new processes do the jobs: the scores, and what was said.

    Those of the tests' own process would depend on what other tests have left there, such as its threads.
    """
    (out / "jobs.json").write_text(json.dumps(jobs))
    command = [*launch, "tests/ranks_worker.py", out / "jobs.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((out / "scores.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def by_one(jobs, tmp_path_factory) -> tuple[Path, list[dict]]:
    """The folder of the results, and the scores."""
    out = tmp_path_factory.mktemp("by one")
    return out, run_jobs(within(jobs, out), out, [sys.executable])[0]


@pytest.fixture(scope="module")
def by_two(jobs, tmp_path_factory) -> tuple[Path, list[dict], str]:
    """The same with what the two said."""
    out = tmp_path_factory.mktemp("by two")
    by_parts = within(jobs, out)
    by_parts[0][1] += ["-o", "TRAIN.accumulate_steps=2"]  # changes nothing either
    return out, *run_jobs(by_parts, out, [*LAUNCH, "--nproc_per_node=2", f"--log_dir={out / 'log'}"])


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_with_the_whole_batch(by_one, by_two):
    ours, theirs = metrics(by_two[0] / "run"), metrics(by_one[0] / "run")
    assert [row["event"] for row in ours] == ["start"] + ["train"] * 3 + ["epoch", "valid", "end"]
    for row, expected in zip(ours, theirs, strict=True):
        for key in ("loss", "top1", "top5", "learning_rate", "num_videos", "num_unreadable"):
            assert row.get(key) == pytest.approx(expected.get(key), abs=1e-5), (row["event"], key)
        if row["event"] == "train":
            assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    losses = [row["loss"] for row in ours if row["event"] == "train"]
    assert len(set(losses)) == 3, "every step has a loss of its own"
    (valid,), (expected,) = ([row for row in rows if row["event"] == "valid"] for rows in (ours, theirs))
    assert valid["confusion_matrix"] == expected["confusion_matrix"]
    assert sum(map(sum, valid["confusion_matrix"])) == valid["num_videos"] == 7
    assert by_two[2].count("training finished  Loss") == 4, "only rank 0 speaks on the console, in any run"


@pytest.mark.parametrize("run", ["lite", "tsm"])
def test_two_processes_train_depthwise_convolutions_and_shifts_as_one(run, by_one, by_two):
    ours, theirs = ([row for row in metrics(out / run) if row["event"] == "train"] for out in (by_two[0], by_one[0]))
    assert len(ours) == len(theirs) == 3
    for row, expected in zip(ours, theirs, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert 0 < row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)


def test_two_processes_score_several_classes_of_a_video_as_one(by_one, by_two):
    runs = [metrics(out / "several") for out in (by_two[0], by_one[0])]
    (ours,), (theirs,) = ([row for row in rows if row["event"] == "valid"] for rows in runs)
    assert 0 < ours["mean_average_precision"] < 1
    for key in ("loss", "top1", "top5", "mean_average_precision"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-5), key
    assert "mean_average_precision" in by_two[1][-1] and by_two[1][-1] == pytest.approx(by_one[1][-1], abs=1e-6)


@pytest.mark.parametrize("length", LIST_LENGTHS)
def test_two_processes_score_and_classify_as_one(by_one, by_two, length):
    position = LIST_LENGTHS.index(length)
    ours, theirs = by_two[1][position], by_one[1][position]
    num_broken = {1: 0, 13: 3}.get(length, 1)
    assert (ours["num_videos"], ours["num_unreadable"]) == (length, num_broken)
    assert ours == pytest.approx(theirs, abs=1e-6)
    results, expected = (
        pickle.loads((out / str(length) / "TSN_infer_result").read_bytes()) for out in (by_two[0], by_one[0])
    )
    assert len(results) == length and sum(not entry[2] for entry in results) == num_broken
    for (name, probabilities, class_ids), entry in zip(results, expected, strict=True):
        assert (name, class_ids) == (entry[0], entry[2])
        assert np.allclose(probabilities, entry[1], atol=1e-6)


def test_unreadable_videos_of_all_ranks_are_named_on_the_console(by_two):
    assert "3 of 13 videos could not be read" in by_two[2]
    assert "[INFER] batch size 4 instead of 3, so that 2 ranks share it" in by_two[2]


def test_a_rank_killed_on_one_machine_ends_training_on_the_other(small_set, tmp_path):
    """Two launchers stand for two machines: neither looks after the other's processes."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("the launcher's processes cannot be found here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    flags = ["train.py", "--pretrain=none", *small_flags(small_set, TRAIN__epoch=1000), "--valid_interval=0"]
    nodes = []
    for node in range(2):
        command = [*LAUNCH, f"--master=127.0.0.1:{port}", "--nnodes=2", "--nproc_per_node=1"]
        command += [f"--log_dir={tmp_path / str(node)}", *flags, f"--save_dir={tmp_path / 'run'}"]
        nodes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT))
    rows = tmp_path / "run" / "metrics.jsonl"
    while not (rows.exists() and '"train"' in rows.read_text()):
        assert all(node.poll() is None for node in nodes), nodes[0].communicate()[0]
        time.sleep(0.1)
    (victim,) = Path(f"/proc/{nodes[0].pid}/task/{nodes[0].pid}/children").read_text().split()
    environment = Path(f"/proc/{victim}/environ").read_bytes().decode().split("\0")
    (rank,) = (entry.partition("=")[2] for entry in environment if entry.startswith("PADDLE_TRAINER_ID="))
    subprocess.run(["kill", f"-{signal.SIGKILL.value}", victim], check=True)
    outputs = [node.communicate(timeout=60)[0] for node in nodes]
    assert f"error: rank {rank} has ended before its time" in outputs[1]
    assert all(node.returncode != 0 for node in nodes)


def test_fewer_training_videos_than_ranks_are_refused(small_set, tmp_path):
    overrides = [f"TRAIN.filelist={small_set / 'train.list'}", "TRAIN.batch_size=13", "MODEL.num_classes=3"]
    config = load_config("configs/tsn.yaml", overrides)
    records = build_records(config, "train")
    with pytest.raises(
        ValueError, match="train.list: has 12 videos for 13 ranks, .* start 12 at most, or take a longer"
    ):
        build_loader(config, "train", records, Ranks(5, 13), seed=0)


def test_a_rank_that_never_comes_ends_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = [server.getsockname()[1], 1]
    ends = [f"127.0.0.1:{port}" for port in ports]
    environment = {
        "PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ENDPOINTS": ",".join(ends),
        "PADDLE_CURRENT_ENDPOINT": ends[1], "PADDLE_MASTER": ends[0],
    }  # fmt: skip
    script = (
        "import common.startup; from distributed import ranks; ranks.START_SEC = 1;"
        "from common import console; console.start_logging(); ranks.start(False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Timeout (0:00:01)!" in done.stderr
    assert (
        "rank 1 waits for the others of 2, 1 s at most; if one is missing, its log says why"
        in done.stdout + done.stderr
    )


def test_a_rank_that_is_lost_while_they_meet_is_told_in_one_line(monkeypatch):
    def lose(tensor, src):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:584] TIMEOUT self_rank = 1 pair_rank = 0")

    monkeypatch.setattr("paddle.distributed.init_parallel_env", lambda: None)
    monkeypatch.setattr("paddle.distributed.broadcast", lose)
    environment = {"PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2"}
    environment["PADDLE_TRAINER_ENDPOINTS"] = "127.0.0.1:1,127.0.0.1:2"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="a rank was lost before all had met .*TIMEOUT.*; the log of each says more"):
        start(use_gpu=False)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            OSError, match=f"rank 0 cannot listen on port {port}, .*Address already in use.*start the run"
        ):
            check_port(f"127.0.0.1:{port}")
    check_port(f"127.0.0.1:{port}")


def by_script(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PADDLE_LOG_DIR": str(tmp_path), **environment}
    command = ["bash", "scripts/train/train_tsn.sh", "--help"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)


@pytest.mark.parametrize("number", ["abc", "0", "-1", "1.5"])
def test_an_impossible_number_of_processes_is_refused(number, tmp_path):
    done = by_script(tmp_path, TSN_CPU_PROCS=number)
    line = f"error: TSN_CPU_PROCS is '{number}'; it must be a whole number from 1 to 9999\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_processes_on_the_cpu_may_be_more_than_the_gpus(tmp_path):
    done = by_script(tmp_path, TSN_CPU_PROCS="2", CUDA_VISIBLE_DEVICES="0")
    assert done.returncode == 0, done.stderr[-2000:]
    assert all("python train.py" in (tmp_path / f"workerlog.{rank}").read_text() for rank in range(2))
