"""{name: array} -> the model, and a report of what matched."""

from typing import NamedTuple

import numpy as np
import paddle

HEAD = "fc."
NAMES_SHOWN = 3


class MatchReport(NamedTuple):
    """Which tensors of a model a set of weights has filled."""

    matched: list[str]
    missing: list[str]
    """In the model, not in the weights."""
    left_over: list[str]
    """In the weights, not in the model."""
    other_shape: list[str]
    """In both, with different shapes; each entry gives both."""

    def summary(self) -> str:
        counts = [f"{len(self.matched)} tensors matched"]
        for names, what in (
            (self.missing, "missing"),
            (self.left_over, "left over"),
            (self.other_shape, "of another shape"),
        ):
            if names:
                more = ", ..." if len(names) > NAMES_SHOWN else ""
                counts.append(f"{len(names)} {what} ({', '.join(names[:NAMES_SHOWN])}{more})")
        return ", ".join(counts)


def load_weights(
    model: paddle.nn.Layer, arrays: dict[str, np.ndarray], origin: str, fresh_head: bool = False
) -> MatchReport:
    """Fill the model's tensors by name.

    Args:
        model: its state_dict names the tensors.
        arrays: the weights, by the same names.
        origin: what messages call the weights.
        fresh_head: leave the last layer as it is where it is absent or has another class count.

    Raises:
        ValueError: a tensor is missing or has another shape; nothing has been changed then.
    """
    tensors = model.state_dict()
    shapes = {name: (list(arrays[name].shape), list(tensors[name].shape)) for name in tensors if name in arrays}
    missing = [name for name in tensors if name not in arrays]
    left_over = [name for name in arrays if name not in tensors]
    matched = [name for name, (theirs, ours) in shapes.items() if theirs == ours]
    unusable = [name for name in tensors if name not in matched]
    other_shape = [
        f"{name} {theirs}, the model has {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours
    ]
    report = MatchReport(matched, missing, left_over, other_shape)
    theirs, ours = shapes.get(f"{HEAD}bias", ([], []))
    if not fresh_head and theirs != ours:
        raise ValueError(
            f"{origin}: made for {theirs[0]} classes, but MODEL.num_classes is {ours[0]}; "
            "set num_classes to match, or train on from it with --pretrain, which starts a new last layer"
        )
    if any(not (fresh_head and name.startswith(HEAD)) for name in unusable):
        raise ValueError(f"{origin}: does not fit the model: {report.summary()}; check MODEL.num_layers and seglen")
    for name in matched:
        tensors[name].set_value(arrays[name].astype(np.float32, copy=False))
    return report
