"""Names that a spreadsheet would run, that no file system takes, that are no text; long lists; unfinished files."""

import csv
import io
import logging
import os

import numpy as np
import pytest

from common.console import printable, start_logging
from common.csv_cells import as_before, csv_line, harmless
from common.whole_file import remove_leftovers, unfinished, write_bytes
from conftest import leftover
from datareader import records as records_module
from datareader.loader import Batch
from datareader.records import Record, read_list
from datareader.unreadable import MIN_TRIED, UnreadableVideos
from evaluation import plots
from evaluation.files import OutputNames, write_csv, write_text
from evaluation.predictions import read_class_names
from inference.pictures import draw_caption, heat_sheet

NO_TEXT = os.fsdecode(b"\xff.mp4")
NAMES = ["=1+1", "+a", "-x.mp4", "@sum", "\tx", "'=1", "''", 'a,"b"', "<script>", NO_TEXT]


def test_a_csv_holds_no_formula_and_reads_back(tmp_path):
    assert as_before(harmless(NAMES)) == NAMES and harmless([-1.5, None]) == [-1.5, None]
    write_csv(tmp_path / "x.csv", ["name"], [[name] for name in NAMES])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert list(csv.reader(io.StringIO(csv_line(["a\rb", "c\nd", "e"]), newline=""))) == [["a\rb", "c\nd", "e"]]
    assert cells[:3] == ["'=1+1", "'+a", "'-x.mp4"] and as_before(cells)[:-1] == NAMES[:-1]
    write_text(tmp_path / "x.txt", NO_TEXT)
    assert (tmp_path / "x.txt").read_text() == r"\udcff.mp4"


@pytest.mark.parametrize("name", ["a" * 251, "汉" * 83, "\udcff" * 200], ids=["long", "Chinese", "no text"])
def test_outputs_of_long_names_have_short_ones(name):
    assert len(os.fsencode(OutputNames().name(f"{name}.mp4") + ".timeline.json")) <= 255


@pytest.mark.parametrize(
    "name",
    ["a\rb", "\x1b[31mred", "a\u2028b", "\ufeffa", f"{NO_TEXT}\nx"],
    ids=["return", "terminal", "separator", "mark", "no text"],
)
def test_names_are_drawn_and_logged_in_a_line(name):
    heat_sheet(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8)), name)
    draw_caption(np.zeros((99, 99, 3), np.uint8), [name])
    start_logging()
    console = logging.getLogger().handlers[-1]  # asked itself: pytest's own log cannot hold names that are no text

    def shown(message: str, *values: str) -> list[str]:
        return console.format(logging.LogRecord("infer", logging.INFO, "", 0, message, values, None)).splitlines()

    (line,) = shown("[INFER] %s", name)
    assert line.endswith(f"[INFER] {printable(name)}") and line.isprintable()
    assert len(shown("[INFER] a table\n%s", f"1\n{name[0]}")) == 3


def test_names_are_drawn_as_they_are():
    plots.data_uri(plots.confusion_figure(np.eye(2), ["$x_{$", NO_TEXT]))
    plots.data_uri(plots.timeline_figure([0.0], [1.0], np.ones((1, 1)), ["a$^$"], f"$\\frac{NO_TEXT}$"))


def test_a_label_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="labels.txt: not a text file in UTF-8"):
        read_class_names(tmp_path / "labels.txt", 1)


def test_two_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / ("x" * 255)
    with unfinished(path) as one:
        one.write_bytes(b"one")
        write_bytes(path, b"two")
        remove_leftovers(tmp_path)
        assert one.read_bytes() == b"one", "another run's file is not touched"
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = leftover(tmp_path / "x")
    left.mkdir()
    stranger = tmp_path / ".unfinished.00000000.1.00000000"
    stranger.touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [stranger]
    os.utime(stranger, (1, 1))
    remove_leftovers(tmp_path)
    assert not stranger.exists()


def test_a_list_is_read_without_a_look_at_each_file(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "x.list").write_text("a.mp4 0\n" * 1000)
    looks, exists = [], os.path.exists
    monkeypatch.setattr(records_module.os.path, "exists", lambda path: looks.append(path) or exists(path))
    records = read_list(tmp_path / "x.list", num_classes=1)
    assert len(looks) <= 3 and records.digest and len(list(records.listed())) == 1000 and len(looks) <= 3
    assert records[-1] == Record(str(tmp_path / "a.mp4"), 0, "a.mp4") and records.without({"a.mp4"}) == []


def test_lines_with_nul_and_boundless_labels_are_refused(tmp_path):
    (tmp_path / "x.list").write_text(f"a\0b 0\na {2**63}\n")
    with pytest.raises(ValueError, match=r"line 1: holds a NUL character.*\n.*line 2: label 9223372036854775808 is no"):
        read_list(tmp_path / "x.list")


@pytest.mark.parametrize("clip_format", ["mp4", "pkl"])
def test_a_line_with_a_name_that_no_file_system_takes_is_named(tmp_path, clip_format):
    for name in ("a" * 255, "汉" * 85, "b" * 200 + "/" + "c" * 200):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / "x.list").write_text(f"{name} 0\n" if clip_format == "mp4" else f"{name}\n")
        assert read_list(tmp_path / "x.list", clip_format)[0].name == name
    (tmp_path / "x.list").write_text(f"a.mp4 0\nv/{'汉' * 86}/a.mp4 0\n")
    with pytest.raises(ValueError, match=r"^\S+x.list line 2: a name of 258 bytes, and file systems take 255: 'v/汉+'"):
        read_list(tmp_path / "x.list", clip_format)


def test_a_long_list_without_its_videos_ends_early(caplog):
    records = [Record(f"{number}.mp4", 0, f"{number}.mp4") for number in range(100_000)]
    unreadable = UnreadableVideos(records, 0.05)
    batches = (
        Batch(None, None, [], [], [[n, "no such file"] for n in range(i, i + 24)], [], []) for i in range(0, 99_000, 24)
    )
    with pytest.raises(ValueError, match="cannot be read, more than TRAIN.max_bad_fraction 0.05 allows"):
        list(unreadable.watch(batches))
    assert len(unreadable.this_epoch) < MIN_TRIED + 24 and len(caplog.records) < 60
