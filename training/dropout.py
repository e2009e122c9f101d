"""Dropout whose draws depend on seed and step only: the same for a resumed run, and for several ranks as for one."""

from collections.abc import Sequence

import numpy as np
import paddle

DROPOUT_STREAM = 3  # beside a sample's streams, see datareader/reader.py


class Dropout:
    """What a step leaves out of the features before the last layer.

    Args:
        share: of the features, above 0 and below 1.
        shape: of what dropout works on, for each clip: (num_features,), or (seg_num, num_features).
        seed: of the run.

    Source: Srivastava et al., Dropout, JMLR 15, 2014; what is kept is scaled up, so that nothing changes later.
    """

    def __init__(self, share: float, shape: Sequence[int], seed: int):
        self.share = share
        self.shape = tuple(shape)
        self.seed = seed

    def keep(self, step: int, first_row: int, num_rows: int) -> paddle.Tensor:
        """Factors on the features of this rank's clips, float32 (num_rows, *shape): 0, or 1 / (1 - share).

        Args:
            step: counted from 0 since the start of training.
            first_row: clips of the step on the ranks before this one.
        """
        rng = np.random.default_rng([self.seed, step, 0, DROPOUT_STREAM])  # as training/mixing.py
        drawn = rng.random((first_row + num_rows, *self.shape), np.float32)[first_row:]
        return paddle.to_tensor((drawn >= self.share) / np.float32(1 - self.share), "float32")
