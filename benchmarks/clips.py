"""Clips to measure on: a hand-held camera over a textured scene where things move, encoded as people encode videos."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

SECONDS, FPS, KEY_FRAME_EVERY = 10, 25, 250
SIZES = {"340x256": (340, 256), "720p": (1280, 720)}
MARGIN = 1.3  # how much larger than the frame the scene is, for the camera to move
NUM_THINGS = 6
NOISE = 5  # of 255: brings the files to the bit rates that people's videos have, 0.3 and 3.9 Mbit/s


def make_clip(path: Path, width: int, height: int, seed: int, key_frame_every: int = KEY_FRAME_EVERY) -> None:
    """Encode a clip as H.264 with x264's own settings; nothing is done if the file is there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    options = {"crf": "23", "g": str(key_frame_every), "threads": "1", "x264-params": "scenecut=0"}
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in film(width, height, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)


def film(width: int, height: int, seed: int) -> Iterator[np.ndarray]:
    """The frames, uint8 RGB (height, width, 3): a camera that sways, things that cross the scene, a noisy sensor."""
    rng = np.random.default_rng(seed)
    scene_width, scene_height = round(MARGIN * width), round(MARGIN * height)
    scene = texture(rng, scene_width, scene_height)
    things = [texture(rng, round(width * size), round(height * size)) for size in rng.uniform(0.08, 0.3, NUM_THINGS)]
    places = rng.uniform(0, 1, (NUM_THINGS, 2))
    speeds = rng.uniform(-0.15, 0.15, (NUM_THINGS, 2))  # of the scene's size, per second
    sway = rng.uniform(0.3, 1.2, 2)
    noise = rng.normal(0, NOISE, (4, height, width, 1)).astype(np.float32)
    for number in range(SECONDS * FPS):
        seconds = number / FPS
        picture = scene.copy()
        for thing, place, speed in zip(things, places, speeds, strict=True):
            left, top = ((place + speed * seconds) % 1 * (scene_width, scene_height)).astype(int)
            part = thing[: scene_height - top, : scene_width - left]
            picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        left, top = ((1 + np.sin(sway * seconds * 2)) / 2 * (scene_width - width, scene_height - height)).astype(int)
        grain = np.roll(noise[rng.integers(len(noise))], rng.integers(0, 64, 2), (0, 1))
        yield np.clip(picture[top : top + height, left : left + width] + grain, 0, 255).astype(np.uint8)


def texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A picture with detail at every scale as photographs have it, float32 (height, width, 3), 0 to 255."""
    picture = np.full((height, width, 3), rng.uniform(60, 190, 3), np.float32)
    cells, strength = 4, 40.0
    while cells < min(width, height) / 2:
        coarse = rng.normal(0, strength, (cells, cells * 4 // 3, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            picture[..., channel] += np.asarray(layer)
        cells, strength = cells * 2, strength * 0.55
    return np.clip(picture, 0, 255)
