"""The door for other programs: inference/session.py."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from conftest import NUM_CLASSES, class_frames, write_video
from datareader.video import VideoError
from inference.session import open_session
from models.registry import create_model

ROOT = Path(__file__).resolve().parent.parent
SMALL = [f"MODEL.num_classes={NUM_CLASSES}", "MODEL.num_layers=18", "INFER.short_size=72", "INFER.target_size=64"]
FIVE_LINES = """
import sys
sys.path.insert(0, {root!r})
from inference.session import open_session
session = open_session({weights!r}, overrides={overrides!r})
prediction = session.classify({video!r})
print(session.best(prediction, 2))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A run's folder, as far as weights are concerned."""
    paddle.seed(1)
    folder = tmp_path_factory.mktemp("a run") / "TSN_best"
    folder.mkdir()
    model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=18)
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "a b.mp4", class_frames(0, np.random.default_rng(0)), crf=20)


def test_five_lines_from_any_working_folder(weights, video, tmp_path):
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    overrides = [*SMALL, f"MODEL.label_file={tmp_path / 'labels.txt'}"]
    code = FIVE_LINES.format(root=str(ROOT), weights=str(weights), overrides=overrides, video=str(video))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    best = ast.literal_eval(done.stdout.splitlines()[-1])
    session = open_session(weights, overrides=overrides)
    assert best == session.best(session.classify(video), 2)
    assert {name for name, _ in best} < {"red", "green", "blue"} and best[0][1] >= best[1][1]


def test_the_projects_own_config_and_label_file_are_found_from_any_working_folder(tmp_path, monkeypatch):
    from evaluation.predictions import read_class_names
    from inference.session import read_config

    monkeypatch.chdir(tmp_path)
    config = read_config(None, None, [], {})
    assert len(read_class_names(config.model.label_file, config.model.num_classes)) == 400


def test_a_prediction_has_every_class_and_the_features(weights, video):
    session = open_session(weights, overrides=[*SMALL, "MODEL.label_file=none"])
    prediction = session.classify(video)
    assert sorted(prediction.class_ids.tolist()) == [0, 1, 2] and prediction.probabilities.sum() == pytest.approx(1)
    assert (np.diff(prediction.probabilities) <= 0).all() and prediction.features.shape == (512,)
    assert session.best(prediction, 1)[0][0] == f"class {prediction.class_ids[0]}"


def test_a_runs_folder_stands_for_its_best_checkpoint(weights, video, caplog):
    with caplog.at_level("INFO"):
        session = open_session(weights.parent, overrides=[*SMALL, "MODEL.label_file=none"])
    assert session.weights == weights
    assert f"{weights.parent} is the folder of a run: taking its best checkpoint, {weights}" in caplog.text


def test_a_run_without_a_best_checkpoint_names_those_it_has(weights, tmp_path):
    for epoch in (1, 2):
        shutil.copytree(weights, tmp_path / f"TSN_epoch{epoch}")
    with pytest.raises(FileNotFoundError, match="no weights in this folder, but in its folders TSN_epoch1, TSN_epoch2"):
        open_session(tmp_path, overrides=[*SMALL, "MODEL.label_file=none"])


def test_what_cannot_be_read_is_named(weights, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    session = open_session(weights, overrides=[*SMALL, "MODEL.label_file=none"])
    with pytest.raises(VideoError, match="text.mp4: damaged or no video"):
        session.classify(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError, match="nowhere: no such weights"):
        open_session("nowhere")
