"""Path, indices -> uint8 frames (T, H, W, 3). Knows no labels, no augmentation.

Which frames are wanted depends on how many there are, and a container's header may be wrong about that. So callers hand
in `pick_indices`, a pure function: number of frames -> indices. It is asked again if decoding gives another number.
"""

import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from safe_pickle import load_pickle

PACKAGES = {"pyav": ("av", "av"), "decord": ("decord", "decord"), "opencv": ("cv2", "opencv-python-headless")}
"""Decoder -> the module it needs, and the package that brings it."""

PickIndices = Callable[[int], np.ndarray]


class VideoError(ValueError):
    """One video cannot be read; the message says why, the caller knows which."""


def decode_video(path: str, pick_indices: PickIndices, decoder: str = "pyav") -> np.ndarray:
    """Decode the picked frames of a video, upright.

    Args:
        path: any file that the decoder opens.
        pick_indices: number of frames -> indices in presentation order, int64 (T,); repeats are allowed.
        decoder: a key of DECODERS.

    Returns:
        uint8 RGB (T, H, W, 3).

    Raises:
        VideoError: no such file, no video in it, or damaged.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    return DECODERS[decoder](path, pick_indices)


def check_decoder(decoder: str) -> None:
    """Raise ValueError if the decoder's library is not installed."""
    module, package = PACKAGES[decoder]
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"MODEL.decoder is {decoder!r}, which is not installed: pip install {package}, or use pyav")


def decode_pkl(path: str, pick_indices: PickIndices) -> tuple[str, object, np.ndarray]:
    """Decode the picked frames of a pickled clip as the original's video2pkl writes it, under Python 2 or 3.

    Args:
        path: pickle of (video id, label, [JPEG bytes of each frame]).
        pick_indices: as for `decode_video`.

    Returns:
        The video id, the label as stored, and the frames, uint8 RGB (T, H, W, 3).

    Raises:
        VideoError: no such file, not such a pickle, or a frame is damaged.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    try:
        content = load_pickle(path, encoding="bytes")
    except ValueError as error:
        raise VideoError(str(error)) from error
    if not (isinstance(content, tuple | list) and len(content) == 3 and isinstance(content[2], list) and content[2]):
        raise VideoError("holds no (video id, label, [JPEG bytes]) with at least one frame")
    video_id, label, jpegs = content
    if isinstance(video_id, bytes):
        video_id = video_id.decode("utf-8", errors="backslashreplace")
    try:
        pictures = [np.asarray(Image.open(io.BytesIO(jpegs[i])).convert("RGB")) for i in pick_indices(len(jpegs))]
    except (UnidentifiedImageError, OSError, TypeError, SyntaxError) as error:
        raise VideoError(f"a frame is no readable JPEG: {error}") from error
    return str(video_id), label, _stack(pictures)


def _decode_pyav(path: str, pick_indices: PickIndices) -> np.ndarray:
    def play() -> Iterator[Callable[[], np.ndarray]]:
        with av.open(path) as container:
            for frame in container.decode(_video_stream(container)):
                # rot90 turns counter-clockwise in quarters, as frame.rotation counts
                yield lambda frame=frame: np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)

    try:
        with av.open(path) as container:
            claimed = sum(1 for packet in container.demux(_video_stream(container)) if packet.size)
        return _decode_in_order(play, claimed, pick_indices)
    except av.FFmpegError as error:
        raise VideoError(f"damaged or no video: {error.strerror}") from error


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError("has no video stream")
    stream.codec_context.thread_count = 1  # one thread per decoder: the workers are the parallelism
    return stream


def _decode_opencv(path: str, pick_indices: PickIndices) -> np.ndarray:
    import cv2

    def play() -> Iterator[Callable[[], np.ndarray]]:
        capture = cv2.VideoCapture(path)
        while capture.grab():
            yield lambda: cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        capture.release()

    claimed = int(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT))
    return _decode_in_order(play, claimed, pick_indices)


def _decode_decord(path: str, pick_indices: PickIndices) -> np.ndarray:
    import decord

    try:
        reader = decord.VideoReader(path, num_threads=1)
        return reader.get_batch(pick_indices(len(reader))).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise VideoError(f"damaged or no video: {str(error).strip().splitlines()[-1]}") from error


DECODERS = {"pyav": _decode_pyav, "opencv": _decode_opencv, "decord": _decode_decord}


def _decode_in_order(
    play: Callable[[], Iterator[Callable[[], np.ndarray]]], claimed: int, pick_indices: PickIndices
) -> np.ndarray:
    """Play the video from its start, keeping the picked frames; once more if the claimed number of frames was wrong.

    `play` yields, for each frame in turn, a function that makes its RGB picture: only picked frames are converted.
    """
    num_frames = max(claimed, 1)
    for _ in range(2):
        indices = pick_indices(num_frames).tolist()
        wanted, pictures, num_played = set(indices), {}, 0
        for to_rgb in play():
            if num_played in wanted:
                pictures[num_played] = to_rgb()
            num_played += 1
        if num_played == 0:
            raise VideoError("not one frame can be decoded")
        if num_played == num_frames:
            return _stack([pictures[i] for i in indices])
        num_frames = num_played
    raise VideoError("gives another number of frames each time it is decoded")


def _stack(pictures: list[np.ndarray]) -> np.ndarray:
    sizes = sorted({picture.shape[1::-1] for picture in pictures})
    if len(sizes) > 1:
        raise VideoError(f"its frames change size: {', '.join(f'{width}x{height}' for width, height in sizes)}")
    return np.stack(pictures)
