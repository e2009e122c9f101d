import numpy as np
import paddle
import pytest

from config import load_config
from training.build import build_schedule
from training.optimizer import create_optimizer, optimizer_arrays, restore_optimizer
from training.schedule import learning_rate_at, learning_rate_in_thirds, steps_per_epoch


def test_steps_per_epoch_as_the_original_counts():
    assert [steps_per_epoch(*sizes) for sizes in ((224684, 256), (240, 16), (16, 4), (3, 4))] == [878, 16, 5, 1]


def test_learning_rate_drops_at_one_and_two_thirds():
    rates = [learning_rate_at(step, 0.01, 0.1, num_epochs=3, epoch_steps=5) for step in range(15)]
    assert rates == pytest.approx([0.01] * 5 + [0.001] * 5 + [0.0001] * 5)
    rates = [learning_rate_at(step, 1.0, 0.5, num_epochs=1, epoch_steps=4) for step in range(4)]
    assert rates == [1.0, 1.0, 0.5, 0.25]  # 4/3 and 8/3


@pytest.mark.parametrize("num_steps, drops", [(1, []), (2, [1]), (3, [1, 2]), (4, [2, 3]), (5, [2, 4]), (9, [3, 6])])
def test_learning_rate_drops_at_exactly_the_thirds_of_a_run(num_steps, drops):
    rates = [learning_rate_in_thirds(step, 1.0, 0.5, num_steps) for step in range(num_steps)]
    assert [step for step in range(1, num_steps) if rates[step] == rates[step - 1] / 2] == drops
    assert rates[-1] == 0.5 ** len(drops)


@pytest.mark.parametrize(
    "total_videos, drops",
    [("none", [45, 90]), (12, [60, 120])],  # the original counts 4 steps of 4 among 12 videos, one too many
)
def test_a_lists_own_length_counts_its_own_steps(total_videos, drops):
    settings = ["TRAIN.epoch=45", "TRAIN.batch_size=4", f"TRAIN.total_videos={total_videos}"]
    schedule = build_schedule(load_config("configs/tsn.txt", settings), list_length=12, epoch_steps=3)
    assert [step for step in range(1, 3 * 45) if schedule(step) < schedule(step - 1)] == drops


def train_steps(model, optimizer, num_steps):
    for step in range(num_steps):
        optimizer.set_lr(0.1 / (step + 1))
        (model(paddle.full([4, 3], 0.5)) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()


def test_momentum_and_decay_are_the_formula():
    model = paddle.nn.Linear(3, 2)
    weight, bias = model.weight.numpy().astype(np.float64), model.bias.numpy().astype(np.float64)
    velocity_w, velocity_b = 0.0, 0.0
    optimizer = create_optimizer(model, 0.1, momentum=0.9, l2_weight_decay=0.01)
    train_steps(model, optimizer, 3)
    x = np.full((4, 3), 0.5)
    for step in range(3):
        out_grad = 2 * (x @ weight + bias) / 8
        velocity_w = 0.9 * velocity_w + (x.T @ out_grad + 0.01 * weight)
        velocity_b = 0.9 * velocity_b + (out_grad.sum(0) + 0.01 * bias)
        weight, bias = weight - 0.1 / (step + 1) * velocity_w, bias - 0.1 / (step + 1) * velocity_b
    assert np.allclose(model.weight.numpy(), weight, atol=1e-6) and np.allclose(model.bias.numpy(), bias, atol=1e-6)


def test_velocities_survive_another_process_counting_parameters_otherwise():
    model = paddle.nn.Linear(3, 2)
    start = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    optimizer = create_optimizer(model, 0.1, 0.9, 0.0)
    train_steps(model, optimizer, 2)
    middle = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    velocities = {name: array.copy() for name, array in optimizer_arrays(optimizer, model).items()}
    assert set(velocities) == {"weight.velocity", "bias.velocity"}
    train_steps(model, optimizer, 2)

    resumed = paddle.nn.Linear(3, 2)
    assert resumed.weight.name != model.weight.name
    resumed.set_state_dict(middle)
    other = create_optimizer(resumed, 0.1, 0.9, 0.0)
    restore_optimizer(other, resumed, velocities)
    train_steps(resumed, other, 2)
    assert np.array_equal(resumed.weight.numpy(), model.weight.numpy())
    assert not np.array_equal(start["weight"], middle["weight"])


def test_missing_and_misshapen_velocities_are_refused():
    model = paddle.nn.Linear(3, 2)
    optimizer = create_optimizer(model, 0.1, 0.9, 0.0)
    with pytest.raises(ValueError, match="the velocity of weight is missing"):
        restore_optimizer(optimizer, model, {})
    with pytest.raises(ValueError, match=r"of weight is of shape \[2\], not \[3, 2\]"):
        restore_optimizer(optimizer, model, {"weight.velocity": np.zeros(2)})
