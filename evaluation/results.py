"""Predictions -> files that other programs read. Knows no model."""

import json
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Prediction(NamedTuple):
    """What the model says of one video, best class first; both lists are empty if it could not be read."""

    video_id: str
    probabilities: list[float]
    class_ids: list[int]


def top_predictions(video_ids: list[str], probabilities: np.ndarray, top_k: int) -> list[Prediction]:
    """Keep the best classes of each video.

    Args:
        video_ids: N names.
        probabilities: float (N, K).
        top_k: how many classes to keep; all K if there are fewer.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        Prediction(video_id, row[best].tolist(), best.tolist())
        for video_id, row, best in zip(video_ids, probabilities, order, strict=True)
    ]


def read_class_names(path: str | Path | None, num_classes: int) -> list[str] | None:
    """The class names of a label file, one per line in label order; None without a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names another number of classes than the model has.
    """
    if path is None:
        return None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file; set MODEL.label_file, or -o MODEL.label_file=none")
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if len(names) != num_classes:
        raise ValueError(
            f"{path}: names {len(names)} classes, but MODEL.num_classes is {num_classes}; "
            "set one to match the other, or -o MODEL.label_file=none"
        )
    return names


def class_name(class_id: int, class_names: list[str] | None) -> str:
    return class_names[class_id] if class_names else f"class {class_id}"


def describe(prediction: Prediction, class_names: list[str] | None, top_k: int = 5) -> str:
    """One line for people: the video and its best classes by name."""
    best = list(zip(prediction.class_ids, prediction.probabilities, strict=True))[:top_k]
    named = (f"{class_name(class_id, class_names)} {probability:.3f}" for class_id, probability in best)
    return f"{prediction.video_id}: {', '.join(named)}"


def write_results(
    save_dir: str | Path, stem: str, predictions: list[Prediction], class_names: list[str] | None
) -> Path:
    """Write `<stem>`, a pickle of plain (video_id, [probabilities], [class ids]), and `<stem>.json` with names.

    Returns:
        The pickle's path.
    """
    path = Path(save_dir) / stem
    path.write_bytes(pickle.dumps([tuple(prediction) for prediction in predictions], protocol=2))
    entries = []
    for prediction in predictions:
        names = [class_name(class_id, class_names) for class_id in prediction.class_ids]
        entries.append({**prediction._asdict(), "class_names": names})
    text = json.dumps(entries, indent=1, ensure_ascii=False)
    path.with_name(f"{stem}.json").write_text(text + "\n", encoding="utf-8")
    return path
