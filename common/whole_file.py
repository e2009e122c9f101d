"""Files and folders that appear under their name whole or not at all, and the folder that results go to."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A hidden path beside `path`, to write a file or a folder to; it takes that name once it is complete.

    If anything is raised before, it is removed, and an earlier file of that name is still there.

    Raises:
        OSError: it cannot be written; its filename says which.
    """
    hidden = unfinished_path(path)
    if hidden.is_dir():  # of an earlier try that was killed
        remove(hidden)
    try:
        yield hidden
        if hidden.is_file():
            sync(hidden)
        os.replace(hidden, path)
    except BaseException as error:
        remove(hidden)
        if isinstance(error, OSError) and error.errno:
            error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise


def unfinished_path(path: Path) -> Path:
    """Where `unfinished` writes; a process that was killed leaves it behind."""
    return path.with_name(f".unfinished.{path.name}")


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


def prepare_save_dir(save_dir: str | Path) -> Path:
    """Make the folder that results go to, and prove that it can be written.

    Raises:
        OSError: it cannot; the message names it.
    """
    save_dir = Path(save_dir)
    probe = save_dir / f".write_probe.{os.getpid()}"
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OSError(f"{save_dir}: cannot write here ({error.strerror}); choose another --save_dir") from error
    return save_dir
