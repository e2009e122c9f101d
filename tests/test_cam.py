import numpy as np
import paddle
import pytest

from inference.cam import class_maps
from inference.pictures import font_of, heat_sheet
from models.cost import model_cost
from models.registry import create_model


@pytest.mark.parametrize("name, backbone, num_layers", [
    ("TSN", "resnet", 18), ("TSN", "efficientnet_lite", 0), ("TSM", "resnet", 18), ("TSM", "efficientnet_lite", 0),
])  # fmt: skip
@pytest.mark.parametrize("seglen, channels_last", [(1, False), (2, True)])
def test_it_is_grad_cam_as_computed_by_gradients(seglen, channels_last, name, backbone, num_layers):
    paddle.seed(0)
    arguments = {"num_classes": 4, "num_layers": num_layers, "seglen": seglen, "channels_last": channels_last}
    model = create_model(name, **arguments, backbone=backbone)
    model.eval()
    frames = paddle.randint(0, 256, [2, 3 * seglen, 3, 64, 64]).astype("uint8")
    ours = class_maps(model, frames, [1, 3]).numpy()
    assert ours.shape == (2, 3, 64, 64) and ours.min() == 0 and np.allclose(ours.max(axis=(1, 2, 3)), 1)

    maps = model.feature_maps(*model.snippets(frames)).detach()
    maps.stop_gradient = False
    pooled = model.backbone.avgpool(maps).flatten(1).reshape([2, 3, -1]).mean(axis=1)
    logits = model.fc(pooled)
    (logits[0, 1] + logits[1, 3]).backward()
    values, gradients = (array.numpy() for array in (maps, maps.grad))
    axes = (1, 2) if channels_last else (2, 3)
    weighed = np.maximum((values * gradients.mean(axis=axes, keepdims=True)).sum(axis=-1 if channels_last else 1), 0)
    weighed = weighed.reshape(2, 3, 2, 2)
    weighed /= weighed.max(axis=(1, 2, 3), keepdims=True)
    corners = ours[:, :, [0, -1]][:, :, :, [0, -1]]  # where enlarging has changed nothing
    scale = corners.max(axis=(1, 2, 3), keepdims=True)
    assert np.allclose(corners / scale, weighed, atol=1e-4)


def test_a_sheet_has_every_frame_twice():
    frames = np.full((10, 32, 32, 3), 100, np.uint8)
    maps = np.zeros((10, 32, 32))
    maps[3] = 1
    sheet = np.asarray(heat_sheet(frames, maps, "a video: something 0.900"))
    assert sheet.shape == (34 + 2 * (2 * 224 + 8), 8 * 228 + 4, 3)
    plain, heated = sheet[34 + 100, 4 + 3 * 228 + 100], sheet[34 + 324, 4 + 3 * 228 + 100]
    assert plain.tolist() == [100, 100, 100] and heated[0] > heated[2] + 30  # turbo's hottest colour is a dark red
    assert sheet[34 + 324, 4 + 100].tolist() == [100, 100, 100], "no heat, no colour"


def test_the_cost_of_resnet50_is_that_of_the_papers():
    cost = model_cost(create_model("TSN", num_classes=1000, num_layers=50), 1, 224)
    # 4.089 billion multiply-adds and 25.557 million parameters for one picture (torchvision's table); the last layer,
    # 2048 x 1000, runs once per clip
    assert cost.clip_gmacs(3) == pytest.approx(3 * (4.089 - 0.002) + 0.002, rel=1e-3)
    assert cost.num_parameters == 25_557_032


def test_counting_leaves_the_model_as_it_was():
    model = create_model("TSN", num_classes=3, num_layers=18)
    model.train()
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    model_cost(model, 1, 64)
    assert model.training
    assert all(np.array_equal(before[name], value.numpy()) for name, value in model.state_dict().items())


def test_writing_is_upright_and_of_regular_weight():
    assert font_of(12, "a caption").getname() == ("DejaVu Sans", "Book")
