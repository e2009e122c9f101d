"""The demo data set: Kinetics' shape, the same pixels for the same seed, clear refusals."""

import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from common import command_line
from datareader.records import read_list
from datareader.sampling import segment_indices
from dataset.demo import make_demo
from dataset.demo.clips import Clip
from dataset.demo.sets import SETS
from dataset.jobs import Failure

CLASSES = [
    "biking through city",
    "dancing ballet",
    "deadlifting",
    "juggling balls",
    "skiing slalom",
    "swimming backstroke",
]


def make(folder, *flags: str) -> None:
    make_demo.main([f"--out={folder}", "--train_clips=1", "--val_clips=1", *flags])


def mistake(capsys, folder, *flags: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: make(folder, *flags))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    make(folder, "--workers=2")
    return folder


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "order"
    make(folder, "--set=order", "--workers=2")
    return folder


def all_frames(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_shape_is_that_of_kinetics(demo):
    assert (demo / "labels.txt").read_text().splitlines() == CLASSES
    for split in ("train", "val"):
        with (demo / "annotations" / f"{split}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
        assert [row["label"] for row in rows] == CLASSES
        for row in rows:
            name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4"
            frames = all_frames(demo / split / row["label"] / name)
            assert len(row["youtube_id"]) == 11 and 50 <= len(frames) <= 100  # 2 to 4 s at 25 frames per second


def test_the_lists_can_be_read(demo):
    for name in ("train", "val", "test"):
        assert [record.label for record in read_list(demo / f"{name}.list", num_classes=6)] == list(range(6))
    assert all(record.label is None for record in read_list(demo / "infer.list"))


def test_same_seed_same_pixels_whatever_the_number_of_clips_and_processes(demo, tmp_path):
    make_demo.main([f"--out={tmp_path}", "--train_clips=1", "--val_clips=2", "--workers=1"])
    for path in sorted(demo.rglob("*.mp4")):
        assert np.array_equal(all_frames(path), all_frames(tmp_path / path.relative_to(demo))), path


def test_another_seed_makes_another_data_set(demo, tmp_path):
    make(tmp_path, "--seed=1")
    assert not {path.name for path in demo.rglob("*.mp4")} & {path.name for path in tmp_path.rglob("*.mp4")}


def test_made_again_it_only_fills_gaps(demo):
    paths = sorted(demo.rglob("*.mp4"))
    before, gone = [path.stat().st_mtime_ns for path in paths], all_frames(paths[3])
    paths[3].unlink()
    make(demo)
    assert np.array_equal(all_frames(paths[3]), gone)
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[:3] == before[:3] and after[4:] == before[4:]


@pytest.mark.parametrize(
    "flags, part",
    [(["--seed=2"], "other settings"), (["--train_clips=2"], "other settings"), (["--set=order"], "other settings")],
)
def test_another_data_set_is_not_mixed_in(demo, capsys, flags, part):
    assert part in mistake(capsys, demo, *flags)


def test_bad_arguments_are_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "inside") in mistake(capsys, tmp_path / "file" / "inside")
    assert "argument --val_clips: 0 is too small" in mistake(capsys, tmp_path, "--val_clips=0")
    assert "argument --workers: invalid whole number: 'x'" in mistake(capsys, tmp_path, "--workers=x")
    assert "--seed=-1 is less than 0" in mistake(capsys, tmp_path, "--seed=-1")
    assert "is not empty and holds no demo.json" in mistake(capsys, tmp_path)
    assert "argument --set: invalid choice: 'ordre'" in mistake(capsys, tmp_path, "--set=ordre")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_clip_whose_process_died_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_demo, "run_jobs", lambda work, jobs, *_: [(jobs[0], Failure("it died"))])
    assert f"{tmp_path}/train/{CLASSES[0]}/" in (line := mistake(capsys, tmp_path)) and "it died" in line
    assert not list(tmp_path.glob("*.list"))


@pytest.mark.parametrize("name", SETS)
def test_contact_sheet(tmp_path, name):
    make_demo.main([f"--set={name}", f"--contact_sheet={tmp_path / 'sheet.png'}"])
    assert (tmp_path / "sheet.png").stat().st_size < 200_000
    assert Image.open(tmp_path / "sheet.png").size[0] > 600


def test_settings_are_recorded(demo):
    settings = json.loads((demo / "demo.json").read_text())
    assert (settings["seed"], settings["train_clips"], settings["val_clips"]) == (0, 1, 1)


FIRST_CLIPS = [
    ("2OGrtcebl0P_000273_000283.mp4", 74, 147.41),
    ("H4_JtZo95de_000070_000080.mp4", 50, 182.80),
    ("-fszoM5jBhd_000098_000108.mp4", 61, 134.84),
    ("G593SuLu-tO_000206_000216.mp4", 74, 193.55),
    ("C4DoZAMCdXj_000065_000075.mp4", 79, 177.31),
    ("Sy1JzAtxziW_000183_000193.mp4", 70, 176.91),
]
"""Of each action with seed 0: the file's name, the number of frames, and the mean of all values of frame 10."""


def test_the_actions_are_those_that_the_docs_results_were_measured_on():
    for label, (file_name, num_frames, mean) in enumerate(FIRST_CLIPS):
        clip = Clip(SETS["actions"], 0, label, 0)
        assert (clip.file_name, clip.film().count) == (file_name, num_frames)
        assert clip.film().frame(10).mean() == pytest.approx(mean, abs=0.05)


def test_the_order_sets_lists_and_classes(order):
    assert (order / "labels.txt").read_text().splitlines() == ["sitting down", "standing up"]
    for name in ("train", "val", "test"):
        records = read_list(order / f"{name}.list", num_classes=2)
        assert [record.label for record in records] == [0, 1]
        assert [Path(record.path).parent.name for record in records] == ["sitting down", "standing up"]
    assert json.loads((order / "demo.json").read_text())["version"] == "order 1"


def test_every_film_of_the_order_set_is_drawn_both_ways():
    """Whatever does not look at the order of the frames finds nothing that tells the classes apart."""
    demo_set = SETS["order"]
    for clips in make_demo.plan_clips(demo_set, seed=3, counts={"train": 2, "val": 1}).values():
        half = len(clips) // 2
        for down, up in zip(clips[:half], clips[half:], strict=True):
            assert (down.class_name, up.class_name) == tuple(demo_set.classes)
            assert down.youtube_id == up.youtube_id[::-1] and down.file_name != up.file_name
            frames = list(down.film().frames())
            assert np.array_equal(frames, list(up.film().frames())[::-1])
            assert not np.array_equal(frames, frames[::-1])


def test_the_files_of_the_order_set_hold_the_same_frames_in_opposite_order(order):
    """Encoding must not tell the classes apart either."""
    for split in ("train", "val"):
        down, up = (all_frames(order / record.path) for record in read_list(order / f"{split}.list", num_classes=2))
        assert np.array_equal(down, up[::-1]) and len(down) == 72


@pytest.mark.parametrize("num_segments, off", [(8, 0), (3, 1), (4, 1), (6, 1)])
def test_the_middles_of_the_segments_are_the_same_from_either_end(num_segments, off):
    indices = segment_indices(SETS["order"].classes["sitting down"].action.num_frames, num_segments)
    assert np.abs(71 - indices[::-1] - indices).max() == off
