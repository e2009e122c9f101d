"""What a run finds of an earlier one's files: damaged ones are named in one line, and lose nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

import test as test_verb
from conftest import clip_reader, grey_frames, write_video
from datareader.records import Record
from evaluation.files import Features, ResultFiles
from evaluation.report import Report
from evaluation.runs import read_epochs
from evaluation.scores import summarize
from inference.windows import Timeline
from scripts import plot_curves
from test_report import made_up

EPOCH = {"event": "epoch", "epoch": 0, "loss": 1.5, "top1": 0.5}


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_metrics_whose_last_line_was_cut_by_a_kill_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines({"event": "start"}, EPOCH, EPOCH | {"epoch": 1}) + '{"event": "ep')
    assert [row["epoch"] for row in read_epochs(path)["train"]] == [0, 1]
    plot_curves.main([str(path), str(tmp_path / "curve.png")])
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "line", ['{"event": {"', "[]", '{"event": "epoch"}', '{"event": "valid", "epoch": "a"}', "\xff"]
)
def test_damaged_metrics_cost_the_report_its_curves_alone(tmp_path, caplog, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes((lines(EPOCH) + line + "\n").encode("latin-1"))
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is damaged \(.*\); delete it"):
        plot_curves.main([str(path), str(tmp_path / "curve.png")])
    predictions, names = made_up(2)
    Report({}, summarize(predictions, 2), predictions, names, path, {}).write(tmp_path / "report.html")
    assert "line 2 is damaged" in caplog.text and "Confusion" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_curves_are_drawn_in_formats_that_there_are(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(lines(EPOCH))
    with pytest.raises(ValueError, match=r"no picture has the ending '.docx'; take one of .*\.png"):
        plot_curves.main([str(tmp_path / "metrics.jsonl"), str(tmp_path / "curve.docx")])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_settings_of_results_are_named(tmp_path, content):
    files = ResultFiles(tmp_path, "TSN_infer_result", None)
    files.begin({"seg_num": 3})
    files.lines.touch()
    (tmp_path / "TSN_infer_result.settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings.json: damaged \(.*\); run without --skip_done"):
        files.go_on({"seg_num": 3})


@pytest.mark.parametrize(
    "change", [{"class_ids": 5}, {"class_ids": [10**400, 0]}, {"class_ids": [2, 0]}, {"path": 3}, {"class_ids": [0]}]
)
def test_damaged_results_are_named(tmp_path, change):
    files = ResultFiles(tmp_path, "TSN_infer_result", ["a", "b"])
    files.begin({})
    row = {"path": "a.mp4", "video_id": "a.mp4", "probabilities": [0.75, 0.25], "class_ids": [0, 1]}
    files.lines.write_text(lines(row))
    assert files.go_on({}).keys() == {"a.mp4"}
    files.lines.write_text(lines(row | change))
    with pytest.raises(ValueError, match="jsonl: damaged .*; delete it, or run without --skip_done"):
        files.go_on({})


def test_damaged_features_are_named(tmp_path):
    features = Features(tmp_path / "features.npz")
    features.rows = {"a.mp4": np.arange(500, dtype=np.float32)}
    features.save()
    content = features.path.read_bytes()
    for position in range(0, len(content), 7):
        features.path.write_bytes(content[:position] + bytes([content[position] ^ 64]) + content[position + 1 :])
        try:
            features.load()
        except ValueError as error:
            assert "damaged (" in str(error) and "delete it, or run without --skip_done" in str(error)
        features.path.write_bytes(content[:position])
        with pytest.raises(ValueError, match="damaged"):
            features.load()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_timeline_is_named(tmp_path, content):
    path = tmp_path / "a.timeline.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.timeline.json: damaged .*; delete it, or run without --skip_done"):
        Timeline(path, "a", None, {}).is_done()
    path.write_text("[]")
    assert not Timeline(path, "a", None, {}).is_done()
    path.write_text('{"is_complete": true, "settings": 3}')
    assert not Timeline(path, "a", None, {}).is_done()


def test_a_timeline_of_before_that_says_nothing_of_resizing_has_stretched(tmp_path):
    earlier = Timeline(tmp_path / "a.timeline.json", "a", None, {"seg_num": 3})
    earlier.write(is_complete=True, problem="")
    for resize, is_done in (("stretch", True), ("keep", False)):
        assert Timeline(earlier.path, "a", None, {"seg_num": 3, "resize": resize}).is_done() == is_done


def test_a_mistake_whose_video_has_gone_since_has_no_pictures_in_the_report(tmp_path, caplog):
    paths = [write_video(tmp_path / f"{number}.mp4", grey_frames(9)) for number in range(2)]
    reader = clip_reader([Record(str(path), 0, path.name) for path in paths])
    Path(paths[1]).unlink()
    assert len(test_verb.sampled_frames(reader, 0)) == 3 and test_verb.sampled_frames(reader, 1) == []
    assert "no pictures of 1.mp4, which cannot be read any more: no such file" in caplog.text
    predictions, names = made_up(2)
    summary = summarize(predictions, 2)
    Report({}, summary, predictions, names, tmp_path / "none", {3: []}).write(tmp_path / "report.html")
    assert "sampled frame" not in (tmp_path / "report.html").read_text(encoding="utf-8")
