"""The folder that a data set is made in: where it is, whose it is, and what an earlier run has left there."""

import json
import os
import re
from pathlib import Path
from typing import Any

from common.plain_json import parse_json

DATA = Path(__file__).resolve().parent / "data"
RECORD = "dataset.json"
MADE_BY = "dataset/own/make_dataset.py"
LISTS = ("train.list", "val.list", "test.list")
FOLD = re.compile(r"fold\d+")


def default_out(inputs: list[Path]) -> Path:
    """dataset/own/data/NAME, called as the folder given or that of the first list; relative where it can be."""
    first = inputs[0].resolve()
    out = DATA / ((first if first.is_dir() else first.parent).name or "videos")
    return out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out


def claim_folder(out: Path, inputs: list[Path]) -> None:
    """Refuse a folder to write to that holds something else, or lies among the videos.

    Raises:
        ValueError: it is not empty and was not made by this command from these inputs, is in the folder given, or
            cannot be written.
    """
    real = out.resolve()
    for path in inputs:
        if path.is_dir() and real.is_relative_to(path.resolve()):
            raise ValueError(f"{out} lies in {path}, where nothing is written; choose another folder with --out")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder with --out")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    if not os.access(there, os.W_OK):
        raise ValueError(f"{out}: cannot write into {there}; choose another folder with --out")
    record = out / RECORD
    if record.exists():
        known = _read_record(record)
        if known.get("made_by") != MADE_BY:
            raise ValueError(f"{record} is not of this command; choose another folder with --out")
        if known.get("inputs") != _absolute(inputs):
            made_from = " ".join(map(str, known.get("inputs", [])))
            raise ValueError(f"{out} was made from {made_from}; choose another folder with --out, or delete it")
    elif out.is_dir() and any(path for path in out.iterdir() if not path.name.startswith(".")):
        raise ValueError(f"{out} is not empty and holds no {RECORD}; choose another folder with --out")


def record_text(inputs: list[Path], settings: dict[str, Any]) -> str:
    """The record that `claim_folder` knows its own folders by."""
    return json.dumps({"made_by": MADE_BY, "inputs": _absolute(inputs)} | settings, indent=2, ensure_ascii=False) + "\n"


def remove_stale(out: Path, written: set[str]) -> None:
    """Delete the lists of an earlier run, with other folds for example, that this one has not written."""
    for folder in [out, *(path for path in out.glob("fold*") if FOLD.fullmatch(path.name) and path.is_dir())]:
        for name in LISTS:
            path = folder / name
            if str(path.relative_to(out)) not in written:
                path.unlink(missing_ok=True)
        if folder != out and not any(folder.iterdir()):
            folder.rmdir()


def _absolute(paths: list[Path]) -> list[str]:
    return [os.path.abspath(path) for path in paths]


def _read_record(record: Path) -> dict[str, Any]:
    try:
        known = parse_json(record.read_bytes())
    except ValueError:
        return {}  # not of this command, which writes it whole
    return known if isinstance(known, dict) else {}
