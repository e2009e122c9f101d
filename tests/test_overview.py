"""What is said of a list before training starts, and the messages that name the likely cause."""

import pytest

from common.command_line import OneLineParser
from common.console import count, duration, size
from datareader.overview import describe_list, list_warnings, overlap_warning, picture_warnings, untrained_warning
from datareader.records import RecordList
from evaluation.scores import summarize
from test_scores import predictions_of

NAMES = ["red", "green", "blue"]


def records_of(labels, folder="a", ending="mp4"):
    records = RecordList()
    for number, label in enumerate(labels):
        records.append(f"{folder}/{number}.{ending}", label)
    return records


def test_videos_per_class():
    assert describe_list(records_of([0, 1, 1, 2]), NAMES) == "4 videos: red 1, green 2, blue 1"
    assert describe_list(records_of([None]), NAMES) == "1 video", "the labels of pkl files are inside"
    many = [f"class {number}" for number in range(400)]
    assert describe_list(records_of([*range(400), 7]), many) == (
        "401 videos of 400 classes: from 1 (class 0) to 2 (class 7)"
    )
    assert describe_list(records_of([*range(400)]), many) == "400 videos of 400 classes: 1 each"


def test_what_looks_wrong_with_a_list():
    assert list_warnings(records_of([0, 1, 2]), NAMES) == []
    assert list_warnings(records_of([1, 1]), NAMES) == ["all videos are of one class, green"]
    (line,) = list_warnings(records_of([0, 1]), NAMES)
    assert line == "1 of the 3 classes have no video (blue); is MODEL.num_classes right?"
    absent, shifted = list_warnings(records_of([1, 2, 2]), NAMES)
    assert absent.startswith("1 of the 3 classes have no video (red)")
    assert shifted == "its labels run from 1 to 2, but labels count from 0: is each too high by 1?"
    assert len(list_warnings(records_of([1, 3]), [*NAMES, "grey"])) == 1, "these may be right"
    (line,) = picture_warnings(records_of([0, 0, 0, 0], ending="JPG"))
    assert line.startswith("4 files by name no video but a picture (a/0.JPG, a/1.JPG, a/2.JPG, ...)")


def test_videos_in_both_lists():
    assert overlap_warning(records_of([0, 1]), records_of([0], folder="b")) == ""
    line = overlap_warning(records_of([0, 1]), records_of([0, 1, 2]))
    assert line.startswith("2 videos of the validation list (it has 3) also in the training list")


def test_classes_that_are_validated_and_not_trained():
    assert untrained_warning(records_of([0, 1, 2]), records_of([0, 1]), NAMES) == ""
    assert untrained_warning(records_of([None]), records_of([None]), NAMES) == "", "the labels of pkl files are inside"
    assert untrained_warning(records_of([0]), records_of([0, 1, 2]), NAMES) == (
        "2 classes of the validation list without a video in the training list (green, blue): no model can learn that"
    )


def test_a_model_with_one_answer_to_everything():
    constant = predictions_of([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]], [0, 1, 1])
    assert summarize(constant, 2).warning().startswith("the model takes every video for class 0")
    assert summarize(constant[:1], 2).warning() == "", "of one class that is right"
    assert summarize(predictions_of([[0.6, 0.4], [0.1, 0.9]], [0, 1]), 2).warning() == ""


@pytest.mark.parametrize(
    "typed, meant",
    [("--save-dir=x", "--save_dir"), ("--savedir", "--save_dir"), ("-save_dir", "--save_dir"), ("xyz", "")],
)
def test_a_misspelt_flag_is_answered_with_the_nearest(typed, meant, capsys):
    parser = OneLineParser("")
    parser.add_argument("--save_dir")
    parser.add_argument("--seed")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([typed])
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and f"unrecognized arguments: {typed}" in line
    assert (f"did you mean {meant}?" in line) if meant else ("did you mean" not in line)


@pytest.mark.parametrize("typed", [["--video", "-a.mp4"], ["--video", "b.mp4", "-a.mp4"]])
def test_a_file_whose_name_begins_with_a_dash_is_told_from_a_flag(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parser = OneLineParser("")
    parser.add_argument("--video", nargs="+")
    for hint in ("", "; write ./-a.mp4 for the file of that name"):
        with pytest.raises(SystemExit):
            parser.parse_args(typed)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(f"{hint}; see {parser.prog} --help") and ("write ./" in line) == bool(hint)
        (tmp_path / "-a.mp4").touch()


def test_numbers_as_people_write_them():
    assert (count(1, "video"), count(2, "video"), count(1234, "class", "classes")) == (
        "1 video",
        "2 videos",
        "1,234 classes",
    )
    assert (size(1), size(999), size(1234), size(94_000_000)) == ("1 byte", "999 bytes", "1.2 kB", "94 MB")
    assert duration(3723) == "1:02:03"
