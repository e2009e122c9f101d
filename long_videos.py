"""A video classified piece by piece: windows -> a timeline, as JSON and as a picture."""

import bisect
import itertools
import json
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from builders import build_reader
from classification import Session, describe_protocol, protocol_of, settings_of
from datareader import transforms
from datareader.kinetics_reader import KineticsReader
from datareader.records import Record
from datareader.stream import PlayedFrame, Window, is_address, play, windows
from datareader.video import VideoError
from engine.loop import classify_views
from engine.signals import StopRequest
from evaluation import plots
from evaluation.results import Prediction, class_name, describe, top_predictions, write_json
from illustrate import Illustrator

CLASSES_DRAWN = 12  # in a timeline's picture
WRITE_EVERY_SEC = 30.0

logger = logging.getLogger("infer")


def classify_windows(
    session: Session,
    records: list[Record],
    save_dir: Path,
    illustrator: Illustrator,
    *,
    window_sec: float,
    stride_sec: float,
    top_k: int,
    log_interval: int,
    skip_done: bool,
    stop: StopRequest,
) -> dict[str, list[dict[str, Any]]]:
    """Classify each of the videos, files or addresses, by windows; {video: its windows}.

    A timeline is written now and then, and when its video ends, fails or a stop is asked for. Memory does not grow with
    the length of the video but for the windows' results.
    """
    if session.config.infer.num_clips > 1:
        raise ValueError("INFER.num_clips is for whole videos; with --window_sec use a smaller --stride_sec")
    reader = build_reader(session.config, "infer", records)
    protocol = protocol_of(session, reader)
    settings = settings_of(session, protocol) | {"window_sec": window_sec, "stride_sec": stride_sec}
    logger.info("[INFER] windows of %g s every %g s; %s", window_sec, stride_sec, describe_protocol(protocol))
    timelines = {}
    for record in records:
        if stop.signal_number:
            break
        path = save_dir / f"{illustrator.names.name(record.name)}.timeline.json"
        timeline = Timeline(path, record.name, session.class_names, settings)
        if skip_done and timeline.is_done():
            logger.info("[INFER] %s: done before", record.name)
            continue
        problem = ""
        try:
            frames = _until_stopped(play(record.path), stop)
            found = _classified(session, reader, frames, window_sec, stride_sec, top_k)
            for number, (window, prediction) in enumerate(found):
                timeline.add(window, prediction)
                timeline.write_now_and_then()
                if number % log_interval == 0:
                    logger.info("[INFER] %s", timeline.describe_last())
        except VideoError as error:
            problem = str(error)
            logger.warning("cannot read %s: %s", record.path, problem)
        timeline.write(is_complete=not (stop.signal_number or problem), problem=problem)
        timelines[record.name] = timeline.rows
        if timeline.rows:
            timeline.draw()
            logger.info("[INFER] %s: %d windows in %s and .png", record.name, len(timeline.rows), path)
            if not is_address(record.path) and not stop.signal_number:
                illustrator.overlay(record.path, record.name, timeline.prediction_at)
    return timelines


class Timeline:
    """The windows of one video and what the model says of each."""

    def __init__(self, path: Path, video_id: str, class_names: list[str] | None, settings: dict[str, Any]):
        self.path = path
        self.video_id = video_id
        self.rows: list[dict[str, Any]] = []
        self._class_names = class_names
        self._settings = settings
        self._predictions: list[Prediction] = []
        self._written_sec = time.monotonic()

    def is_done(self) -> bool:
        """Whether a file is there that an earlier run with these settings has finished."""
        if not self.path.is_file():
            return False
        content = json.loads(self.path.read_text(encoding="utf-8"))
        return content.get("is_complete") is True and content.get("settings") == self._settings

    def add(self, window: Window, prediction: Prediction) -> None:
        self._predictions.append(prediction)
        names = [class_name(class_id, self._class_names) for class_id in prediction.class_ids]
        self.rows.append({
            "start_sec": round(window.start_sec, 3),
            "end_sec": round(window.end_sec, 3),
            "class_names": names,
            "class_ids": prediction.class_ids,
            "probabilities": prediction.probabilities,
        })  # fmt: skip

    def describe_last(self) -> str:
        row = self.rows[-1]
        span = f"{self.video_id} {row['start_sec']:.1f} to {row['end_sec']:.1f} s"
        return describe(self._predictions[-1]._replace(video_id=span), self._class_names, 3)

    def prediction_at(self, time_sec: float) -> Prediction:
        """That of the window that began last."""
        number = bisect.bisect_right(self.rows, time_sec, key=lambda row: row["start_sec"])
        return self._predictions[max(number - 1, 0)]

    def write_now_and_then(self) -> None:
        """So that a crash costs little of what a camera gave in days."""
        if time.monotonic() - self._written_sec > WRITE_EVERY_SEC:
            self.write(is_complete=False, problem="")

    def write(self, is_complete: bool, problem: str) -> None:
        self._written_sec = time.monotonic()
        content = {"video_id": self.video_id, "is_complete": is_complete, "problem": problem or None}
        write_json(self.path, content | {"windows": self.rows, "settings": self._settings})

    def draw(self) -> None:
        """The classes that are the best of some window, beside it the JSON file."""
        strongest: dict[int, float] = {}
        for prediction in self._predictions:
            best = prediction.class_ids[0]
            strongest[best] = max(strongest.get(best, 0), prediction.probabilities[0])
        shown = sorted(sorted(strongest, key=lambda class_id: -strongest[class_id])[:CLASSES_DRAWN])
        said = [dict(zip(one.class_ids, one.probabilities, strict=True)) for one in self._predictions]
        figure = plots.timeline_figure(
            [row["start_sec"] for row in self.rows],
            [row["end_sec"] for row in self.rows],
            np.array([[given.get(class_id, 0.0) for given in said] for class_id in shown]),
            [class_name(class_id, self._class_names) for class_id in shown],
            self.video_id,
        )
        plots.save(figure, self.path.with_suffix(".png"))


def _classified(
    session: Session,
    reader: KineticsReader,
    frames: Iterable[PlayedFrame],
    window_sec: float,
    stride_sec: float,
    top_k: int,
) -> Iterator[tuple[Window, Prediction]]:
    """Each window as soon as it is over."""

    def prepare(picture: np.ndarray) -> np.ndarray:
        return transforms.resize([picture], reader.short_size)[0]

    for window in windows(frames, window_sec, stride_sec, reader.seg_num, reader.seglen, prepare):
        crops = paddle.to_tensor(reader.cut(window.pictures)[None])
        max_frames = session.config.infer.max_frames_per_batch
        probabilities, _ = classify_views(session.classifier, crops, reader.num_crops, max_frames)
        yield window, top_predictions([""], probabilities, top_k)[0]


def _until_stopped(frames: Iterable[PlayedFrame], stop: StopRequest) -> Iterator[PlayedFrame]:
    return itertools.takewhile(lambda frame: not stop.signal_number, frames)
