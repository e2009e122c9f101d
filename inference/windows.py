"""A video classified piece by piece: windows -> a timeline, as JSON and as a picture."""

import bisect
import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from common.console import count
from common.plain_json import fits, parse_json
from datareader.ahead import read_ahead
from datareader.build import build_reader
from datareader.reader import ClipReader
from datareader.records import RecordList
from datareader.stream import PlayedFrame, Window, is_address, play, windows
from datareader.video import VideoError
from distributed.signals import StopRequest
from evaluation.files import UNSAID_SETTINGS, WindowFeatures, write_json
from evaluation.predictions import NOTHING, Prediction, class_name, describe, sort_classes
from inference.drawing import Illustrator
from inference.predict import classify_views
from inference.session import Session, describe_protocol

CLASSES_DRAWN = 12  # in a timeline's picture
WRITE_EVERY_SEC = 30.0

logger = logging.getLogger("infer")


class Cutting(NamedTuple):
    """How a video is cut into windows, and what is kept of each."""

    window_sec: float
    stride_sec: float
    """Seconds from the start of a window to the start of the next."""
    top_k: int
    """Classes kept of each window."""


def classify_windows(
    session: Session,
    records: RecordList,
    save_dir: Path,
    illustrator: Illustrator,
    cutting: Cutting,
    *,
    keep_features: bool,
    log_interval: int,
    skip_done: bool,
    stop: StopRequest,
) -> dict[str, list[dict[str, Any]]]:
    """Classify each of the videos, files or addresses, by windows; {video: its windows}.

    A timeline, with `keep_features` a file of features too, is written now and then, and when its video ends, fails or
    a stop is asked for. Memory does not grow with the length of the video but for the windows' results.
    """
    if session.config.infer.num_clips > 1:
        raise ValueError("INFER.num_clips is for whole videos; with --window_sec use a smaller --stride_sec")
    reader = build_reader(session.config, "infer", records)
    protocol = session.protocol(reader)
    settings = session.settings(protocol) | {"window_sec": cutting.window_sec, "stride_sec": cutting.stride_sec}
    looked_at = describe_protocol(reader, protocol)
    logger.info("[INFER] windows of %g s every %g s; %s", cutting.window_sec, cutting.stride_sec, looked_at)
    timelines = {}
    for record in records:
        if stop.signal_number:
            break
        stem = save_dir / illustrator.names.name(record.name)
        features = WindowFeatures(stem.with_name(f"{stem.name}.features.npz")) if keep_features else None
        path = stem.with_name(f"{stem.name}.timeline.json")
        timeline = Timeline(path, record.name, session.class_names, settings, features)
        if skip_done and timeline.is_done():
            logger.info("[INFER] %s: done before", record.name)
            continue
        timelines[record.name] = timeline.rows
        found = _classified(session, reader, _until_stopped(play(record.path), stop), cutting)
        timeline.fill(found, log_interval, stop)
        if timeline.rows and not is_address(record.path) and not stop.signal_number:
            illustrator.overlay(record.path, record.name, timeline.prediction_at)
    return timelines


class Timeline:
    """The windows of one video and what the model says of each.

    Args:
        features: gets each window's features; None: they are not kept.
    """

    def __init__(
        self,
        path: Path,
        video_id: str,
        class_names: list[str] | None,
        settings: dict[str, Any],
        features: WindowFeatures | None = None,
    ):
        self.path = path
        self.features = features
        self.video_id = video_id
        self.rows: list[dict[str, Any]] = []
        self._class_names = class_names
        self._settings = settings
        self._predictions: list[Prediction] = []
        self._written_sec = time.monotonic()

    def is_done(self) -> bool:
        """Whether a file is there that an earlier run with these settings has finished, and its features if wanted.

        Raises:
            ValueError: one of them is damaged.
        """
        if not self.path.is_file():
            return False
        try:
            content = parse_json(self.path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{self.path}: damaged ({error}); delete it, or run without --skip_done") from error
        if not fits(content, dict) or content.get("is_complete") is not True or not fits(content.get("settings"), dict):
            return False
        windows = content.get("windows")
        if self.features and not (fits(windows, list) and self.features.num_saved() == len(windows)):
            return False
        return UNSAID_SETTINGS | content["settings"] == self._settings

    def fill(self, found: Iterable[tuple[Window, Prediction]], log_interval: int, stop: StopRequest) -> None:
        """Add windows to the end, to the first that cannot be read, or to a stop; write and draw what there is."""
        problem = ""
        try:
            for number, (window, prediction) in enumerate(found):
                self.add(window, prediction)
                if time.monotonic() - self._written_sec > WRITE_EVERY_SEC:  # a crash may cost days of a camera
                    self.write(is_complete=False, problem="")
                if number % log_interval == 0:
                    logger.info("[INFER] %s", self._describe_last())
        except VideoError as error:
            problem = str(error)
            logger.warning("cannot read %s: %s", self.video_id, problem)
        self.write(is_complete=not (stop.signal_number or problem), problem=problem)
        if self.rows:
            self.draw()
            num_windows = count(len(self.rows), "window")
            logger.info("[INFER] %s: %s in %s and .png", self.video_id, num_windows, self.path)
            if self.features:
                logger.info("[INFER] %s: their features in %s", self.video_id, self.features.path)

    def add(self, window: Window, prediction: Prediction) -> None:
        if self.features:
            self.features.add(round(window.start_sec, 3), round(window.end_sec, 3), prediction.features)
        self._predictions.append(prediction._replace(features=NOTHING))
        _, probabilities, class_ids = prediction.plain()
        self.rows.append({
            "start_sec": round(window.start_sec, 3),
            "end_sec": round(window.end_sec, 3),
            "class_names": [class_name(class_id, self._class_names) for class_id in class_ids],
            "class_ids": class_ids,
            "probabilities": probabilities,
        })  # fmt: skip

    def prediction_at(self, time_sec: float) -> Prediction:
        """The prediction of the window that began last."""
        number = bisect.bisect_right(self.rows, time_sec, key=lambda row: row["start_sec"])
        return self._predictions[max(number - 1, 0)]

    def write(self, is_complete: bool, problem: str) -> None:
        self._written_sec = time.monotonic()
        if self.features:  # before the timeline, which says that all is complete
            self.features.save()
        content = {"video_id": self.video_id, "is_complete": is_complete, "problem": problem or None}
        write_json(self.path, content | {"windows": self.rows, "settings": self._settings})

    def draw(self) -> None:
        """Draw the classes that are the best of some window, beside the JSON file."""
        from evaluation import plots  # half a second, for those who want a picture

        strongest: dict[int, float] = {}
        for prediction in self._predictions:
            best = int(prediction.class_ids[0])
            strongest[best] = max(strongest.get(best, 0), prediction.confidence)
        shown = sorted(sorted(strongest, key=lambda class_id: -strongest[class_id])[:CLASSES_DRAWN])
        said = [dict(zip(row["class_ids"], row["probabilities"], strict=True)) for row in self.rows]
        figure = plots.timeline_figure(
            [row["start_sec"] for row in self.rows],
            [row["end_sec"] for row in self.rows],
            np.array([[given.get(class_id, 0.0) for given in said] for class_id in shown]),
            [class_name(class_id, self._class_names) for class_id in shown],
            self.video_id,
        )
        plots.save(figure, self.path.with_suffix(".png"))

    def _describe_last(self) -> str:
        row = self.rows[-1]
        span = f"{self.video_id} {row['start_sec']:.1f} to {row['end_sec']:.1f} s"
        return describe(self._predictions[-1]._replace(video_id=span), self._class_names, 3)


def _classified(
    session: Session, reader: ClipReader, frames: Iterable[PlayedFrame], cutting: Cutting
) -> Iterator[tuple[Window, Prediction]]:
    """Each window as soon as it is over; the next one is decoded in a thread while the engine has this one."""
    sampling, views = reader.sampling, reader.views
    is_over = threading.Event()

    wanted = itertools.takewhile(lambda frame: not is_over.is_set(), frames)
    pieces = windows(wanted, cutting.window_sec, cutting.stride_sec, sampling.seg_num, sampling.seglen, views.prepare)
    ahead = read_ahead(pieces)
    try:
        for window in ahead:
            crops = paddle.to_tensor(views.cut(window.pictures)[None])
            classified = classify_views(session.engine, crops, views.num_crops, session.max_frames)
            probabilities, class_ids = sort_classes(classified.probabilities)
            best = Prediction("", "", probabilities[0], class_ids[0]).top(cutting.top_k)
            yield window, best._replace(features=classified.features[0])
    finally:
        is_over.set()  # where this ends by an error, the thread ends with a frame: a camera's window may take minutes
        ahead.close()


def _until_stopped(frames: Iterable[PlayedFrame], stop: StopRequest) -> Iterator[PlayedFrame]:
    return itertools.takewhile(lambda frame: not stop.signal_number, frames)
