"""The families of networks whose weights are known: which layers each size of them has. Knows no names."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from models import efficientnet_lite, resnet


class Block(NamedTuple):
    """A block's place in its network."""

    size: int
    """Of the network."""
    stage: int
    """From 1."""
    index: int
    """In its stage, from 0."""
    position: int
    """In the network, from 0."""


class Layer(NamedTuple):
    """A convolution and its batch norm."""

    part: str
    """What it is for: a key of `Naming.parts`."""
    block: Block | None = None
    """None: it lies outside of the blocks."""
    index: int = 0
    """Which of the convolutions of this part, from 0."""
    channels: int | None = None
    """How many come out, where sizes are to be told apart by that; None: the names tell enough."""


class Family(NamedTuple):
    """Networks of one plan in several sizes, as MODEL.backbone and MODEL.num_layers choose them."""

    title: str
    """What messages call one of them; {} is its size."""
    sizes: Collection[int]
    layers: Callable[[int], Iterator[Layer]]
    """Size -> the layers, but for the last, fully connected one; the first comes first."""


def _blocks(size: int, depths: Iterable[int]) -> Iterator[Block]:
    """The blocks of a network with so many in each stage."""
    places = [(stage, index) for stage, num_blocks in enumerate(depths, 1) for index in range(num_blocks)]
    for position, (stage, index) in enumerate(places):
        yield Block(size, stage, index, position)


def _resnet(depth: int) -> Iterator[Layer]:
    yield Layer("stem")
    for block in _blocks(depth, resnet.STAGE_BLOCKS[depth]):
        for index in range(2 if depth < 50 else 3):
            yield Layer("branch", block, index)
        if block.index == 0 and (block.stage > 1 or depth >= 50):
            yield Layer("shortcut", block)


def _efficientnet_lite(number: int) -> Iterator[Layer]:
    """The layers of Lite1 and Lite2 are alike but for their channels."""
    stages = efficientnet_lite.stages_of(number)
    yield Layer("stem")
    for block in _blocks(number, [stage.num_blocks for stage in stages]):
        stage = stages[block.stage - 1]
        if stage.expansion != 1:
            yield Layer("expand", block)
        yield Layer("depthwise", block)
        yield Layer("project", block, channels=stage.channels)
    yield Layer("top")


FAMILIES = {
    "resnet": Family("ResNet-{}", resnet.STAGE_BLOCKS, _resnet),
    "efficientnet_lite": Family("EfficientNet-Lite{}", efficientnet_lite.SCALES, _efficientnet_lite),
}
"""MODEL.backbone -> its family."""
