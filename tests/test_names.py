"""Every naming table against a network of that toolkit's structure, with a forward pass of its own."""

import numpy as np
import paddle
import pytest

import peer_networks
from formula_weights import original_variables
from models.registry import create_model
from models.weights import load_weights, read_weights
from models.weights.names import NAMINGS, OURS, find_naming, rename_table, tensor_names
from torch_files import save

PEERS = {
    "paddlevideo": peer_networks.PaddleVideo,
    "paddleclas": peer_networks.PaddleClas,
    "paddleclas2.0": peer_networks.PaddleClas20,
    "paddle.vision": peer_networks.PaddleVision,
    "torchvision": peer_networks.PaddleVision,
    "mmaction2": peer_networks.MMAction2,
}
NUM_CLASSES = 5


def write_as_the_toolkit_does(network, name: str, folder):
    """The network's weights in its toolkit's file format, with what that toolkit stores beside them."""
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    if name == "mmaction2":
        content = {"meta": {"epoch": 100}, "state_dict": peer_networks.as_torch_names_it(arrays)}
        return save(folder / "weights.pth", content)
    if name == "torchvision":
        return save(folder / "weights.pth", peer_networks.as_torch_names_it(arrays), legacy=True)
    paddle.save(network.state_dict(), str(folder / "weights.pdparams"))
    return folder / "weights.pdparams"


@pytest.mark.parametrize("name", PEERS)
def test_weights_of_a_toolkit_give_its_logits(name, tmp_path):
    network = PEERS[name](NUM_CLASSES)
    peer_networks.randomize(network, seed=1)
    network.eval()
    path = write_as_the_toolkit_does(network, name, tmp_path)
    weights = read_weights(path)
    assert weights.naming is NAMINGS[name] and weights.num_layers == 50

    model = create_model("TSN", num_classes=NUM_CLASSES)
    report = load_weights(model, weights)
    assert (len(report.matched), report.missing, report.left_over, report.other_shape) == (267, [], [], [])
    model.normalize = paddle.nn.Identity()
    model.eval()
    frames = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 3, 64, 64)).astype(np.float32))
    with paddle.no_grad():
        theirs, ours = network(frames).numpy(), model(frames).numpy()
    assert np.abs(theirs).max() > 0.1, "the comparison must not be of zeros"
    assert np.abs(theirs - ours).max() < 1e-5 * np.abs(theirs).max() + 1e-6


def test_the_table_of_the_original_has_its_267_variables():
    """The logits of these weights are compared with the original's own in test_parity.py."""
    assert set(tensor_names(NAMINGS["original"], 50)) == set(original_variables())


def test_blocks_of_the_original_in_resnet_101_and_152():
    names = list(tensor_names(NAMINGS["original"], 101))
    assert {"res4a_branch1_weights", "res4b1_branch2a_weights", "bn4b22_branch2c_variance"} < set(names)
    assert not {"res4b_branch2a_weights", "res4b23_branch2a_weights"} & set(names)
    assert "res3h_branch2a_weights" in tensor_names(NAMINGS["original"], 152)


@pytest.mark.parametrize("num_layers", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("name", NAMINGS)
def test_naming_and_depth_are_found_from_the_keys(name, num_layers):
    names = list(tensor_names(NAMINGS[name], num_layers))
    assert len(set(names)) == len(names)
    match = find_naming(names)
    assert match.naming is NAMINGS[name] and match.num_layers == num_layers
    model = create_model("TSN", num_classes=2, num_layers=num_layers) if name == "ours" else None
    if model:
        assert set(names) == set(model.state_dict())


def test_a_table_goes_both_ways():
    there = rename_table(NAMINGS["mmaction2"], OURS, 50)
    back = rename_table(OURS, NAMINGS["mmaction2"], 50)
    assert all(back[ours] == theirs for theirs, ours in there.items())
