"""TSM wherever TSN works: trained, resumed, exported, converted, in windows; and what is refused."""

import logging
import os

import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import export
import infer
import test as test_verb
import train
from conftest import NUM_CLASSES, SIDE, class_frames, small_flags, write_video
from dataset.demo.make_demo import main as make_demo
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Running
from inference.engines.paddle_inference import PaddleInference
from inference.exported import ENGINES, open_exported
from inference.exporting import FORMATS
from models.registry import create_model
from models.weights import load_weights, read_weights
from scripts.convert_weights import main as convert
from training.checkpoint import load_training_arrays

WAYS = {"there": 1, "back": -1}


@pytest.fixture(scope="module")
def whole(small_set, tmp_path_factory):
    """The folder of a run of two epochs with dropout on each segment's features."""
    folder = tmp_path_factory.mktemp("tsm") / "whole"
    flags = small_flags(small_set, TRAIN__epoch=2, TRAIN__dropout=0.5, TRAIN__learning_rate=0.003)
    train.main([*flags, "--model_name=TSM", "--pretrain=none", "--valid_interval=0", f"--save_dir={folder}"])
    return folder


def test_a_run_that_goes_on_ends_the_same_to_the_bit(whole, small_set, tmp_path):
    flags = small_flags(small_set, TRAIN__epoch=2, TRAIN__dropout=0.5, TRAIN__learning_rate=0.003)
    resumed = [f"--save_dir={tmp_path}", f"--resume={whole / 'TSM_epoch0'}"]
    train.main([*flags, "--model_name=TSM", "--valid_interval=0", *resumed])
    for read in (load_training_arrays, lambda folder: read_weights(folder).arrays):
        theirs, ours = read(whole / "TSM_epoch1"), read(tmp_path / "TSM_epoch1")
        assert theirs.keys() == ours.keys() and all(np.array_equal(theirs[name], ours[name]) for name in theirs)
    assert read_weights(tmp_path / "TSM_epoch1").arrays["shift"].tolist() == [8, 1]


def test_a_checkpoint_brings_its_model_along_which_sees_in_which_order_frames_come(whole, tmp_path):
    stills = [class_frames(label, np.random.default_rng(label), 1).repeat(24, axis=0) for label in (0, 1, 2)]
    videos = [write_video(tmp_path / f"{name}.mp4", np.concatenate(stills[::step])) for name, step in WAYS.items()]
    flags = [f"--weights={whole / 'TSM_epoch1'}", f"--save_dir={tmp_path}", "--video", *map(str, videos)]
    there, back = (one.probabilities[one.class_ids.argsort()] for one in infer.main([*flags, "--engine=eager"]))
    assert (tmp_path / "TSM_infer_result").is_file()
    assert np.abs(there - back).max() > 1e-3, "to a TSN they would be the same frames"

    timelines = infer.main([*flags, "--window_sec=2.88", "--engine=eager"])  # one window over all
    for path, expected in zip(videos, (there, back), strict=True):
        (window,) = timelines[str(path)]
        found = np.array(window["probabilities"])[np.argsort(window["class_ids"])]
        assert np.abs(found - expected).max() < 0.1 * np.abs(there - back).max()

    infer.main([*flags, f"--cam={tmp_path / 'cam'}"])
    assert sorted(path.stem for path in (tmp_path / "cam").iterdir()) == ["back", "there"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_says_what_the_model_says(name, whole, small_set, tmp_path):
    flags = [f"--weights={whole / 'TSM_epoch1'}", f"--save_dir={tmp_path / name}", f"--format={name}"]
    exported = open_exported(export.main(flags), Running(1))
    model = create_model("TSM", num_classes=NUM_CLASSES, num_layers=18)
    load_weights(model, read_weights(whole / "TSM_epoch1"))
    source = EagerPaddle(model)
    for clips, segments in ((1, 1), (2, 3), (1, 8), (3, 16)):
        frames = paddle.randint(0, 256, [clips, segments, 3, SIDE, SIDE]).astype("uint8")
        ours, theirs = source(frames), exported(frames)
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-4
        assert np.allclose(ours.features, theirs.features, rtol=1e-3, atol=1e-3 * np.abs(ours.features).max())


@pytest.mark.parametrize("engine, precision, most", [
    *((engine, "float32", 1e-5) for engine in ENGINES), ("paddle", "bf16", 0.02), ("openvino", "bf16", 0.02),
])  # fmt: skip
def test_every_engine_says_what_eager_paddle_says(engine, precision, most, whole, small_set, tmp_path):
    if precision == "bf16" and not PaddleInference.has_bf16():
        pytest.skip("this processor computes no bf16")
    flags = [f"--weights={whole / 'TSM_epoch1'}", f"--save_dir={tmp_path}", "-o", "INFER.seg_num=8"]
    plain = infer.main([*flags, "--engine=eager"])
    found = infer.main([*flags, f"--engine={engine}", f"--precision={precision}"])
    for ours, theirs in zip(plain, found, strict=True):
        gaps = ours.probabilities[ours.class_ids.argsort()] - theirs.probabilities[theirs.class_ids.argsort()]
        assert np.abs(gaps).max() < most


@pytest.fixture(scope="module")
def files(whole, tmp_path_factory):
    """Weights of a TSN and of TSMs under several names."""
    folder, source = tmp_path_factory.mktemp("files"), whole / "TSM_epoch1"
    paddle.save(create_model("TSN", num_classes=NUM_CLASSES, num_layers=18).state_dict(), str(folder / "tsn.pdparams"))
    for name in ("original", "paddlevideo", "mmaction2", "mit"):
        convert([str(source), str(folder / f"{name}.safetensors"), f"--names={name}"])
    convert([str(folder / "tsn.pdparams"), str(folder / "tsn_mit.safetensors"), "--names=mit"])
    return {path.stem: path for path in folder.iterdir() if path.suffix != ".sha256"} | {"tsm": source}


@pytest.mark.parametrize("name", ["original", "paddlevideo", "mmaction2", "mit"])
def test_weights_written_for_another_toolkit_read_back_the_same(name, files, tmp_path):
    model = create_model("TSM", num_classes=NUM_CLASSES, num_layers=18)
    load_weights(model, read_weights(files[name]))
    back = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    ours = read_weights(files["tsm"]).arrays
    assert back.keys() == ours.keys() and all(np.array_equal(back[key], ours[key]) for key in ours)
    theirs = read_weights(files[name]).arrays
    assert "shift" not in theirs
    assert any(not np.array_equal(theirs[key], ours[key]) for key in theirs) == (name != "paddlevideo")

    untold = [] if name in ("mmaction2", "mit") else ["--model_name=TSM"]
    convert([str(files[name]), str(tmp_path / "ours.pdparams"), *untold])
    back = read_weights(tmp_path / "ours.pdparams").arrays
    assert back.keys() == ours.keys() and all(np.array_equal(back[key], ours[key]) for key in ours)


OTHER = "of a network that does not shift, but the model is a TSM; give --model_name=TSN, or train on from them"


@pytest.mark.parametrize("weights, flags, message", [
    ("tsm", [], "holds the weights of a TSM, but the model is a TSN; give --model_name=TSM"),
    ("mit", [], "holds the weights of a TSM, but the model is a TSN; give --model_name=TSM"),
    ("tsn", ["--model_name=TSM"], OTHER),
    ("tsn_mit", ["--model_name=TSM"], OTHER),
    ("tsm", ["-o", "MODEL.shift_div=16"], "was trained with shift_div 8, but MODEL.shift_div is 16; set it to match"),
    ("tsm", ["-o", "MODEL.shift_every=2"], "was trained with shift_every 1, but MODEL.shift_every is 2"),
    ("original", ["-o", "MODEL.shift_div=16"], "was trained with shift_div 8, but MODEL.shift_div is 16"),
    ("mit", ["-o", "MODEL.shift_every=2"], "was trained with shift_every 1, but MODEL.shift_every is 2"),
])  # fmt: skip
def test_weights_of_another_kind_are_refused(weights, flags, message, files, small_set, tmp_path):
    model = [] if "--model_name" in message else ["--model_name=TSM"]
    command = [*small_flags(small_set), *model, *flags, f"--weights={files[weights]}", f"--save_dir={tmp_path}"]
    with pytest.raises(ValueError, match=f"{files[weights].name}: .*{message}"):
        test_verb.main(command)


def test_a_tsm_starts_from_weights_that_do_not_shift_and_a_tsn_not_from_a_tsm_s(files, small_set, tmp_path, caplog):
    flags = [*small_flags(small_set), "--valid_interval=0", f"--save_dir={tmp_path}"]
    with caplog.at_level(logging.INFO):
        train.main([*flags, "--model_name=TSM", f"--pretrain={files['tsn_mit']}"])
    assert "ResNet-18 in the names of MIT's TSN: 102 tensors matched" in caplog.text
    with pytest.raises(ValueError, match="holds the weights of a TSM, but the model is a TSN"):
        train.main([*flags, f"--pretrain={files['tsm']}", f"--save_dir={tmp_path / 'other'}"])
    # ImageNet weights in the original's names, which do not tell
    model = create_model("TSM", num_classes=2, num_layers=18, shift_div=16)
    assert load_weights(model, read_weights(files["original"]), fresh_head=True).head_is_fresh


@pytest.mark.parametrize("flags, message", [
    (["--names=torchvision"], "torchvision and timm has no such TSM; leave out --names"),
    (["--model_name=TSN"], "is not the weights of a TSN; leave out --model_name"),
])  # fmt: skip
def test_what_cannot_be_converted_is_told(flags, message, files, tmp_path):
    with pytest.raises(ValueError, match=f"TSM_epoch1: {message}"):
        convert([str(files["tsm"]), str(tmp_path / "x.safetensors"), *flags])


def test_a_mark_of_another_shape_is_refused(tmp_path):
    state = create_model("TSM", num_classes=NUM_CLASSES, num_layers=18).state_dict() | {"shift": paddle.ones([3])}
    paddle.save(state, str(tmp_path / "x.pdparams"))
    with pytest.raises(ValueError, match=r"x.pdparams: its shift has shape \[3\], but a TSM's is \[2\]"):
        read_weights(tmp_path / "x.pdparams")


def test_a_leaky_resnet_vd_takes_pp_tsm_and_a_plain_one_pp_tsn(tmp_path):
    leaky, plain = (
        create_model(name, num_classes=NUM_CLASSES, num_layers=18, backbone=backbone)
        for name, backbone in (("TSM", "resnet_vd_leaky"), ("TSN", "resnet_vd"))
    )
    paddle.save(leaky.state_dict(), str(tmp_path / "leaky.pdparams"))
    convert([str(tmp_path / "leaky.pdparams"), str(tmp_path / "pp.safetensors"), "--names=paddlevideo_pp"])
    weights = read_weights(tmp_path / "pp.safetensors")
    assert load_weights(leaky, weights).origin == "ResNet-18-vd in the names of PaddleVideo's PP-TSM"
    assert load_weights(plain, weights).origin == "ResNet-18-vd in the names of PaddleVideo's PP-TSN", "none can tell"
    relu = create_model("TSM", num_classes=NUM_CLASSES, num_layers=18, backbone="resnet_vd")
    with pytest.raises(ValueError, match="was trained with other rectifiers; set MODEL.backbone=resnet_vd_leaky"):
        load_weights(relu, weights)
    paddle.save(relu.state_dict(), str(tmp_path / "relu.pdparams"))
    with pytest.raises(ValueError, match="was trained with other rectifiers; set MODEL.backbone=resnet_vd$"):
        load_weights(leaky, read_weights(tmp_path / "relu.pdparams"))
    load_weights(leaky, read_weights(tmp_path / "relu.pdparams"), fresh_head=True)  # as PP-TSM itself began


@pytest.mark.skipif("TSN_LONG" not in os.environ, reason="it takes ten minutes")
def test_only_tsm_learns_what_only_order_tells(tmp_path):
    """The order demo, by the commands of docs/models.md."""
    data = tmp_path / "order_data"
    make_demo(["--set=order", f"--out={data}"])
    flags = ["--config=configs/tsm_order.txt", "--pretrain=none", "--valid_interval=30"]
    for key, path in (("TRAIN", "train"), ("VALID", "val"), ("TEST", "test")):
        flags += ["-o", f"{key}.filelist={data / path}.list"]
    flags += ["-o", f"MODEL.label_file={data / 'labels.txt'}"]
    summaries = {}
    for name in ("TSM", "TSN"):
        train.main([f"--model_name={name}", *flags, f"--save_dir={tmp_path / name}"])
        summaries[name] = test_verb.main([f"--weights={tmp_path / name / name}_epoch29", "-o", "TEST.save_dir=none"])
    assert summaries["TSM"].scores["top1"] >= 0.9
    low, high = summaries["TSN"].top1_interval
    assert low < 0.5 < high
