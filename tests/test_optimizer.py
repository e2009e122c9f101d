import numpy as np
import paddle
import pytest

from training.optimizer import Groups, create_optimizer, optimizer_arrays, restore_optimizer


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


class Small(paddle.nn.Layer):
    """A batch norm and a last layer, whose gradients can be computed by hand."""

    def __init__(self):
        super().__init__()
        self.bn = paddle.nn.BatchNorm1D(3)
        self.fc = paddle.nn.Linear(3, 2)
        self.eval()

    def forward(self, x):
        return self.fc(self.bn(x))


GRADIENTS = {
    "bn.weight": [0.5, -1.0, 2.0],
    "bn.bias": [1.0, 0.25, -0.5],
    "fc.weight": [[1.0, -2.0]] * 3,
    "fc.bias": [0.3, -0.6],
}


def after_steps(num_steps, groups, rate=0.1, decay=0.01, **options):
    """The parameters after steps with GRADIENTS, and those before."""
    model = Small()
    parameters = {name: tensor for name, tensor in model.named_parameters() if name in GRADIENTS}
    before = {name: tensor.numpy().astype(np.float64) for name, tensor in parameters.items()}
    optimizer = create_optimizer(model, rate, 0.9, decay, groups=groups, **options)
    for _ in range(num_steps):
        for name, tensor in parameters.items():
            tensor.grad = paddle.to_tensor(GRADIENTS[name], "float32")
        optimizer.step()
        optimizer.clear_grad()
    return before, {name: tensor.numpy() for name, tensor in parameters.items()}


def test_the_last_biases_alone_may_be_without_decay():
    """As in the original's TSM: at twice the rate, too."""
    before, after = after_steps(1, Groups("all_but_last", head_rate=1.0))
    for name, weight in before.items():
        rate, decay = (0.2, 0.0) if name == "fc.bias" else (0.1, 0.01)
        assert np.allclose(after[name], weight - rate * (np.array(GRADIENTS[name]) + decay * weight), atol=1e-6), name


@pytest.mark.parametrize("nesterov", [False, True])
def test_groups_of_sgd_are_the_formula(nesterov):
    before, after = after_steps(2, Groups(decay_bn_and_bias=False, head_rate=5.0), nesterov=nesterov)
    rates = {"bn.weight": 0.1, "bn.bias": 0.1, "fc.weight": 0.5, "fc.bias": 1.0}
    for name, weight in before.items():
        decay, velocity = (0.01 if name == "fc.weight" else 0.0), 0.0
        for _ in range(2):
            gradient = np.array(GRADIENTS[name]) + decay * weight
            velocity = 0.9 * velocity + gradient
            weight = weight - rates[name] * (gradient + 0.9 * velocity if nesterov else velocity)
        assert np.allclose(after[name], weight, atol=1e-6), name


@pytest.mark.parametrize("decay_bn_and_bias", [False, True, "all_but_last"])
def test_adamw_is_the_formula(decay_bn_and_bias):
    before, after = after_steps(3, Groups(decay_bn_and_bias, head_rate=10.0), rate=0.01, decay=0.1, name="adamw")
    rates = {"bn.weight": 0.01, "bn.bias": 0.01, "fc.weight": 0.1, "fc.bias": 0.2}
    for name, weight in before.items():
        gradient, first, second = np.array(GRADIENTS[name]), 0.0, 0.0
        is_decayed = name != "fc.bias" if decay_bn_and_bias == "all_but_last" else decay_bn_and_bias
        decay = 0.1 if is_decayed or name == "fc.weight" else 0.0
        for step in (1, 2, 3):
            weight = weight * (1 - rates[name] * decay)
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            step_size = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            weight = weight - rates[name] * step_size
        assert np.allclose(after[name], weight, atol=2e-6), name


def test_what_adamw_keeps_survives_another_process():
    model = paddle.nn.Linear(3, 2)
    optimizer = create_optimizer(model, 0.1, 0.9, 0.1, name="adamw")
    first = optimizer_arrays(optimizer, model)
    assert first["weight.moment1"].shape == (3, 2) and first["bias.beta2_power"] == [np.float32(0.999)]
    train_steps(model, optimizer, 2)
    middle = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    arrays = {name: array.copy() for name, array in optimizer_arrays(optimizer, model).items()}
    train_steps(model, optimizer, 2)

    resumed = paddle.nn.Linear(3, 2)
    resumed.set_state_dict(middle)
    other = create_optimizer(resumed, 0.1, 0.9, 0.1, name="adamw")
    restore_optimizer(other, resumed, arrays)
    train_steps(resumed, other, 2)
    assert np.array_equal(resumed.weight.numpy(), model.weight.numpy())
    with pytest.raises(ValueError, match="the velocity of weight is missing; .* with the TRAIN.optimizer"):
        restore_optimizer(create_optimizer(resumed, 0.1, 0.9, 0.1), resumed, arrays)


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
