"""Weights -> the model, and a report of what matched."""

from typing import NamedTuple

import numpy as np
import paddle

from common.console import command, first_of
from models.weights.files import Weights
from models.weights.matching import find_naming, network_title
from models.weights.shifts import MARKS, as_ours, check_kind, kind_of

HEAD = "fc."
BIAS = "fc.bias"
BACKBONE = "backbone."
NAMES_SHOWN = 3


class MatchReport(NamedTuple):
    """Which tensors of a model a set of weights has filled."""

    origin: str
    matched: list[str]
    missing: list[str]
    """In the model, not in the weights."""
    left_over: list[str]
    """In the weights, not in the model."""
    other_shape: list[str]
    """In both, with different shapes; each entry gives both."""
    passed_over: list[str]
    """State of a training among the weights, which is not used."""
    head_is_fresh: bool

    def summary(self) -> str:
        """The counts on one line, with the first names of what did not match."""
        counts = [f"{len(self.matched)} tensors matched"]
        for names, what in (
            (self.missing, "missing"),
            (self.left_over, "left over"),
            (self.other_shape, "of another shape"),
        ):
            if names:
                counts.append(f"{len(names)} {what} ({first_of(names, NAMES_SHOWN)})")
        if self.passed_over:
            counts.append(f"{len(self.passed_over)} of training state passed over")
        fresh = "; the last layer starts fresh" if self.head_is_fresh else ""
        return f"{self.origin}: {', '.join(counts)}{fresh}"


def load_weights(model: paddle.nn.Layer, weights: Weights, fresh_head: bool = False) -> MatchReport:
    """Fill the model's tensors by name.

    Args:
        model: its state_dict names the tensors.
        weights: from `read_weights`.
        fresh_head: leave the last layer as it is where it is absent or has another class count.

    Raises:
        ValueError: a tensor is missing or has another shape, the backbone of the weights has tensors that the model's
            has not, or a TSM is not loaded as one; nothing has been changed then.
    """
    tensors, can_tell = model.state_dict(), weights.naming.tells_shift
    kind = kind_of({name: tensors.pop(name).numpy() for name in MARKS if name in tensors})
    if kind.is_tsm and not can_tell:
        weights = weights._replace(naming=weights.naming.tsm)
    arrays = {name: array for name, array in weights.arrays.items() if name not in MARKS}
    report = _compared(weights, arrays, tensors, fresh_head)
    theirs, ours = (one[BIAS].shape if BIAS in one else () for one in (arrays, tensors))
    if not fresh_head and len(theirs) == len(ours) == 1 and theirs[0] != ours[0]:
        raise ValueError(
            f"{weights.path}: made for {theirs[0]} classes, but MODEL.num_classes is {ours[0]}; "
            "set num_classes to match, or train on from it with --pretrain, which starts a new last layer"
        )
    unfilled = [
        name for name in tensors if name not in report.matched and not (report.head_is_fresh and name.startswith(HEAD))
    ]
    if unfilled or any(name.startswith(BACKBONE) for name in report.left_over):
        raise ValueError(
            f"{weights.path}: does not fit the model: {report.summary()}; {_advice(weights, tensors, unfilled)}"
        )
    network = weights.naming, weights.num_layers
    if can_tell or not fresh_head:
        check_kind(weights.path, kind_of(weights.arrays, *network), kind, is_start=fresh_head)
    if weights.naming.shift:
        arrays = as_ours(arrays, *network, kind.shift_div)
    for name in report.matched:
        tensors[name].set_value(arrays[name])
    return report


def _compared(
    weights: Weights, arrays: dict[str, np.ndarray], tensors: dict[str, paddle.Tensor], fresh_head: bool
) -> MatchReport:
    """Which of the model's tensors these arrays of the weights would fill."""
    shapes = {name: (list(arrays[name].shape), list(tensors[name].shape)) for name in tensors if name in arrays}
    matched = [name for name, (theirs, ours) in shapes.items() if theirs == ours]
    unlike = {name: both for name, both in shapes.items() if name not in matched}
    head_is_fresh = fresh_head and any(name.startswith(HEAD) and name not in matched for name in tensors)
    if head_is_fresh:
        matched = [name for name in matched if not name.startswith(HEAD)]
    return MatchReport(
        weights.description(),
        matched,
        missing=[name for name in tensors if name not in arrays],
        left_over=[name for name in arrays if name not in tensors],
        other_shape=[f"{name} {theirs}, the model has {ours}" for name, (theirs, ours) in unlike.items()],
        passed_over=weights.passed_over,
        head_is_fresh=head_is_fresh,
    )


def _advice(weights: Weights, tensors: dict[str, paddle.Tensor], unfilled: list[str]) -> str:
    """What to do about weights that do not fit."""
    model = find_naming({name: tensor.shape for name, tensor in tensors.items()})
    ours = (model.naming.family, model.num_layers) if model else None
    theirs = family, size = weights.naming.family, weights.num_layers
    if ours and ours != theirs:
        if size is None:
            return "the backbones are of two families: set MODEL.backbone to that of the weights, or give others"
        backbone = f"MODEL.backbone={family} and " if family != ours[0] else ""
        return (
            f"the model is {network_title(*ours)}, the weights are {network_title(*theirs)}: "
            f"set {backbone}MODEL.num_layers={size}, or give others"
        )
    if unfilled and all(name.startswith(HEAD) for name in unfilled):
        return "it has no last layer for the model: train one with --pretrain"
    listing = command("python", "scripts/convert_weights.py", weights.path)
    return f"{listing} lists all that it has; seglen must be the same too"
