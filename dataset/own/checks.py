"""What may be wrong with a data set: the same video twice, a class that a list lacks, a group on two sides."""

from collections.abc import Callable, Iterable

from common.console import count
from datareader.list_lines import NO_CLASS
from dataset.list_files import refuse_all
from dataset.own.sources import Clip, called


def drop_repeats(clips: list[Clip], same_contents: list[list[str]]) -> tuple[list[Clip], list[str]]:
    """The clips without those that another of the same class and split repeats, and a warning for each.

    Args:
        same_contents: paths whose files hold the same bytes.

    Raises:
        ValueError: a video is in two classes; a line for each, the first five.
    """
    first_of = {path: paths[0] for paths in same_contents for path in paths}
    by_content: dict[str, list[Clip]] = {}
    for clip in clips:
        by_content.setdefault(first_of.get(clip.path, clip.path), []).append(clip)
    warnings, mistakes, dropped, num_in_both = [], [], set(), 0
    for first, *others in by_content.values():
        kept = {first.split: first}
        for clip in others:
            if set(clip.classes) != set(first.classes):
                one, other = (" ".join(each.classes) or NO_CLASS for each in (first, clip))
                mistakes.append(
                    f"{called(first)} and {called(clip)} are the same video, but one is {one!r}, the other {other!r}; "
                    "correct it"
                )
            elif clip.split in kept:
                dropped.add(clip.place)
                warnings.append(f"{called(clip)} is the same video as {called(kept[clip.split])}; it is listed once")
            elif {first.split, clip.split} == {"val", "test"}:
                kept[clip.split] = clip
                num_in_both += 1
            else:
                kept[clip.split] = clip
                warnings.append(
                    f"{called(clip)} is the same video as {called(first)}, on two sides of the split ({first.split}, "
                    f"{clip.split}): what is measured there is known from training"
                )
    refuse_all(mistakes, "such pairs")
    if num_in_both:  # many data sets have one list for both
        warnings.append(f"{count(num_in_both, 'video')} in val and in test: one is not independent of the other")
    return [clip for clip in clips if clip.place not in dropped], warnings


def group_keys(clips: Iterable[Clip], search: Callable[[str], str | None]) -> dict[str, str]:
    """{clip's place: its group}.

    Args:
        search: name of a clip -> its group, or None if there is none in it.

    Raises:
        ValueError: clips without a group; a line for each, the first five.
    """
    keys = {clip.place: search(clip.name) for clip in clips}
    mistakes = [
        f"{called(clip)}: --group_by finds nothing in {clip.name!r}; widen it"
        for clip in clips
        if keys[clip.place] is None
    ]
    refuse_all(mistakes, "videos without a group")
    return keys


def split_groups(clips: list[Clip], keys: dict[str, str]) -> list[str]:
    """A warning for each group that a given split has on two sides."""
    sides: dict[str, set[str]] = {}
    for clip in clips:
        sides.setdefault(keys[clip.place], set()).add(clip.split)
    return [f"group {key!r} is in {', '.join(sorted(found))}" for key, found in sides.items() if len(found) > 1]


def missing_classes(names: list[str], lists: dict[str, list[tuple[int, ...]]]) -> list[str]:
    """A warning for each class that a list lacks.

    Args:
        names: of the classes, in label order.
        lists: {list's name: the labels of each of its clips}.
    """
    met = {name: {label for labels in clips for label in labels} for name, clips in lists.items()}
    warnings = []
    for label, name in enumerate(names):
        without = [list_name for list_name, labels in met.items() if label not in labels]
        if len(without) == len(met):
            warnings.append(f"class {name!r} has no video that can be read")
        elif without:
            warnings.append(f"class {name!r} is not in {', '.join(without)}")
    return warnings
