"""Which parts of a network stay as they are. Knows no backbone by name: each has `stages`."""

from typing import Literal

from paddle import nn

ALL_BUT_FIRST = "all_but_first"


def freeze_stages(model: nn.Layer, num_stages: int) -> None:
    """Keep the parameters of the first stages of the model's backbone from being trained.

    Args:
        model: its `backbone.stages()` are the parts, the stem first.
        num_stages: how many.

    Raises:
        ValueError: it has fewer.
    """
    stages = model.backbone.stages()
    if num_stages > len(stages):
        raise ValueError(
            f"TRAIN.frozen_stages is {num_stages}, but the backbone has {len(stages)} parts with its stem; lower it"
        )
    for layer in frozen_layers(model, num_stages):
        for parameter in layer.parameters():
            parameter.stop_gradient = True


def frozen_layers(model: nn.Layer, num_stages: int) -> list[nn.Layer]:
    """The layers of the first stages."""
    return [layer for stage in model.backbone.stages()[:num_stages] for layer in stage]


def still_norms(model: nn.Layer, freeze_bn: bool | Literal["all_but_first"], num_stages: int) -> list[nn.Layer]:
    """The batch norms that keep their running statistics, and use them: of frozen stages always.

    Args:
        freeze_bn: True: all of them; "all_but_first": all but the network's first (partial batch norm; Wang et al.,
            Temporal Segment Networks, ECCV 2016, section 3.2).
    """
    if freeze_bn:
        norms = batch_norms(model)
        return norms[1:] if freeze_bn == ALL_BUT_FIRST else norms
    return [norm for layer in frozen_layers(model, num_stages) for norm in batch_norms(layer)]


def batch_norms(layer: nn.Layer) -> list[nn.Layer]:
    """The batch norms in a layer, in the order of the network."""
    return [one for one in layer.sublayers(include_self=True) if isinstance(one, nn.BatchNorm2D | nn.SyncBatchNorm)]
