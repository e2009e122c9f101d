"""Disks: full, broken, small, read-only."""

import atexit
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

from bench import Bench, Command, Place
from broken_disk import BrokenDisk
from process import Ended, start_fresh

from small_disks import small_disk

LARGEST_FILE = {"export": 45_000_000, "transcode": 12_000, "check_videos": 300, "download": 2_000_000}
"""Bytes of what a command writes that PyAV or Paddle write themselves."""
_num_calls: dict[tuple, int] = {}


class Failing(NamedTuple):
    """How a disk fails."""

    error: int
    stays: bool
    """All calls from the n-th on fail, else the n-th alone."""
    is_reading: bool = False
    """The calls that read, else those that write."""


def fails(error: int, stays: bool, is_reading: bool = False) -> Callable[..., Ended]:
    """A fault: the n-th call fails; n is any of the calls that an undisturbed run makes."""
    return partial(_fails, how=Failing(error, stays, is_reading))


def _fails(bench: Bench, command: Command, place: Place, rng: Random, how: Failing) -> Ended:
    return _run_on(bench, command, place, rng.randint(1, _count_calls(bench, command, how)), how)


def _count_calls(bench: Bench, command: Command, how: Failing) -> int:
    key = (command.name, how)
    if key not in _num_calls:
        place = bench.place()
        ended = _run_on(bench, command, place, 10**9, how)
        assert ended.code == 0, ended
        _num_calls[key] = int((place.folder / "num_calls").read_text())
    return _num_calls[key]


def _run_on(bench: Bench, command: Command, place: Place, number: int, how: Failing) -> Ended:
    mark, count = place.folder / "struck", place.folder / "num_calls"
    mark.unlink(missing_ok=True)
    folders = [place.videos, bench.weights, place.out] if how.is_reading else [place.out]
    disk = BrokenDisk([folder.resolve() for folder in folders], number, how.error, how.is_reading, how.stays, mark)
    main_pid: list[int] = []

    def before() -> None:
        main_pid.append(os.getpid())
        disk.install()
        atexit.register(write_count)

    def write_count() -> None:
        if os.getpid() == main_pid[0]:
            with disk.untouched(count) as file:
                file.write(str(disk.num_calls))

    flags = command.again if any(place.out.iterdir()) else ()
    ended = bench.start(command, place, *flags, before=before).end()
    return ended._replace(has_struck=mark.exists())


def file_limit(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """No file may grow beyond a random size, whoever writes it: "File too large"."""
    num_bytes = rng.randint(0, LARGEST_FILE[command.name])
    log = place.folder / "log"

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    # what it says goes through a pipe, which has no size
    reader = subprocess.Popen(["tee", log], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    ended = bench.start(command, place, fresh=True, before=before, stdout=reader.stdin, stderr=reader.stdin).end()
    reader.communicate()
    ended = ended._replace(output=log.read_text(errors="replace"))
    return ended._replace(has_struck=ended.code != 0)


DISK_BYTES = {"train": 200_000_000, "test": 200_000, "infer": 24_000, "export": 46_000_000, "transcode": 110_000}
"""What a command writes, about."""


def small(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """A real disk that is too small by a random share; then more space is found."""
    num_bytes = rng.randint(4096, DISK_BYTES[command.name])
    with small_disk(place.out, num_bytes):
        ended = bench.start(command, place).end()
        subprocess.run(["mount", "-o", "remount,size=2g", place.out], check=True)
        # the rerun has to find what this one has left
        subprocess.run(["cp", "-a", f"{place.out}/.", place.folder / "kept"], check=True)
    place.out.rmdir()
    (place.folder / "kept").rename(place.out)
    return ended._replace(has_struck=ended.code != 0)


def may_be_kept_out() -> bool:
    """Whether a folder's rights can keep this user out; root has to give up its own first."""
    return os.getuid() != 0 or shutil.which("setpriv") is not None


def read_only(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """A folder that this user may not write."""
    folder = place.videos if command.name == "check_videos" else place.out
    folder.chmod(0o555)
    words = [sys.executable, *command.words(bench, place)]
    if os.getuid() == 0:  # whom no right keeps out
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    ended = start_fresh(words, place.log).end()
    folder.chmod(0o755)
    return ended


FULL, BROKEN, READ_ONLY = errno.ENOSPC, errno.EIO, errno.EROFS
