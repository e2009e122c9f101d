"""The PyTorch peer of fine-tuning, without data. The suite installs no PyTorch; whoever has it runs these too."""

from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the peer is of PyTorch, which the project does not need")
lite = pytest.importorskip("efficientnet_lite_pytorch", reason="the peer takes its network from this package")

from benchmarks.peers import torch_tsn  # noqa: E402
from config import load_config  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
MODEL = SimpleNamespace(num_layers=0, num_classes=2, image_mean=(0.485, 0.456, 0.406), image_std=(0.229, 0.224, 0.225))
TRAIN = SimpleNamespace(
    epoch=1, batch_size=2, learning_rate=0.01, warmup_epochs=0.0, rate_for_batch=None, l2_weight_decay=0.05,
    decay_bn_and_bias=False, head_rate=5.0, label_smoothing=0.1, dropout=0.2, clip_grad_norm=None,
)  # fmt: skip


class OneBatch:
    """A loader of one step."""

    def __init__(self):
        pixels = torch.arange(2 * 3 * 3 * 32 * 32).reshape(2, 3, 3, 32, 32) % 251
        self.frames, self.labels = pixels.to(torch.uint8), torch.tensor([0, 0])
        self.reader = [None] * 4  # of the list's four videos two could be read

    def __len__(self):
        return 1

    def epoch(self, number):
        yield self


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "lite0.pth"
    torch.save(lite.EfficientNet.from_name("efficientnet-lite0").state_dict(), path)
    return path


def test_rate_warms_up_and_follows_half_a_cosine():
    rates = [torch_tsn.rate_at(step, 0.4, num_steps=6, warmup_steps=2) for step in range(6)]
    # (1 + cos(pi k / 6)) / 2 for k = 2..5, and thirds of the first of them before
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.1, 0.4 * 0.0669873], rel=1e-5)
    assert torch_tsn.rate_at(0, 0.4, num_steps=6, warmup_steps=0) == 0.4


def test_groups_of_the_optimizer(weights):
    config = SimpleNamespace(model=MODEL, train=TRAIN)
    model = torch_tsn.TSN(config, weights)
    groups = torch_tsn.create_optimizer(model, config).param_groups
    found = {(group["weight_decay"], group["factor"]): sum(p.numel() for p in group["params"]) for group in groups}
    assert found[(0.05, 5.0)] == 2 * 1280 and found[(0.0, 10.0)] == 2
    assert found.keys() == {(0.05, 1.0), (0.0, 1.0), (0.05, 5.0), (0.0, 10.0)}
    no_decay = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert all(p.dim() == 1 for p in no_decay)


def test_a_step_trains_scale_and_shift_of_batch_norm_and_leaves_its_statistics(weights):
    config = SimpleNamespace(model=MODEL, train=TRAIN)
    model = torch_tsn.TSN(config, weights)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    (loss,) = torch_tsn.train(model, config, OneBatch())
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert 0.1 < loss < 3 and {"fc.weight", "fc.bias", "backbone._bn0.weight", "backbone._bn0.bias"} <= changed
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_an_unreadable_video_counts_as_a_wrong_answer(weights):
    model = torch_tsn.TSN(SimpleNamespace(model=MODEL, train=TRAIN), weights)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([1.0, 0.0]))
    top1, loss = torch_tsn.evaluate(model, OneBatch())
    assert top1 == 2 / 4 and loss == pytest.approx(0.313262, rel=1e-5)


def test_a_config_of_the_recipe_is_followed():
    recipe = ["MODEL.backbone=efficientnet_lite", "MODEL.num_layers=0", "TRAIN.dropout=0.2", "TRAIN.optimizer=adamw"]
    recipe += ["TRAIN.schedule=cosine", "TRAIN.warmup_epochs=1", "TRAIN.freeze_bn=True", "TRAIN.head_rate=5"]
    recipe += ["TRAIN.decay_bn_and_bias=False", "TRAIN.label_smoothing=0.1", "TRAIN.crop=multi_scale"]
    torch_tsn.check_config(load_config(ROOT / "configs" / "tsn.txt", recipe))
    with pytest.raises(ValueError, match="TRAIN.mixup is 0.2, and this peer only knows none"):
        torch_tsn.check_config(load_config(ROOT / "configs" / "tsn.txt", [*recipe, "TRAIN.mixup=0.2"]))


def test_a_config_that_it_does_not_follow_is_refused():
    with pytest.raises(ValueError, match="MODEL.backbone is resnet, and this peer only knows efficientnet_lite"):
        torch_tsn.check_config(load_config(ROOT / "configs" / "tsn.txt"))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: has no _conv_stem.weight of shape \[32, 3, 3, 3\]"):
        torch_tsn.TSN(SimpleNamespace(model=MODEL), tmp_path / "other.pth")
