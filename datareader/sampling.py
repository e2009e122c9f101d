"""Number of frames -> frame indices: TSN's sparse sampling. Pure functions of numbers."""

import numpy as np


def segment_indices(
    num_frames: int, seg_num: int, seglen: int = 1, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The frames that stand for a video: seglen consecutive ones out of each of seg_num equal segments.

    Args:
        num_frames: frames of the video, at least 1.
        seg_num: number of segments.
        seglen: consecutive frames taken from a segment.
        rng: draws the place within each segment, as in training; None takes the middle, as in the other modes.

    Returns:
        int64 indices of shape (seg_num * seglen,), each from 0 to num_frames - 1. A video shorter than that is wrapped
        round: its frames repeat.

    Source: the 2019 original's reader (Wang et al., Temporal Segment Networks, ECCV 2016, section 3.1).
    """
    segment_length = num_frames // seg_num
    segments = np.arange(seg_num)
    if segment_length < seglen:
        offsets = np.zeros(seg_num, dtype=np.int64)
    elif rng is None:
        offsets = np.full(seg_num, (segment_length - seglen) // 2)
    else:
        offsets = rng.integers(0, segment_length - seglen, size=seg_num, endpoint=True)
    starts = segments * max(segment_length, 1) + offsets
    return ((starts[:, None] + np.arange(seglen)) % num_frames).reshape(-1).astype(np.int64)
