"""Models that were converted for an engine, kept for the next run: a cache of exports.

An entry is a folder called after all that its content depends on. It appears whole or not at all, has SHA-256 sums, and
is made by one process while others wait for it. TSN_ENGINE_CACHE names another folder, or is "off".
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from common import checksums
from common.console import size
from common.whole_file import remove, remove_leftovers, unfinished

MOST_BYTES = 4_000_000_000
"""What all entries may take; those that were not used for the longest time go."""
LITTLE_BYTES = 1_000_000
LAYOUT = 1  # of an entry; a change of what this project writes is a new number
EXPORT = "export"

Opened = TypeVar("Opened")

logger = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """Where entries are; None: none are kept."""
    wish = os.environ.get("TSN_ENGINE_CACHE", "")
    if wish.lower() == "off":
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(wish) if wish else base / "tsn-engines"


def entry_key(about: dict[str, Any]) -> str:
    """The name of an entry: a digest of all that its content depends on, which JSON can hold."""
    text = json.dumps({"layout": LAYOUT, **about}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def has_entry(key: str) -> bool:
    """Whether there is one, which may be damaged."""
    folder = cache_folder()
    return folder is not None and (folder / key).is_dir()


def open_converted(key: str, convert: Callable[[Path], object], open_entry: Callable[[Path], Opened]) -> Opened:
    """Open an entry, which is made if it is not there, or damaged.

    Args:
        convert: writes the entry's files into a folder that is not there yet.
        open_entry: opens what `convert` wrote; its files have been compared with their sums.

    Raises:
        OSError: it cannot be written; the message says where.
    """
    folder = cache_folder()
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            convert(Path(temporary, EXPORT))
            return open_entry(Path(temporary, EXPORT))
    entry = folder / key
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{key}.lock"):
            if entry.is_dir() and not _is_whole(entry):
                remove(entry)
            if not entry.is_dir():
                remove_leftovers(folder)
                with unfinished(entry) as hidden:
                    convert(hidden)
                    if not (hidden / checksums.FOLDER_SUMS).is_file():
                        checksums.record(hidden)
            os.utime(entry)
            opened = open_entry(entry)
        with contextlib.suppress(FileNotFoundError):  # another process makes room as well
            _make_room(folder, entry)
    return opened


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{folder}: cannot keep the converted model here ({error.strerror or error}); TSN_ENGINE_CACHE names "
            'another folder, or is "off"'
        ) from error


@contextlib.contextmanager
def room_for(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Around what writes so much: neither Paddle nor paddle2onnx look whether what they write gets there.

    Raises:
        OSError: the disk is too full, or has become so.
    """
    if shutil.disk_usage(folder).free < needed_bytes:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {size(needed_bytes)} are needed")
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder).free < LITTLE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process converts the same model: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_whole(entry: Path) -> bool:
    try:
        if not checksums.recorded(entry / checksums.FOLDER_SUMS):
            raise ValueError(f"{entry}: has no SHA-256 sums")
        checksums.verify(entry)
    except (ValueError, OSError) as error:
        logger.warning("%s: the model is converted again", error)
        return False
    return True


def _make_room(folder: Path, newest: Path) -> None:
    """Remove the entries that were not used for the longest time, while all take more than MOST_BYTES.

    One that a process opens right now is left: what it has opened stays readable, but it may not have opened all yet.
    """
    entries = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = {entry: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file()) for entry in entries}
    for entry in entries:
        if sum(sizes.values()) <= MOST_BYTES:
            return
        if entry == newest or entry.name.startswith("."):
            continue
        lock = FileLock(folder / f"{entry.name}.lock")
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            remove(entry)
            del sizes[entry]
