"""What the commands that write lists share: how a path is listed, splits' names, label files, mistakes, whole files."""

import difflib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from common.whole_file import remove_leftovers, whole_file

MISTAKES_SHOWN = 5
SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""{what data sets call a split: what it is called here}."""


def listed_path(path: str, out: Path) -> str:
    """A path as a list holds it: relative to the list if it lies beside or below it.

    Raises:
        ValueError: datareader.records.read_list would read another path.
    """
    path, folder = os.path.abspath(path), os.path.join(os.path.abspath(out), "")
    if "\t" in path or path.splitlines() != [path] or path.encode(errors="replace").decode() != path:
        raise ValueError(f"{path!r}: tabs, line breaks and broken characters cannot be listed; rename it")
    path = path.removeprefix(folder)
    return f"./{path}" if path.startswith(("#", "\ufeff")) or path != path.lstrip() else path


def write_files(out: Path, texts: dict[str, str]) -> None:
    """Write {name below the folder: text}; whenever it is interrupted, each file is the old one or the new one."""
    try:
        for folder in {(out / name).parent: None for name in texts}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        for name, text in texts.items():
            with whole_file(out / name) as file:
                file.write(text.encode())
    except OSError as error:
        raise OSError(f"{out}: cannot write here ({error.strerror}); choose another --out") from error


def refuse_all(mistakes: Sequence[str], what: str) -> None:
    """Raise ValueError with the first mistakes, a line each, if there are any."""
    if mistakes:
        more = f" (and {len(mistakes) - MISTAKES_SHOWN} more {what})" if len(mistakes) > MISTAKES_SHOWN else ""
        raise ValueError("\n".join(mistakes[:MISTAKES_SHOWN]) + more)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; ValueError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from error


def read_label_file(path: Path) -> list[str]:
    """The class names of a label file, one a line, in label order.

    Raises:
        FileNotFoundError, ValueError: no such file, no text, or a name twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file; correct --labels")
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{path}: {len(names)} lines name {len(set(names))} classes; each needs a line of its own")
    return names


def refuse_unknown_class(name: str, place: str, names: Collection[str], label_file: Path) -> None:
    """Raise ValueError, with the nearest name, if a class is none of the label file's."""
    if name not in names:
        (nearest,) = difflib.get_close_matches(name, names, n=1, cutoff=0)
        raise ValueError(f"{place}: class {name!r} is not in {label_file}; the nearest is {nearest!r}")
