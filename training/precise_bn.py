"""Batch norm's running statistics, computed anew from training clips. Knows no model class, no files."""

from collections.abc import Iterable, Sequence

import paddle
from paddle import nn

from datareader.loader import Batch
from training.freezing import batch_norms


@paddle.no_grad()
def recompute_statistics(model: nn.Layer, batches: Iterable[Batch], still: Sequence[nn.Layer] = ()) -> list[nn.Layer]:
    """Set the running statistics to the means over these batches, which the present weights make of them.

    The moving averages that training leaves lag behind the weights, and differ from run to run.

    Args:
        batches: all are read; those without a readable clip count for nothing.
        still: batch norms that keep theirs.

    Returns:
        The batch norms that were set.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3.
    """
    norms = [norm for norm in batch_norms(model) if all(norm is not other for other in still)]
    usual = [norm._momentum for norm in norms]
    model.train()
    for norm in still:
        norm.eval()
    num_done = 0
    try:
        for batch in batches:
            if not batch.indices:
                continue
            for norm in norms:
                norm._momentum = num_done / (num_done + 1)  # the share that the mean so far keeps
            model(batch.frames)
            num_done += 1
    finally:
        for norm, momentum in zip(norms, usual, strict=True):
            norm._momentum = momentum
    return norms
