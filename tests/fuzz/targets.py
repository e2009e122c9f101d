"""Every parser of user files but FFmpeg: how its files look, and how it is called.

A new parser is an entry in TARGETS. It must return or raise a ValueError or OSError of this project's own making.
"""

import base64
import collections
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common.startup  # noqa: F401  isort: skip
import numpy as np
import paddle
import safetensors.numpy
from PIL import Image

from common import checksums
from config import load_config
from datareader.bitstream import Av1, Mpeg4, Vp9
from datareader.decode import decode_pkl
from datareader.nal_units import H264, Hevc
from datareader.records import read_list
from dataset.kinetics.annotations import read_annotations
from dataset.list_files import read_label_file
from dataset.own.labels import number_classes
from dataset.own.sources import read_inputs
from evaluation.files import Features, ResultFiles, WindowFeatures
from evaluation.predictions import Prediction, read_class_names
from evaluation.runs import read_run
from formula_weights import write_original_folder
from fuzz.bitstreams import UNITS, looked_at, streams
from inference.exported import ExportCard, read_card
from inference.windows import Timeline
from models.weights.files import read_weights
from models.weights.formats import read_arrays
from serving.json_bodies import LONGEST_TEXT, LongText, decode_base64, read_json_body
from serving.refusals import Refusal
from torch_files import save
from training.checkpoint import CONFIG_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, TrainingState, verify_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ARRAYS = {
    "conv1_weights": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn_conv1_scale": np.ones(2, np.float32),
    "fc_0.b_0": np.arange(3, dtype=np.float64),
}
YAML_TOKENS = (
    b"&a ", b"*a", b"<<: *a", b"!!binary ", b"!!python/object:os.system ", b"!!timestamp ", b"[", b"]", b"{", b"}",
    b"? ", b"- ", b": ", b"\n", b"|", b"'", b'"', b"2001-99-99", b"1:99:99", b"0x", b"0b", b".inf", b"\t", b"\0",
    b"\xff", b"[" * 2000, b"a: &b [*b, *b]", b"%YAML 1.1\n---\n",
)  # fmt: skip
INI_TOKENS = (
    b"[", b"]", b"=", b":", b"\n", b" ", b"%(", b"{[]: 1}", b"(" * 500, b"-" * 9000, b"\0", b"'", b'"', b"[TRAIN]\n",
    b"\xff",
)  # fmt: skip
JSON_TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"NaN", b"-Infinity", b"true", b"[" * 20000, b"\xff",
    b'"a/../b"',
)  # fmt: skip
SUMS_TOKENS = (
    b"0" * 64, b"  ", b" *", b"./", b"../", b"/", b"\\", b"SHA256 (", b") = ", b"\n", b"\r\n", b"\xff", b"\0",
    b"a" * 300,
)  # fmt: skip
LIST_TOKENS = (
    b" ", b"\t", b"\n", b"\r", b"\0", b"/", b"../", b"#", b"-1", b",", b"1,2", b" none", b"a" * 5000,
    b"\xff", b"\xe2\x80\xa8", b"\xc2\xb2",
)  # fmt: skip
CSV_TOKENS = (b",", b'"', b"\n", b"\r", b"\0", b"train", b"youtube_id", b"\xff", b"9" * 20, b"a" * 200_000)


class Target(NamedTuple):
    """A parser of files."""

    parse: Callable[[Path, bytes], Any]
    """Gets an empty folder, or one that an earlier call has used, and the content."""
    seeds: Callable[[], list[bytes]]
    """Sound contents."""
    tokens: tuple[bytes, ...] = ()
    """What may stand in such a file."""
    is_pickle: bool = False
    pack: Callable[[bytes], bytes] = bytes
    """Makes a file of a content that was damaged: what is packed in it is damaged, and its sums are right."""
    max_mb: int = 512
    """Memory that it may take."""


def _read(reader: Callable[[Path], Any], name: str = "file") -> Callable[[Path, bytes], Any]:
    """A parser that gets a path."""

    def parse(folder: Path, content: bytes) -> Any:
        path = folder / name
        path.write_bytes(content)
        return reader(path)

    return parse


def _made(*write: Callable[[Path], Any]) -> list[bytes]:
    """The bytes of files that are written to a path."""
    contents = []
    for one in write:
        with tempfile.TemporaryDirectory() as folder:
            one(Path(folder) / "file.pth")
            contents.append((Path(folder) / "file.pth").read_bytes())
    return contents


def _jpeg(side: int = 24) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def _python2_clip() -> bytes:
    jpeg = _jpeg()
    text = b"".join(b"U" + bytes([len(part)]) + part for part in (b"video",))
    return b"\x80\x02" + text + b"K\x03](" + (b"T" + struct.pack("<I", len(jpeg)) + jpeg) * 2 + b"e\x87."


def _clips() -> list[bytes]:
    clip = ("video", 3, [_jpeg(), _jpeg()])
    return [pickle.dumps(clip, protocol) for protocol in (0, 2, 4, 5)] + [_python2_clip()]


def _clip_of(jpeg: bytes) -> bytes:
    return pickle.dumps(("video", 3, [jpeg, jpeg]), 2)


def _read_clip(path: Path) -> Any:
    return decode_pkl(str(path), lambda num_frames: np.array([0, num_frames - 1]), timeout_sec=60)


def _paddle_files() -> list[bytes]:
    tensors = {name: paddle.to_tensor(array) for name, array in ARRAYS.items()}
    arrays = {
        **ARRAYS,
        "turned": np.asfortranarray(ARRAYS["conv1_weights"]),
        "one": np.float32(1),
        "many": {1: (2.5, None)},
    }
    plain = [pickle.dumps(collections.OrderedDict(arrays), protocol) for protocol in (2, 3, 4, 5)]
    return plain + _made(
        lambda path: paddle.save(tensors, str(path), protocol=2),
        lambda path: paddle.save(tensors, str(path)),
        lambda path: paddle.save({"epoch": 1, "model": tensors}, str(path)),
    )


def _torch_files(is_legacy: bool) -> list[bytes]:
    nested = {"state_dict": collections.OrderedDict(ARRAYS), "epoch": 3}
    return _made(lambda path: save(path, ARRAYS, is_legacy), lambda path: save(path, nested, is_legacy))


def _torch_pickles() -> list[bytes]:
    return [zipfile.ZipFile(io.BytesIO(file)).read("archive/data.pkl") for file in _torch_files(False)]


def _torch_of(content: bytes) -> bytes:
    members = {f"archive/data/{number}": array.tobytes() for number, array in enumerate(ARRAYS.values())}
    return _zip({"archive/data.pkl": content, **members})


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _npz_files() -> list[bytes]:
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **ARRAYS)
    np.savez_compressed(packed, **ARRAYS)
    return [plain.getvalue(), packed.getvalue()]


def _npy_files() -> list[bytes]:
    contents = []
    for array in (*ARRAYS.values(), np.asfortranarray(ARRAYS["conv1_weights"]), np.array(1.5), np.array(["text"])):
        stream = io.BytesIO()
        np.save(stream, array)
        contents.append(stream.getvalue())
    return contents


def _safetensors_files() -> list[bytes]:
    return [
        safetensors.numpy.save(ARRAYS),
        safetensors.numpy.save({"fc_0.b_0": np.zeros((2, 0), np.float16)}, {"a": "b"}),
    ]


def _safetensors_of(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + b"".join(array.tobytes() for array in ARRAYS.values())


def _safetensors_headers() -> list[bytes]:
    return [file[8 : 8 + struct.unpack("<Q", file[:8])[0]] for file in _safetensors_files()]


def _variables() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_original_folder(Path(folder) / "folder", ARRAYS)
        return {path.name: path.read_bytes() for path in (Path(folder) / "folder").iterdir()}


def _tar_files() -> list[bytes]:
    contents = []
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
            for name, content in _variables().items():
                info = tarfile.TarInfo(f"weights/{'long' * 30 if kind != tarfile.USTAR_FORMAT else ''}{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        contents.append(stream.getvalue())
    return contents


def _read_variable(folder: Path, content: bytes) -> Any:
    inside = folder / "folder"
    inside.mkdir(exist_ok=True)
    (inside / "fc_0.b_0").write_bytes(content)
    return read_arrays(inside)


def _read_sums(folder: Path, content: bytes) -> None:
    inside = folder / "folder"
    inside.mkdir(exist_ok=True)
    (inside / "a").write_bytes(b"one")
    (inside / "SHA256SUMS").write_bytes(content)
    for path in (inside, inside / "a"):
        checksums.verify(path)


def _sums_files() -> list[bytes]:
    digest = b"7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    return [
        digest + b"  a\n",
        digest.upper() + b" *./a\n",
        b"SHA256 (a) = " + digest + b"\n",
        b"\\" + digest + b"  b\\nc\n",
    ]


def _configs(*names: str) -> list[bytes]:
    return [(ROOT / "configs" / name).read_bytes() for name in names]


def _read_state(folder: Path, content: bytes) -> TrainingState:
    inside = folder / "TSN_epoch0"
    if not inside.is_dir():
        inside.mkdir()
        for name in (MODEL_FILE, OPTIMIZER_FILE, CONFIG_FILE):
            (inside / name).write_bytes(name.encode())
        checksums.record(inside)
    (inside / STATE_FILE).write_bytes(content)
    return verify_checkpoint(inside)


def _states() -> list[bytes]:
    state = TrainingState(seed=1, sums=[1.0, 2.0], broken=[[3, "damaged"]], best_top1=0.5, history=[{"loss": 1.5}])
    names = (MODEL_FILE, OPTIMIZER_FILE, CONFIG_FILE)
    files = {name: {"bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in names}
    return [json.dumps({**dataclasses.asdict(state), "versions": {}, "files": files}, indent=1).encode()]


def _cards() -> list[bytes]:
    card = ExportCard(["red", "green"], "MODEL:\n  name: TSN\n", "weights", [None, None, 3, 64, 64], 2, "3.3.1")
    full = card._replace(precision="bf16", probe=[0.5, 1.5], cost=[1.2, 0.1, 3.0], preprocessing={"seglen": 1})
    return [json.dumps(one._asdict()).encode() for one in (card, full)]


def _read_any_list(path: Path) -> None:
    """Each way of reading it is tried; what the first refuses, the others might not."""
    problems = []
    (path.parent / "a.mp4").touch()
    for clip_format, num_classes, multi_label in (
        ("mp4", 3, False), ("mp4", 3, True), ("mp4", None, False), ("mp4", None, True), ("pkl", None, False),
    ):  # fmt: skip
        try:
            list(read_list(path, clip_format, num_classes, multi_label))
        except (ValueError, OSError) as error:
            problems.append(error)
    for problem in problems:
        raise problem


def _read_own(path: Path) -> None:
    """As make_dataset.py does, before it opens a video."""
    number_classes(read_inputs([path]), None)


def _results() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = ResultFiles(Path(folder), "result", ["a", "b"])
        best = (np.float32([0.75, 0.25]), np.array([1, 0]))
        files.add([Prediction("a.mp4", "a", *best), Prediction("b.mp4", "b", problem="no video")])
        return [files.lines.read_bytes()]


def _go_on(damaged: str) -> Callable[[Path, bytes], None]:
    """A parser of the files that a run goes on from, one of which is damaged."""

    def parse(folder: Path, content: bytes) -> None:
        files = ResultFiles(folder, "result", ["a", "b"])
        for name, intact in {"result.jsonl": b"", "result.settings.json": b'{"seg_num": 3}'}.items():
            (folder / name).write_bytes(content if name == damaged else intact)
        files.finish(list(files.go_on({"seg_num": 3}).values()))

    return parse


def _features() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        features = Features(Path(folder) / "features.npz")
        features.rows = {"a.mp4": np.arange(9, dtype=np.float32), "b": np.zeros(9, np.float32)}
        features.save()
        return [features.path.read_bytes()]


def _window_features() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        features = WindowFeatures(Path(folder) / "features.npz")
        features.add(0.0, 1.0, np.arange(9, dtype=np.float32))
        features.save()
        return [features.path.read_bytes()]


def _timelines() -> list[bytes]:
    return [json.dumps({"settings": {}, "is_complete": True, "windows": []}).encode()]


def _metrics() -> list[bytes]:
    events = ("start", "train", "epoch", "valid", "end")
    rows = [{"event": event, "epoch": 0, "loss": None, "top1": 0.5, "time": 1.5} for event in events]
    return ["".join(json.dumps(row) + "\n" for row in rows).encode()]


def _read_body(path: Path) -> None:
    """As the server does: the body, then each text in it as if it were the video."""
    try:
        waiting = [read_json_body(path)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, LongText | str):
                decode_base64(path, value, io.BytesIO())
            elif isinstance(value, dict | list):
                waiting += value.values() if isinstance(value, dict) else value
    except Refusal as refusal:
        raise ValueError(refusal.reason) from refusal


def _bodies() -> list[bytes]:
    texts = [base64.b64encode(bytes(range(256)) * number).decode() for number in (1, LONGEST_TEXT // 64)]
    bodies = [json.dumps({"video": text, "top": 5, "more": [None, 0.5]}).encode() for text in (*texts, texts[1] * 3)]
    return [*bodies, bodies[1].replace(b"/", rb"\/").replace(b"+", rb"\u002b").replace(b"k", rb"k\n")]


TARGETS = {
    "clip": Target(_read(_read_clip), _clips, is_pickle=True, max_mb=2048),
    "clip's jpeg": Target(_read(_read_clip), lambda: [_jpeg(), _jpeg(9)], pack=_clip_of, max_mb=2048),
    "pdparams": Target(_read(read_arrays), _paddle_files, is_pickle=True),
    "pth legacy": Target(_read(read_arrays), functools.partial(_torch_files, True), is_pickle=True),
    "pth zip": Target(_read(read_arrays), functools.partial(_torch_files, False)),
    "pth pickle": Target(_read(read_arrays), _torch_pickles, is_pickle=True, pack=_torch_of),
    "safetensors": Target(_read(read_arrays), _safetensors_files, JSON_TOKENS),
    "safetensors header": Target(_read(read_arrays), _safetensors_headers, JSON_TOKENS, pack=_safetensors_of),
    "names": Target(_read(read_weights), _safetensors_headers, JSON_TOKENS, pack=_safetensors_of),
    "npz": Target(_read(read_arrays), _npz_files),
    "npy": Target(_read(read_arrays), _npy_files, pack=lambda content: _zip({"fc_0.b_0.npy": content})),
    "tar": Target(_read(read_arrays), _tar_files),
    "tar.gz": Target(_read(read_arrays), _tar_files, pack=functools.partial(gzip.compress, compresslevel=1)),
    "gzip": Target(_read(read_arrays), lambda: [gzip.compress(file) for file in _tar_files()]),
    "variable": Target(_read_variable, lambda: list(_variables().values())),
    "sums": Target(_read_sums, _sums_files, SUMS_TOKENS),
    "h264": Target(looked_at(H264), streams("libx264"), UNITS),
    "hevc": Target(looked_at(Hevc), streams("libx265"), UNITS),
    "mpeg4": Target(looked_at(Mpeg4), streams("mpeg4"), UNITS),
    "vp9": Target(looked_at(Vp9), streams("libvpx-vp9"), UNITS),
    "av1": Target(looked_at(Av1), streams("libsvtav1"), UNITS),
    "ini": Target(_read(load_config, "config.txt"), functools.partial(_configs, "tsn.txt", "tsn_demo.txt"), INI_TOKENS),
    "yaml": Target(_read(load_config, "config.yaml"), functools.partial(_configs, "tsn.yaml"), YAML_TOKENS),
    "list": Target(_read(_read_any_list), lambda: [b"a.mp4 1\nb c.mp4 0,2\n# x\n", b"d.mp4\t0\ne.pkl\n"], LIST_TOKENS),
    "labels": Target(_read(lambda path: read_class_names(path, 2)), lambda: [b"red\ngreen\n", b"a\r\nb"], LIST_TOKENS),
    "label file": Target(_read(read_label_file), lambda: [b"red\ngreen\n", b"a\r\nb"], LIST_TOKENS),
    "own list": Target(
        _read(_read_own, "own.list"), lambda: [b"a.mp4 1\nb c.mp4 0,2\n# x\n", b"d.mp4\tnone\ne.mp4 1\n"], LIST_TOKENS
    ),
    "own csv": Target(
        _read(_read_own, "own.csv"),
        lambda: [b"path,class,split\na.mp4,red,train\n\"b,c.mp4\",red;green,val\n", b"a.mp4,red\nb.mp4,blue\n"],
        CSV_TOKENS,
    ),
    "annotations": Target(
        _read(read_annotations, "train.csv"),
        lambda: [b"label,youtube_id,time_start,time_end,split\nred,abc,1,11,train\n", b"youtube_id\nabc\n"],
        CSV_TOKENS,
    ),
    "state.json": Target(_read_state, _states, JSON_TOKENS),
    "results": Target(_go_on("result.jsonl"), _results, JSON_TOKENS),
    "features": Target(_read(lambda path: Features(path).load()), _features),
    "window features": Target(_read(lambda path: WindowFeatures(path).num_saved()), _window_features),
    "settings.json": Target(_go_on("result.settings.json"), lambda: [b'{"seg_num": 3}'], JSON_TOKENS),
    "timeline.json": Target(_read(lambda path: Timeline(path, "a", None, {}).is_done()), _timelines, JSON_TOKENS),
    "metrics.jsonl": Target(_read(lambda path: read_run(str(path))), _metrics, JSON_TOKENS),
    "export.json": Target(_read(lambda path: read_card(path.parent), "export.json"), _cards, JSON_TOKENS),
    "json body": Target(_read(_read_body), _bodies, (*JSON_TOKENS, b"\\u002B", rb"\n", rb"\x", b"=", b"data:;base64,")),
}  # fmt: skip
