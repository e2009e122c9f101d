import numpy as np
import paddle
import pytest

from models.registry import create_model
from models.weights import Weights, load_weights, read_weights
from models.weights.names import OURS


def tsn(num_classes=3, num_layers=18):
    return create_model("TSN", num_classes=num_classes, num_layers=num_layers)


def arrays_of(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def weights_of(model_or_arrays, num_layers=18):
    arrays = model_or_arrays if isinstance(model_or_arrays, dict) else arrays_of(model_or_arrays)
    return Weights("source", arrays, {name: name for name in arrays}, OURS["resnet"], num_layers, [])


def test_file_and_folder_give_the_same_weights(tmp_path):
    model = tsn()
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    for path in (tmp_path, tmp_path / "model.pdparams"):
        other = tsn()
        report = load_weights(other, read_weights(path))
        assert report.summary() == "ResNet-18 in the names of this project: 102 tensors matched"
        assert all(
            np.array_equal(a, b) for a, b in zip(arrays_of(model).values(), arrays_of(other).values(), strict=True)
        )


def test_a_fresh_head_keeps_the_head_and_loads_the_rest():
    source, model = arrays_of(tsn(num_classes=5)), tsn(num_classes=3)
    before = model.fc.weight.numpy().copy()
    report = load_weights(model, weights_of(source), fresh_head=True)
    assert "100 tensors matched, 2 of another shape (fc.weight [512, 5], the model has [512, 3]" in report.summary()
    assert report.summary().endswith("; the last layer starts fresh")
    assert np.array_equal(model.fc.weight.numpy(), before)
    assert np.array_equal(model.backbone.conv1.weight.numpy(), source["backbone.conv1.weight"])
    del source["fc.bias"]  # half a head is none
    source["fc.weight"] = np.zeros((512, 3), np.float32)
    report = load_weights(model, weights_of(source), fresh_head=True)
    assert "100 tensors matched, 1 missing (fc.bias)" in report.summary() and report.head_is_fresh
    assert np.array_equal(model.fc.weight.numpy(), before)


def test_a_head_that_fits_is_loaded_by_pretrain_too():
    source, model = arrays_of(tsn()), tsn()
    report = load_weights(model, weights_of(source), fresh_head=True)
    assert len(report.matched) == 102 and not report.head_is_fresh
    assert np.array_equal(model.fc.weight.numpy(), source["fc.weight"])


def test_another_class_count_names_the_fix():
    with pytest.raises(ValueError, match="made for 5 classes, but MODEL.num_classes is 3; .*--pretrain"):
        load_weights(tsn(), weights_of(tsn(num_classes=5)))


def test_another_depth_names_the_fix():
    with pytest.raises(ValueError, match="the model is ResNet-18, the weights are ResNet-34: set MODEL.num_layers=34"):
        load_weights(tsn(), weights_of(tsn(num_layers=34), num_layers=34))


def test_another_family_names_the_fix(tmp_path):
    lite = create_model("TSN", num_classes=3, num_layers=0, backbone="efficientnet_lite")
    for model, other, advice in (
        (lite, tsn(), "MODEL.backbone=resnet and MODEL.num_layers=18"),
        (
            tsn(),
            lite,
            "the weights are EfficientNet-Lite0: set MODEL.backbone=efficientnet_lite and MODEL.num_layers=0",
        ),
    ):
        path = tmp_path / f"{len(arrays_of(other))}.pdparams"
        paddle.save(other.state_dict(), str(path))
        with pytest.raises(ValueError, match=advice):
            load_weights(model, read_weights(path), fresh_head=True)


def test_weights_without_a_head_name_the_fix():
    source = {name: array for name, array in arrays_of(tsn()).items() if not name.startswith("fc.")}
    with pytest.raises(ValueError, match=r"2 missing \(fc.weight, fc.bias\); it has no last layer .*--pretrain"):
        load_weights(tsn(), weights_of(source))


@pytest.mark.parametrize("fresh_head", [False, True])
@pytest.mark.parametrize("extra", ["backbone.layer1.0.se.fc1.weight", "backbone.layer1.2.conv1.weight"])
def test_a_backbone_with_more_tensors_is_another_network(fresh_head, extra):
    source, model = arrays_of(tsn()), tsn()
    source[extra] = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match=f"102 tensors matched, 1 left over .{extra}"):
        load_weights(model, weights_of(source), fresh_head)
    del source[extra]
    source["cls_head.other.weight"] = np.zeros(1, np.float32)
    assert "1 left over (cls_head.other.weight)" in load_weights(model, weights_of(source), fresh_head).summary()


@pytest.mark.parametrize("fresh_head", [False, True])
def test_weights_that_do_not_fit_change_nothing(fresh_head):
    source, model = arrays_of(tsn()), tsn()
    del source["backbone.layer1.0.conv1.weight"]
    source["backbone.conv1.weight"] = np.zeros((64, 6, 7, 7), np.float32)
    source["extra"] = np.zeros(1, np.float32)
    before = arrays_of(model)
    with pytest.raises(ValueError) as caught:
        load_weights(model, weights_of(source), fresh_head=fresh_head)
    for part in (
        "100 tensors matched", "1 missing (backbone.layer1.0.conv1.weight)", "1 left over (extra)",
        "1 of another shape (backbone.conv1.weight [64, 6, 7, 7], the model has [64, 3, 7, 7])",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), arrays_of(model).values(), strict=True))


def test_weights_of_another_backbone_keep_their_names_and_fit_only_that(tmp_path):
    """A backbone that is added to this project needs no table of names for its own checkpoints."""
    arrays = {f"backbone.stem.{number}.weight": np.full((2, 2), number, np.float32) for number in range(6)}
    arrays |= {"fc.weight": np.zeros((2, 3), np.float32), "fc.bias": np.zeros(3, np.float32)}
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(tmp_path / "own.pdparams"))
    weights = read_weights(tmp_path / "own.pdparams")
    assert weights.num_layers is None and weights.arrays.keys() == arrays.keys()
    assert weights.description() == "another backbone in the names of this project"
    with pytest.raises(ValueError, match="does not fit .* the backbones are of two families: set MODEL.backbone"):
        load_weights(create_model("TSN", num_classes=3, num_layers=18), weights)
