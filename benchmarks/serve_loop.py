"""The processes of benchmarks/serve.py that compute; it starts them with a JSON object: what to do, and how.

"prepare" writes a folder with all that is measured: config and weights. "loop" is the plain loop: infer.py's engine,
workers and loop, over clips again and again. Both answer by a line on standard output.
"""

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common.startup  # noqa: E402, F401  isort: skip
import paddle  # noqa: E402

from benchmarks import infer_job  # noqa: E402
from benchmarks.infer_job import CONFIG, WEIGHTS, answer  # noqa: E402
from benchmarks.process_tree import family, resident_mb  # noqa: E402
from config import load_config  # noqa: E402
from datareader.build import build_loader  # noqa: E402
from datareader.records import Record  # noqa: E402
from inference.choice import Wish  # noqa: E402
from inference.predict import predict  # noqa: E402
from inference.session import Session, begin_session  # noqa: E402
from models.build import build_model  # noqa: E402
from models.weights import load_weights, read_weights  # noqa: E402

MANY_VIDEOS = 10**6  # as serve.py: a faster engine is worth its start
MOST_CLIPS = 100_000
WARM_UP_CLIPS, LEAST_CLIPS = 8, 24  # of a list, until all workers and threads run; of a list


def prepare(folder: str, clips: list[str], overrides: list[str]) -> None:
    """Write the folder; answer with the network's title."""
    infer_job.prepare(folder, clips, overrides, [])
    config, path = load_config(Path(folder, CONFIG)), Path(folder, WEIGHTS)
    model = build_model(config)
    load_weights(model, read_weights(path))
    tell_apart(model, next(infer_job.read(config, len(clips), len(clips), 0)).frames)
    paddle.save(model.state_dict(), str(path))


@paddle.no_grad()
def tell_apart(model: paddle.nn.Layer, frames: paddle.Tensor) -> None:
    """Give the clips different best classes, where random weights see the same in all: mix-ups would not show."""
    model.eval()
    model.fc.bias.set_value(-model.fc.weight.T @ model.features(frames).mean(0))


def loop(folder: str, clips: list[str], engine: str, precision: str, seconds: float) -> None:
    """Answer with the best class of each clip, and how many are classified per second; by 0 seconds from few clips."""
    place, wish = Path(folder), Wish(engine, precision)
    session = begin_session(place / WEIGHTS, place / CONFIG, wish=wish).open(MANY_VIDEOS)
    about = {"title": session.engine.title, "paddle": paddle.__version__}
    first = classify(session, cycled(clips, max(len(clips), LEAST_CLIPS)))
    if seconds:
        num_clips = min(math.ceil(first["rate"] * seconds) + WARM_UP_CLIPS, MOST_CLIPS)
        timed = classify(session, cycled(clips, max(num_clips, LEAST_CLIPS)))
        if timed["classes"] != cycled(first["classes"][: len(clips)], len(timed["classes"])):
            raise ValueError("the loop says different things of the same clip")
        first |= {"rate": timed["rate"], "memory_mb": timed["memory_mb"]}
    answer(about | first | {"classes": first["classes"][: len(clips)]})


def cycled(items: list, num_items: int) -> list:
    """So many items, again and again."""
    return [items[number % len(items)] for number in range(num_items)]


def classify(session: Session, paths: list[str]) -> dict[str, Any]:
    """As infer.py does with a list.

    Returns:
        The best class of each clip, clips/s from the warm-up on, and the resident memory with that of the workers.
    """
    loader = build_loader(session.config, "infer", [Record(path, None, path) for path in paths])
    classes, arrivals_sec, memory_mb = [], [], 0.0
    for step in predict(session.engine, loader.epoch(0), loader.reader, max_frames=session.max_frames):
        for prediction in step.predictions:
            if prediction.problem:
                raise ValueError(f"{prediction.path}: {prediction.problem}")
            classes.append(int(prediction.class_ids[0]))
            arrivals_sec.append(time.perf_counter())
        if not memory_mb and len(classes) >= len(paths) // 2:
            memory_mb = resident_mb(family(os.getpid()))
    rate = (len(paths) - WARM_UP_CLIPS) / (arrivals_sec[-1] - arrivals_sec[WARM_UP_CLIPS - 1])
    return {"classes": classes, "rate": rate, "memory_mb": memory_mb}


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    {"prepare": prepare, "loop": loop}[order.pop("job")](**order)
