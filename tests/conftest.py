"""Videos with known pixels, and small lists and settings that keep the tests fast."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import common.startup  # noqa: F401  isort: skip
import av
import numpy as np
import paddle
import pytest

from datareader.augment import RandomView
from datareader.reader import ClipReader, Decoding
from datareader.records import Record
from datareader.sampling import Sampling
from datareader.transforms import Views
from models.registry import create_model

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what it runs behind; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
LEAVE = "import sys, pathlib, common.whole_file as w; print(w.unfinished_path(pathlib.Path(sys.argv[1])))"
NUM_CLASSES = 3
SIDE = 32

SMALL_MODEL = [
    "--config=configs/tsn.yaml",
    "-o",
    f"MODEL.num_classes={NUM_CLASSES}",
    "-o",
    "MODEL.num_layers=18",
    "-o",
    "MODEL.label_file=none",
]
"""Flags for a model that trains in seconds; the sections' own flags come from `small_flags`."""


def write_video(
    path: Path, frames: np.ndarray, codec: str = "libx264", crf: int = 1, options: dict[str, str] | None = None
) -> Path:
    """Encode uint8 RGB frames (T, H, W, 3) at 25 frames per second; with libx264 nearly without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = {"crf": str(crf), "threads": "1"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=defaults | (options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def grey_frames(num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i is all grey of value 10 + 5 i, so that a decoded frame tells its number."""
    values = np.arange(num_frames, dtype=np.uint8) * 5 + 10
    return np.broadcast_to(values[:, None, None, None], (num_frames, height, width, 3)).copy()


def frame_numbers(frames: np.ndarray) -> list[int]:
    """Which of `grey_frames` these are."""
    return [round((float(frame.mean()) - 10) / 5) for frame in frames]


def class_frames(label: int, rng: np.random.Generator, num_frames: int = 9) -> np.ndarray:
    """A clip of a class: a bright square in the class's colour that wanders over a noisy ground."""
    frames = rng.integers(60, 100, size=(num_frames, 72, 96, 3), dtype=np.uint8)
    left, top = rng.integers(8, 48), rng.integers(8, 32)
    for i, frame in enumerate(frames):
        frame[top : top + 28, left + i : left + i + 28] = 40
        frame[top : top + 28, left + i : left + i + 28, label] = 230
    return frames


def clip_reader(
    records: list[Record],
    *,
    clip_format: str = "mp4",
    decoder: str = "selective",
    timeout_sec: float | None = None,
    seg_num: int = 3,
    seglen: int = 1,
    num_clips: int = 1,
    short_size: int = 256,
    target_size: int = 224,
    crop: str = "center",
    resize: str = "stretch",
    random_crop: str = "random",
    color_jitter: float = 0.0,
    seed: int | None = None,
    **settings,
) -> ClipReader:
    """A reader from plain settings; with a seed as in training."""
    views = Views(short_size, target_size, crop, resize)
    if seed is not None:
        views = RandomView(short_size, target_size, random_crop, resize, color_jitter)
    sampling = Sampling(seg_num, seglen, num_clips)
    return ClipReader(records, Decoding(clip_format, decoder, timeout_sec), sampling, views, seed=seed, **settings)


def leftover(path: Path) -> Path:
    """Where a process that was killed has left its part of a file, which is not there yet."""
    ended = subprocess.run([sys.executable, "-c", LEAVE, str(path)], cwd=ROOT, capture_output=True, text=True)
    return Path(ended.stdout.strip())


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """An engine of several threads sets Paddle's for the whole process; sums over more of them have other last bits."""
    yield
    paddle.base.core.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_download(tmp_path, monkeypatch):
    """No test reaches the real server, the user's own weights or converted models."""
    monkeypatch.setenv("TSN_WEIGHTS_HOME", str(tmp_path / "weights home"))
    monkeypatch.setenv("TSN_WEIGHTS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TSN_ENGINE_CACHE", str(tmp_path / "engines"))


@pytest.fixture(autouse=True)
def ordinary_priority():
    """SVT-AV1, which writes AV1 videos, makes root's thread a real-time one: a browser that inherits it starves all."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # a fixture of a wider scope may have written some
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """See `make_small_set`."""
    return make_small_set(tmp_path_factory.mktemp("small set"))  # the path has a space on purpose


def make_small_set(folder: Path, num_train: int = 12, num_val: int = 7) -> Path:
    """A folder with train.list (12 videos), val.list (7) and infer.list (the same 7, no labels)."""
    rng = np.random.default_rng(0)
    for name, num_videos in (("train", num_train), ("val", num_val)):
        lines = []
        for number in range(num_videos):
            label = number % NUM_CLASSES
            write_video(folder / name / f"class {label}" / f"{number}.mp4", class_frames(label, rng), crf=20)
            lines.append(f"{name}/class {label}/{number}.mp4 {label}\n")
        (folder / f"{name}.list").write_text("".join(lines))
    unlabelled = [line.rsplit(" ", 1)[0] + "\n" for line in (folder / "val.list").read_text().splitlines()]
    (folder / "infer.list").write_text("".join(unlabelled))
    return folder


def write_multi_label_lists(small_set: Path, folder: Path) -> Path:
    """Lists of the same videos in a folder: those of even numbers also of the next class, the sixth of none."""
    for name in ("train", "val"):
        lines = []
        for number, line in enumerate((small_set / f"{name}.list").read_text().splitlines()):
            path, label = line.rsplit(" ", 1)
            several = f"{label},{(int(label) + 1) % NUM_CLASSES}" if number % 2 == 0 else label
            lines.append(f"{small_set / path} {'none' if number == 5 else several}\n")
        (folder / f"{name}.list").write_text("".join(lines))
    return folder


def small_flags(folder: Path, **overrides) -> list[str]:
    """Command-line flags for the small model on the lists of a folder; overrides as TRAIN__batch_size=4."""
    keys = {
        "TRAIN.filelist": folder / "train.list", "VALID.filelist": folder / "val.list",
        "TEST.filelist": folder / "val.list", "INFER.filelist": folder / "infer.list", "TEST.seg_num": 3,
        "TEST.save_dir": "none",
        "TRAIN.batch_size": 4, "VALID.batch_size": 4, "TEST.batch_size": 4, "TRAIN.total_videos": "none",
        "TRAIN.epoch": 1,
    }  # fmt: skip
    for section in ("TRAIN", "VALID", "TEST", "INFER"):
        keys |= {f"{section}.short_size": SIDE + 8, f"{section}.target_size": SIDE, f"{section}.num_reader_threads": 1}
    keys |= {key.replace("__", "."): value for key, value in overrides.items()}
    return SMALL_MODEL + [part for key, value in keys.items() for part in ("-o", f"{key}={value}")]


def write_random_weights(folder: Path, side: int = SIDE) -> Path:
    """Weights of a ResNet-18 for NUM_CLASSES classes whose answers differ from video to video."""
    paddle.seed(3)
    model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=18)
    model.train()  # batch norm takes up what it sees
    model(paddle.randint(0, 256, [4, 3, 3, side, side]).astype("uint8"))
    path = folder / "small.pdparams"
    paddle.save(model.state_dict(), str(path))
    return path


@pytest.fixture(scope="session")
def clips() -> Path:
    """Real videos that do not belong to the project: the folder shared/clips beside it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip("the real videos of ../shared/clips are not here")
    return folder
