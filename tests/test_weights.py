import pickle

import numpy as np
import paddle
import pytest

from models import create_model
from models.weights import load_weights, read_weights


def tsn(num_classes=3, num_layers=18):
    return create_model("TSN", num_classes=num_classes, num_layers=num_layers)


def arrays_of(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def test_file_and_folder_give_the_same_weights(tmp_path):
    model = tsn()
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    for path in (tmp_path, tmp_path / "model.pdparams"):
        other = tsn()
        report = load_weights(other, read_weights(path), str(path))
        assert report.summary() == "102 tensors matched"
        assert all(
            np.array_equal(a, b) for a, b in zip(arrays_of(model).values(), arrays_of(other).values(), strict=True)
        )


def test_a_fresh_head_keeps_the_head_and_loads_the_rest():
    source, model = arrays_of(tsn(num_classes=5)), tsn(num_classes=3)
    before = model.fc.weight.numpy().copy()
    report = load_weights(model, source, "source", fresh_head=True)
    assert report.summary().startswith("100 tensors matched, 2 of another shape (fc.weight")
    assert np.array_equal(model.fc.weight.numpy(), before)
    assert np.array_equal(model.backbone.conv1.weight.numpy(), source["backbone.conv1.weight"])
    del source["fc.weight"], source["fc.bias"]
    assert "2 missing (fc.weight, fc.bias)" in load_weights(model, source, "source", fresh_head=True).summary()


def test_another_class_count_names_the_fix():
    with pytest.raises(ValueError, match="made for 5 classes, but MODEL.num_classes is 3; .*--pretrain"):
        load_weights(tsn(), arrays_of(tsn(num_classes=5)), "source")


@pytest.mark.parametrize("fresh_head", [False, True])
def test_weights_that_do_not_fit_change_nothing(fresh_head):
    source, model = arrays_of(tsn()), tsn()
    del source["backbone.layer1.0.conv1.weight"]
    source["backbone.conv1.weight"] = np.zeros((64, 6, 7, 7), np.float32)
    source["extra"] = np.zeros(1, np.float32)
    before = arrays_of(model)
    with pytest.raises(ValueError) as caught:
        load_weights(model, source, "source", fresh_head=fresh_head)
    for part in (
        "100 tensors matched", "1 missing (backbone.layer1.0.conv1.weight)", "1 left over (extra)",
        "1 of another shape (backbone.conv1.weight [64, 6, 7, 7], the model has [64, 3, 7, 7])",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), arrays_of(model).values(), strict=True))


def test_what_is_no_weights_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such weights"):
        read_weights(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="folder is no checkpoint folder"):
        read_weights(tmp_path / "folder")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ValueError, match="text: cannot be read"):
        read_weights(tmp_path / "text")
    (tmp_path / "list").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="holds a list"):
        read_weights(tmp_path / "list")
    (tmp_path / "empty").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="holds no arrays"):
        read_weights(tmp_path / "empty")
