"""Scores -> one HTML file that needs no network. Knows how the page is filled, not how videos are read."""

import base64
import io
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from evaluation.calibration import calibration_curve
from evaluation.curves import Curve, area_under_roc, best_f1, best_youden
from evaluation.files import write_text
from evaluation.per_class import ClassScore, class_curve, most_confused
from evaluation.predictions import Prediction, all_class_names, best_classes, class_name
from evaluation.runs import read_epochs
from evaluation.scores import Summary

TEMPLATE = Path(__file__).with_name("report.html.j2")
MISTAKES_SHOWN = 12
FRAMES_SHOWN = 8  # of a mistake
CLASSES_SHOWN = 15  # the worst of them
CURVES_SHOWN = 12  # classes with a ROC curve
CONFUSIONS_SHOWN = 15
SLOWEST_SHOWN = 10
BROKEN_SHOWN = 200
THUMBNAIL_PX = 112
SETTING_WORDS = {
    "weights_sha256": "weights' SHA-256",
    "seg_num": "segments per clip",
    "seglen": "frames per segment",
    "num_clips": "clips per video",
    "crop": "crops of a clip",
    "num_views": "views per video (clips x crops)",
    "resize": "long side after resizing: stretch, 4/3 of the short one; keep, as the frame's shape",
    "short_size": "short side after resizing, pixels",
    "target_size": "side of a crop, pixels",
    "frames_per_video": "frames per video",
    "gmacs_per_video": "billion multiply-adds per video",
    "num_parameters": "parameters of the model",
    "took": "time taken, h:mm:ss",
}

logger = logging.getLogger(__name__)


def confident_mistakes(predictions: list[Prediction]) -> list[int]:
    """Places of the readable videos whose wrong answer the model was surest of, the surest first."""
    wrong = [place for place, one in enumerate(predictions) if not one.problem and not one.is_correct]
    return sorted(wrong, key=lambda place: -predictions[place].confidence)[:MISTAKES_SHOWN]


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    about: dict[str, Any]
    """How the scores were made: weights, list, protocol."""
    summary: Summary
    predictions: list[Prediction]
    """In the order of the list."""
    class_names: list[str] | None
    metrics: Path
    """The training run's metrics.jsonl; there may be none."""
    pictures: dict[int, list[np.ndarray]]
    """Sampled frames, uint8 (H, W, 3), of the videos at these places, which are mistakes."""

    def write(self, path: Path) -> None:
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        environment.filters.update(percent=_percent, figure=_figure)
        page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(self._content())
        write_text(path, page)

    def _content(self) -> dict[str, Any]:
        from evaluation import plots  # half a second, for those who want a report

        summary = self.summary
        names = all_class_names(self.class_names, len(summary.classes))
        readable = [one for one in self.predictions if not one.problem]
        multi_label, confusion, curves = summary.confusion is None, summary.confusion, self._curves()
        key = "average_precision" if multi_label else "top1"
        by_score = sorted(
            (score for score in summary.classes if score.num_videos), key=lambda score: getattr(score, key)
        )
        epochs = self._epochs()
        return {
            "list": self.about.get("list"),
            "settings": _in_words(self.about),
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "summary": summary,
            "scores": summary.registry,
            "num_classes": len(names),
            "multi_label": multi_label,
            "ranked_by": key,
            "curves": plots.data_uri(plots.training_curves(epochs)) if any(epochs.values()) else None,
            "confusion": None if multi_label else plots.data_uri(plots.confusion_figure(confusion, names)),
            "confusions": []
            if multi_label
            else [
                (names[truth], names[taken], number, number / max(int(confusion[truth].sum()), 1))
                for truth, taken, number in most_confused(confusion, CONFUSIONS_SHOWN)
            ],
            "roc": plots.data_uri(plots.roc_figure(curves)) if curves else None,
            "thresholds": [
                {"name": name, "area": area_under_roc(curve), "f1": best_f1(curve), "youden": best_youden(curve)}
                for name, curve in curves
            ],
            "num_scored": sum(score.num_videos > 0 for score in summary.classes),
            "calibration": plots.data_uri(plots.calibration_figure(calibration_curve(self.predictions))),
            "worst_classes": [self._class_row(score) for score in by_score[:CLASSES_SHOWN]],
            "all_classes": [self._class_row(score) for score in summary.classes],
            "mistakes": [self._mistake(index, frames) for index, frames in self.pictures.items()],
            "num_wrong": sum(not one.is_correct for one in readable),
            "slowest": sorted(readable, key=lambda one: -one.read_sec)[:SLOWEST_SHOWN],
            "broken": [one for one in self.predictions if one.problem][:BROKEN_SHOWN],
        }

    def _epochs(self) -> dict[str, list[dict]]:
        try:
            return read_epochs(self.metrics) if self.metrics.is_file() else {}
        except ValueError as error:
            logger.warning("the report has no curves of training: %s", error)
            return {}

    def _curves(self) -> list[tuple[str, Curve]]:
        """Names and curves of the classes with most videos, where a threshold can be chosen; of two the second."""
        summary = self.summary
        if summary.num_videos == summary.num_unreadable:
            return []
        if summary.confusion is None:
            by_size = sorted(summary.classes, key=lambda score: -score.num_videos)
            wanted = [score.class_id for score in by_size[:CURVES_SHOWN] if score.num_videos]
        else:
            wanted = [1] if len(summary.classes) == 2 else []
        curves = [(class_name(one, self.class_names), class_curve(self.predictions, one)) for one in wanted]
        return [(name, curve) for name, curve in curves if curve.num_true[-1] and curve.num_false[-1]]

    def _class_row(self, score: ClassScore) -> dict[str, Any]:
        return {**score._asdict(), "name": class_name(score.class_id, self.class_names)}

    def _mistake(self, index: int, frames: list[np.ndarray]) -> dict[str, Any]:
        prediction = self.predictions[index]
        shown = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES_SHOWN)).round().astype(int)
        return {
            "path": prediction.video_id,
            "truths": [class_name(label, self.class_names) for label in prediction.truth],
            "truth_probability": prediction.truth_probability,
            "truth_rank": prediction.truth_rank,
            "best": best_classes(prediction, self.class_names, 3),
            "frames": [_thumbnail(frames[number]) for number in shown],
        }


def _in_words(about: dict[str, Any]) -> list[tuple[str, Any]]:
    """The settings as a person would say them, long sums at the end."""
    named = [(SETTING_WORDS.get(key, key), value) for key, value in about.items()]
    return sorted(named, key=lambda setting: setting[0].endswith("SHA-256"))


def _thumbnail(frame: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(frame).resize((THUMBNAIL_PX, THUMBNAIL_PX)).save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
