"""Inputs that change between the list and the reading: videos, and lists."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from bench import Bench, Command, Place
from process import Ended


def _vanish(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garble(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def _pipe(path: Path) -> None:
    """Opening it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def _unreadable(path: Path) -> None:
    """A file that opens, and whose every read fails with EIO."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "vanishes": _vanish,
    "is cut": _cut,
    "becomes noise": _garble,
    "becomes a pipe that nobody writes": _pipe,
    "fails to be read (EIO)": _unreadable,
    "becomes a folder": _folder,
}


def video(damage: str) -> Callable[..., Ended]:
    """A fault: up to two videos are damaged, before the run or at a random moment of it."""
    return partial(_video, damage=DAMAGES[damage])


def _video(bench: Bench, command: Command, place: Place, rng: Random, damage: Callable[[Path], None]) -> Ended:
    paths = sorted(place.videos.rglob("*.mp4"))
    used = [path for path in paths if command.name not in ("test", "infer") or "val" in path.parts]
    victims = rng.sample(used, 2 if command.name != "train" else 1)
    waits = rng.random() < 0.5
    if not waits:
        for path in victims:
            damage(path)
    limits = ["-o", "MODEL.decode_timeout_sec=2"] if command.main else []
    if command.name == "train":
        limits += ["-o", "TRAIN.max_bad_fraction=0.2"]
    job = bench.start(command, place, *limits)
    if waits:
        job.wait(lambda: False, rng.uniform(0, bench.reference(command.name).seconds / 2))
        for path in victims:
            damage(path)
    return job.end()


def _append(path: Path) -> None:
    with path.open("a") as file:
        file.write("no such video.mp4 1\n" * 3)


def _shuffle(path: Path) -> None:
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


LIST_CHANGES = (_vanish, _cut, _garble, _append, _shuffle, lambda path: path.write_text(""))


def list_changes(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """All lists change in one of six ways while the run reads by them."""
    job = bench.start(command, place)
    job.wait(lambda: ".list" in job.log.read_text(errors="replace") or ".mp4" in job.log.read_text(errors="replace"))
    change = rng.choice(LIST_CHANGES)
    for path in place.videos.glob("*.list"):
        if not path.name.endswith(".checked.list"):  # what check_videos writes
            change(path)
    return job.end()
