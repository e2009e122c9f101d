"""Files and folders that appear under their name whole or not at all, and the folder that results go to."""

import os
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

PREFIX = ".unfinished"
STRANGER_SEC = 24 * 3600.0  # after which what another machine has left counts as left


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A hidden path beside `path`, to write a file or a folder to; it takes that name once it is complete.

    No other process has it, so that two which write the same file leave that of the later one, whole. If anything is
    raised before, it is removed, and an earlier file of that name is still there.

    Raises:
        OSError: it cannot be written; its filename says which.
    """
    hidden = unfinished_path(path)
    try:
        yield hidden
        if hidden.is_file():
            sync(hidden)
        os.replace(hidden, path)
    except BaseException as error:
        remove(hidden)
        if isinstance(error, OSError) and error.errno and error.filename in (None, hidden, str(hidden)):
            # a full disk does not say which file it was, and the hidden name says nothing
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def unfinished_path(path: Path) -> Path:
    """A new hidden path beside `path`: short, since a name has 255 bytes at most, and with this process's number."""
    return path.with_name(f"{PREFIX}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}")


def remove_leftovers(folder: Path) -> None:
    """Delete what processes that were killed have left of their files; a run begins with it.

    What a process of another machine writes, or has left, cannot be told apart: it goes when it is a day old.
    """
    for path in folder.glob(f"{PREFIX}.*"):
        try:
            if _is_left(path):
                remove(path)
        except (FileNotFoundError, PermissionError):
            continue  # finished meanwhile, or deleted by another run; or another user's


def _is_left(path: Path) -> bool:
    _, _, machine, process, *_ = [*path.name.split("."), "", ""]
    if machine == _machine() and process.isdecimal():
        return not _is_running(int(process))
    return time.time() - path.lstat().st_mtime > STRANGER_SEC


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # no Linux, or it has ended meanwhile
        return True
    return state != "Z"  # ended, and its parent has not looked yet


@cache
def _machine() -> str:
    """Eight letters for what a process number belongs to: this machine since its start, or this container."""
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        told = ""
    return f"{zlib.crc32(f'{told} {socket.gethostname()}'.encode()):08x}"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; see `unfinished`."""
    with unfinished(path) as hidden, hidden.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def prepare_save_dir(save_dir: str | Path, flag: str = "--save_dir") -> Path:
    """Make the folder that results go to, prove that it can be written, and clean up after runs that were killed.

    Args:
        flag: names another one.

    Raises:
        OSError: it cannot; the message names it.
    """
    save_dir = Path(save_dir)
    probe = unfinished_path(save_dir / "probe")
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
        remove_leftovers(save_dir)
    except OSError as error:
        raise OSError(f"{save_dir}: cannot write here ({error.strerror}); choose another {flag}") from error
    return save_dir
