"""The measured processes of benchmarks/infer.py, which starts them with a JSON object: what to do, and how.

"prepare" writes a folder with all that is measured: config, weights, list of clips, and the models that engines run.
"serve" opens an engine as infer.py does, then runs "model", "mp4" or "end to end" at each line on standard input. Both
answer by lines on standard output.
"""

import importlib.util
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common.startup  # noqa: E402, F401  isort: skip
import paddle  # noqa: E402

from benchmarks.processor import BF16_FLAGS, read_processor  # noqa: E402
from common.processes import threads_each  # noqa: E402
from config import Config, dump_config, load_config  # noqa: E402
from datareader.build import build_loader, build_reader  # noqa: E402
from datareader.loader import Loader  # noqa: E402
from datareader.records import Record, read_list  # noqa: E402
from inference.choice import EAGER, Wish  # noqa: E402
from inference.engines.engine import Engine  # noqa: E402
from inference.predict import predict  # noqa: E402
from inference.session import begin_session  # noqa: E402
from models.build import build_model  # noqa: E402
from models.cost import model_cost  # noqa: E402
from models.weights import read_weights  # noqa: E402
from models.weights.matching import network_title  # noqa: E402

ANSWER = "answer: "
PAUSE_SEC = 0.5  # before a turn: the threads of the engine before go on spinning for a while, to be at hand
CONFIG, WEIGHTS, LIST = "config.yaml", "weights.pdparams", "clips.list"
TORCH = "torch"


def answer(content: dict[str, Any]) -> None:
    print(f"\n{ANSWER}{json.dumps(content)}", flush=True)


def prepare(folder: str, clips: list[str], overrides: list[str], contenders: list[tuple[str, str]]) -> None:
    """Write the folder; answer with what is measured, by which engines and precisions, and without which."""
    place = Path(folder)
    (place / LIST).write_text("".join(f"{clip}\n" for clip in clips), encoding="utf-8")
    fixed = [f"TRAIN.filelist={place / LIST}", "TRAIN.use_gpu=False", "MODEL.label_file=none"]
    config = load_config(ROOT / "configs" / "tsn.txt", overrides + fixed)
    (place / CONFIG).write_text(dump_config(config), encoding="utf-8")
    paddle.seed(0)
    model = build_model(config)
    fit_batch_norm(model, next(read(config, len(clips), len(clips), 0)).frames)
    paddle.save(model.state_dict(), str(place / WEIGHTS))
    cost = model_cost(model, 1, config.infer.target_size)
    gmacs = cost.clip_gmacs(config.infer.seg_num)
    title = (
        f"{config.model.name}, {network_title(config.model.backbone, config.model.num_layers)}, "
        f"{config.infer.seg_num} segments of {config.infer.target_size} px, "
        f"{config.model.num_classes} classes: {gmacs:.2f} billion multiply-adds (papers' FLOPs) per clip, "
        f"{cost.num_parameters / 1e6:.2f} million parameters"
    )
    found, missing = [], []
    for engine, precision in contenders:
        try:
            open_engine(place, engine, precision, 1)  # which converts the model
            found.append([engine, precision])
        except (ValueError, OSError) as error:
            missing.append(f"without {engine} in {precision}: {error}")
    answer({"title": title, "contenders": found, "missing": missing})


def fit_batch_norm(model: paddle.nn.Layer, frames: paddle.Tensor) -> None:
    """Make the statistics of random weights those of real frames."""
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0  # its running statistics become those of the last batch
    model.train()
    model(frames)
    model.eval()


def serve(folder: str, engine: str, precision: str, batch_size: int) -> None:
    """Say what the engine makes of the frames, then do what each line on standard input says."""
    config, classify = open_engine(Path(folder), engine, precision, batch_size)
    frames = next(read(config, batch_size, batch_size, 0)).frames
    answer({"probabilities": classify(frames).probabilities.tolist()})
    for line in sys.stdin:
        order = json.loads(line)
        time.sleep(PAUSE_SEC)
        started_sec = time.perf_counter()
        if order["what"] == "model":
            classify(frames)
        elif order["what"] == "mp4":  # the start of the reading worker included
            for batch in read(config, order["num_clips"], batch_size, 1):
                classify(batch.frames)
        else:
            classify_videos(config, classify, order["num_clips"])
        elapsed_sec = time.perf_counter() - started_sec
        memory_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        answer({"seconds": elapsed_sec, "peak_memory_mb": memory_mb, "memory_mb": memory_now_mb()})


def classify_videos(config: Config, classify: Engine, num_clips: int) -> None:
    """As infer.py does with a list: as many reading workers, and its loop."""
    loader = build_loader(config, "infer", records(config, num_clips))
    for step in predict(classify, loader.epoch(0), loader.reader, max_frames=config.infer.max_frames_per_batch):
        if any(prediction.problem for prediction in step.predictions):
            raise ValueError(f"a clip cannot be read: {step.predictions}")


def open_engine(folder: Path, engine: str, precision: str, batch_size: int) -> tuple[Config, Engine]:
    """The engine, as infer.py opens it, and the config."""
    wish = Wish(EAGER) if engine == TORCH else Wish(engine, precision)
    flags = {"INFER.batch_size": batch_size}
    opening = begin_session(folder / WEIGHTS, folder / CONFIG, flags=flags, wish=wish)
    if engine == TORCH:
        return opening.config, open_torch(opening.config, folder, precision)
    return opening.config, opening.open(one_by_one=batch_size == 1).engine


def open_torch(config: Config, folder: Path, precision: str) -> Engine:
    """PyTorch, if it is here.

    Raises:
        ValueError: it is not, or the processor lacks the precision.
    """
    if (config.model.name, config.model.backbone) != ("TSN", "resnet"):
        raise ValueError("the peer is a TSN on a ResNet")
    if precision == "int8":
        raise ValueError("the peer is PyTorch as most use it, which has no int8")
    if importlib.util.find_spec("torch") is None:
        raise ValueError("PyTorch is not installed: pip install torch")
    if precision == "bf16" and not BF16_FLAGS.intersection(read_processor().flags):
        raise ValueError("this processor computes no bf16")
    from benchmarks.torch_resnet import TSN, TorchEngine, load_from_paddle

    model = TSN(config.model.num_classes, config.model.num_layers)
    load_from_paddle(model, read_weights(folder / WEIGHTS).arrays)
    return TorchEngine(model, threads_each(), precision)


def records(config: Config, num_clips: int) -> list[Record]:
    """So many clips of the list, again and again."""
    listed = read_list(config.train.filelist)
    return [listed[number % len(listed)] for number in range(num_clips)]


def read(config: Config, num_clips: int, batch_size: int, num_workers: int):
    """The batches of an epoch of so many clips."""
    reader = build_reader(config, "infer", records(config, num_clips))
    return Loader(reader, batch_size, num_workers=num_workers).epoch(0)


def memory_now_mb() -> float:
    """The resident memory of this process; 0 where nothing tells it, that is, not on Linux."""
    path = Path("/proc/self/statm")
    pages = int(path.read_text().split()[1]) if path.is_file() else 0
    return round(pages * resource.getpagesize() / 1e6, 1)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    {"prepare": prepare, "serve": serve}[order.pop("job")](**order)
