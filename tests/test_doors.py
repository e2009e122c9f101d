"""Who may come in: serving/doors.py."""

import contextlib

import pytest

from serving.doors import UPLOADS_PER_PLACE, Doors
from serving.refusals import Refusal


def enter(hall) -> Refusal | None:
    """Why nobody can come in there; None: one can, and has left again."""
    try:
        with hall():
            return None
    except Refusal as refusal:
        return refusal


def test_so_many_come_in_and_leave_again():
    doors = Doors(2)
    with doors.inside(), doors.inside():
        assert doors.num_inside == 2
        refusal = enter(doors.inside)
        assert (refusal.status, refusal.retry_after_sec) == (429, 1)
        assert enter(doors.sending).status == 429, "nobody sends a video that nobody will take"
    assert enter(doors.inside) is None and enter(doors.sending) is None and doors.is_empty


def test_an_error_gives_its_place_back():
    doors = Doors(1)
    with pytest.raises(KeyError), doors.sending():
        raise KeyError
    with pytest.raises(KeyError), doors.inside():
        raise KeyError
    assert doors.is_empty


def test_slow_senders_take_no_place_from_those_who_have_sent():
    doors = Doors(2)
    with contextlib.ExitStack() as senders:
        for _ in range(UPLOADS_PER_PLACE * 2):
            senders.enter_context(doors.sending())
        assert enter(doors.sending).status == 429
        assert enter(doors.inside) is None


def test_closed_doors_let_those_inside_finish():
    doors = Doors(2)
    with doors.sending():
        doors.is_closed = True
        refusal = enter(doors.sending)
        assert refusal.status == 503 and refusal.retry_after_sec
        assert enter(doors.inside) is None, "one that was let in before"
        assert not doors.is_empty
    assert doors.is_empty


def test_the_wait_grows_with_the_time_that_answers_take(monkeypatch):
    now_sec = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_sec)
    doors = Doors(3)
    for _ in range(40):
        with doors.inside():
            now_sec += 4.0
    with doors.inside(), doors.inside(), doors.inside():
        assert enter(doors.sending).retry_after_sec == 12
    for _ in range(40):
        with doors.inside():
            now_sec += 400.0
    with doors.inside(), doors.inside(), doors.inside():
        assert enter(doors.sending).retry_after_sec == 60
