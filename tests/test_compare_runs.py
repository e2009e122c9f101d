"""Tables of runs, and their means over seeds and folds, by hand-computed numbers."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from evaluation.runs import group_scores, left_out, read_epochs, read_run, remarks
from scripts import compare_runs

SCORES = {(1, 0): 0.80, (2, 0): 0.90, (1, 1): 0.84, (2, 1): 0.92}
"""(fold, seed) -> top-1 of the last validation."""


def write_run(folder: Path, top1: list[float], is_finished: bool = True, first_sec: float = 0.0, **valid) -> Path:
    """A run with these validations, of two minutes an epoch."""
    rows = [{"event": "start", "epoch": 0, "time": first_sec}]
    for epoch, value in enumerate(top1):
        end_sec = first_sec + 120.0 * (epoch + 1)
        rows.append({"event": "epoch", "epoch": epoch, "time": end_sec - 30, "loss": 1 / (epoch + 1), "top1": 0.5})
        rows.append({"event": "valid", "epoch": epoch, "time": end_sec, "loss": epoch + 1.0, "top1": value} | valid)
    if is_finished:
        rows.append({"event": "end", "epoch": len(top1), "time": first_sec + 120.0 * len(top1)})
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def add(run: Path, *rows: dict) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def campaign(tmp_path) -> list[str]:
    """Two folds by two seeds; each best validation is the first."""
    for (fold, seed), top1 in SCORES.items():
        write_run(tmp_path / f"my net_fold{fold}_seed{seed}", [0.95, top1])
    return sorted(map(str, tmp_path.iterdir()))


def test_a_run_in_numbers(tmp_path):
    run = read_run(str(write_run(tmp_path / "a_fold2_seed13", [0.5, 0.75, 0.625]) / "metrics.jsonl"))
    assert (Path(run.group).name, run.fold, run.seed) == ("a", "2", 13)
    assert (run.num_epochs, run.is_finished, run.train_loss, run.minutes) == (3, True, 1 / 3, 6.0)
    assert (run.last("top1"), run.best("top1"), run.last("loss"), run.best("loss")) == (0.625, 0.75, 3.0, 1.0)
    assert run.curves["top1"] == {1: 0.5, 2: 0.75, 3: 0.625} and run.last("mean_average_precision") is None


def test_deviation_over_seeds_is_that_of_the_means_over_folds(campaign):
    (score,) = group_scores(list(map(read_run, campaign)), "top1")
    assert (Path(score.group).name, score.num_seeds, score.num_folds) == ("my net", 2, 2)
    assert score.mean == pytest.approx(0.865)
    # deviations from the mean: -0.065, 0.035, -0.025, 0.055; squares 0.0091 in all, over 3
    assert score.run_deviation == pytest.approx((0.0091 / 3) ** 0.5)
    assert score.seed_means == pytest.approx({0: 0.85, 1: 0.88})
    assert score.seed_deviation == pytest.approx(0.03 / 2**0.5)


def test_an_unfinished_run_takes_its_whole_seed_out_of_the_means(campaign):
    Path(campaign[-1], "metrics.jsonl").unlink()
    Path(campaign[-1]).rmdir()
    write_run(Path(campaign[-1]), [0.99], is_finished=False)
    runs = list(map(read_run, campaign))
    (score,) = group_scores(runs, "top1")
    assert (score.num_seeds, score.num_folds, score.seed_deviation) == (1, 2, None)
    assert score.mean == pytest.approx(0.85) and score.run_deviation == pytest.approx(0.1 / 2**0.5)
    assert left_out(runs, "top1") == {
        campaign[1]: "seed 1 lacks a finished run of fold 2",
        campaign[3]: "unfinished, 1 epoch so far",
    }
    assert f"{campaign[3]}: unfinished, 1 epoch so far; its group goes without it" in remarks(runs, "top1")


def test_uneven_numbers_of_epochs_and_a_late_end_without_validation_are_told(tmp_path):
    runs = [write_run(tmp_path / f"a_seed{seed}", [0.5] * (seed + 2)) for seed in range(2)]
    add(
        runs[0], {"event": "resume", "epoch": 2}, {"event": "epoch", "epoch": 2, "loss": 1, "top1": 1}, {"event": "end"}
    )
    add(
        runs[1], {"event": "resume", "epoch": 3}, {"event": "epoch", "epoch": 3, "loss": 1, "top1": 1}, {"event": "end"}
    )
    assert remarks([read_run(str(run)) for run in runs], "top1") == [
        f"{runs[0]}: validated last after 2 of its 3 epochs",
        f"{runs[1]}: validated last after 3 of its 4 epochs",
        f"{tmp_path / 'a'}: its runs are of 3 and 4 epochs",
    ]


def test_what_a_resumed_run_trains_anew_replaces_what_was_there(tmp_path):
    run = write_run(tmp_path / "run", [0.1, 0.2, 0.3])
    add(run, {"event": "resume", "epoch": 1, "time": 1000.0})
    add(run, {"event": "epoch", "epoch": 1, "loss": 7, "top1": 0, "time": 1060.0})
    found = read_run(str(run))
    assert (found.num_epochs, found.is_finished, found.train_loss, found.curves["top1"]) == (2, False, 7, {1: 0.1})
    assert found.minutes == 6 + 1, "the time between the two does not count"
    add(run, {"event": "start", "epoch": 0})
    assert read_epochs(run / "metrics.jsonl") == {"train": [], "validation": []}


def test_tables_picture_and_csv(campaign, tmp_path, capsys):
    write_run(tmp_path / "other", [0.5, 0.25])
    for folder, content in (("damaged", "{\n"), ("begun", '{"event": "start", "epoch": 0}\n')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.jsonl").write_text(content)
    (tmp_path / "empty").mkdir()
    runs = [*campaign, *(str(tmp_path / name) for name in ("other", "damaged", "begun", "empty"))]
    compare_runs.main([*runs, f"--picture={tmp_path / 'runs.png'}", f"--csv={tmp_path / 'runs.csv'}"])
    out = capsys.readouterr().out
    for reason in (
        "damaged/metrics.jsonl: line 1 is damaged",
        "begun: no epoch has come",
        "empty: has no metrics.jsonl",
    ):
        assert f"left out: {tmp_path}/{reason}" in out
    words = {line.split("  ")[0]: line.split() for line in out.splitlines() if "  " in line}
    assert words[str(tmp_path / "other")][1:] == ["2", "0.2500", "0.5000", "2.0000", "1.0000", "0.5000", "4.0"]
    group = words[str(tmp_path / "my net")][2:]
    assert group == "2 seeds x 2 folds top-1 0.8650 0.0551 0.8500 0.8800 0.0212".split()
    with Image.open(tmp_path / "runs.png") as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 24)) > 50
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["seed"], row["top1_last"]) for row in rows[:2]] == [("1", "0", "0.8"), ("1", "1", "0.84")]
    assert rows[-1]["group"] == str(tmp_path / "other") and rows[-1]["top1_best"] == "0.5"


def test_mean_average_precision_has_its_columns_and_means(tmp_path, capsys):
    for seed, value in enumerate((0.5, 0.7)):
        write_run(tmp_path / f"many_seed{seed}", [0.1], mean_average_precision=value)
    compare_runs.main(list(map(str, tmp_path.iterdir())))
    out = capsys.readouterr().out
    assert "mAP last" in out and "2 seeds x 1 fold" in out
    assert next(line for line in out.splitlines() if " mAP  " in line and "x" in line).split()[-4:] == [
        "0.1414", "0.5000", "0.7000", "0.1414",
    ]  # fmt: skip


def test_mistakes(campaign, tmp_path):
    for runs, message in (
        ([campaign[0], f"{campaign[0]}/metrics.jsonl"], "is the same run as .*; name it once"),
        ([str(tmp_path / "absent")], "absent: no such run; give the --save_dir"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            compare_runs.main(runs)
    with pytest.raises(ValueError, match="no picture has the ending"):
        compare_runs.main([*campaign, f"--picture={tmp_path / 'runs.docx'}"])
