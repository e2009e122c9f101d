"""Predictions -> files that other programs read. Knows no model."""

import json
import pickle
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.csv_cells import csv_line
from common.plain_json import fits, parse_json
from common.whole_file import whole_file, write_bytes
from evaluation.predictions import Prediction, best_classes, class_name

NUMBERS = re.compile(r"\[\n\s+[-\d][-+.\de,\s]*\]")
"""A list of numbers, as json.dumps indents it. No string begins with a bracket and a line's end."""
ROW = {"path": str, "video_id": str, "probabilities": list[float], "class_ids": list[int]}
"""What a line of a .jsonl file has to have."""
UNSAID_SETTINGS = {"resize": "stretch"}
"""What earlier versions did and could not say in a run's settings, since there was no other way."""
MOST_CLASSES = 1 << 31  # where classes have no names
NPZ_ERRORS = (
    ValueError, KeyError, TypeError, OSError, EOFError, NotImplementedError, RuntimeError, MemoryError, struct.error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What NumPy and zipfile raise for a damaged file, which may claim to be larger than the memory."""
CSV_CLASSES = 5  # classes per video in a CSV file
LONGEST_NAME = 200  # bytes


def write_pickle(path: Path, predictions: Iterable[Prediction]) -> None:
    """A pickled list of plain (video_id, [probabilities], [class ids])."""
    write_bytes(path, pickle.dumps([prediction.plain() for prediction in predictions], protocol=2))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write_text(path, "".join(map(csv_line, [header, *rows])))


def write_json(path: Path, content: Any) -> None:
    """Indented, but a list of numbers on one line."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()), text)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; a file's name that is no text is spelt as JSON does, such as \\udcff."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def _result_pickle(path: Path, predictions: Sequence[Prediction], class_names: list[str] | None) -> None:
    write_pickle(path, predictions)


def _result_lines(path: Path, predictions: Sequence[Prediction], class_names: list[str] | None) -> None:
    write_text(path, "".join(json_line(prediction, class_names) for prediction in predictions))


def _result_table(path: Path, predictions: Sequence[Prediction], class_names: list[str] | None) -> None:
    header = ["path", "problem"]
    for place in range(1, CSV_CLASSES + 1):
        header += [f"class_id_{place}", f"class_name_{place}", f"probability_{place}"]
    rows = []
    for prediction in predictions:
        named = best_classes(prediction, class_names, CSV_CLASSES)
        row = [prediction.path, prediction.problem or None]
        for class_id, best in zip(prediction.class_ids.tolist(), named, strict=False):
            row += [class_id, *best]
        rows.append(row + [None] * (len(header) - len(row)))
    write_csv(path, header, rows)


OUTPUTS: dict[str, Callable[[Path, Sequence[Prediction], list[str] | None], None]] = {
    "": _result_pickle,
    ".jsonl": _result_lines,
    ".csv": _result_table,
}
"""What infer leaves: the ending of a file's name -> what writes it."""


def json_line(prediction: Prediction, class_names: list[str] | None) -> str:
    """A video's line in a .jsonl file."""
    video_id, probabilities, class_ids = prediction.plain()
    row = {
        "path": prediction.path,
        "video_id": video_id,
        "probabilities": probabilities,
        "class_ids": class_ids,
        "class_names": [class_name(class_id, class_names) for class_id in class_ids],
        "problem": prediction.problem or None,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


class ResultFiles:
    """The files of OUTPUTS; the .jsonl one gets a line as soon as a video is done, all are written anew in the end.

    Args:
        folder: exists.
        stem: what the files' names begin with.
        class_names: in label order; None: classes go by number.
    """

    def __init__(self, folder: Path, stem: str, class_names: list[str] | None):
        self.paths = {ending: folder / f"{stem}{ending}" for ending in OUTPUTS}
        self.lines = self.paths[".jsonl"]
        self._settings = folder / f"{stem}.settings.json"
        self._class_names = class_names

    def begin(self, settings: dict[str, Any]) -> None:
        """Forget the results of an earlier run; the settings are what these results depend on."""
        self.lines.unlink(missing_ok=True)
        write_json(self._settings, settings)

    def go_on(self, settings: dict[str, Any]) -> dict[str, Prediction]:
        """The videos that an earlier run could read, by path; begins if there was none.

        Raises:
            ValueError: that run had other settings, or a file of it is damaged.
        """
        if not self.lines.is_file():
            self.begin(settings)
            return {}
        theirs = UNSAID_SETTINGS | (self._read_settings() if self._settings.is_file() else {})
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
        num_classes = len(self._class_names) if self._class_names else MOST_CLASSES
        try:
            found = [_of_row(parse_json(line), num_classes) for line in whole.splitlines()]
        except ValueError as error:
            raise ValueError(f"{self.lines}: damaged ({error}); delete it, or run without --skip_done") from error
        return {prediction.path: prediction for prediction in found if len(prediction.class_ids)}

    def _read_settings(self) -> dict[str, Any]:
        try:
            settings = parse_json(self._settings.read_bytes())
            if not fits(settings, dict):
                raise ValueError("holds no settings")
        except ValueError as error:
            raise ValueError(f"{self._settings}: damaged ({error}); run without --skip_done") from error
        return settings

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Write videos that are done."""
        with self.lines.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(json_line(prediction, self._class_names) for prediction in predictions)

    def finish(self, predictions: Sequence[Prediction]) -> list[Path]:
        """Write all files anew, in this order; returns which."""
        for ending, path in self.paths.items():
            OUTPUTS[ending](path, predictions, self._class_names)
        return [*self.paths.values(), self._settings]


def _of_row(row: Any, num_classes: int) -> Prediction:
    if not fits(row, dict) or not all(fits(row.get(name), hint) for name, hint in ROW.items()):
        raise ValueError("a line holds something else than a result")
    class_ids = row["class_ids"]
    if len(row["probabilities"]) != len(class_ids) or not all(0 <= one < num_classes for one in class_ids):
        raise ValueError("a line holds numbers that are no result")
    return Prediction.from_json([*(row[name] for name in ROW), []])


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
                paths, features = np.asarray(arrays["paths"]), np.asarray(arrays["features"])
            if paths.dtype.kind != "U" or features.dtype != np.float32 or features.ndim != 2:
                raise ValueError("holds other things than paths and features")
            self.rows = dict(zip(paths.tolist(), features, strict=True))
        except NPZ_ERRORS as error:
            raise ValueError(f"{self.path}: damaged ({error!r}); delete it, or run without --skip_done") from error

    def add(self, predictions: Iterable[Prediction]) -> None:
        self.rows |= {prediction.path: prediction.features for prediction in predictions if not prediction.problem}

    def save(self) -> None:
        features = np.stack(list(self.rows.values())) if self.rows else np.zeros((0, 0))
        with whole_file(self.path) as file:
            np.savez(file, features=features.astype(np.float32), paths=np.array(list(self.rows), np.str_))


class WindowFeatures:
    """The features of a video's windows in a `.npz` file, beside its timeline.

    It holds `features`, float32 (N, num_features), and `start_sec` and `end_sec`, float64 (N,), as the timeline does.
    """

    def __init__(self, path: Path):
        self.path = path
        self._rows: list[np.ndarray] = []
        self._times_sec: list[tuple[float, float]] = []

    def add(self, start_sec: float, end_sec: float, features: np.ndarray) -> None:
        """Add a window and its features, float32 (num_features,)."""
        self._times_sec.append((start_sec, end_sec))
        self._rows.append(features)

    def num_saved(self) -> int:
        """Windows in the file of an earlier run; 0 if there is none.

        Raises:
            ValueError: it is damaged.
        """
        if not self.path.is_file():
            return 0
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                features, *times_sec = (np.asarray(arrays[name]) for name in ("features", "start_sec", "end_sec"))
            if features.dtype != np.float32 or features.ndim != 2:
                raise ValueError("holds other things than features")
            if any(one.dtype != np.float64 or one.shape != features.shape[:1] for one in times_sec):
                raise ValueError("holds other times than its features have")
        except NPZ_ERRORS as error:
            raise ValueError(f"{self.path}: damaged ({error!r}); delete it, or run without --skip_done") from error
        return len(features)

    def save(self) -> None:
        features = np.stack(self._rows) if self._rows else np.zeros((0, 0))
        start_sec, end_sec = np.reshape(np.float64(self._times_sec), (-1, 2)).T
        with whole_file(self.path) as file:
            np.savez(file, features=features.astype(np.float32), start_sec=start_sec, end_sec=end_sec)


class OutputNames:
    """A file name for each video, which no other video has: what its file is called, without the ending.

    Videos that would share it keep their endings, and if need be as many of their folders as tell them apart.

    Args:
        video_ids: all that are known beforehand: their names then do not depend on which of them come, nor in which
            order.
    """

    def __init__(self, video_ids: Iterable[str] = ()):
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        waiting, length = dict.fromkeys(video_ids), 0
        candidates = {video_id: _candidates(video_id) for video_id in waiting}
        while waiting and length < max(map(len, candidates.values())):
            names = {video_id: candidates[video_id][min(length, len(candidates[video_id]) - 1)] for video_id in waiting}
            claims = Counter(name.lower() for name in names.values())  # some file systems do not tell case
            for video_id, name in names.items():
                if claims[name.lower()] == 1 and name.lower() not in self._taken:
                    self._take(video_id, name)
                    del waiting[video_id]
            length += 1
        for video_id in waiting:
            self.name(video_id)

    def name(self, video_id: str) -> str:
        """The same for the same video."""
        if video_id not in self._names:
            candidates = _candidates(video_id)
            number, name = 2, next((one for one in candidates if one.lower() not in self._taken), "")
            while not name or name.lower() in self._taken:
                name, number = f"{candidates[-1]}_{number}", number + 1
            self._take(video_id, name)
        return self._names[video_id]

    def _take(self, video_id: str, name: str) -> None:
        self._names[video_id] = name
        self._taken.add(name.lower())


def _candidates(video_id: str) -> list[str]:
    """What a video's outputs may be called, the plainest first: without ending, with it, then with folders before."""
    path = Path(re.sub(r"^\w+://|[?#].*$", "", video_id))
    folders = [part for part in path.parts[:-1] if part.strip("./")]
    ends = (path.stem or "video", path.name or "video")
    names = ["_".join([*folders[start:], end]) for start in range(len(folders), -1, -1) for end in ends]
    return [_short(re.sub(r"[^\w.\- ]", "_", name)) for name in names]


def _short(name: str) -> str:
    """Its end: a file system takes 255 bytes, and the endings of outputs and `_2` have to fit."""
    return name.encode()[-LONGEST_NAME:].decode(errors="ignore")
