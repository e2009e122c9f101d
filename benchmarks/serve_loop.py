"""The plain loop of benchmarks/serve.py, which starts it with a JSON object: infer.py's engine, workers and loop."""

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

from benchmarks.infer_job import CONFIG, WEIGHTS, answer  # noqa: E402
from benchmarks.process_tree import family, resident_mb  # noqa: E402
from datareader.build import build_loader  # noqa: E402
from datareader.records import Record  # noqa: E402
from inference.choice import Wish  # noqa: E402
from inference.predict import predict  # noqa: E402
from inference.session import Session, begin_session  # noqa: E402

MANY_VIDEOS = 10**6  # as serve.py: a faster engine is worth its start
MOST_CLIPS = 100_000
WARM_UP_CLIPS = 8  # of a list, until all workers and threads run


def main() -> None:
    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    wish = Wish(order["engine"], order["precision"])
    session = begin_session(folder / WEIGHTS, folder / CONFIG, wish=wish).open(MANY_VIDEOS)
    clips, about = order["clips"], {"title": session.engine.title, "paddle": paddle.__version__}
    first = classify(session, clips)
    if order["seconds"]:
        num_clips = min(math.ceil(first["rate"] * order["seconds"]) + WARM_UP_CLIPS, MOST_CLIPS)
        timed = classify(session, [clips[number % len(clips)] for number in range(num_clips)])
        if any(found != first["classes"][number % len(clips)] for number, found in enumerate(timed["classes"])):
            raise ValueError("the loop says different things of the same clip")
        first |= {"rate": timed["rate"], "memory_mb": timed["memory_mb"]}
    answer(about | first)


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
        if len(classes) == len(paths) // 2:
            memory_mb = resident_mb(family(os.getpid()))
    begun = min(WARM_UP_CLIPS, len(paths) // 2) - 1
    rate = (len(paths) - 1 - begun) / (arrivals_sec[-1] - arrivals_sec[begun])
    return {"classes": classes, "rate": rate, "memory_mb": memory_mb}


if __name__ == "__main__":
    main()
