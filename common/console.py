"""What a run says on the console: plain lines, a bar on a terminal, numbers as people write them."""

import logging
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from tqdm import tqdm

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
STDOUT, STDERR = 1, 2  # file descriptors
SIZE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))

Item = TypeVar("Item")


def start_logging() -> None:
    """Plain lines on stdout, with the time in front; warnings say that they are warnings.

    Where stdout cannot be written any more (Ctrl-C ends a `tee` too, a disk is full), they go to stderr.

    Raises:
        ValueError: the environment variable TSN_LOG_LEVEL, "info" without it, is no level.
    """
    level = os.environ.get("TSN_LOG_LEVEL", "info").upper()
    if level not in LEVELS:
        raise ValueError(f"TSN_LOG_LEVEL is {level.lower()!r}; it takes {', '.join(LEVELS).lower()}")
    handler = _Console(sys.stdout)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.setLevel(level)
    # Paddle may have put a console handler there, which would print every line twice
    root.handlers = [old for old in root.handlers if type(old) not in (logging.StreamHandler, _Console)] + [handler]


class _Console(logging.StreamHandler):
    """Writes above the bar of `progress`, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        _give_up_stdout(self.stream, error)
        super().emit(record)


def say(text: str) -> None:
    """Print a line on stdout, above the bar of `progress`; on stderr where stdout cannot be written any more."""
    if sys.stdout is None:  # closed
        return
    with tqdm.external_write_mode(sys.stdout):
        try:
            print(printable(text), flush=True)
        except OSError as error:
            _give_up_stdout(sys.stdout, error)
            print(printable(text), flush=True)


def _give_up_stdout(stdout: TextIO, error: OSError) -> None:
    """Let what is written there go to stderr, or nowhere if that cannot be written either."""
    silence(STDOUT)
    stdout.flush()  # the line, if the stream still has it; it comes again
    try:
        os.write(STDERR, f"stdout cannot be written any more ({error.strerror}): the log goes on here\n".encode())
    except OSError:
        silence(STDERR)
    os.dup2(STDERR, STDOUT)


def silence(descriptor: int) -> None:
    """Let what is written there vanish: nobody reads it. Else Python would try again in the end, and exit with 120."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Let what libraries print on stdout vanish meanwhile, their C++ too."""
    if sys.stdout is None:  # closed
        yield
        return
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    silence(STDOUT)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)


def write_now(line: str) -> None:
    """Write a line past Python's files, which may be at work on another when a signal comes; on stderr if need be."""
    for descriptor in (STDOUT, STDERR):
        try:
            os.write(descriptor, f"{line}\n".encode())
            return
        except OSError:
            continue  # nobody reads it: the pipe's other end, or the terminal, is gone


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        severity = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = record.getMessage()
        text = printable_lines(text) if "\n" in record.msg else printable(text)
        if record.exc_info:
            text += "\n" + printable_lines(self.formatException(record.exc_info))
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {severity}{text}"


def printable(text: str) -> str:
    """Text in one line, as it can be shown: a file's name may hold line ends, a terminal's commands, or be no text."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def printable_lines(text: str) -> str:
    """Text that may have several lines."""
    return "\n".join(map(printable, text.split("\n")))


@contextmanager
def progress(batches: Iterable[Item], total: int | None, what: str, initial: int = 0) -> Iterator[Iterable[Item]]:
    """A tqdm bar over the batches if stderr is a terminal; log lines appear above it."""
    if not sys.stderr.isatty():
        yield batches
        return
    with tqdm(batches, total=total, initial=initial, desc=what, unit="step", leave=False) as bar:
        yield bar


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def first_of(names: Sequence[str], most: int) -> str:
    """The first names, at most so many, with dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: "1 video", "2 videos"; `plural` where it takes no plain s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(num_bytes: int) -> str:
    """A file's size: "12 bytes", "3.4 kB", "94 MB"."""
    for unit_bytes, unit in SIZE_UNITS:
        if num_bytes >= unit_bytes:
            number = num_bytes / unit_bytes
            return f"{number:.{0 if number >= 10 else 1}f} {unit}"
    return count(num_bytes, "byte")


def written(paths: Iterable[Path]) -> str:
    """The files that a run has written, each with its size, in the folder of the first."""
    paths = list(paths)
    names = ", ".join(f"{path.name} ({size(path.stat().st_size)})" for path in paths)
    return f"wrote {names} into {paths[0].parent}"


def command(*words: object) -> str:
    """A command to type, quoted where a shell needs it."""
    return shlex.join(map(str, words))
