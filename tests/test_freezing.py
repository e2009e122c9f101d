import numpy as np
import paddle
import pytest

from models.registry import create_model
from training.freezing import batch_norms, freeze_stages, still_norms


@pytest.fixture(params=["resnet", "efficientnet_lite"])
def model(request):
    paddle.seed(0)
    size = {"resnet": 18, "efficientnet_lite": 0}[request.param]
    return create_model("TSN", num_classes=2, num_layers=size, backbone=request.param)


def step(model, still):
    """Forward, backward and a step, as training takes it."""
    model.train()
    for norm in still:
        norm.eval()
    frames = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 1, 3, 64, 64)), "uint8")
    optimizer = paddle.optimizer.SGD(1e-5, parameters=[one for one in model.parameters() if not one.stop_gradient])
    model(frames).square().sum().backward()
    optimizer.step()


def changed(model, before):
    return {name for name, tensor in model.state_dict().items() if not np.array_equal(tensor.numpy(), before[name])}


def test_stages_are_all_of_the_backbone_in_order(model):
    layers = [layer for stage in model.backbone.stages() for layer in stage]
    named = [parameter.name for layer in layers for parameter in layer.parameters()]
    assert named == [parameter.name for parameter in model.backbone.parameters()]


def test_frozen_stages_stay_as_they_are_and_the_rest_learns(model):
    freeze_stages(model, 3)
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    step(model, still_norms(model, False, 3))
    frozen = {
        id(tensor) for stage in model.backbone.stages()[:3] for layer in stage for tensor in layer.state_dict().values()
    }
    names = {name for name, tensor in model.state_dict().items() if id(tensor) in frozen}
    assert names and not names & changed(model, before)
    rest = {name for name in before if name not in names}
    assert len(changed(model, before)) > 0.9 * len(rest)  # a convolution before a batch norm may get no gradient


def test_batch_norms_keep_their_statistics_all_or_all_but_the_first(model):
    norms = batch_norms(model)
    for freeze_bn, kept in ((True, norms), ("all_but_first", norms[1:]), (False, [])):
        before = [norm._mean.numpy().copy() for norm in norms]
        step(model, still_norms(model, freeze_bn, 0))
        stay = [np.array_equal(norm._mean.numpy(), mean) for norm, mean in zip(norms, before, strict=True)]
        assert stay == [any(norm is one for one in kept) for norm in norms]
    assert norms[0] is (model.backbone.bn1 if hasattr(model.backbone, "conv1") else model.backbone.bn0)


def test_more_frozen_stages_than_there_are_is_refused(model):
    number = len(model.backbone.stages())
    with pytest.raises(ValueError, match=f"frozen_stages is {number + 1}, but the backbone has {number} parts"):
        freeze_stages(model, number + 1)
