"""What a list holds, in a line, and what looks wrong with it: seen before training starts, not after."""

import logging

import numpy as np

from common.console import count, first_of
from datareader.records import RecordList

CLASSES_SHOWN = 12  # up to so many are named each
NAMES_SHOWN = 3
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

logger = logging.getLogger(__name__)


def report_list(heading: str, list_path: str | None, records: RecordList, class_names: list[str]) -> None:
    """Say what a labelled list holds, and warn where something looks wrong.

    Args:
        heading: begins each line.
        class_names: of all classes, in label order.
    """
    logger.info("%s %s: %s", heading, list_path, describe_list(records, class_names))
    for warning in list_warnings(records, class_names):
        logger.warning("%s %s: %s", heading, list_path, warning)


def describe_list(records: RecordList, class_names: list[str]) -> str:
    """The number of videos, and of each class where the list has labels."""
    numbers, videos = records.label_counts(), count(len(records), "video")
    if not numbers:
        return videos
    if len(class_names) <= CLASSES_SHOWN:
        return f"{videos}: {', '.join(f'{name} {numbers[label]}' for label, name in enumerate(class_names))}"
    classes = count(len(numbers), "class", "classes")
    fewest, most = min(numbers, key=numbers.get), max(numbers, key=numbers.get)
    if numbers[fewest] == numbers[most]:
        return f"{videos} of {classes}: {numbers[most]} each"
    lowest, highest = (f"{numbers[label]} ({class_names[label]})" for label in (fewest, most))
    return f"{videos} of {classes}: from {lowest} to {highest}"


def list_warnings(records: RecordList, class_names: list[str]) -> list[str]:
    """What looks wrong; empty if nothing does."""
    warnings, numbers = picture_warnings(records), records.label_counts()
    absent = [name for label, name in enumerate(class_names) if label not in numbers]
    if len(numbers) == 1:
        warnings.append(f"all videos are of one class, {class_names[next(iter(numbers))]}")
    elif numbers and absent:
        warnings.append(
            f"{len(absent)} of the {count(len(class_names), 'class', 'classes')} have no video "
            f"({first_of(absent, NAMES_SHOWN)}); is MODEL.num_classes right?"
        )
    if len(numbers) > 1 and 0 not in numbers and sorted(numbers) == list(range(1, len(numbers) + 1)):
        warnings.append(f"its labels run from 1 to {len(numbers)}, but labels count from 0: is each too high by 1?")
    return warnings


def picture_warnings(records: RecordList) -> list[str]:
    """A warning if files are pictures by their names."""
    pictures = [name for name, _ in records.listed() if name.lower().endswith(PICTURE_SUFFIXES)]
    if not pictures:
        return []
    named = first_of(pictures, NAMES_SHOWN)
    return [f"{count(len(pictures), 'file')} by name no video but a picture ({named}); TSN needs videos"]


def pair_warnings(training: RecordList, validation: RecordList, class_names: list[str]) -> list[str]:
    """What looks wrong with two lists together; empty if nothing does."""
    warnings = (overlap_warning(training, validation), untrained_warning(training, validation, class_names))
    return [warning for warning in warnings if warning]


def overlap_warning(training: RecordList, validation: RecordList) -> str:
    """A warning if both lists name the same videos; empty if they do not."""
    # numbers of 64 bits for paths: a million of them as text would fill rank 0
    hashes = [np.fromiter(map(hash, records.likely_paths()), np.int64) for records in (training, validation)]
    num_shared = len(np.intersect1d(*hashes))
    if not num_shared:
        return ""
    return (
        f"{count(num_shared, 'video')} of the validation list (it has {len(validation)}) also in the training list: "
        "its scores say little about new videos"
    )


def untrained_warning(training: RecordList, validation: RecordList, class_names: list[str]) -> str:
    """A warning if classes are validated and not trained; empty if there are none."""
    trained = training.label_counts()
    untrained = [class_names[label] for label in sorted(validation.label_counts()) if label not in trained]
    if not untrained or not trained:
        return ""
    return (
        f"{count(len(untrained), 'class', 'classes')} of the validation list without a video in the training list "
        f"({first_of(untrained, NAMES_SHOWN)}): no model can learn that"
    )
