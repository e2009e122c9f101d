"""Equality with the original's logits is in test_parity.py."""

import numpy as np
import paddle
import pytest

from models.normalize import Normalize
from models.registry import create_model
from models.resnet import ResNet


def test_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown model 'C3D'; known models: TSM, TSN"):
        create_model("C3D", num_classes=2)


@pytest.mark.parametrize(
    "num_layers, num_features, millions",
    [(18, 512, 11.18), (34, 512, 21.28), (50, 2048, 23.51), (101, 2048, 42.50), (152, 2048, 58.14)],
)
def test_depths_have_the_published_number_of_parameters(num_layers, num_features, millions):
    backbone = ResNet(num_layers)
    assert backbone.num_features == num_features
    trainable = sum(parameter.size for parameter in backbone.parameters() if not parameter.stop_gradient)
    assert int(trainable) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("num_layers", [18, 50])
def test_backbone_equals_paddle_vision(num_layers):
    ours = ResNet(num_layers)
    theirs = getattr(paddle.vision.models, f"resnet{num_layers}")(num_classes=0)
    theirs.set_state_dict(ours.state_dict())
    assert set(theirs.state_dict()) == set(ours.state_dict())
    ours.eval()
    theirs.eval()
    images = paddle.to_tensor(np.random.RandomState(0).randn(2, 3, 64, 64).astype(np.float32))
    with paddle.no_grad():
        assert np.allclose(ours(images).numpy(), theirs(images).flatten(1).numpy(), atol=1e-5)


def test_normalize_is_the_formula():
    pixels = np.random.RandomState(0).randint(0, 256, (2, 3, 3, 4, 4)).astype(np.uint8)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (pixels / 255.0 - mean[:, None, None]) / std[:, None, None]
    assert np.allclose(Normalize(mean, std)(paddle.to_tensor(pixels)).numpy(), expected, atol=1e-6)


def test_features_are_averaged_over_any_number_of_segments():
    model = create_model("TSN", num_classes=4, num_layers=18)
    model.eval()
    frames = np.random.RandomState(0).randint(0, 256, (2, 5, 3, 32, 32)).astype(np.uint8)
    with paddle.no_grad():
        logits = model(paddle.to_tensor(frames)).numpy()
        features = model.features(paddle.to_tensor(frames)).numpy()
        single = np.stack([model.features(paddle.to_tensor(frames[:, [i]])).numpy() for i in range(5)]).mean(0)
    assert logits.shape == (2, 4)
    assert np.allclose(features, single, atol=1e-5)


def test_seglen_stacks_frames_as_channels():
    model = create_model("TSN", num_classes=4, num_layers=18, seglen=2)
    assert model.backbone.conv1.weight.shape == [64, 6, 7, 7]
    frames = paddle.to_tensor(np.zeros((2, 6, 3, 32, 32), np.uint8))
    assert model(frames).shape == [2, 4]


def test_checkpoints_do_not_hold_the_normalisation():
    assert not [name for name in create_model("TSN", num_classes=2, num_layers=18).state_dict() if "normalize" in name]
