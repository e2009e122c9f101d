"""Number of frames -> frame indices: TSN's sparse sampling. Pure functions of numbers."""

from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """Which frames stand for a video; see `segment_indices`."""

    seg_num: int
    seglen: int = 1
    num_clips: int = 1

    @property
    def frames_per_clip(self) -> int:
        return self.seg_num * self.seglen

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
        return segment_indices(num_frames, self.seg_num, self.seglen, rng, self.num_clips)


def segment_indices(
    num_frames: int, seg_num: int, seglen: int = 1, rng: np.random.Generator | None = None, num_clips: int = 1
) -> np.ndarray:
    """The frames that stand for a video: seglen consecutive ones out of each of seg_num equal segments.

    Args:
        num_frames: frames of the video, at least 1.
        seg_num: number of segments.
        seglen: consecutive frames taken from a segment.
        rng: draws the place within each segment, as in training; None takes the middle, as in the other modes.
        num_clips: without rng, the number of clips: each segment is cut into as many parts, and clip c takes the middle
            of part c.

    Returns:
        int64 indices of shape (num_clips * seg_num * seglen,), clip after clip, each from 0 to num_frames - 1. A video
        shorter than that is wrapped round: its frames repeat.

    Source: the 2019 original's reader (Wang et al., Temporal Segment Networks, ECCV 2016, section 3.1).
    """
    segment_length = num_frames // seg_num
    segments = np.arange(seg_num)
    if segment_length < seglen:
        offsets = np.zeros((num_clips, 1), dtype=np.int64)
    elif rng is None:
        offsets = ((2 * np.arange(num_clips) + 1) * (segment_length - seglen) // (2 * num_clips))[:, None]
    else:
        offsets = rng.integers(0, segment_length - seglen, size=seg_num, endpoint=True)[None]
    starts = segments * max(segment_length, 1) + offsets
    return ((starts[..., None] + np.arange(seglen)) % num_frames).reshape(-1).astype(np.int64)
