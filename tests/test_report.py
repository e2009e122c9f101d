"""The report's numbers, and how it looks in a real browser."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

from evaluation.files import write_json
from evaluation.predictions import Prediction, probability_table, sort_classes
from evaluation.report import Report, confident_mistakes
from evaluation.scores import MULTI_LABEL_SCORES, SCORES, summarize, summary_as_json

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIGURES = (*SCORES, "num_videos")


def made_up(num_classes: int, num_broken: int = 2) -> tuple[list[Prediction], list[str]]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(num_classes), 10 if num_classes < 50 else 5)
    logits = rng.normal(size=(len(labels), num_classes)) + 4.5 * np.eye(num_classes)[labels]
    logits[labels == 1, 0] += 5  # a class that is taken for another
    probabilities = np.float32(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    names = [f"videos/<class> & {label}/{number}.mp4" for number, label in enumerate(labels)]
    rows = zip(names, *sort_classes(probabilities), labels.tolist(), rng.uniform(0, 0.2, len(labels)), strict=True)
    found = [Prediction(name, name, *best, label=label, read_sec=sec) for name, *best, label, sec in rows]
    for name in (f"videos/broken {number}.mp4" for number in range(num_broken)):
        found.append(Prediction(name, name, label=0, problem="damaged or no video"))
    if num_classes == 400:
        return found, (open("dataset/kinetics/kinetics400_labels.txt", encoding="utf-8").read().split("\n")[:400])
    return found, [f"<b>class</b> {number} 类" for number in range(num_classes)]


@pytest.fixture(params=[2, 6, 400])
def report(request, tmp_path):
    """report.html and scores.json of made-up predictions, with curves."""
    predictions, names = made_up(request.param)
    summary = summarize(predictions, request.param)
    rows = [
        {"event": event, "epoch": epoch, "loss": None if epoch == 2 else 2 / (epoch + 1), "top1": 1 - 1 / (epoch + 2)}
        for epoch in range(4)
        for event in ("epoch", "valid")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frames = [np.full((64, 64, 3), 20 * number, np.uint8) for number in range(1, 10)]
    Report(
        about={"list": "my <test>.list", "engine": "Paddle", "seg_num": 9},
        summary=summary,
        predictions=predictions,
        class_names=names,
        metrics=tmp_path / "metrics.jsonl",
        pictures={index: frames for index in confident_mistakes(predictions)},
    ).write(tmp_path / "report.html")
    write_json(tmp_path / "scores.json", summary_as_json(summary, predictions, names))
    return tmp_path / "report.html"


def test_its_numbers_are_those_of_scores_json_and_it_asks_for_nothing_else(report):
    page = report.read_text(encoding="utf-8")
    scores = json.loads((report.parent / "scores.json").read_text(encoding="utf-8"))
    for key in FIGURES:
        shown = re.search(rf'id="{key}">([^<]*)<', page)[1]
        assert shown == (f"{scores[key]:.4f}" if key != "num_videos" else str(scores[key])), key
    low, high = scores["top1_interval_95"]
    assert f"95 %: {low:.4f} to {high:.4f}" in page
    assert "2 unreadable, counted as wrong" in page and "videos/broken 1.mp4" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page and "url(" not in page
    assert "my &lt;test&gt;.list" in page and "<b>class</b>" not in page, "names are text, not HTML"
    for cell in scores["classes"][:15]:
        assert cell["num_videos"] == sum(scores["confusion_matrix"][cell["class_id"]]) + 2 * (cell["class_id"] == 0)


def test_each_class_has_its_precision_recall_f1_and_average_precision(report):
    page = report.read_text(encoding="utf-8")
    scores = json.loads((report.parent / "scores.json").read_text(encoding="utf-8"))
    worst = min(scores["classes"], key=lambda row: row["top1"])
    cells = [f"{worst[key]:.1%}" for key in ("top1", "precision", "recall", "f1", "average_precision")]
    row = re.search(rf"<td>{re.escape(html.escape(worst['name'], quote=True))}</td>(.*)</tr>", page)[1]
    assert re.findall(r'class="number">([^<]*)<', row) == [str(worst["num_videos"]), *cells]


def test_two_classes_have_a_curve_and_thresholds(report):
    page, scores = report.read_text(encoding="utf-8"), json.loads((report.parent / "scores.json").read_text())
    assert ("ROC curves" in page) == (len(scores["classes"]) == 2)
    if len(scores["classes"]) == 2:
        read = [one for one in made_up(2)[0] if not one.problem]
        given = [one.probabilities[one.class_ids == 1][0] for one in read]
        area = sklearn_metrics.roc_auc_score([one.label for one in read], given)
        assert re.findall(r'class="number area">([^<]*)<', page) == [f"{area:.4f}"]


def several(num_classes: int) -> list[Prediction]:
    """Made-up predictions of videos of several classes each; two videos are of none, two are unreadable."""
    rng = np.random.default_rng(1)
    truths = rng.uniform(size=(60, num_classes)) < 0.3
    truths[:2], truths[:, -1] = False, False
    logits = rng.normal(size=truths.shape) + 1.5 * truths - 1
    logits[:2, 0] += 9  # the surest mistakes
    rows = zip(*sort_classes(np.float32(1 / (1 + np.exp(-logits)))), truths, strict=True)
    found = [
        Prediction(f"{number}.mp4", f"{number}.mp4", *best, labels=tuple(np.nonzero(row)[0].tolist()))
        for number, (*best, row) in enumerate(rows)
    ]
    return found + [Prediction("cut", "cut", labels=(0, 1), problem="no video")] * 2


@pytest.mark.parametrize("num_classes", [6, 20])
def test_several_classes_of_a_video(num_classes, tmp_path):
    predictions, names = several(num_classes), [f"<class> {number}" for number in range(num_classes)]
    summary = summarize(predictions, num_classes, multi_label=True)
    pictures = {place: [np.zeros((8, 8, 3), np.uint8)] for place in confident_mistakes(predictions)}
    Report({}, summary, predictions, names, tmp_path / "none", pictures).write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for key in MULTI_LABEL_SCORES:
        assert re.search(rf'id="{key}">([^<]*)<', page)[1] == f"{summary.scores[key]:.4f}", key
    assert "Confusion matrix" not in page and "confusions" not in page and "<class>" not in page
    truths = ["; ".join(names[label] for label in predictions[place].labels) for place in pictures]
    assert all(html.escape(truth) in page for truth in truths) and any("; " in truth for truth in truths)
    assert "truth: none of the classes" in page
    shown = [score for score in summary.classes if score.num_videos]
    shown = sorted(shown, key=lambda score: -score.num_videos)[:12]
    read = [one for one in predictions if not one.problem]
    areas = [
        sklearn_metrics.roc_auc_score(
            [score.class_id in one.labels for one in read], probability_table(read, num_classes)[:, score.class_id]
        )
        for score in shown
    ]
    assert re.findall(r'class="number area">([^<]*)<', page) == [f"{area:.4f}" for area in areas]
    assert_opens(tmp_path / "report.html", 600)


def test_a_list_without_a_readable_video_has_a_report(tmp_path):
    predictions = [Prediction("cut", "cut", labels=(0, 1), problem="no video")]
    Report({}, summarize(predictions, 2, True), predictions, None, tmp_path / "none", {}).write(tmp_path / "a.html")
    predictions = [Prediction("cut", "cut", label=0, problem="no video")]
    Report({}, summarize(predictions, 2), predictions, None, tmp_path / "none", {}).write(tmp_path / "b.html")
    assert all("Thresholds" not in (tmp_path / name).read_text() for name in ("a.html", "b.html"))


def test_it_shows_the_surest_mistakes_first():
    predictions, _ = made_up(6)
    places = confident_mistakes(predictions)
    probabilities = [predictions[place].confidence for place in places]
    assert 0 < len(places) <= 12 and probabilities == sorted(probabilities, reverse=True)
    assert not any(predictions[place].is_correct or predictions[place].problem for place in places)
    assert places[0] == max(
        (place for place, one in enumerate(predictions) if not one.is_correct and not one.problem),
        key=lambda place: predictions[place].confidence,
    )


@pytest.mark.parametrize("width", [1280, 600])
def test_it_opens_in_a_real_browser(report, width):
    assert_opens(report, width)


def assert_opens(report, width: int) -> None:
    """A real browser shows the page, as wide as its window; skips the test if there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no chromium here to look at the report: apt-get install chromium")
    picture = report.with_suffix(".png")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={report.parent / 'browser'}", f"--window-size={width},2400", f"--screenshot={picture}",
        report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert picture.is_file(), done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    colours = {tuple(colour) for colour in pixels[::3, ::3].reshape(-1, 3)}
    assert len(colours) > 200, "plots and thumbnails are drawn"
    assert (np.abs(pixels - [37, 99, 168]).max(axis=2) < 12).any(), "the plots' blue is there"
    ground = pixels[:, -3:]  # nothing reaches beyond the page's right edge
    assert len({tuple(colour) for colour in ground.reshape(-1, 3)}) == 1
