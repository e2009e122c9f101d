"""Checking a run before it is trained, and training on so few videos that they are learnt by heart."""

import sys

import pytest

import train
from common import command_line
from config import load_config
from conftest import small_flags, write_multi_label_lists
from datareader.build import build_reader
from datareader.inspection import missing_files, sample_places, try_reading
from datareader.records import RecordList, read_list
from training import dry_run, timing
from training.dry_run import num_checkpoints, status_bytes, step_line
from training.overfit import first_batches, verdict
from training.timing import StepTime, seconds_each


@pytest.fixture
def said(caplog):
    """What train.py has logged, given its flags beyond the small run's."""

    def run(folder, *flags: str, **settings) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            train.main(["--pretrain=none", *small_flags(folder, **settings), *flags])
        return "\n".join(f"{record.levelname} {record.getMessage()}" for record in caplog.records)

    return run


def test_a_dry_run_tells_what_a_run_needs_and_writes_nothing(small_set, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_dir = tmp_path / "runs" / "first"
    flags = ["--dry_run", f"--save_dir={save_dir}", f"--config={command_line.PROJECT}/configs/tsn.yaml"]
    text = said(small_set, *flags, TRAIN__epoch=4)
    assert "[TRAIN] 9 videos tried, 3 of each class: 0 cannot be read" in text
    assert "[VALID] 7 videos tried, 3 of each class: 0 cannot be read" in text
    assert "TSN on resnet 18, 11.2 million trained parameters, 0.11 GMACs per clip of 3 segments of 32 px" in text
    assert "reading alone" in text and "2 processes that read" in text
    # 11.178 million weights and velocities, 9,600 running statistics, 4 bytes each
    assert "a checkpoint takes 89 MB, and 5 of them 447 MB" in text
    assert "the whole run, 4 epochs of 12 steps of training and 4 validations: about 0:0" in text
    (last,) = text.splitlines()[-1:]
    assert "python train.py --pretrain=none" in last and "--dry_run" not in last and str(save_dir) in last
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_ends_with_2_where_the_run_would(small_set, tmp_path, capsys, monkeypatch):
    lines = [f"{small_set}/{line}" for line in (small_set / "train.list").read_text().splitlines()]
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    lines = [f"absent{n}.mp4 0" if line.endswith(" 0") else line for n, line in enumerate(lines)]
    lines = [f"{tmp_path / 'cut.mp4'} 1" if line.endswith(" 1") else line for line in lines]
    (tmp_path / "bad.list").write_text("\n".join(lines))
    flags = small_flags(small_set, TRAIN__filelist=tmp_path / "bad.list")
    save_dir = tmp_path / "cut.mp4" / "run"
    monkeypatch.setattr(sys, "argv", ["train.py", "--pretrain=none", *flags, "--dry_run", f"--save_dir={save_dir}"])
    with pytest.raises(SystemExit) as caught:
        command_line.run(train.main)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert "7 of 12 videos cannot be read, more than TRAIN.max_bad_fraction 0.05 allows" in line
    assert "no readable video of 2 classes was found (class 0, class 1)" in line
    assert f"{save_dir}: cannot write here; choose another --save_dir" in line


def test_an_unreadable_validation_video_is_named_and_ends_nothing(small_set, said, tmp_path, caplog):
    lines = [f"{small_set}/{line}" for line in (small_set / "val.list").read_text().splitlines()]
    (tmp_path / "val.list").write_text("\n".join([*lines, *(f"absent{n}.mp4 0" for n in range(6))]))
    text = said(small_set, "--dry_run", f"--save_dir={tmp_path}", VALID__filelist=tmp_path / "val.list")
    first = ", ".join(f"absent{n}.mp4" for n in range(5))
    assert f"WARNING [VALID] 6 of 13 files do not exist: {first} and 1 more" in text
    assert [path.name for path in tmp_path.iterdir()] == ["val.list"]


def test_a_dry_run_goes_on_from_a_checkpoint_or_refuses_its_folder(small_set, said, tmp_path):
    said(small_set, f"--save_dir={tmp_path}")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match="holds TSN_epoch0 of an earlier run; go on with it by --resume=auto"):
        said(small_set, "--dry_run", f"--save_dir={tmp_path}")
    flags = small_flags(small_set, TRAIN__epoch=3)
    train.main([*flags, "--dry_run", "--resume=auto", f"--save_dir={tmp_path}"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_full_disk_is_foreseen(small_set, said, tmp_path, monkeypatch):
    usage = dry_run.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    text = said(small_set, "--dry_run", f"--save_dir={tmp_path}", "--valid_interval=0", TRAIN__num_reader_threads=0)
    assert "WARNING [TRAIN] disk: a checkpoint takes 89 MB, and 5 of them 447 MB; 1.0 MB are free" in text
    assert "they take turns (num_reader_threads 0)" in text


def test_a_dry_run_is_for_one_process(small_set, monkeypatch):
    monkeypatch.setattr(train, "start", lambda use_gpu: train.Ranks(0, 2))
    with pytest.raises(ValueError, match="--dry_run is for one process; start train.py without the launcher"):
        train.main([*small_flags(small_set), "--dry_run"])


def test_videos_are_tried_of_every_class(small_set):
    records = RecordList()
    for number, label in enumerate([1, 0, 1, 1, 1, 1, 2]):
        records.append(f"{number}.mp4", label)
    assert missing_files(records, "") == [0, 1, 2, 3, 4, 5, 6]
    assert sample_places(records, 3) == {0: [1], 1: [0, 3, 5], 2: [6]}
    assert sample_places(records, 2, left_out=[6, 0]) == {0: [1], 1: [2, 5], 2: []}
    config = load_config("configs/tsn.txt", ["TRAIN.short_size=40", "TRAIN.target_size=32"])
    reader = build_reader(config, "train", [*read_list(small_set / "train.list"), *records], seed=0)
    ((place, reason),) = try_reading(reader, [2, 13])
    assert (place, reason) == (13, "no such file"), "no neighbour has taken its place"


def test_the_slower_part_of_a_step_bounds_a_run():
    reading, computing = StepTime(2.0, 1.0, 1.5, num_workers=2), StepTime(1.0, 3.0, 3.5, num_workers=2)
    assert (reading.step_sec, reading.is_bound_by_reading) == (2.0, True)
    assert (computing.step_sec, computing.is_bound_by_reading) == (3.5, False), "both share the cores"
    assert StepTime(1.0, 3.0, 0.0, num_workers=0).step_sec == 4.0, "they take turns"
    assert step_line(reading).startswith("a step takes 2.00 s: reading alone 2.00 s (by 2 processes), computing alone")
    assert "reading bounds it" in step_line(reading) and step_line(computing).endswith("computing bounds it")


def test_times_leave_the_warm_up_out(monkeypatch):
    now = iter([0.0, 9.0, 10.0, 12.0, 15.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    assert seconds_each(range(4), num_warm=1) == [1.0, 2.0, 3.0]
    now = iter([0.0, 100.0, 101.0])
    assert seconds_each(range(4), num_warm=1) == [100.0], "what takes too long is ended, and counts"


def test_checkpoints_on_the_disk_at_a_time():
    assert num_checkpoints(3, 45, 0) == 5
    assert num_checkpoints(None, 10, 2) == 32


def test_the_memory_of_a_process():
    assert status_bytes("self", "VmHWM") > 10**7
    assert status_bytes("self", "VmNothing") is None and status_bytes("no such", "VmHWM") is None


def test_few_videos_are_learnt_by_heart_and_nothing_is_saved(small_set, said, tmp_path):
    save_dir = tmp_path / "run"
    flags = ["--overfit_batches=1", f"--save_dir={save_dir}", "-o", "TRAIN.save_interval_steps=1"]
    text = said(small_set, *flags, TRAIN__epoch=25, TRAIN__total_videos=224684, VALID__filelist="none")
    assert "trained and validated on the same 4 videos of" in text and "total_videos is" not in text
    assert "INFO [TRAIN] the loss fell from " in text.splitlines()[-1] and " on 4 videos" in text.splitlines()[-1]
    assert "[VALID] Epoch 24" in text
    assert not save_dir.exists()


def test_what_is_not_learnt_by_heart_is_told_with_the_usual_causes(small_set, said, tmp_path):
    flags = ["--overfit_batches=9", "--valid_interval=0", f"--save_dir={tmp_path}"]
    text = said(small_set, *flags, TRAIN__epoch=2, TRAIN__learning_rate=1e-9)
    last = text.splitlines()[-1]
    assert last.startswith("WARNING [TRAIN] the loss went from ") and " on 12 videos, which is not near 0" in last
    assert "[VALID]" not in text and list(tmp_path.iterdir()) == []


def test_both_go_with_every_part_of_a_recipe(small_set, said, tmp_path):
    lists = write_multi_label_lists(small_set, tmp_path)
    settings = {
        "TRAIN__filelist": lists / "train.list", "VALID__filelist": lists / "val.list", "MODEL__multi_label": True,
        "TRAIN__optimizer": "adamw", "TRAIN__schedule": "cosine", "TRAIN__warmup_epochs": 0.5, "TRAIN__mixup": 0.2,
        "TRAIN__ema_decay": 0.9, "TRAIN__frozen_stages": 2, "TRAIN__precise_bn_steps": 2, "TRAIN__dropout": 0.5,
        "TRAIN__accumulate_steps": 2, "TRAIN__learning_rate": 1e-4,
    }  # fmt: skip
    text = said(small_set, "--dry_run", f"--save_dir={tmp_path / 'run'}", **settings)
    # what is saved of each trained weight: itself, two moments of AdamW, the one that the average is taken of
    assert "a checkpoint takes 178 MB" in text
    text = said(small_set, "--overfit_batches=1", f"--save_dir={tmp_path / 'run'}", **settings)
    assert "mAP: " in text and "the loss went from" in text.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_the_verdict():
    assert verdict(1.79, 0.03, 16).startswith("the loss fell from 1.79 to 0.03 on 16 videos: ")
    assert verdict(1.79, 0.2, 1).startswith("the loss went from 1.79 to 0.20 on 1 video, which is not near 0; ")
    assert verdict(1.79, float("nan"), 1).startswith("the loss went from 1.79 to nan")


def test_the_first_batches_are_the_same_for_a_seed_and_of_mixed_classes():
    records = RecordList("folder")
    for number in range(100):
        records.append(f"{number}.mp4", number // 50)
    few = first_batches(records, 2, 4, seed=0)
    assert len(few) == 8 and few.folder == "folder" and few == first_batches(records, 2, 4, seed=0)
    assert few != first_batches(records, 2, 4, seed=1)
    assert set(few.label_counts()) == {0, 1}, "though the list is sorted by class"
    assert all(record.label == int(record.name.removesuffix(".mp4")) // 50 for record in few)
    assert len(first_batches(records, 99, 4, seed=0)) == 100


def test_videos_of_several_classes_are_tried_and_taken_with_all_of_them():
    records = RecordList("folder", multi_label=True)
    for number, labels in enumerate([(0, 2), (), (2,), None]):
        records.append(f"{number}.mp4", None, labels)
    assert sample_places(records, 3) == {0: [0], 2: [0, 2], None: [3]}
    some = records.at([2, 0, 1])
    assert [record.labels for record in some] == [(2,), (0, 2), ()] and some.multi_label


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--overfit_batches=1", "--dry_run"], "--overfit_batches is a run of its own, which --dry_run does not go"),
        (["--overfit_batches=1", "--resume=auto"], "which --resume does not go with; --pretrain names weights"),
    ],
)
def test_flags_that_contradict_each_other(small_set, flags, message):
    with pytest.raises(ValueError, match=message):
        train.main([*small_flags(small_set), *flags])
