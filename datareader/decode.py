"""Path, indices -> T uint8 frames (H, W, 3). Knows no labels, no augmentation.

Which frames are wanted depends on how many there are, and a container's header may be wrong about that. So callers hand
in `pick_indices`, a pure function: number of frames -> indices. It is asked again if decoding gives another number.
"""

import importlib.util
import io
import logging
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.safe_pickle import load_pickle
from datareader.selective import Doubt, decode_selectively
from datareader.video import Allowance, Bounds, Video, VideoError

PACKAGES = {"decord": ("decord", "decord"), "opencv": ("cv2", "opencv-python-headless")}
"""Decoder -> the module it needs, and the package that brings it, for those that are an extra install."""

PICTURE_ERRORS = (
    OSError, SyntaxError, TypeError, ValueError, OverflowError, IndexError, KeyError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for what is no picture, a damaged one, or one that would fill the memory."""

PickIndices = Callable[[int], np.ndarray]
Prepare = Callable[[np.ndarray], np.ndarray]

logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """What is kept of a decoded picture."""

    size: tuple[int, int]
    """Width and height that it had."""
    picture: np.ndarray
    """As it was prepared."""


Keep = Callable[[np.ndarray], Kept]


class Decoded(NamedTuple):
    """The picked frames of a video."""

    frames: list[np.ndarray]
    """T pictures of one size, uint8 RGB (H, W, 3), upright; as `prepare` left them."""
    doubt: str
    """Why selective decoding had to decode everything in order after all; empty if it had not."""


def _as_it_is(picture: np.ndarray) -> np.ndarray:
    return picture


def decode_video(
    path: str,
    pick_indices: PickIndices,
    decoder: str = "selective",
    timeout_sec: float | None = None,
    prepare: Prepare = _as_it_is,
    num_threads: int = 1,
    bounds: Bounds = Bounds(),
) -> Decoded:
    """Decode the picked frames of a video.

    Args:
        path: any file that the decoder opens.
        pick_indices: number of frames -> indices in presentation order, int64 (T,); repeats are allowed.
        decoder: a key of DECODERS.
        timeout_sec: time that one file may take, checked at every packet (decord: once the file is open); None: any.
        prepare: applied to each picture when it is decoded, for example to make it smaller: only that is kept
            (decord gives all pictures at once).
        num_threads: how many may decode, and prepare, where selective decoding can begin at several places.
        bounds: what the file may be; kept by the decoders on PyAV.

    Raises:
        VideoError: no such file, no video in it, damaged, or out of time.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    allowance = Allowance(timeout_sec, bounds)
    pictures, doubt = DECODERS[decoder](path, pick_indices, allowance, _keep(prepare), num_threads)
    return Decoded(_of_one_size(pictures), doubt)


def check_decoder(decoder: str) -> None:
    """Raise ValueError if the decoder's library is not installed."""
    module, package = PACKAGES.get(decoder, ("av", "av"))
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"MODEL.decoder is {decoder!r}, which is not installed: pip install {package}, or use selective"
        )


def decode_pkl(
    path: str, pick_indices: PickIndices, timeout_sec: float | None = None, prepare: Prepare = _as_it_is
) -> tuple[str, object, list[np.ndarray]]:
    """Decode the picked frames of a pickled clip as the original's video2pkl writes it, under Python 2 or 3.

    Args:
        path: pickle of (video id, label, [JPEG bytes of each frame]).
        pick_indices, prepare: as for `decode_video`.
        timeout_sec: time that the file may take, checked at every frame; None: any.

    Returns:
        The video id, the label as stored, and T frames of one size, uint8 RGB (H, W, 3).

    Raises:
        VideoError: no such file, not such a pickle, a frame is damaged, or out of time.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    allowance = Allowance(timeout_sec)
    try:
        content = load_pickle(path, encoding="bytes", check=allowance.check)
    except VideoError:
        raise
    except ValueError as error:
        raise VideoError(str(error)) from error
    if not (isinstance(content, tuple | list) and len(content) == 3 and isinstance(content[2], list) and content[2]):
        raise VideoError("holds no (video id, label, [JPEG bytes]) with at least one frame")
    video_id, label, jpegs = content
    if isinstance(video_id, bytes):
        video_id = video_id.decode("utf-8", errors="backslashreplace")
    if not isinstance(video_id, str | int):
        raise VideoError("its video id is no text")
    keep, pictures = _keep(prepare), []
    for index in pick_indices(len(jpegs)):
        allowance.check()
        pictures.append(keep(_decode_jpeg(jpegs[index])))
    return str(video_id), label, _of_one_size(pictures)


def _decode_jpeg(data: object) -> np.ndarray:
    """One picture, uint8 RGB (H, W, 3). JPEG alone: Pillow would start other programs for some formats."""
    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))
    except PICTURE_ERRORS as error:
        raise VideoError(f"a frame is no readable JPEG: {error}") from error


def _decode_selective(
    path: str, pick_indices: PickIndices, allowance: Allowance, keep: Keep, num_threads: int
) -> tuple[list[Kept], str]:
    with Video(path, allowance) as video:
        try:
            return decode_selectively(video, pick_indices, keep, num_threads), ""
        except Doubt as doubt:
            logger.debug("%s is decoded in order: %s", path, doubt)
            return _play_video(video, pick_indices, keep), str(doubt)


def _decode_pyav(
    path: str, pick_indices: PickIndices, allowance: Allowance, keep: Keep, num_threads: int
) -> tuple[list[Kept], str]:
    with Video(path, allowance) as video:
        return _play_video(video, pick_indices, keep), ""


def _play_video(video: Video, pick_indices: PickIndices, keep: Keep) -> list[Kept]:
    def play() -> Iterator[Callable[[], Kept]]:
        for frame in video.frames():
            yield lambda frame=frame: keep(video.to_rgb(frame))

    return _decode_in_order(play, sum(info.is_shown for info in video.packet_infos), pick_indices)


def _decode_opencv(
    path: str, pick_indices: PickIndices, allowance: Allowance, keep: Keep, num_threads: int
) -> tuple[list[Kept], str]:
    import cv2

    def play() -> Iterator[Callable[[], Kept]]:
        capture = cv2.VideoCapture(path)
        while capture.grab():
            allowance.check()
            yield lambda: keep(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
        capture.release()

    claimed = int(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT))
    return _decode_in_order(play, claimed, pick_indices), ""


def _decode_decord(
    path: str, pick_indices: PickIndices, allowance: Allowance, keep: Keep, num_threads: int
) -> tuple[list[Kept], str]:
    import decord

    try:
        reader = decord.VideoReader(path, num_threads=1)
        allowance.check()
        return list(map(keep, reader.get_batch(pick_indices(len(reader))).asnumpy())), ""
    except (decord.DECORDError, RuntimeError) as error:
        raise VideoError(f"damaged or no video: {str(error).strip().splitlines()[-1]}") from error


DECODERS = {
    "selective": _decode_selective,  # only what the picked frames need, by PyAV
    "pyav": _decode_pyav,  # everything, in order
    "decord": _decode_decord,
    "opencv": _decode_opencv,  # everything, in order
}


def _decode_in_order(
    play: Callable[[], Iterator[Callable[[], Kept]]], claimed: int, pick_indices: PickIndices
) -> list[Kept]:
    """Play the video from its start, keeping the picked frames; once more if the claimed number of frames was wrong.

    `play` yields, for each frame in turn, a function that makes its RGB picture: only picked frames are converted.
    """
    num_frames = max(claimed, 1)
    for _ in range(2):
        indices = pick_indices(num_frames).tolist()
        wanted, pictures, num_played = set(indices), {}, 0
        for make_picture in play():
            if num_played in wanted:
                pictures[num_played] = make_picture()
            num_played += 1
        if num_played == 0:
            raise VideoError("not one frame can be decoded")
        if num_played == num_frames:
            return [pictures[i] for i in indices]
        num_frames = num_played
    raise VideoError("gives another number of frames each time it is decoded")


def _keep(prepare: Prepare) -> Keep:
    return lambda picture: Kept(picture.shape[1::-1], prepare(picture))


def _of_one_size(kept: list[Kept]) -> list[np.ndarray]:
    sizes = sorted({one.size for one in kept})
    if len(sizes) > 1:
        raise VideoError(f"its frames change size: {', '.join(f'{width}x{height}' for width, height in sizes)}")
    return [one.picture for one in kept]
