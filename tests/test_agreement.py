"""Validation of the last epoch, test.py and infer.py say the same of every clip under the same protocol."""

import csv
import json
import pickle

import numpy as np
import pytest

import infer
import test as test_verb
import train
from conftest import NUM_CLASSES, small_flags, write_multi_label_lists
from training import run
from training.steps import evaluate

MOST = 1e-6
ENGINES = ("auto", "paddle", "onnxruntime", "openvino")


@pytest.fixture(scope="module", params=[("TSN", False), ("TSM", True)], ids=["single label", "multi-label"])
def trained(request, small_set, tmp_path_factory):
    """Whether a video may have several classes, the flags, a run's last checkpoint, its last validation's clips."""
    model_name, multi_label = request.param
    folder, flags = tmp_path_factory.mktemp("agreement"), small_flags(small_set, TRAIN__learning_rate=0.003)
    validations = []

    def noted(*arguments):
        validations.append(arguments[-1])
        return evaluate(*arguments)

    lists = write_multi_label_lists(small_set, folder) if multi_label else small_set
    broken = folder / "broken.list"
    known = (lists / "val.list").read_text().splitlines()
    lines = [str(small_set / line) for line in known]  # as it is, if it says where it is
    broken.write_text("\n".join([*lines, f"{folder}/cut.mp4 1\n"]))
    (folder / "cut.mp4").write_bytes(b"no video")
    for key, path in (("TRAIN", lists / "train.list"), ("VALID", broken), ("TEST", broken), ("INFER", broken)):
        flags += ["-o", f"{key}.filelist={path}"]
    flags += ["-o", f"MODEL.multi_label={multi_label}", "-o", "TRAIN.epoch=2", f"--model_name={model_name}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "evaluate", noted)
        train.main(["--pretrain=none", *flags, f"--save_dir={folder / 'run'}"])
    assert len(validations) == 2
    return multi_label, flags, folder / "run" / f"{model_name}_epoch1", validations[-1]


def table(entries: list[tuple]) -> np.ndarray:
    """The probabilities of results of all classes, in the order of the classes; NaN for unreadable videos."""
    found = np.full((len(entries), NUM_CLASSES), np.nan)
    for row, (_, probabilities, class_ids) in zip(found, entries, strict=True):
        row[class_ids] = probabilities
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_every_clip_has_the_same_probabilities(trained, engine, tmp_path):
    multi_label, flags, checkpoint, clips = trained
    if engine not in ("auto", "paddle"):
        pytest.importorskip(engine)
    flags = [*flags, f"--weights={checkpoint}", f"--engine={engine}", "-o", f"TEST.save_dir={tmp_path}"]
    test_verb.main(flags)
    infer.main([*flags, f"--save_dir={tmp_path}"])
    tested, inferred = (
        pickle.loads((tmp_path / f"{checkpoint.name[:3]}_{verb}_result").read_bytes()) for verb in ("test", "infer")
    )
    assert [entry[0] for entry in tested] == [entry[0] for entry in inferred] and len(tested) == 8
    assert clips.indices == list(range(7)) and np.isnan(table(tested)[7]).all()
    validated = clips.probabilities()
    assert np.abs(validated - validated[0]).max() > 1e-3, "the clips differ"
    assert np.isclose(validated.sum(axis=1), 1).all() != multi_label
    for results in (tested, inferred):
        assert np.abs(table(results)[:7] - validated).max() < MOST
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = [float(row["probability"]) for row in rows[:7]]
    assert np.abs(np.array(best) - validated.max(axis=1)).max() < MOST
    assert [int(row["predicted"]) for row in rows[:7]] == validated.argmax(axis=1).tolist()


def test_the_scores_are_the_same(trained, tmp_path):
    multi_label, flags, checkpoint, _ = trained
    test_verb.main([*flags, f"--weights={checkpoint}", "-o", f"TEST.save_dir={tmp_path}"])
    scores = json.loads((tmp_path / "scores.json").read_text())
    rows = [json.loads(line) for line in (checkpoint.parent / "metrics.jsonl").read_text().splitlines()]
    valid = [row for row in rows if row["event"] == "valid"][-1]
    assert (valid["num_videos"], valid["num_unreadable"]) == (scores["num_videos"], scores["num_unreadable"]) == (8, 1)
    assert (valid["top1"], valid["top5"]) == (scores["top1"], scores["top5"])
    assert abs(valid["loss"] - scores["loss"]) < MOST
    assert valid.get("confusion_matrix") == scores.get("confusion_matrix")
    assert ("confusion_matrix" in valid) != multi_label == ("mean_average_precision" in valid)
    if multi_label:
        assert abs(valid["mean_average_precision"] - scores["mean_average_precision"]) < 1e-9
