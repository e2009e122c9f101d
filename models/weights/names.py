"""What each toolkit calls the tensors of a network and of its last layer.

A `Naming` lists them in one order, so two namings of a family side by side are the table from one to the other, in both
directions.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from models.backbones import BACKBONES
from models.layout import BlockPlace, LayerPlace

PADDLE_BATCH_NORM = (".weight", ".bias", "._mean", "._variance")
TORCH_BATCH_NORM = (".weight", ".bias", ".running_mean", ".running_var")

NOT_WEIGHTS = re.compile(r"_velocity_\d+$|^@.*@$|^learning_rate(_\d+)?$|\.tmp_\d+$|\.num_batches_tracked$")
"""State of a training that lies among the weights: the original's velocities and counters, torch's batch counters."""

RESNET_D = re.compile(r"(^|\.)(conv1_[123][._]|stem\.[1-9]\.|conv1\.0\.)")
"""The stem of three 3x3 convolutions, as PaddleClas, PaddleVideo, MMPretrain and timm name it."""


class Naming(NamedTuple):
    """One toolkit's names for the networks of a family.

    The places of layers are format strings over {block} (a block's name), {number} (1, 2, 3: which of the convolutions
    of its part), {index} (the same from 0) and {letter} (a, b, c).
    """

    title: str
    """Whose names these are, for messages."""
    block: Callable[[BlockPlace], str]
    """The name of a block."""
    parts: dict[str, tuple[str, str]]
    """Part of a network, as its `layer_places` has them -> places of a convolution and of its batch norm."""
    head: tuple[str, str]
    """Weight and bias of the last layer."""
    family: str = "resnet"
    """A key of BACKBONES."""
    convolution: str = ".weight"
    """What follows a convolution's place."""
    batch_norm: tuple[str, str, str, str] = PADDLE_BATCH_NORM
    """What follows a batch norm's place: scale, offset, mean, variance."""
    head_is_transposed: bool = False
    """Whether the last layer's weight is stored as [classes, features], as torch does."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """image_mean and image_std that all weights of these names were trained with; None: they had several."""


def _layer_and_index(block: BlockPlace) -> str:
    return f"layer{block.stage}.{block.index}"


def _flat(block: BlockPlace) -> str:
    return f"blocks.{block.position}"


def _stage_and_index(block: BlockPlace) -> str:
    return f"bb_{block.stage - 1}_{block.index}"


def _stage_and_letter(block: BlockPlace) -> str:
    """2a, 2b, ...; in the long third stage of ResNet-101 and 152 4a, 4b1, 4b2, ..."""
    if block.size > 50 and block.stage == 3 and block.index > 0:
        return f"{block.stage + 1}b{block.index}"
    return f"{block.stage + 1}{chr(ord('a') + block.index)}"


OURS = {
    "resnet": Naming(
        "this project",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1", "backbone.bn1"),
            "branch": ("backbone.{block}.conv{number}", "backbone.{block}.bn{number}"),
            "shortcut": ("backbone.{block}.downsample.0", "backbone.{block}.downsample.1"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "resnet_vd": Naming(
        "this project",
        family="resnet_vd",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1_{number}", "backbone.bn1_{number}"),
            "branch": ("backbone.{block}.conv{number}", "backbone.{block}.bn{number}"),
            "shortcut": ("backbone.{block}.downsample.1", "backbone.{block}.downsample.2"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "efficientnet_lite": Naming(
        "this project",
        family="efficientnet_lite",
        block=_flat,
        parts={
            "stem": ("backbone.conv_stem", "backbone.bn0"),
            "expand": ("backbone.{block}.expand_conv", "backbone.{block}.bn0"),
            "depthwise": ("backbone.{block}.depthwise_conv", "backbone.{block}.bn1"),
            "project": ("backbone.{block}.project_conv", "backbone.{block}.bn2"),
            "top": ("backbone.conv_head", "backbone.bn1"),
        },
        head=("fc.weight", "fc.bias"),
    ),
}
"""Family -> this project's names; those of resnet_vd_leaky are resnet_vd's."""
ANOTHER_BACKBONE = Naming(
    "this project", family="another backbone", block=_flat, parts={}, head=("fc.weight", "fc.bias")
)
"""A network of this project that no family lists: its tensors keep their names."""
PADDLE_VISION = Naming(
    "paddle.vision",
    block=_layer_and_index,
    parts={
        "stem": ("conv1", "bn1"),
        "branch": ("{block}.conv{number}", "{block}.bn{number}"),
        "shortcut": ("{block}.downsample.0", "{block}.downsample.1"),
    },
    head=("fc.weight", "fc.bias"),
)
PADDLECLAS_2_VD = Naming(
    "PaddleClas 2.0's ResNet-vd and PaddleVideo's backbone",
    family="resnet_vd",
    block=_stage_and_index,
    parts={
        "stem": ("conv1_{number}._conv", "conv1_{number}._batch_norm"),
        "branch": ("{block}.conv{index}._conv", "{block}.conv{index}._batch_norm"),
        "shortcut": ("{block}.short._conv", "{block}.short._batch_norm"),
    },
    head=("out.weight", "out.bias"),
)
NAMINGS = {
    "original": Naming(
        "the 2019 original",
        block=_stage_and_letter,
        parts={
            "stem": ("conv1", "bn_conv1"),
            "branch": ("res{block}_branch2{letter}", "bn{block}_branch2{letter}"),
            "shortcut": ("res{block}_branch1", "bn{block}_branch1"),
        },
        head=("fc_0.w_0", "fc_0.b_0"),
        convolution="_weights",
        batch_norm=("_scale", "_offset", "_mean", "_variance"),
    ),
    "paddlevideo": Naming(
        "PaddleVideo's TSN",
        block=_stage_and_letter,
        parts={
            "stem": ("backbone.conv._conv", "backbone.conv._batch_norm"),
            "branch": ("backbone.res{block}.conv{index}._conv", "backbone.res{block}.conv{index}._batch_norm"),
            "shortcut": ("backbone.res{block}.short._conv", "backbone.res{block}.short._batch_norm"),
        },
        head=("head.fc.weight", "head.fc.bias"),
    ),
    "paddleclas": Naming(
        "PaddleClas",
        block=_flat,
        parts={
            "stem": ("stem.0.conv", "stem.0.bn"),
            "branch": ("{block}.conv{index}.conv", "{block}.conv{index}.bn"),
            "shortcut": ("{block}.short.conv", "{block}.short.bn"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "paddleclas2.0": Naming(
        "PaddleClas 2.0 and PaddleVideo's backbone",
        block=_stage_and_letter,
        parts={
            "stem": ("conv._conv", "conv._batch_norm"),
            "branch": ("res{block}.conv{index}._conv", "res{block}.conv{index}._batch_norm"),
            "shortcut": ("res{block}.short._conv", "res{block}.short._batch_norm"),
        },
        head=("out.weight", "out.bias"),
    ),
    "paddleclas_vd": Naming(
        "PaddleClas' ResNet-vd",
        family="resnet_vd",
        block=_flat,
        parts={
            "stem": ("stem.{index}.conv", "stem.{index}.bn"),
            "branch": ("{block}.conv{index}.conv", "{block}.conv{index}.bn"),
            "shortcut": ("{block}.short.conv", "{block}.short.bn"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "paddleclas2.0_vd": PADDLECLAS_2_VD,
    "paddlevideo_pp": PADDLECLAS_2_VD._replace(
        title="PaddleVideo's PP-TSN",
        parts={part: tuple(f"backbone.{place}" for place in places) for part, places in PADDLECLAS_2_VD.parts.items()},
        head=("head.fc.weight", "head.fc.bias"),
    ),
    "paddle.vision": PADDLE_VISION,
    "torchvision": PADDLE_VISION._replace(
        title="torchvision and timm", batch_norm=TORCH_BATCH_NORM, head_is_transposed=True
    ),
    "mmaction2": Naming(
        "MMAction2's TSN",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1.conv", "backbone.conv1.bn"),
            "branch": ("backbone.{block}.conv{number}.conv", "backbone.{block}.conv{number}.bn"),
            "shortcut": ("backbone.{block}.downsample.conv", "backbone.{block}.downsample.bn"),
        },
        head=("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
    ),
    "efficientnet_lite_pytorch": Naming(
        "efficientnet_lite_pytorch",
        family="efficientnet_lite",
        block=_flat,
        parts={
            "stem": ("_conv_stem", "_bn0"),
            "expand": ("_{block}._expand_conv", "_{block}._bn0"),
            "depthwise": ("_{block}._depthwise_conv", "_{block}._bn1"),
            "project": ("_{block}._project_conv", "_{block}._bn2"),
            "top": ("_conv_head", "_bn1"),
        },
        head=("_fc.weight", "_fc.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
        normalisation=((127 / 255,) * 3, (128 / 255,) * 3),
    ),
}
"""Other toolkits' names."""


class Match(NamedTuple):
    """The naming and the size that fit a set of names best."""

    naming: Naming
    num_layers: int | None
    """Size of the network, in its family; None: another network of this project, whose tensors keep their names."""
    our_names: dict[str, str]
    """Their name -> ours, for every tensor of that network."""


def network_title(family: str, num_layers: int | None) -> str:
    """A network as messages call it."""
    return BACKBONES[family].title.format(num_layers) if family in BACKBONES else family


def our_naming(family: str) -> Naming:
    """This project's names for the networks of a family, or for another backbone."""
    return OURS.get(family, ANOTHER_BACKBONE)


def tensor_names(naming: Naming, num_layers: int | None) -> Iterator[str]:
    """The names of all tensors of a TSN, the first layer first; the same order whatever the naming.

    Without a number of layers, those of the last layer only.
    """
    for layer in _layers(naming, num_layers):
        convolution, batch_norm = _places(naming, layer)
        yield convolution + naming.convolution
        yield from (batch_norm + leaf for leaf in naming.batch_norm)
    yield from naming.head


def rename_table(theirs: Naming, ours: Naming, num_layers: int | None) -> dict[str, str]:
    """{their name: our name} for every tensor of a TSN with a backbone of that size; both are of one family."""
    return dict(zip(tensor_names(theirs, num_layers), tensor_names(ours, num_layers), strict=True))


def find_naming(shapes: Mapping[str, Sequence[int]]) -> Match | None:
    """The naming and size under which most of the names are known and fewest are missing; None if none is known.

    Args:
        shapes: by name; they decide between sizes whose names are the same.
    """
    best, best_score = None, (0, 0, 0)
    for naming in (*OURS.values(), *NAMINGS.values()):
        for num_layers in BACKBONES[naming.family].sizes:
            table = rename_table(naming, OURS[naming.family], num_layers)
            num_known = len(shapes.keys() & table.keys())
            score = (num_known, num_known - len(table), _num_alike(naming, num_layers, shapes))
            if num_known and (best is None or score > best_score):
                best, best_score = Match(naming, num_layers, table), score
    is_ours = sum(name.startswith(("backbone.", *ANOTHER_BACKBONE.head)) for name in shapes) > len(shapes) / 2
    if is_ours and best_score[0] < len(shapes) / 2:
        return Match(ANOTHER_BACKBONE, None, rename_table(ANOTHER_BACKBONE, ANOTHER_BACKBONE, None))
    return best


def _num_alike(naming: Naming, num_layers: int, shapes: Mapping[str, Sequence[int]]) -> int:
    """How many convolutions have as many channels as their family says."""
    told = [layer for layer in _layers(naming, num_layers) if layer.channels]
    names = [_places(naming, layer)[0] + naming.convolution for layer in told]
    return sum(list(shapes.get(name, ()))[:1] == [layer.channels] for name, layer in zip(names, told, strict=True))


def name_of_stranger(match: Match, name: str) -> str:
    """What to call a tensor that the naming does not know: a further part of a block or of the stem stays one.

    So `layer1.0.se.fc1.weight` becomes `backbone.layer1.0.se.fc1.weight`: the backbone is another network.
    """
    if match.num_layers is None:
        return name
    ours_naming = OURS[match.naming.family]
    for layer in _layers(match.naming, match.num_layers):
        beginnings = zip(_beginnings(match.naming, layer), _beginnings(ours_naming, layer), strict=True)
        for theirs, ours in beginnings:
            if name.startswith((f"{theirs}.", f"{theirs}_")):
                return f"{ours}.{name[len(theirs) + 1 :]}"
    return name


def _beginnings(naming: Naming, layer: LayerPlace) -> tuple[str, ...]:
    """What the names of a block's tensors begin with, or, outside of blocks, those of a layer's."""
    if layer.block is None:
        return _places(naming, layer)
    return (naming.parts[layer.part][0].partition("{block}")[0] + naming.block(layer.block),)


def _layers(naming: Naming, num_layers: int | None) -> Iterator[LayerPlace]:
    return iter(()) if num_layers is None else BACKBONES[naming.family].layer_places(num_layers)


def _places(naming: Naming, layer: LayerPlace) -> tuple[str, str]:
    """Where a layer's convolution and its batch norm are."""
    block = naming.block(layer.block) if layer.block else ""
    fields = {"block": block, "number": layer.index + 1, "index": layer.index, "letter": "abc"[layer.index]}
    convolution, batch_norm = naming.parts[layer.part]
    return convolution.format(**fields), batch_norm.format(**fields)
