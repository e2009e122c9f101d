"""A disk that fails, for the Python code of this process: the n-th call, or every one from the n-th on.

It stands between the code and the operating system, so that it needs no rights. What C++ writes passes it by: for that
there are limits on the size of files, and small disks (see disks.py).
"""

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TextIO

WRITING = ("mkdir", "rename", "replace", "fsync", "truncate", "ftruncate", "unlink", "rmdir")
NEEDS_SPACE = ("open", "write", "mkdir", "fsync")
"""The calls that a full disk refuses; one that is broken refuses all."""

_open = io.open


class BrokenDisk:
    """Counts the calls below some folders, and fails.

    Args:
        folders: whose files are on the disk.
        number: of the first call that fails, from 1; 0: none, only count.
        error: ENOSPC, EIO or EROFS.
        is_reading: the calls are opening and reading, else those that write.
        stays: whether all later calls fail too.
        mark: a file that is made when the first one fails, and gets the number of calls when none does.
    """

    def __init__(self, folders: list[Path], number: int, error: int, is_reading: bool, stays: bool, mark: Path):
        self.folders = [str(folder) for folder in folders]
        self.number = number
        self.error = error
        self.is_reading = is_reading
        self.stays = stays
        self.mark = mark
        self.num_calls = 0

    def call(self, name: str, path: object) -> None:
        """Note a call; raises OSError if it is to fail."""
        path = f"/proc/self/fd/{path}" if isinstance(path, int) else os.fspath(path)
        path = os.path.realpath(os.fsdecode(path))
        if not path.startswith(tuple(self.folders)) or path.endswith(".lock"):
            return
        if self.error == errno.ENOSPC and name not in NEEDS_SPACE:
            return
        self.num_calls += 1
        if self.num_calls == self.number or (self.stays and 0 < self.number < self.num_calls):
            self.untouched(self.mark).close()
            raise OSError(self.error, os.strerror(self.error), *([path] if name != "write" else []))

    @staticmethod
    def untouched(path: Path) -> TextIO:
        """A file to write, however broken the disk is."""
        return _open(path, "w")

    def install(self) -> None:
        """Take the place of Python's own functions, for good."""
        builtins.open = io.open = self._opened
        if not self.is_reading:
            for name in WRITING:
                setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, function: Callable) -> Callable:
        def call(path, *args, **kwargs):
            if "dir_fd" not in kwargs or kwargs["dir_fd"] is None:
                self.call(name, path)
            return function(path, *args, **kwargs)

        return call

    def _opened(
        self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None
    ) -> IO:
        writes = any(letter in mode for letter in "wax+")
        if isinstance(file, int) or self.is_reading == writes:
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        self.call("open", file)
        raw = _File(self, file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if "+" in mode:
            buffered = io.BufferedRandom(raw)
        else:
            buffered = io.BufferedWriter(raw) if writes else io.BufferedReader(raw)
        if "b" in mode:
            return buffered if buffering else raw
        return io.TextIOWrapper(buffered, encoding, errors, newline)


class _File(io.FileIO):
    """A file on a broken disk."""

    def __init__(self, disk: BrokenDisk, *args):
        super().__init__(*args)
        self._disk = disk

    def write(self, content) -> int:
        if not self._disk.is_reading:
            self._disk.call("write", self.fileno())
        return super().write(content)

    def readinto(self, buffer) -> int:
        if self._disk.is_reading:
            self._disk.call("read", self.fileno())
        return super().readinto(buffer)

    def readall(self) -> bytes:
        if self._disk.is_reading:
            self._disk.call("read", self.fileno())
        return super().readall()
