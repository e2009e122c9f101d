"""Same numbers as the 2019 original: its recorded figures against this project's own code paths.

The figures were taken by running the original (PaddlePaddle/models, release/1.4) and lie in tests/reference/.
"""

import csv
import json

import numpy as np
import paddle
import pytest

import infer
import test as test_verb
from datareader import transforms
from datareader.decode import decode_pkl, decode_video
from datareader.loader import Batch
from datareader.sampling import segment_indices
from formula_weights import REFERENCE, formula_arrays, formula_weights, our_name, write_original_folder
from inference.choice import EAGER
from inference.exported import ENGINES
from models.registry import create_model
from models.weights import load_weights
from training.meter import ScoreMeter
from training.optimizer import create_optimizer, optimizer_arrays
from training.precision import Precision
from training.schedule import learning_rate_at, steps_per_epoch
from training.steps import Learner, train_steps

NETWORK = json.loads((REFERENCE / "original_network.json").read_text())
CLIPS = json.loads((REFERENCE / "clips_expected.json").read_text())
INFERRED = json.loads((REFERENCE / "infer_expected.json").read_text())
PIXELS = np.load(REFERENCE / "clips_expected.npz")
COLOUR_TAGGED = "odd_720p_bt709"  # the original ignored the stream's colour tag, PyAV honours it


@pytest.fixture(scope="module")
def weights():
    return formula_weights()


def tsn_on_normalized_input(weights):
    """TSN with the formula weights, fed with the already normalised floats that the reference was made with."""
    model = create_model("TSN", num_classes=8)
    load_weights(model, weights)
    model.normalize = paddle.nn.Identity()
    return model


def test_frame_indices_equal_the_original():
    with (REFERENCE / "frame_indices.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 976
    for row in rows:
        indices = segment_indices(int(row["num_frames"]), int(row["seg_num"]), int(row["seglen"]))
        assert indices.tolist() == [int(index) for index in row["frame_indices"].replace(",", " ").split()], row


@pytest.mark.parametrize("mode", ["valid", "test"])
@pytest.mark.parametrize("clip", CLIPS)
def test_pixels_equal_the_original(clip, mode):
    seg_num = CLIPS[clip][mode]["seg_num"]
    frames = decode_video(str(REFERENCE / "clips" / f"{clip}.mp4"), lambda n: segment_indices(n, seg_num)).frames
    frames = transforms.resize(frames, 256)
    height, width = frames[0].shape[:2]
    pixels = np.empty((seg_num, 3, 224, 224), np.uint8)
    transforms.crop_into(pixels, frames, transforms.center_view(width, height, 224))
    difference = np.abs(pixels.astype(int) - PIXELS[f"{clip}.{mode}"])
    assert difference.max() <= (40 if clip == COLOUR_TAGGED else 0)


@pytest.mark.parametrize("clip", [clip for clip in CLIPS if "train" in CLIPS[clip]])
def test_training_draws_give_the_original_pixels(clip):
    draws = CLIPS[clip]["train"]
    indices = np.array(draws["frame_indices"])
    frames = transforms.resize(decode_video(str(REFERENCE / "clips" / f"{clip}.mp4"), lambda n: indices).frames, 256)
    assert list(frames[0].shape[1::-1]) == draws["scaled_wh"]
    pixels = np.empty((len(indices), 3, 224, 224), np.uint8)
    transforms.crop_into(pixels, frames, transforms.View(draws["crop_x"], draws["crop_y"], draws["flip"]))
    assert np.array_equal(pixels, PIXELS[f"{clip}.train"])


def test_pkl_clip_of_python_2_is_the_same_video():
    path = REFERENCE / "clips" / "odd_5frames_000000_000010.pkl"
    video_id, label, frames = decode_pkl(str(path), lambda n: np.arange(n))
    assert (video_id, label, len(frames)) == ("./odd_5frames_000000_000010", 0, 5)
    decoded = decode_video(str(REFERENCE / "clips" / "odd_5frames.mp4"), lambda n: np.arange(n)).frames
    assert np.abs(np.stack(frames).astype(int) - np.stack(decoded)).mean() < 3  # JPEG loses a little


@pytest.mark.parametrize("case", NETWORK["eval"], ids=lambda case: f"{case['seg_num']}x{case['target_size']}")
def test_logits_equal_the_original(case, weights):
    model = tsn_on_normalized_input(weights)
    model.eval()
    shape = (case["batch"], case["seg_num"], 3, case["target_size"], case["target_size"])
    frames = paddle.to_tensor(np.random.RandomState(case["input_seed"]).randn(*shape).astype(np.float32))
    with paddle.no_grad():
        features, logits = model.features(frames).numpy(), model(frames)
    assert np.abs(logits.numpy() - case["logits"]).max() < 1e-4
    assert np.abs(paddle.nn.functional.softmax(logits).numpy() - case["softmax"]).max() < 1e-5
    assert np.abs(features[:, :8] - case["feature_first8"]).max() < 1e-5
    assert np.abs(features.mean(axis=1) - case["feature_mean"]).max() < 1e-5


@pytest.mark.parametrize("case", NETWORK["traj"], ids=lambda case: f"lr{case['base_lr']}")
def test_training_curve_equals_the_original(case, weights):
    model = tsn_on_normalized_input(weights)
    rng = np.random.RandomState(case["data_seed"])
    shape = (case["num_batches"], case["batch"], 3, 3, case["target_size"], case["target_size"])
    frames = rng.randn(*shape).astype(np.float32)
    labels = rng.randint(0, 8, size=(case["num_batches"], case["batch"]))
    assert labels.tolist() == case["labels"]
    order = [step % case["num_batches"] for step in range(case["steps"])]
    batches = [
        Batch(paddle.to_tensor(frames[i]), paddle.to_tensor(labels[i]), [0] * case["batch"], [], [], [], [])
        for i in order
    ]
    optimizer = create_optimizer(model, case["base_lr"], momentum=0.9, l2_weight_decay=1e-4)
    epoch_steps = steps_per_epoch(case["total_videos"], case["batch"])
    learner = Learner(
        model,
        optimizer,
        lambda step: learning_rate_at(step, case["base_lr"], 0.1, case["epoch"], epoch_steps),
        Precision("off", model, on_gpu=False),
    )
    steps = train_steps(learner, batches, ScoreMeter(), log_interval=1)
    intervals = list(steps)
    tolerance = max(10 * case["loss_noise_from_1e-6_weight_change"], 1e-4)
    losses = [figures["loss"].value for figures in intervals]
    assert np.abs(np.array(losses) - case["loss"]).max() < tolerance
    assert [np.float32(figures["learning_rate"].value) for figures in intervals] == [
        np.float32(rate) for rate in case["lr"]
    ]

    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    velocities = optimizer_arrays(optimizer, model)
    for name, expected in case["after_last_step"].items():
        is_velocity = name.endswith("_velocity_0")
        ours = our_name(name.removesuffix("_velocity_0"))
        array = velocities[f"{ours}.velocity"] if is_velocity else tensors[ours]
        assert np.sqrt((array.astype(np.float64) ** 2).sum()) == pytest.approx(expected["l2"], rel=2e-3), name
        assert array.ravel()[:4] == pytest.approx(expected["first4"], rel=2e-2, abs=5e-3), name


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Flags that run a verb with the formula weights, as the original wrote them, on the reference clips."""
    folder = tmp_path_factory.mktemp("parity")
    weights = write_original_folder(folder / "weights", formula_arrays())
    assert len(list(weights.iterdir())) == 267
    lines = [f"{REFERENCE / 'clips' / name} {truth['classes'][0]}\n" for name, truth in INFERRED.items()]
    (folder / "clips.list").write_text("".join(lines))
    overrides = {
        "MODEL.num_classes": 8, "MODEL.label_file": "none", "TEST.seg_num": 3, "TEST.filelist": folder / "clips.list",
        "INFER.filelist": folder / "clips.list",
    }  # fmt: skip
    overrides = [part for key, value in overrides.items() for part in ("-o", f"{key}={value}")]
    return ["--model_name=TSN", "--config=configs/tsn.txt", "--log_interval=1", f"--weights={weights}", *overrides]


@pytest.mark.parametrize("engine", [EAGER, *ENGINES])
def test_infer_equals_the_original(engine, flags, tmp_path):
    results = infer.main([*flags, f"--save_dir={tmp_path}", f"--engine={engine}"])
    differences = [
        np.abs(result.probabilities - truth["probabilities"]).max()
        for result, (name, truth) in zip(results, INFERRED.items(), strict=True)
        if COLOUR_TAGGED not in name
    ]
    print(f"{engine}: largest difference {max(differences):.1e}")
    assert [result.video_id.rsplit("/")[-1] for result in results] == list(INFERRED)
    for result, (name, truth) in zip(results, INFERRED.items(), strict=True):
        if COLOUR_TAGGED in name:
            continue
        assert result.class_ids.tolist() == truth["classes"]
        assert np.abs(result.probabilities - truth["probabilities"]).max() < 1e-5, name


def test_test_equals_the_original(flags):
    """Each clip's label is the class that the original found, so its probabilities give the loss."""
    summary = test_verb.main([*flags, "-o", "TEST.save_dir=none"])
    expected = -np.mean([np.log(truth["probabilities"][0]) for truth in INFERRED.values()])
    assert (summary.num_videos, summary.scores["top1"]) == (len(INFERRED), 1.0)
    assert summary.scores["loss"] == pytest.approx(expected, abs=1e-3)  # the colour-tagged clip moves it by so much
