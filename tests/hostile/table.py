"""The table of hostile requests: each kind plays once against a server, and says what has happened."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from hostile.videos import Videos
from hostile.wire import Address, Answer, outcome, request, talk


class Target(NamedTuple):
    """What is attacked, and with what."""

    address: Address
    videos: Videos
    trap_port: int
    """Of 127.0.0.1; the server must never connect to it."""


Play = Callable[[Random, Target], str]


class Kind(NamedTuple):
    """A kind of hostile request."""

    name: str
    outcomes: tuple[str, ...]
    """What is right: a status, "closed", or "left" where the client did not wait. Besides, 429 always is."""
    play: Play


KINDS: dict[str, Kind] = {}
INFER = "/v2/models/TSN/infer"
PADDLEX = "/video-classification"
LEFT = "left"
"""An outcome: the client did not wait for any."""


def kind(name: str, *outcomes: str) -> Callable[[Play], Play]:
    """Enter a function in the table."""

    def enter(play: Play) -> Play:
        assert name not in KINDS, name
        KINDS[name] = Kind(name, outcomes, play)
        return play

    return enter


def posted(target: Target, path: str, body: bytes, **headers: str) -> Answer | None:
    """The answer to a whole request."""
    return talk(target.address, request(path, body, **headers))


def posts(name: str, *outcomes: str) -> Callable[[Callable[[Random, Target], tuple]], object]:
    """Enter a function that makes a whole request: its path, body and headers."""

    def enter(make: Callable[[Random, Target], tuple]) -> object:
        def play(rng: Random, target: Target) -> str:
            path, body, *headers = make(rng, target)
            return outcome(posted(target, path, body, **(headers[0] if headers else {})), path)

        return kind(name, *outcomes)(play)

    return enter


def first_answer(target: Target, data: bytes, path: str = "/classify", method: str = "POST") -> str:
    """The outcome of bytes that are sent."""
    return outcome(talk(target.address, data, method=method), path)
