"""Reading ahead in a thread: the order, the errors and the end are those of reading one after the other."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import clip_reader
from datareader.ahead import read_ahead
from datareader.stream import PlayedFrame
from inference.engines.engine import AtOnce
from inference.windows import Cutting, _classified

ROOT = Path(__file__).resolve().parent.parent


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read ahead")]


def counting(made: list[int], num_items: int = 100) -> Iterator[int]:
    """Numbers; `made` notes those that were begun."""
    for number in range(num_items):
        made.append(number)
        yield number


@pytest.mark.parametrize("depth", [1, 3])
def test_the_items_in_their_order(depth):
    assert list(read_ahead(counting([]), depth)) == list(range(100))
    assert list(read_ahead([], depth)) == [] and list(read_ahead([None, 0], depth)) == [None, 0]
    assert threads() == []


def test_an_error_comes_in_its_place():
    def broken() -> Iterator[int]:
        yield from (0, 1, 2)
        raise ValueError("no more")

    found = []
    with pytest.raises(ValueError, match="no more"):
        for number in read_ahead(broken(), depth=2):
            found.append(number)
    assert found == [0, 1, 2] and threads() == []


def test_the_thread_ends_with_whoever_takes():
    made = []
    items = read_ahead(counting(made))
    assert next(items) == 0 and len(threads()) == 1
    items.close()
    assert threads() == [] and len(made) <= 2
    for number in read_ahead(counting(made)):  # given up by leaving a loop
        if number == 3:
            break
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_the_depth(depth):
    """What was begun, while one item is used: that one and as many as the depth."""
    made, last_allowed = [], threading.Event()

    def items() -> Iterator[int]:
        for number in counting(made):
            if number == depth:
                last_allowed.set()
            yield number

    taken = read_ahead(items(), depth)
    assert next(taken) == 0
    last_allowed.wait()  # it is made while item 0 is used
    assert made == list(range(depth + 1))
    assert next(taken) == 1 and made[-1] <= depth + 1
    taken.close()


def test_an_item_comes_before_the_next_one_is_there():
    """As where a path is typed: the next one may never come."""
    typed = threading.Event()

    def lines() -> Iterator[str]:
        yield "a.mp4"
        typed.wait()
        yield "b.mp4"

    answers = read_ahead(lines())
    assert next(answers) == "a.mp4"
    typed.set()
    assert list(answers) == ["b.mp4"]


def test_where_an_engine_fails_no_window_is_waited_for():
    """The second window of this camera, whose clock stands still, is never over."""

    class Failing(AtOnce):
        def __call__(self, frames):
            raise MemoryError

    picture = np.zeros((48, 64, 3), np.uint8)
    camera = (PlayedFrame(min(number / 25, 1.5), lambda: picture) for number in itertools.count())
    session = SimpleNamespace(engine=Failing(), max_frames=None)
    with pytest.raises(MemoryError):
        next(_classified(session, clip_reader([], short_size=48, target_size=32), camera, Cutting(1, 1, 1)))
    assert threads() == []


FAILS_AT_THE_FIRST = """
import sys
from datareader.ahead import read_ahead
from distributed.signals import StopRequest, lines_until_stopped

def use():
    with StopRequest() as stop:
        lines = read_ahead(lines_until_stopped(sys.stdin.fileno(), stop))
        for line in lines:
            raise MemoryError(line)
use()
"""


def test_an_error_ends_the_wait_for_the_next_line():
    """As in infer.py --stdin, where nobody types any more."""
    program = [sys.executable, "-c", FAILS_AT_THE_FIRST]
    process = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert b"MemoryError: one" in process.stderr.read()  # to its end; stdin stays open
    assert process.wait(20) == 1
    process.stdin.close()
