"""A video -> the frames that an exported model wants, exactly as infer.py reads them.

    pip install av numpy pillow onnxruntime
    python preprocess.py model.onnx my.mp4 another.mp4

export.py puts this file beside each model. It needs no Paddle and no other file of the project; copy it where you like:

    from preprocess import card_of, frames_of

    frames = frames_of("my.mp4", card_of("model.onnx"))     # uint8 (views, T, 3, H, W)

Give them to the model as its input `frames` and average what it says over the views. Normalisation and softmax, or of a
multi-label model sigmoid, are inside the model.
"""

import json
import math
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

MOST_PIXELS = 1 << 26  # of a frame; a damaged header asks for any size


def frames_of(path: str | Path, card: dict[str, Any]) -> np.ndarray:
    """The frames of a video, uint8 RGB (num_views, T, 3, target_size, target_size).

    The views are the crops of the first clip, then those of the second, ...; one, if there is one clip and one crop.
    T is seg_num * seglen. The file is decoded twice, so that no more than the wanted frames are ever in memory.

    Args:
        path: a local video file of any format that FFmpeg decodes.
        card: what `card_of` gives.

    Raises:
        ValueError: the file cannot be read; the message names it and says why.
    """
    recipe = card["preprocessing"]
    num_frames = sum(1 for _ in decoded(path))
    if num_frames == 0:
        raise ValueError(f"{path}: not one frame can be decoded")
    clips = frame_numbers(num_frames, recipe["seg_num"], recipe["seglen"], recipe["num_clips"])
    pictures = pictures_of(path, set(clips.flat), recipe["short_size"], recipe.get("resize_mode", "stretch"))
    height, width = next(iter(pictures.values())).shape[:2]
    size = recipe["target_size"]
    views = []
    for clip in clips:
        for left, top, mirrored in crops(recipe["crop"], width, height, size):
            squares = [pictures[number][top : top + size, left : left + size] for number in clip]
            views.append([square[:, ::-1] if mirrored else square for square in squares])
    return np.ascontiguousarray(np.array(views).transpose(0, 1, 4, 2, 3))


def frame_numbers(num_frames: int, seg_num: int, seglen: int, num_clips: int) -> np.ndarray:
    """Which frames stand for a video of num_frames (1 at least), counted from 0: int64 (num_clips, seg_num * seglen).

    The video is cut into seg_num equal segments. Of each, a clip has seglen consecutive frames: those in the middle,
    or, for several clips, in the middle of each of num_clips equal parts. A video that is too short begins anew.
    """
    length = num_frames // seg_num
    clips = np.arange(num_clips)[:, None, None]
    offsets = (2 * clips + 1) * (length - seglen) // (2 * num_clips) if length >= seglen else 0 * clips
    numbers = np.arange(seg_num)[:, None] * max(length, 1) + offsets + np.arange(seglen)
    return (numbers % num_frames).reshape(num_clips, seg_num * seglen)


def crops(name: str, width: int, height: int, size: int) -> list[tuple[int, int, bool]]:
    """(left, top, whether it is mirrored) of the squares that are cut out of each picture; halves round to even."""
    center = (round((width - size) / 2), round((height - size) / 2))
    right, bottom = width - size, height - size
    if name == "center":
        places = [center]
    elif name == "three" and width >= height:
        places = [(0, center[1]), center, (right, center[1])]
    elif name == "three":
        places = [(center[0], 0), center, (center[0], bottom)]
    elif name == "ten":
        places = [(0, 0), (right, 0), (0, bottom), (right, bottom), center]
    else:
        raise ValueError(f"unknown crop {name!r}; the known ones are center, three and ten")
    return [(*place, mirrored) for mirrored in ([False, True] if name == "ten" else [False]) for place in places]


def pictures_of(path: str | Path, wanted: set[int], short_size: int, mode: str) -> dict[int, np.ndarray]:
    """The wanted frames of a video, by number: upright, resized, uint8 RGB (H, W, 3)."""
    pictures, sizes, turns = {}, set(), {}
    for number, frame in enumerate(decoded(path)):
        if number not in wanted:
            continue
        if frame.rotation not in turns:  # asked of one frame for each angle: a frame that was asked stays in memory
            turns[frame.rotation] = turn_of(frame)
        swap, down, across = turns[frame.rotation]
        try:
            picture = frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError) as error:  # a colour space such as YCgCo
            raise ValueError(f"{path}: its colours cannot be converted to RGB: {error.strerror}") from error
        picture = (picture.swapaxes(0, 1) if swap else picture)[::down, ::across]
        sizes.add(picture.shape[1::-1])
        width, height = size = scaled_size(*picture.shape[1::-1], short_size, mode)
        if width * height > MOST_PIXELS:
            shape = "x".join(map(str, picture.shape[1::-1]))
            reason = f"too narrow to be enlarged to a short side of {short_size}"
            raise ValueError(f"{path}: its frames of {shape} are {reason}")
        pictures[number] = resized(picture, size)
    if len(sizes) > 1:
        raise ValueError(f"{path}: its frames change size: {', '.join(f'{w}x{h}' for w, h in sorted(sizes))}")
    if pictures.keys() != wanted:
        raise ValueError(f"{path}: gives another number of frames each time it is decoded")
    return pictures


def scaled_size(width: int, height: int, short_size: int, mode: str) -> tuple[int, int]:
    """(width, height) after resizing, as in training; a picture whose short side is short_size already stays as it is.

    Args:
        mode: "stretch", the long side becomes 4/3 of short_size, whatever the aspect ratio was; "keep", it becomes what
            the aspect ratio makes of it, to the nearest pixel, halves upwards.
    """
    short, long = sorted((width, height))
    if short == short_size:
        return width, height
    if mode == "stretch":
        long_size = short_size * 4 // 3
    elif mode == "keep":
        long_size = (2 * long * short_size + short) // (2 * short)
    else:
        raise ValueError(f"unknown resize_mode {mode!r}; the known ones are stretch and keep")
    return (short_size, long_size) if width < height else (long_size, short_size)


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture in another (width, height).

    Pillow's bilinear filter looks at every pixel of a larger picture; that of OpenCV does not, and gives other answers.
    """
    if size == picture.shape[1::-1]:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def turn_of(frame: av.VideoFrame) -> tuple[bool, int, int]:
    """How a camera says that its picture is to be shown, to the nearest quarter turn.

    Returns:
        Whether rows become columns, then the steps through rows and columns: -1 reverses them.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 1, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))  # what is at (x, y) goes to (a x + c y, b x + d y)
    area = a * d - b * c
    if area == 0:
        return False, 1, 1  # no picture could be shown with it
    mirror = 1 if area > 0 else -1
    if abs(a) * math.hypot(b, d) >= abs(b) * math.hypot(a, c):
        across = 1 if a > 0 else -1
        return False, mirror * across, across
    down = 1 if b > 0 else -1
    return True, down, -mirror * down


def decoded(path: str | Path) -> Iterator[av.VideoFrame]:
    """Every frame of the video stream that FFmpeg calls the best, in the order in which they are shown."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    only_local_files = {"protocol_whitelist": "file"}  # a playlist in a video's clothes cannot make it open addresses
    limits = {"max_pixels": str(MOST_PIXELS)}
    try:
        container = av.open(f"file:{path}", options=only_local_files | limits, metadata_errors="replace")
    except av.FFmpegError as error:
        raise ValueError(f"{path}: damaged or no video: {error.strerror}") from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise ValueError(f"{path}: has no video stream that FFmpeg can decode")
        decoder = stream.codec_context
        decoder.options, decoder.thread_count = limits, 1
        for packet in packets_of(container, stream):
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError:
                continue  # the decoder refuses this packet; the frames of the others count


def packets_of(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """What the file holds of a stream, to its end or to where it cannot be read; then None, which empties a decoder."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except (av.FFmpegError, IndexError):  # IndexError: a stream begins that the file did not announce
        pass
    yield None


def card_of(model: str | Path) -> dict[str, Any]:
    """What an export says of itself: class_names, preprocessing, ...

    Args:
        model: the .onnx file, which carries it; else the folder that holds export.json, or a file in it.
    """
    model = Path(model)
    if model.suffix == ".onnx":
        card = json.loads(onnx_session(model).get_modelmeta().custom_metadata_map.get("card", "{}"))
    else:
        folder = model if model.is_dir() else model.parent
        card = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    if not card.get("preprocessing"):
        raise ValueError(f"{model}: does not say how its frames are made; export it again")
    return card


def open_model(model: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function: frames, uint8 (N, T, 3, H, W) -> probabilities, float32 (N, num_classes)."""
    if Path(model).suffix == ".onnx":
        session = onnx_session(model)
        return lambda frames: session.run(["probabilities"], {"frames": frames})[0]
    if Path(model).suffix == ".xml":
        import openvino

        compiled = openvino.compile_model(
            str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )  # bf16 on some CPUs else
        return lambda frames: compiled({"frames": frames})["probabilities"]
    raise ValueError(f"{model}: is no .onnx and no .xml file; a folder is for Paddle Inference")


def onnx_session(model: str | Path) -> Any:
    """ONNX Runtime's session, without its warnings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options)


def main(model: str, *videos: str) -> None:
    """Print the five best classes of each video."""
    card, classify = card_of(model), open_model(model)
    names = card["class_names"] or list(range(card["num_classes"]))
    for video in videos:
        probabilities = classify(frames_of(video, card)).mean(axis=0)
        best = probabilities.argsort()[:-6:-1]
        print(f"{video}: {', '.join(f'{names[number]} {probabilities[number]:.4f}' for number in best)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: python {sys.argv[0]} MODEL VIDEO...")
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
