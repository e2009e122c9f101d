"""What each toolkit calls the tensors of a ResNet and of its last layer.

A `Naming` lists them in one order, so two namings side by side are the table from one to the other, in both directions.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from models.resnet import STAGE_BLOCKS

PADDLE_BATCH_NORM = (".weight", ".bias", "._mean", "._variance")
TORCH_BATCH_NORM = (".weight", ".bias", ".running_mean", ".running_var")

NOT_WEIGHTS = re.compile(r"_velocity_\d+$|^@.*@$|^learning_rate(_\d+)?$|\.tmp_\d+$|\.num_batches_tracked$")
"""State of a training that lies among the weights: the original's velocities and counters, torch's batch counters."""

RESNET_D = re.compile(r"(^|\.)(conv1_[123][._]|stem\.[1-9]\.|conv1\.0\.)")
"""The stem of three 3x3 convolutions, as PaddleVideo's PP-TSN, PaddleClas, MMPretrain and timm name it."""


class Naming(NamedTuple):
    """One toolkit's names.

    The places of layers are format strings over {block} (a block's name), {number} (1, 2, 3: which of its
    convolutions), {index} (the same from 0) and {letter} (a, b, c).
    """

    title: str
    """Whose names these are, for messages."""
    block: Callable[[int, int, int], str]
    """(num_layers, stage from 1, index from 0) -> the name of a residual block."""
    stem: tuple[str, str]
    """Places of the first convolution and of its batch norm."""
    branch: tuple[str, str]
    """Places of a convolution of a block and of its batch norm."""
    shortcut: tuple[str, str]
    """Places of the convolution beside a block and of its batch norm."""
    head: tuple[str, str]
    """Weight and bias of the last layer."""
    convolution: str = ".weight"
    """What follows a convolution's place."""
    batch_norm: tuple[str, str, str, str] = PADDLE_BATCH_NORM
    """What follows a batch norm's place: scale, offset, mean, variance."""
    head_is_transposed: bool = False
    """Whether the last layer's weight is stored as [classes, features], as torch does."""


def _layer_and_index(num_layers: int, stage: int, index: int) -> str:
    return f"layer{stage}.{index}"


def _flat(num_layers: int, stage: int, index: int) -> str:
    return f"blocks.{sum(STAGE_BLOCKS[num_layers][: stage - 1]) + index}"


def _stage_and_letter(num_layers: int, stage: int, index: int) -> str:
    """2a, 2b, ...; in the long third stage of ResNet-101 and 152 4a, 4b1, 4b2, ..."""
    if num_layers > 50 and stage == 3 and index > 0:
        return f"{stage + 1}b{index}"
    return f"{stage + 1}{chr(ord('a') + index)}"


OURS = Naming(
    "this project",
    block=_layer_and_index,
    stem=("backbone.conv1", "backbone.bn1"),
    branch=("backbone.{block}.conv{number}", "backbone.{block}.bn{number}"),
    shortcut=("backbone.{block}.downsample.0", "backbone.{block}.downsample.1"),
    head=("fc.weight", "fc.bias"),
)
PADDLE_VISION = Naming(
    "paddle.vision",
    block=_layer_and_index,
    stem=("conv1", "bn1"),
    branch=("{block}.conv{number}", "{block}.bn{number}"),
    shortcut=("{block}.downsample.0", "{block}.downsample.1"),
    head=("fc.weight", "fc.bias"),
)
NAMINGS = {
    "ours": OURS,
    "original": Naming(
        "the 2019 original",
        block=_stage_and_letter,
        stem=("conv1", "bn_conv1"),
        branch=("res{block}_branch2{letter}", "bn{block}_branch2{letter}"),
        shortcut=("res{block}_branch1", "bn{block}_branch1"),
        head=("fc_0.w_0", "fc_0.b_0"),
        convolution="_weights",
        batch_norm=("_scale", "_offset", "_mean", "_variance"),
    ),
    "paddlevideo": Naming(
        "PaddleVideo's TSN",
        block=_stage_and_letter,
        stem=("backbone.conv._conv", "backbone.conv._batch_norm"),
        branch=("backbone.res{block}.conv{index}._conv", "backbone.res{block}.conv{index}._batch_norm"),
        shortcut=("backbone.res{block}.short._conv", "backbone.res{block}.short._batch_norm"),
        head=("head.fc.weight", "head.fc.bias"),
    ),
    "paddleclas": Naming(
        "PaddleClas",
        block=_flat,
        stem=("stem.0.conv", "stem.0.bn"),
        branch=("{block}.conv{index}.conv", "{block}.conv{index}.bn"),
        shortcut=("{block}.short.conv", "{block}.short.bn"),
        head=("fc.weight", "fc.bias"),
    ),
    "paddleclas2.0": Naming(
        "PaddleClas 2.0 and PaddleVideo's backbone",
        block=_stage_and_letter,
        stem=("conv._conv", "conv._batch_norm"),
        branch=("res{block}.conv{index}._conv", "res{block}.conv{index}._batch_norm"),
        shortcut=("res{block}.short._conv", "res{block}.short._batch_norm"),
        head=("out.weight", "out.bias"),
    ),
    "paddle.vision": PADDLE_VISION,
    "torchvision": PADDLE_VISION._replace(
        title="torchvision and timm", batch_norm=TORCH_BATCH_NORM, head_is_transposed=True
    ),
    "mmaction2": Naming(
        "MMAction2's TSN",
        block=_layer_and_index,
        stem=("backbone.conv1.conv", "backbone.conv1.bn"),
        branch=("backbone.{block}.conv{number}.conv", "backbone.{block}.conv{number}.bn"),
        shortcut=("backbone.{block}.downsample.conv", "backbone.{block}.downsample.bn"),
        head=("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
    ),
}


class Match(NamedTuple):
    """The naming and the depth that fit a set of names best."""

    naming: Naming
    num_layers: int | None
    """Depth of the ResNet; None: another network of this project, whose tensors keep their names."""
    our_names: dict[str, str]
    """Their name -> ours, for every tensor of that network."""


def network_title(num_layers: int | None) -> str:
    """A network as messages call it."""
    return f"ResNet-{num_layers}" if num_layers else "another backbone"


def tensor_names(naming: Naming, num_layers: int | None) -> Iterator[str]:
    """The names of all tensors of a TSN, the first layer first; the same order whatever the naming.

    Without a number of layers, those of the last layer only.
    """
    for convolution, batch_norm in _layers(naming, num_layers) if num_layers else ():
        yield convolution + naming.convolution
        yield from (batch_norm + leaf for leaf in naming.batch_norm)
    yield from naming.head


def rename_table(theirs: Naming, ours: Naming, num_layers: int | None) -> dict[str, str]:
    """{their name: our name} for every tensor of a TSN with a ResNet of that depth."""
    return dict(zip(tensor_names(theirs, num_layers), tensor_names(ours, num_layers), strict=True))


def find_naming(names: Iterable[str]) -> Match | None:
    """The naming and depth under which most of the names are known and fewest are missing; None if none is known."""
    names = set(names)
    best, best_score = None, (0, 0)
    for naming in NAMINGS.values():
        for num_layers in STAGE_BLOCKS:
            table = rename_table(naming, OURS, num_layers)
            num_known = len(names & table.keys())
            score = (num_known, num_known - len(table))
            if num_known and (best is None or score > best_score):
                best, best_score = Match(naming, num_layers, table), score
    is_ours = sum(name.startswith(("backbone.", *OURS.head)) for name in names) > len(names) / 2
    if is_ours and best_score[0] < len(names) / 2:
        return Match(OURS, None, rename_table(OURS, OURS, None))
    return best


def name_of_stranger(match: Match, name: str) -> str:
    """What to call a tensor that the naming does not know: a further part of a block or of the stem stays one.

    So `layer1.0.se.fc1.weight` becomes `backbone.layer1.0.se.fc1.weight`: the backbone is another network.
    """
    if match.num_layers is None:
        return name
    places = dict(zip(_blocks(match.naming, match.num_layers), _blocks(OURS, match.num_layers), strict=True))
    for theirs, ours in places.items():
        if name.startswith((f"{theirs}.", f"{theirs}_")):
            return f"{ours}.{name[len(theirs) + 1 :]}"
    return name


def _blocks(naming: Naming, num_layers: int) -> Iterator[str]:
    """What the names of each block's tensors begin with, and those of the stem's."""
    yield from naming.stem
    beginning = naming.branch[0].partition("{block}")[0]
    for stage, num_blocks in enumerate(STAGE_BLOCKS[num_layers], 1):
        yield from (beginning + naming.block(num_layers, stage, index) for index in range(num_blocks))


def _layers(naming: Naming, num_layers: int) -> Iterator[tuple[str, str]]:
    """The places of each convolution and its batch norm."""
    yield naming.stem
    for stage, num_blocks in enumerate(STAGE_BLOCKS[num_layers], 1):
        for index in range(num_blocks):
            block = naming.block(num_layers, stage, index)
            for i in range(2 if num_layers < 50 else 3):
                convolution, batch_norm = naming.branch
                fields = {"block": block, "number": i + 1, "index": i, "letter": "abc"[i]}
                yield convolution.format(**fields), batch_norm.format(**fields)
            if index == 0 and (stage > 1 or num_layers >= 50):
                convolution, batch_norm = naming.shortcut
                yield convolution.format(block=block), batch_norm.format(block=block)
