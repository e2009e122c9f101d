"""Predictions -> files that other programs read. Knows no model."""

import csv
import io
import itertools
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUMBERS = re.compile(r"\[\n\s+[-\d][-+.\de,\s]*\]")
"""A list of numbers, as json.dumps indents it. No string begins with a bracket and a line's end."""
CSV_CLASSES = 5  # classes per video in a CSV file


class Prediction(NamedTuple):
    """What the model says of one video, best class first; both lists are empty if it could not be read."""

    video_id: str
    probabilities: list[float]
    class_ids: list[int]


def best_order(probabilities: np.ndarray) -> np.ndarray:
    """Class numbers, best first, int64 (N, K); of equal ones the lower number first."""
    return np.argsort(-probabilities, axis=1, kind="stable")


def top_predictions(video_ids: list[str], probabilities: np.ndarray, top_k: int) -> list[Prediction]:
    """Keep the best classes of each video.

    Args:
        video_ids: N names.
        probabilities: float (N, K).
        top_k: how many classes to keep; all K if there are fewer.
    """
    order = best_order(probabilities)[:, :top_k]
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


def best_classes(prediction: Prediction, class_names: list[str] | None, top_k: int) -> list[tuple[str, float]]:
    """(name, probability) of the best classes."""
    best = list(zip(prediction.class_ids, prediction.probabilities, strict=True))[:top_k]
    return [(class_name(class_id, class_names), probability) for class_id, probability in best]


def describe(prediction: Prediction, class_names: list[str] | None, top_k: int = 5) -> str:
    """One line for people: the video and its best classes by name."""
    named = (f"{name} {probability:.3f}" for name, probability in best_classes(prediction, class_names, top_k))
    return f"{prediction.video_id}: {', '.join(named)}"


def write_pickle(path: Path, predictions: Iterable[Prediction]) -> None:
    """A pickled list of plain (video_id, [probabilities], [class ids])."""
    _write(path, pickle.dumps([tuple(prediction) for prediction in predictions], protocol=2))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Indented, but a list of numbers on one line."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()), text)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    _write(path, text.encode("utf-8"))


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".unfinished.{path.name}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


class Result(NamedTuple):
    """A video of a list and what came of it."""

    path: str
    """As the list writes it."""
    prediction: Prediction
    problem: str | None = None
    """Why it could not be read."""


class ResultFiles:
    """What infer leaves: `<stem>.jsonl`, a line as soon as a video is done, and in the end `<stem>` and `<stem>.csv`.

    Args:
        folder: exists.
        stem: of the files' names.
        class_names: in label order; None: classes go by number.
    """

    def __init__(self, folder: Path, stem: str, class_names: list[str] | None):
        self.pickle = folder / stem
        self.lines = folder / f"{stem}.jsonl"
        self.table = folder / f"{stem}.csv"
        self._settings = folder / f"{stem}.settings.json"
        self._class_names = class_names

    def begin(self, settings: dict[str, Any]) -> None:
        """Forget the results of an earlier run; the settings are what these results depend on."""
        self.lines.unlink(missing_ok=True)
        write_json(self._settings, settings)

    def go_on(self, settings: dict[str, Any]) -> dict[str, Result]:
        """The videos that an earlier run could read, by path; begins if there was none.

        Raises:
            ValueError: that run had other settings, or its file is damaged.
        """
        if not self.lines.is_file():
            self.begin(settings)
            return {}
        theirs = json.loads(self._settings.read_text(encoding="utf-8")) if self._settings.is_file() else {}
        changed = [
            f"{key} was {theirs.get(key)}, is {value}" for key, value in settings.items() if theirs.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"{self.lines}: was made with other settings ({'; '.join(changed)}); run without --skip_done, or "
                "choose another --save_dir"
            )
        content = self.lines.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # the run was killed while it wrote the last line
            self.lines.write_bytes(whole)
        try:
            rows = [json.loads(line) for line in whole.splitlines()]
            found = [
                Result(row["path"], Prediction(row["video_id"], row["probabilities"], row["class_ids"])) for row in rows
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.lines}: damaged ({error!r}); delete it, or run without --skip_done") from error
        return {result.path: result for result in found if result.prediction.class_ids}

    def add(self, results: Iterable[Result]) -> None:
        """Write videos that are done."""
        with self.lines.open("a", encoding="utf-8") as file:
            file.writelines(map(self._line, results))

    def finish(self, results: Sequence[Result]) -> None:
        """Write all files anew, in this order."""
        write_pickle(self.pickle, (result.prediction for result in results))
        write_text(self.lines, "".join(map(self._line, results)))
        header = ["path", "problem"]
        for place in range(1, CSV_CLASSES + 1):
            header += [f"class_id_{place}", f"class_name_{place}", f"probability_{place}"]
        write_csv(self.table, header, map(self._row, results))

    def _line(self, result: Result) -> str:
        names = [class_name(class_id, self._class_names) for class_id in result.prediction.class_ids]
        row = {"path": result.path, **result.prediction._asdict(), "class_names": names, "problem": result.problem}
        return json.dumps(row, ensure_ascii=False) + "\n"

    def _row(self, result: Result) -> list[Any]:
        named = best_classes(result.prediction, self._class_names, CSV_CLASSES)
        cells = [(class_id, *best) for class_id, best in zip(result.prediction.class_ids, named, strict=False)]
        row = [result.path, result.problem, *(cell for group in cells for cell in group)]
        return row + [None] * (2 + 3 * CSV_CLASSES - len(row))


class Features:
    """The features of videos in a `.npz` file: `features`, float32 (N, num_features), and `paths`, text (N,).

    A video that cannot be read has none.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, np.ndarray] = {}

    def load(self) -> None:
        """Go on from an earlier run's file, if there is one.

        Raises:
            ValueError: it is damaged.
        """
        if not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                self.rows = dict(zip(arrays["paths"].tolist(), arrays["features"], strict=True))
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: damaged ({error}); delete it, or run without --skip_done") from error

    def add(self, paths: Iterable[str], rows: Iterable[Sequence[float]]) -> None:
        self.rows.update((path, np.float32(row)) for path, row in zip(paths, rows, strict=True))

    def save(self) -> None:
        unfinished = self.path.with_name(f".unfinished.{self.path.name}")
        features = np.stack(list(self.rows.values())) if self.rows else np.zeros((0, 0))
        np.savez(unfinished, features=features.astype(np.float32), paths=np.array(list(self.rows), np.str_))
        os.replace(unfinished, self.path)


class OutputNames:
    """A file name for each video: its own without the ending, with as many of its folders as tell it from others."""

    def __init__(self):
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def name(self, video_id: str) -> str:
        """The same for the same video."""
        if video_id not in self._names:
            path = Path(re.sub(r"^\w+://|[?#].*$", "", video_id))
            parts = [*(part for part in path.parts[:-1] if part.strip("./")), path.stem or "video"]
            candidates = ["_".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
            candidates = [re.sub(r"[^\w.\- ]", "_", name)[-120:] for name in candidates]
            numbered = (f"{candidates[-1]}_{number}" for number in itertools.count(2))
            self._names[video_id] = next(name for name in itertools.chain(candidates, numbered) if self._is_free(name))
            self._taken.add(self._names[video_id].lower())
        return self._names[video_id]

    def _is_free(self, name: str) -> bool:
        return name.lower() not in self._taken  # some file systems do not tell case
