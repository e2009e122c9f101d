"""The names of all tensors of a network in a toolkit's words, and in whose words a set of names is.

A naming lists the names in one order, so two namings of a family side by side are the table from one to the other, in
both directions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from models.backbones import BACKBONES
from models.layout import LayerPlace
from models.weights.names import ANOTHER_BACKBONE, NAMINGS, OURS, Naming


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
    for _, names in layer_names(naming, num_layers):
        yield from names
    yield from naming.head


def layer_names(naming: Naming, num_layers: int | None) -> Iterator[tuple[LayerPlace, list[str]]]:
    """Each layer but the last, fully connected one, with its tensors: the convolution's, then the batch norm's."""
    for layer in _layers(naming, num_layers):
        convolution, batch_norm = _places(naming, layer)
        weight = naming.shifted_convolution if _is_shifted(naming, layer) else naming.convolution
        yield layer, [convolution + weight, *(batch_norm + leaf for leaf in naming.batch_norm)]


def rename_table(theirs: Naming, ours: Naming, num_layers: int | None) -> dict[str, str]:
    """{their name: our name} for every tensor of a TSN with a backbone of that size; both are of one family."""
    return dict(zip(tensor_names(theirs, num_layers), tensor_names(ours, num_layers), strict=True))


def find_naming(shapes: Mapping[str, Sequence[int]]) -> Match | None:
    """The naming and size under which most of the names are known and fewest are missing; None if none is known.

    Args:
        shapes: by name; they decide between sizes whose names are the same.
    """
    best, best_score = None, (0, 0, 0)
    told_tsm = (naming.tsm for naming in NAMINGS.values() if naming.tsm and naming.tells_shift)
    for naming in (*OURS.values(), *NAMINGS.values(), *told_tsm):
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


def _is_shifted(naming: Naming, layer: LayerPlace) -> bool:
    """Whether the names tell that a convolution sees shifted segments: it is the first of a block that shifts."""
    if naming.shifted_convolution is None or layer.part != "branch" or layer.index > 0:
        return False
    return layer.block.index % naming.shift.every(layer.block.size) == 0


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
