"""Where each layer of a backbone lies: the words in which models/weights/names.py tells how toolkits call it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class BlockPlace(NamedTuple):
    """A block's place in its network."""

    size: int
    """Of the network."""
    stage: int
    """From 1."""
    index: int
    """In its stage, from 0."""
    position: int
    """In the network, from 0."""


class LayerPlace(NamedTuple):
    """The place of a convolution and its batch norm."""

    part: str
    """What it is for: a key of `Naming.parts`."""
    block: BlockPlace | None = None
    """None: it lies outside of the blocks."""
    index: int = 0
    """Which of the convolutions of this part, from 0."""
    channels: int | None = None
    """How many come out, where sizes are to be told apart by that; None: the names tell enough."""


def block_places(size: int, depths: Iterable[int]) -> Iterator[BlockPlace]:
    """The blocks of a network with so many in each stage."""
    places = [(stage, index) for stage, num_blocks in enumerate(depths, 1) for index in range(num_blocks)]
    for position, (stage, index) in enumerate(places):
        yield BlockPlace(size, stage, index, position)
