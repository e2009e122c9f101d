"""The demo data set: Kinetics' shape, the same pixels for the same seed, clear refusals."""

import csv
import json

import av
import numpy as np
import pytest
from PIL import Image

from common import command_line
from datareader.records import read_list
from dataset.demo import make_demo
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


@pytest.mark.parametrize("flags, part", [(["--seed=2"], "other settings"), (["--train_clips=2"], "other settings")])
def test_another_data_set_is_not_mixed_in(demo, capsys, flags, part):
    assert part in mistake(capsys, demo, *flags)


def test_bad_arguments_are_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "inside") in mistake(capsys, tmp_path / "file" / "inside")
    assert "argument --val_clips: 0 is too small" in mistake(capsys, tmp_path, "--val_clips=0")
    assert "argument --workers: invalid whole number: 'x'" in mistake(capsys, tmp_path, "--workers=x")
    assert "--seed=-1 is less than 0" in mistake(capsys, tmp_path, "--seed=-1")
    assert "is not empty and holds no demo.json" in mistake(capsys, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_clip_whose_process_died_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_demo, "run_jobs", lambda work, jobs, *_: [(jobs[0], Failure("it died"))])
    assert f"{tmp_path}/train/{CLASSES[0]}/" in (line := mistake(capsys, tmp_path)) and "it died" in line
    assert not list(tmp_path.glob("*.list"))


def test_contact_sheet(tmp_path):
    make_demo.main([f"--contact_sheet={tmp_path / 'sheet.png'}"])
    assert (tmp_path / "sheet.png").stat().st_size < 200_000
    assert Image.open(tmp_path / "sheet.png").size[0] > 600


def test_settings_are_recorded(demo):
    settings = json.loads((demo / "demo.json").read_text())
    assert (settings["seed"], settings["train_clips"], settings["val_clips"]) == (0, 1, 1)
