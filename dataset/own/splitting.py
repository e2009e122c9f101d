"""Clips -> sides of a split, each with its share of every class. Knows no files.

Clips that belong together (`--group_by`) are one group, any other clip is a group of its own. The groups are placed one
after another, the largest first and equal ones in an order drawn by the seed, each where it helps most: on the side
which its clips bring closest to the number of clips of each class that its share asks for, by the sum of squares. While
a class has only as many groups left as there are sides without it, they go to these sides.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

CLASSLESS = -1  # the stratum of clips that show none of the classes
SAME = 9  # decimal places to which two sums of squares are compared


def split_clips(keys: Sequence[str], strata: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """The side of each clip.

    Args:
        keys: what the clip is called, or its group: equal keys stay together.
        strata: the class that counts for each clip, see `rarest_classes`.
        shares: of each side; their sum is 1.
        seed: draws the order of equal groups; the order of the clips changes nothing.
    """
    groups: dict[str, Counter[int]] = {key: Counter() for key in sorted(set(keys))}
    for key, stratum in zip(keys, strata, strict=True):
        groups[key][stratum] += 1
    side_of = dict(zip(groups, place_groups(list(groups.values()), shares, seed), strict=True))
    return [side_of[key] for key in keys]


def rarest_classes(labels: Sequence[tuple[int, ...]]) -> list[int]:
    """The class of each clip that the fewest clips have; of equal ones the lower; CLASSLESS if it has none."""
    counts = Counter(label for clip in labels for label in clip)
    return [min(clip, key=lambda label: (counts[label], label), default=CLASSLESS) for clip in labels]


def place_groups(groups: Sequence[Counter[int]], shares: Sequence[float], seed: int) -> list[int]:
    """The side of each group.

    Args:
        groups: {class: number of clips} of each.
        shares, seed: see `split_clips`.
    """
    totals: Counter[int] = Counter()
    for group in groups:
        totals.update(group)
    lacking = [{label: share * number for label, number in totals.items()} for share in shares]
    """For each side, how many clips of each class it still wants; below 0: it has too many."""
    lacking_clips = [sum(wanted.values()) for wanted in lacking]
    sides_without = {label: set(range(len(shares))) for label in totals}
    groups_left = Counter(label for group in groups for label in group)
    sides = [0] * len(groups)
    drawn = np.random.default_rng(seed).permutation(len(groups)).tolist()
    for number in sorted(drawn, key=lambda number: -groups[number].total()):
        group = groups[number]
        best = min(
            _sides_in_need(group, groups_left, sides_without) or range(len(shares)),
            key=lambda side: (_change(group, lacking[side]), -round(lacking_clips[side], SAME), side),
        )
        sides[number] = best
        lacking_clips[best] -= group.total()
        for label, count in group.items():
            lacking[best][label] -= count
            sides_without[label].discard(best)
            groups_left[label] -= 1
    return sides


def _sides_in_need(group: Counter[int], groups_left: Counter[int], sides_without: dict[int, set[int]]) -> set[int]:
    """The sides without a class of the group, if there are hardly enough groups for all of them; else none."""
    for label in sorted(group, key=lambda label: (groups_left[label], label)):
        if groups_left[label] <= len(sides_without[label]):
            return sides_without[label]
    return set()


def _change(group: Counter[int], lacking: dict[int, float]) -> float:
    """What the group adds to the sum of squares of what the side lacks."""
    return round(sum(count * (count - 2 * lacking[label]) for label, count in group.items()), SAME)
