"""What names and shapes of weights do not tell: whether the network shifts, and how; one toolkit's TSM as another's.

A TSM of this project carries it in a tensor, `shift`; of other toolkits' `models/weights/names.py` knows it.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from models.resnet_vd import NEGATIVE_SLOPE
from models.weights.matching import layer_names, our_naming
from models.weights.names import OURS, Naming

SHIFT, SLOPE = "shift", "backbone.negative_slope"
MARKS = (SHIFT, SLOPE)
"""Tensors of this project's networks that say what they are: shift_div and shift_every; the slope of rectifiers."""


class Kind(NamedTuple):
    """What a network is, beyond the names and shapes of its tensors."""

    shift_every: int | None = None
    """None: it does not shift."""
    shift_div: int | None = None
    """None: nothing tells, or it does not shift."""
    is_leaky: bool = False

    @property
    def is_tsm(self) -> bool:
        return self.shift_every is not None


def kind_of(arrays: Mapping[str, np.ndarray], naming: Naming = OURS["resnet"], num_layers: int | None = None) -> Kind:
    """That of weights under this project's names, which had the names of `naming`."""
    if naming.shift:
        return Kind(naming.shift.every(num_layers), naming.shift.div, naming.shift.negative_slope > 0)
    div, every = (int(value) for value in arrays[SHIFT]) if SHIFT in arrays else (None, None)
    return Kind(every, div, SLOPE in arrays)


def check_kind(path: str, theirs: Kind, ours: Kind, is_start: bool) -> None:
    """Raise ValueError if weights of one kind are no use to a model of another.

    Args:
        path: of the weights, for the message.
        is_start: the model is trained on; then it may shift, and its rectifiers may leak, where the weights' did not.
    """
    if theirs.is_tsm and not ours.is_tsm:
        raise ValueError(f"{path}: holds the weights of a TSM, but the model is a TSN; give --model_name=TSM")
    if ours.is_tsm and not theirs.is_tsm and not is_start:
        raise ValueError(
            f"{path}: holds the weights of a network that does not shift, but the model is a TSM; give "
            "--model_name=TSN, or train on from them with --pretrain"
        )
    for key in ("shift_div", "shift_every") if theirs.is_tsm else ():
        trained_with, here = getattr(theirs, key), getattr(ours, key)
        if trained_with not in (None, here):
            raise ValueError(
                f"{path}: was trained with {key} {trained_with}, but MODEL.{key} is {here}; set it to match"
            )
    if theirs.is_leaky != ours.is_leaky and not (is_start and ours.is_leaky):
        backbone = "resnet_vd_leaky" if theirs.is_leaky else "resnet_vd"
        raise ValueError(f"{path}: was trained with other rectifiers; set MODEL.backbone={backbone}")


def as_ours(
    arrays: Mapping[str, np.ndarray], naming: Naming, num_layers: int | None, shift_div: int
) -> dict[str, np.ndarray]:
    """Weights of a toolkit's TSM -> those with which ours computes the same; all under this project's names.

    Channels change places, and the last layer is scaled by a power of two: nothing is rounded.

    Args:
        naming: the toolkit's, for a TSM.
        shift_div: what the network shifts by.
    """
    return _adapted(arrays, naming, num_layers, shift_div, naming.shift.feature_factor)


def as_theirs(
    arrays: Mapping[str, np.ndarray], naming: Naming, num_layers: int | None, shift_div: int
) -> dict[str, np.ndarray]:
    """The way back from `as_ours`."""
    return _adapted(arrays, naming, num_layers, shift_div, 1 / naming.shift.feature_factor)


def marks_of(kind: Kind, shift_div: int) -> dict[str, np.ndarray]:
    """The tensors in which this project says what a TSM is."""
    marks = {SHIFT: np.float32([shift_div, kind.shift_every])}
    return marks | {SLOPE: np.float32([NEGATIVE_SLOPE])} if kind.is_leaky else marks


def _adapted(
    arrays: Mapping[str, np.ndarray], naming: Naming, num_layers: int | None, shift_div: int, factor: float
) -> dict[str, np.ndarray]:
    ours = our_naming(naming.family)
    head, arrays = ours.head[0], dict(arrays)
    if head in arrays:
        arrays[head] = arrays[head] * np.float32(factor)
    places = _channels_between_blocks(ours, num_layers) if naming.shift.looks_ahead else ()
    for name, axis in places:
        if name in arrays:
            arrays[name] = _exchanged(arrays[name], axis, shift_div)
    return arrays


def _channels_between_blocks(naming: Naming, num_layers: int | None) -> Iterator[tuple[str, int]]:
    """The tensors that write what goes from block to block, or read it, each with the axis of its channels."""
    layers = list(layer_names(naming, num_layers))
    last = {layer.part: layer.index for layer, _ in layers}
    for layer, names in layers:
        if layer.part == "shortcut" or layer.index == last[layer.part]:
            yield from ((name, 0) for name in names)
        if layer.part == "shortcut" or (layer.part == "branch" and layer.index == 0):
            yield names[0], 1
    yield naming.head[0], 0


def _exchanged(array: np.ndarray, axis: int, shift_div: int) -> np.ndarray:
    """The array with the first 1 / shift_div of an axis in the place of the second, and the other way round."""
    first, second, rest = np.split(array, [(size := array.shape[axis] // shift_div), 2 * size], axis)
    return np.concatenate([second, first, rest], axis)
