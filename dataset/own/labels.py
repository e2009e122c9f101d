"""Class names or numbers as a user has them -> labels from 0, and what each is called."""

from pathlib import Path
from typing import NamedTuple

from dataset.list_files import read_label_file, refuse_unknown_class
from dataset.own.sources import Source

MOST_CLASSES = 100_000  # as MODEL.num_classes takes


class Labels(NamedTuple):
    """The classes of a data set."""

    names: list[str]
    """In label order."""
    numbers: dict[str, int]
    """{class as the input has it: label}."""
    warnings: list[str]


def number_classes(source: Source, label_file: Path | None) -> Labels:
    """The labels of a source's classes.

    Names are sorted, numbers among them as numbers, or in the order of the label file; label numbers of lists stay
    as they are, or become one less where they begin at 1.

    Raises:
        FileNotFoundError, ValueError: the label file, or a class that it does not name; fewer than two classes.
    """
    names = None if label_file is None else read_label_file(label_file)
    if source.is_numbered and not (names and all(one in names for clip in source.clips for one in clip.classes)):
        labels = _keep_numbers(source, names, label_file)
    else:
        labels = _number_names(source, names, label_file)
    if len(labels.names) < 2:
        raise ValueError(f"the only class is {labels.names[0]!r}; it takes two to tell")
    if len(labels.names) > MOST_CLASSES:
        raise ValueError(f"{len(labels.names):,} classes; MODEL.num_classes takes up to {MOST_CLASSES:,}")
    for name in labels.names:
        if name.splitlines() != [name] or name.encode(errors="replace").decode() != name:
            raise ValueError(f"class {name!r}: a name in a label file is one line of whole characters; rename it")
    return labels


def _number_names(source: Source, names: list[str] | None, label_file: Path | None) -> Labels:
    found = {name: clip.place for clip in source.clips for name in clip.classes}
    if names is None:
        in_order = sorted(found, key=int if all(name.isdecimal() for name in found) else None)
        return Labels(in_order, {name: label for label, name in enumerate(in_order)}, [])
    for name, place in found.items():
        refuse_unknown_class(name, place, names, label_file)
    return Labels(names, {name: label for label, name in enumerate(names)}, [])


def _keep_numbers(source: Source, names: list[str] | None, label_file: Path | None) -> Labels:
    places = {name: clip.place for clip in source.clips for name in clip.classes}
    lowest, highest = min(places, key=int), max(places, key=int)
    starts_at_one = int(lowest) == 1 and (names is None or int(highest) == len(names))
    first = 1 if starts_at_one else 0
    limit = MOST_CLASSES if names is None else len(names)
    for label in (lowest, highest):
        if not first <= int(label) < first + limit:
            known = f"the {limit} classes of {label_file}" if names else f"0..{limit - 1}"
            raise ValueError(f"{places[label]}: label {label} is outside {known}; labels count from 0")
    if names is None:
        names = [str(number) for number in range(first, int(highest) + 1)]
    warnings = [
        f"labels begin at 1, to {int(highest)}, and training counts from 0: the lists written here have one less"
    ]
    return Labels(names, {name: int(name) - first for name in places}, warnings if starts_at_one else [])
