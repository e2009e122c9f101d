"""The project's depthwise convolution against Paddle's, and where Paddle's is left to do it."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from numba.core import caching

import common.startup  # noqa: F401
from models import depthwise_kernels
from models.depthwise import DepthwiseConv2D
from models.registry import create_model

# (pictures, channels, height, width), kernel size, stride
SHAPES = [
    ((2, 3, 7, 5), 3, 1), ((2, 3, 7, 5), 3, 2), ((2, 3, 8, 8), 5, 2), ((2, 3, 9, 6), 5, 1), ((2, 3, 6, 9), 3, 3),
    ((1, 2, 1, 1), 5, 1), ((1, 2, 2, 3), 5, 2), ((1, 2, 1, 1), 3, 2), ((3, 4, 40, 40), 5, 2), ((1, 1, 33, 70), 3, 1),
]  # fmt: skip


def normal(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def computed(convolution, x: np.ndarray, layer: DepthwiseConv2D, dtype: str) -> list[np.ndarray]:
    """What it gives, and the gradients of pictures and weights of a sum in which each number counts differently."""
    x = paddle.to_tensor(x.astype(dtype), stop_gradient=False)
    weight = layer.weight if dtype == "float32" else layer.weight.astype(dtype).detach()
    weight.stop_gradient = False
    layer.clear_gradients()
    out = convolution(x, weight)
    (out * paddle.to_tensor(normal(out.shape, seed=1).astype(dtype))).sum().backward()
    return [out.numpy(), x.grad.numpy(), weight.grad.numpy()]


@pytest.mark.parametrize(("shape", "size", "stride"), SHAPES)
def test_numbers_and_gradients_are_those_of_paddle_in_float64(shape, size, stride):
    layer = DepthwiseConv2D(shape[1], size, stride, "NCHW")
    ours = computed(lambda x, weight: layer(x), normal(shape), layer, "float32")
    theirs = computed(
        lambda x, weight: F.conv2d(x, weight, None, stride, "SAME", groups=shape[1]), normal(shape), layer, "float64"
    )
    for one, expected in zip(ours, theirs, strict=True):
        assert one.dtype == np.float32 and one.shape == expected.shape
        assert np.abs(one - expected).max() <= 2e-6 * max(np.abs(expected).max(), 1)
    again = computed(lambda x, weight: layer(x), normal(shape), layer, "float32")
    assert all(np.array_equal(one, same) for one, same in zip(ours, again, strict=True))


def test_pictures_that_lie_in_another_order_are_read_in_theirs():
    layer = DepthwiseConv2D(3, 3, 1, "NCHW")
    turned = paddle.to_tensor(normal((2, 5, 4, 3))).transpose([0, 3, 1, 2])
    assert not turned.is_contiguous()
    copied = paddle.to_tensor(turned.numpy())
    assert np.array_equal(layer(turned).numpy(), layer(copied).numpy())
    found = []
    for scale in (paddle.ones([2, 3, 5, 4]), paddle.ones([2, 5, 4, 3]).transpose([0, 3, 1, 2])):
        layer.clear_gradients()
        layer(copied).backward(scale)
        found.append(layer.weight.grad.numpy())
    assert np.array_equal(*found)


def test_only_what_is_trained_gets_a_gradient():
    for weight_is_frozen, pictures_are_frozen in ((False, True), (True, False)):
        layer, pictures = DepthwiseConv2D(2, 3, 1, "NCHW"), paddle.to_tensor(normal((1, 2, 4, 4)))
        layer.weight.stop_gradient, pictures.stop_gradient = weight_is_frozen, pictures_are_frozen
        layer(pictures).sum().backward()
        assert (layer.weight.grad is None, pictures.grad is None) == (weight_is_frozen, pictures_are_frozen)
    pictures.stop_gradient = True
    assert layer(pictures).stop_gradient, "nothing is to be learnt"


def test_what_is_no_number_stays_none():
    layer = DepthwiseConv2D(1, 3, 1, "NCHW")
    pictures = normal((1, 1, 5, 5))
    pictures[0, 0, 0, 0] = np.nan
    found = np.isnan(layer(paddle.to_tensor(pictures)).numpy()[0, 0])
    assert found[:2, :2].all() and found.sum() == 4


@pytest.mark.parametrize(("dtype", "data_format"), [("float64", "NCHW"), ("float32", "NHWC")])
def test_other_numbers_and_layouts_are_paddle_s(dtype, data_format, monkeypatch):
    monkeypatch.setattr(depthwise_kernels, "convolve", None)
    layer = DepthwiseConv2D(4, 3, 2, data_format)
    layer.to(dtype=dtype)
    assert layer(paddle.ones([1, 4, 4, 4], dtype)).shape == [1, *((2, 2, 4) if data_format == "NHWC" else (4, 2, 2))]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_network_says_and_learns_what_it_does_with_paddle_s(number, monkeypatch):
    paddle.seed(number)
    model = create_model("TSN", num_classes=5, num_layers=number, backbone="efficientnet_lite")
    frames = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 2, 3, 64, 48), np.uint8))
    model.train()
    model(frames)  # batch norm takes up what it sees
    model.eval()

    def found() -> list[np.ndarray]:
        model.clear_gradients()
        logits = model(frames)
        F.cross_entropy(logits, paddle.to_tensor([1, 3])).backward()
        return [logits.numpy(), *(weight.grad.numpy() for weight in model.parameters() if not weight.stop_gradient)]

    ours = found()
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    for one, theirs in zip(ours, found(), strict=True):
        assert np.abs(one - theirs).max() <= 1e-4 * np.abs(theirs).max() + 1e-9


def test_without_a_folder_for_compiled_code_it_is_compiled_at_each_start(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert depthwise_kernels._compiled(lambda number: number + 1)(1) == 2
