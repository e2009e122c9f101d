"""Clips -> the lists of a data set: a split, the folds of a cross-validation, or the split that was given."""

from typing import NamedTuple

from dataset.own.sources import Clip
from dataset.own.splitting import split_clips

SIDES = ("train", "val", "test")


class Lists(NamedTuple):
    """The lists to write."""

    members: dict[str, list[Clip]]
    """{file below OUT: its clips}."""
    columns: dict[str, list[Clip]]
    """{what the table calls it: the clips of a side, or a fold's test clips}."""
    folder: str
    """Where below OUT the lists are that the config names; empty: OUT itself."""
    notes: list[str]
    """What a user should know of them."""


def make_split(
    clips: list[Clip], keys: list[str], strata: list[int], val_share: float, test_share: float, seed: int
) -> Lists:
    """train.list, val.list and test.list; without a share for test it is the same as val.list.

    Args:
        keys, strata: see `split_clips`.

    Raises:
        ValueError: too few clips, or groups of them, for a side.
    """
    shares = [1 - val_share - test_share, val_share, *([test_share] if test_share else [])]
    sides = _sides(clips, split_clips(keys, strata, shares, seed), SIDES[: len(shares)], len(set(keys)))
    found = dict(zip(SIDES, sides, strict=False))
    lists = _complete(dict(found))
    return lists._replace(notes=[*_grouping(clips, keys, found), *lists.notes])


def make_folds(clips: list[Clip], keys: list[str], strata: list[int], num_folds: int, seed: int) -> Lists:
    """fold1/train.list, val.list and test.list, and so on: a fold's test clips are no other fold's.

    Raises:
        ValueError: fewer clips, or groups of them, than folds.
    """
    names = [f"fold{number}" for number in range(1, num_folds + 1)]
    side_of = split_clips(keys, strata, [1 / num_folds] * num_folds, seed)
    folds = dict(zip(names, _sides(clips, side_of, names, len(set(keys))), strict=True))
    members = {}
    for number, (name, held_out) in enumerate(folds.items()):
        rest = [clip for clip, side in zip(clips, side_of, strict=True) if side != number]
        members |= {f"{name}/train.list": rest, f"{name}/val.list": held_out, f"{name}/test.list": held_out}
    said = (
        "in each fold val.list is the same as test.list: take the last epoch's weights for the folds' result, since "
        "the best epoch is chosen by the clips that it is then tested on"
    )
    return Lists(members, folds, names[0], [*_grouping(clips, keys, folds), said])


def take_split(clips: list[Clip]) -> Lists:
    """The lists of clips that name their split; of val and test, the one that is missing is the same as the other.

    Raises:
        ValueError: there is no clip to train on, or none to validate on.
    """
    sides = {side: found for side in SIDES if (found := [clip for clip in clips if clip.split == side])}
    if "train" not in sides or len(sides) < 2:
        raise ValueError(f"the split given has clips in {', '.join(sides)} only; train is needed, and val or test")
    return _complete(sides)


def _complete(sides: dict[str, list[Clip]]) -> Lists:
    columns, notes = dict(sides), []
    for name, other in (("val", "test"), ("test", "val")):
        if name not in sides:
            sides[name] = sides[other]
            notes.append(
                f"{name}.list is the same as {other}.list: what is chosen by one is not independent of the other"
            )
    return Lists({f"{name}.list": sides[name] for name in SIDES}, columns, "", notes)


def _grouping(clips: list[Clip], keys: list[str], sides: dict[str, list[Clip]]) -> list[str]:
    """How many groups are on each side, if there are any."""
    if len(set(keys)) == len(clips):
        return []
    group_of = {clip.place: key for clip, key in zip(clips, keys, strict=True)}
    counts = {name: len({group_of[clip.place] for clip in members}) for name, members in sides.items()}
    each = ", ".join(f"{number} in {name}" for name, number in counts.items())
    return [f"{len(set(keys))} groups, each on one side: {each}"]


def _sides(
    clips: list[Clip], side_of: list[int], names: list[str] | tuple[str, ...], num_groups: int
) -> list[list[Clip]]:
    sides: list[list[Clip]] = [[] for _ in names]
    for clip, side in zip(clips, side_of, strict=True):
        sides[side].append(clip)
    for name, members in zip(names, sides, strict=True):
        if not members:
            raise ValueError(
                f"{len(clips)} videos in {num_groups} groups leave none for {name}; more videos are needed, smaller "
                "groups (--group_by), other shares or fewer --folds"
            )
    return sides
