"""Videos of several classes, or none: from the list through training and exports to scores."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

import export
import infer
import test as test_verb
import train
from conftest import NUM_CLASSES, SIDE, clip_reader, small_flags, write_multi_label_lists, write_random_weights
from datareader.loader import Batch, Loader
from datareader.records import read_list
from distributed.ranks import Ranks
from evaluation.scores import MULTI_LABEL_SCORES
from inference import comparing
from inference.comparing import Contender, Samples, compare_precisions
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Running
from inference.exported import open_exported, read_card
from inference.exporting import FORMATS
from inference.session import open_session
from models.registry import create_model
from models.weights import load_weights, read_weights
from training.checkpoint import load_training_state
from training.loss import Loss
from training.meter import ScoreMeter, Scores, top_k_hits
from training.run import epochs_since_best
from training.steps import evaluate
from training.validation import ValidatedClips


@pytest.fixture(scope="module")
def lists(small_set, tmp_path_factory) -> Path:
    return write_multi_label_lists(small_set, tmp_path_factory.mktemp("lists"))


@pytest.fixture(scope="module")
def flags(small_set, lists) -> list[str]:
    keys = {"TRAIN": "train", "VALID": "val", "TEST": "val", "INFER": "val"}
    named = [part for key, name in keys.items() for part in ("-o", f"{key}.filelist={lists / name}.list")]
    return [*small_flags(small_set), *named, "-o", "MODEL.multi_label=True"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(weights) -> paddle.nn.Layer:
    model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=18, multi_label=True)
    load_weights(model, read_weights(weights))
    model.eval()
    return model


def sigmoids(model: paddle.nn.Layer, frames: paddle.Tensor) -> np.ndarray:
    with paddle.no_grad():
        return 1 / (1 + np.exp(-model(frames).numpy().astype(np.float64)))


def test_a_video_of_several_classes_is_not_drawn_by_its_class(flags, tmp_path):
    with pytest.raises(ValueError, match="sampling is class_balanced, but a video of a multi-label list is of no one"):
        train.main(["--pretrain=none", *flags, "-o", "TRAIN.sampling=class_balanced", f"--save_dir={tmp_path}"])


def test_the_probabilities_of_weights_are_sigmoids(model):
    frames = paddle.randint(0, 256, [3, 3, 3, SIDE, SIDE]).astype("uint8")
    said = EagerPaddle(model)(frames).probabilities
    assert np.abs(said - sigmoids(model, frames)).max() < 1e-6
    assert np.abs(said.sum(axis=1) - 1).min() > 1e-3


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_carries_the_sigmoid_and_says_so(name, model, flags, weights, tmp_path):
    path = export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", f"--format={name}"])
    frames = paddle.randint(0, 256, [2, 3, 3, SIDE, SIDE]).astype("uint8")
    said = open_exported(path, Running(1))(frames).probabilities
    assert np.abs(said - sigmoids(model, frames)).max() < 1e-4
    card = read_card(path)
    assert card.multi_label and "sigmoid" in card.preprocessing["normalisation"]
    assert open_session(path).config.model.multi_label
    with pytest.raises(ValueError, match="was exported with MODEL.multi_label True, the config has False; leave out"):
        open_session(path, overrides=["MODEL.multi_label=False"])
    results = infer.main([f"--weights={path}", f"--save_dir={tmp_path}", "-o", "INFER.num_reader_threads=0"])
    assert len(results) == 7 and abs(sum(results[0].probabilities) - 1) > 1e-3


def test_an_export_of_single_labels_says_that_it_is_one(flags, weights, tmp_path):
    path = export.main([*flags, "-o", "MODEL.multi_label=False", f"--weights={weights}", f"--save_dir={tmp_path}",
                        "-o", "INFER.filelist=none"])  # fmt: skip
    card = read_card(path)
    assert not card.multi_label and card.preprocessing["normalisation"] == "inside the model, and softmax too"


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings = ["-o", "TRAIN.epoch=3", "-o", "TRAIN.learning_rate=0.003"]
    train.main(["--pretrain=none", *flags, *settings, f"--save_dir={folder}", "--log_interval=1"])
    return folder


def test_training_scores_mean_average_precision_and_keeps_the_best_by_it(trained, flags):
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    valid = [row for row in rows if row["event"] == "valid"]
    found = [row["mean_average_precision"] for row in valid]
    assert len(found) == 3 and all(0 < one <= 1 for one in found) and "confusion_matrix" not in valid[0]
    assert not any("mean_average_precision" in row for row in rows if row["event"] != "valid")
    state = load_training_state(trained / "TSN_epoch2")
    assert state.best_top1 == max(found) and [row["valid_mAP"] for row in state.history] == found
    losses = [row["loss"] for row in rows if row["event"] == "train"]
    assert len(losses) == 9 and losses[0] == pytest.approx(np.log(2), abs=0.3), "binary: ln 2 of random weights"
    summary = test_verb.main([*flags, f"--weights={trained / 'TSN_epoch2'}"])
    assert summary.scores.keys() == MULTI_LABEL_SCORES.keys()
    assert summary.scores["mean_average_precision"] == pytest.approx(found[-1], abs=1e-9)


def test_a_timeline_has_probabilities_of_their_own(flags, weights, small_set, tmp_path):
    video = str(small_set / "val" / "class 1" / "1.mp4")
    out = [*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--window_sec=1", "--video", video]
    (row,) = infer.main(out)[video]
    assert abs(sum(row["probabilities"]) - 1) > 1e-3 and row["probabilities"] == sorted(row["probabilities"])[::-1]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_has_a_column_for_each_class(lists, num_workers):
    records = read_list(lists / "val.list", num_classes=NUM_CLASSES, multi_label=True)
    settings = {"num_classes": NUM_CLASSES, "multi_label": True, "short_size": SIDE, "target_size": SIDE}
    (batch,) = Loader(clip_reader(records, **settings), 8, num_workers=num_workers).epoch(0)
    assert batch.labels.dtype == paddle.float32
    assert batch.labels.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]


def test_hits_and_loss_by_hand():
    logits = paddle.to_tensor([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5]])
    labels = paddle.to_tensor([[1.0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]])
    assert [float(one) for one in top_k_hits(logits, labels)] == [1.0, 1.0]
    assert [float(one) for one in top_k_hits(logits, 1 - labels)] == [1.0, 2.0]
    logits, labels = paddle.to_tensor([[0.0, 2.0]]), paddle.to_tensor([[1.0, 0.0]])
    expected = (np.log(2) + np.log(1 + np.exp(2.0))) / 2  # the mean over clips and classes
    assert float(Loss(multi_label=True)(logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_the_best_checkpoint_is_chosen_by_what_is_known():
    scores = Scores(4, 0, 0.5, 0.25, 0.75)
    assert scores.quality == 0.25 and "mean_average_precision" not in scores.row()
    assert scores._replace(mean_average_precision=0.125).quality == 0.125
    history = [{"valid_top1": top1, "valid_mAP": score} for top1, score in ((0.1, 0.5), (0.2, 0.4))]
    assert epochs_since_best(history) == 1 and epochs_since_best([{"valid_top1": 0.5}, {"valid_top1": 0.4}]) == 1
    assert "mAP: 0.1250" in scores._replace(mean_average_precision=0.125).text(6)


class Constant(paddle.nn.Layer):
    """A model that gives each clip the logits that its pixels are."""

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        return frames


def validated(logits: np.ndarray, labels: np.ndarray, places: list[int], records, ranks: Ranks) -> ValidatedClips:
    """What a rank that has these places keeps; clips without logits cannot be read."""
    read = [place for place in places if not np.isnan(logits[place, 0])]
    broken = [[place, "cut"] for place in places if place not in read]
    frames = paddle.to_tensor(logits[read].astype(np.float32)) if read else None
    batch = Batch(frames, paddle.to_tensor(labels[read]) if read else None, read, [], broken, [], [])
    clips = ValidatedClips(records, logits.shape[1], paddle.nn.functional.sigmoid)
    evaluate(Constant(), [batch], ScoreMeter(), Ranks(), None, Loss(multi_label=labels.ndim == 2), clips)
    return clips


class Exchanged(Ranks):
    """Ranks whose messages are known."""

    def exchange(self, value):
        Exchanged.said.setdefault(self.rank, value)
        return [Exchanged.said.get(rank, value) for rank in range(self.num_ranks)]


@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4]], [[0, 1, 2, 3, 4], []], [[4], [0, 1, 2, 3]]])
def test_the_scores_of_all_ranks_together(lists, parts):
    records = read_list(lists / "val.list", num_classes=NUM_CLASSES, multi_label=True)
    logits = np.array([[2.0, -1, 0], [1, 1, 0], [np.nan] * 3, [-1, 0, 0.5], [0, 2, -3]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]], np.float32)
    assert records[2].labels == (2, 0)
    # class 0: 2, 1 (wrong), 0 (wrong), -1, unreadable: 1, 2/4, 3/5; class 1: 2, 1: 1, 1; class 2: -3 fourth, last
    expected = np.mean([(1 + 2 / 4 + 3 / 5) / 3, 1, (1 / 4 + 2 / 5) / 2])
    Exchanged.said = {}
    clips = [validated(logits, labels, part, records, Ranks()) for part in parts]
    for rank in (0, 1):
        clips[rank].mean_average_precision(Exchanged(rank, 2))
    assert [one.mean_average_precision(Exchanged(rank, 2)) for rank, one in enumerate(clips)] == pytest.approx(
        [expected] * 2
    )
    Exchanged.said = {}
    single = [
        validated(logits, labels.argmax(axis=1), [one for one in part if one != 2], records, Ranks()) for part in parts
    ]
    for rank in (0, 1):
        single[rank].confusion_matrix(Exchanged(rank, 2))
    assert single[1].confusion_matrix(Exchanged(1, 2)) == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_more_classes_than_a_line_should_hold_have_no_confusion_matrix():
    assert ValidatedClips([], 101, paddle.nn.functional.softmax).confusion_matrix(Ranks()) is None
    assert ValidatedClips([], 2, paddle.nn.functional.softmax).confusion_matrix(Ranks()) == [[0, 0], [0, 0]]


def test_precisions_are_compared_by_any_true_class(model):
    clips = [np.full((1, 3, 3, SIDE, SIDE), value, np.uint8) for value in (0, 200)]
    engine = EagerPaddle(model)
    best = [int(engine(paddle.to_tensor(clip)).probabilities.argmax()) for clip in clips]
    others = [tuple(one for one in range(NUM_CLASSES) if one != best[0])]
    (row,) = compare_precisions([Contender("float32", engine, 1)], Samples(["a", "b"], clips, [(best[0], 1), None]))
    assert row.top1 == 1.0
    (row,) = compare_precisions([Contender("float32", engine, 1)], Samples(["a", "b"], clips, [*others, ()]))
    assert row.top1 == 0.0 and "0.0000" in comparing.precision_table([row])
