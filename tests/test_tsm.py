"""TSM against other toolkits' networks, their weights, and that it works wherever TSN does."""

import functools

import numpy as np
import paddle
import pytest

from models.registry import create_model
from models.tsm import temporal_shift
from models.weights import load_weights, read_weights
from models.weights.matching import tensor_names
from models.weights.names import NAMINGS, OURS
from models.weights.shifts import as_ours, as_theirs
from peer_tsm import BLOCKS, RESNET_VD, TSM, Toolkit
from peer_tsm import shift as shift_by_hand
from torch_files import save

CLASSES = 5


def write(toolkit: Toolkit, arrays: dict[str, np.ndarray], folder):
    """The arrays in the file format of their toolkit."""
    if toolkit.is_torch:
        return save(folder / "weights.pth", {"state_dict": {f"module.{name}": one for name, one in arrays.items()}})
    path = folder / "weights.pdparams"
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(path))
    return path


@functools.cache
def network(name: str, depth: int, backbone: str, **arguments) -> paddle.nn.Layer:
    """A model without the normalisation of pixels, for frames as they are."""
    model = create_model(name, num_classes=CLASSES, num_layers=depth, backbone=backbone, **arguments)
    model.normalize = paddle.nn.Identity()
    model.eval()
    return model


def says(model: paddle.nn.Layer, frames: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(frames)).numpy()


def random_frames(num_segments: int, side: int) -> np.ndarray:
    """Two clips whose frames are of several colours, so that each says something else."""
    rng = np.random.default_rng(0)
    colours = rng.standard_normal((2, num_segments, 3, 1, 1))
    return (3 * colours + rng.standard_normal((2, num_segments, 3, side, side))).astype(np.float32)


def assert_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs - theirs[0]).max() > 1e-2, "the clips differ"
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("name", TSM)
def test_weights_of_a_toolkit_give_what_its_network_computes(name, depth, tmp_path):
    toolkit = TSM[name]
    arrays = toolkit.weights(depth, CLASSES, seed=1)
    weights = read_weights(write(toolkit, arrays, tmp_path))
    backbone, every = "resnet_vd_leaky" if toolkit.slope else "resnet", 2 if toolkit.is_torch and depth > 50 else 1
    for num_segments in (8, 16):
        shift_div = num_segments if name.startswith("paddlevideo") else 8  # which takes 1 / its number of segments
        model = network("TSM", depth, backbone, shift_div=shift_div, shift_every=every)
        report = load_weights(model, weights)
        assert (report.missing, report.left_over, report.other_shape) == ([], [], [])
        assert len(report.matched) == len(arrays) and "TSM" in report.origin
        frames = random_frames(num_segments, 32)
        theirs = toolkit.logits(arrays, depth, frames, shift_div)
        assert_equal(says(model, frames), theirs)
    if depth > 50:
        return
    other = toolkit._replace(looks_ahead=not toolkit.looks_ahead).logits(arrays, depth, frames, shift_div)
    assert np.abs(other - theirs).max() > 1e-3, "the direction matters"


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("name", RESNET_VD)
def test_resnet_vd_gives_what_paddleclas_computes(name, depth, tmp_path):
    toolkit = RESNET_VD[name]
    arrays = toolkit.weights(depth, CLASSES, seed=2)
    model = network("TSN", depth, "resnet_vd")
    load_weights(model, read_weights(write(toolkit, arrays, tmp_path)))
    for side in (64, 72):  # of 72 pixels the last shortcut has 5 by 5 to take averages of
        frames = random_frames(2, side)
        assert_equal(says(model, frames), toolkit.logits(arrays, depth, frames, 8))


def names_by_hand(toolkit: Toolkit, depth: int) -> set[str]:
    layers = [*toolkit.stem_layers()]
    for block in toolkit.blocks(depth):
        layers += [*block.branch, *([block.shortcut] if block.shortcut else [])]
    norms = {norm + leaf for (_, norm), _ in layers for leaf in toolkit.leaves}
    return {convolution for (convolution, _), _ in layers} | norms | set(toolkit.head)


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("name", sorted({*TSM, *RESNET_VD}))
def test_tables_have_the_whole_key_lists(name, depth):
    if name in TSM:
        assert set(tensor_names(NAMINGS[name].tsm, depth)) == names_by_hand(TSM[name], depth)
    if name in RESNET_VD:
        assert set(tensor_names(NAMINGS[name], depth)) == names_by_hand(RESNET_VD[name], depth)


@pytest.mark.parametrize("num_segments", [1, 2, 8])
@pytest.mark.parametrize("shift_div", [4, 8, 16])
def test_the_shift_is_paddle_s_and_that_by_hand(num_segments, shift_div):
    x = np.random.default_rng(0).standard_normal((2 * num_segments, 32, 3, 5)).astype(np.float32)
    ours = temporal_shift(paddle.to_tensor(x), num_segments, shift_div).numpy()
    last = temporal_shift(paddle.to_tensor(x.transpose(0, 2, 3, 1)), num_segments, shift_div, channels_last=True)
    theirs = paddle.nn.functional.temporal_shift(paddle.to_tensor(x), num_segments, 1 / shift_div).numpy()
    assert np.array_equal(ours, theirs)
    assert np.array_equal(ours, last.numpy().transpose(0, 3, 1, 2))
    assert np.array_equal(ours, shift_by_hand(x, num_segments, shift_div, looks_ahead=False))


@pytest.mark.parametrize("name", TSM)
def test_channels_change_places_and_nothing_is_rounded(name):
    naming, ours = NAMINGS[name].tsm, OURS[NAMINGS[name].family]
    rng, shapes = np.random.default_rng(0), network("TSN", 18, naming.family).state_dict()
    arrays = {key: rng.standard_normal(tensor.shape, np.float32) for key, tensor in shapes.items()}
    changed = as_ours(arrays, naming, 18, 8)
    factor = 0.5 if name == "original" else 1
    for key, array in arrays.items():
        expected = array * np.float32(factor if key == ours.head[0] else 1)
        assert np.array_equal(np.sort(changed[key], axis=None), np.sort(expected, axis=None)), key
    moved = sum(not np.array_equal(changed[key], arrays[key]) for key in arrays)
    assert moved == {"original": 1, "mit": 69, "mmaction2": 69}.get(name, 0)
    back = as_theirs(changed, naming, 18, 8)
    assert all(np.array_equal(back[key], arrays[key]) for key in arrays)
