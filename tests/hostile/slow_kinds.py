"""Hostile clients that hurry, wait, leave, or say things in another order."""

import socket
import struct
import time
from random import Random

from hostile.served import ASSET
from hostile.table import LEFT, PADDLEX, Target, first_answer, kind
from hostile.wire import (
    CLOSED,
    MULTIPART,
    Damaged,
    Hangs,
    chunked,
    connected,
    head,
    multipart,
    outcome,
    paddlex,
    receive,
    request,
    send,
    talk,
)

DRIP_SEC, NUM_DRIPS = 0.4, 30


def some_request(rng: Random, target: Target) -> tuple[str, bytes]:
    """A path, and a good request to it, in one of the ways to send a video."""
    clip = rng.choice(target.videos.good)
    windows = "/classify?window_sec=0.5&stride_sec=0.5"
    return rng.choice([
        ("/classify", request("/classify", clip)),
        (windows, request(windows, target.videos.long)),
        ("/classify", request("/classify", multipart(clip), content_type=MULTIPART)),
        (PADDLEX, request(PADDLEX, paddlex(clip), content_type="application/json")),
        ("/classify", head("/classify", transfer_encoding="chunked") + chunked(clip[:5000], clip[5000:])),
    ])  # fmt: skip


def cut(content: bytes, rng: Random) -> bytes:
    """A part of it, without its last byte."""
    return content[: rng.randrange(1, len(content))]


def reset(line: socket.socket) -> None:
    """Let the connection end at once, unread answers included."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@kind("cut upload", CLOSED)
def cut_upload(rng: Random, target: Target) -> str:
    with connected(target.address) as line, line.makefile("rb") as file:
        path, data = some_request(rng, target)
        send(line, cut(data, rng))
        line.shutdown(socket.SHUT_WR)
        return outcome(receive(file), path)


@kind("cut upload, connection reset", LEFT)
def reset_upload(rng: Random, target: Target) -> str:
    with connected(target.address) as line:
        send(line, cut(some_request(rng, target)[1], rng))
        time.sleep(rng.choice([0, 0.01, 0.2]))
        reset(line)
    return LEFT


@kind("half-closed after a whole request", CLOSED, "200")
def half_closed(rng: Random, target: Target) -> str:
    with connected(target.address) as line, line.makefile("rb") as file:
        path, data = some_request(rng, target)
        send(line, data)
        line.shutdown(socket.SHUT_WR)
        return outcome(receive(file), path)


@kind("leaves while it waits", LEFT)
def leaves(rng: Random, target: Target) -> str:
    with connected(target.address) as line:
        send(line, some_request(rng, target)[1])
        time.sleep(rng.choice([0, 0.005, 0.02, 0.1]))
        if rng.random() < 0.5:
            reset(line)
    return LEFT


@kind("takes no answer", CLOSED)
def takes_nothing(rng: Random, target: Target) -> str:
    with connected(target.address, receive_bytes=4096) as line:
        send(line, head(ASSET, "GET") * 8)
        time.sleep(5)
        try:
            while line.recv(1 << 20):
                pass
        except TimeoutError as error:
            raise Hangs("eight answers, of which none was taken") from error
        except OSError:
            pass  # reset
    return CLOSED


@kind("takes no answer and leaves", LEFT)
def takes_nothing_and_leaves(rng: Random, target: Target) -> str:
    with connected(target.address, receive_bytes=4096) as line:
        send(line, head(ASSET, "GET") * rng.randint(1, 8))
        time.sleep(rng.uniform(0, 0.5))
    return LEFT


@kind("Content-Length too large", "408")
def length_too_large(rng: Random, target: Target) -> str:
    clip = rng.choice(target.videos.good)
    return first_answer(target, head("/classify", length=len(clip) + rng.randint(1, 10_000)) + clip)


@kind("head byte by byte, for ever", CLOSED)
def slow_head(rng: Random, target: Target) -> str:
    data = head("/classify", x="y" * 100)
    return outcome(talk(target.address, (data[at : at + 1] for at in range(len(data) - 1)), 0.05), "/classify")


@kind("head byte by byte, in time", "200")
def slow_head_in_time(rng: Random, target: Target) -> str:
    data = head("/health", "GET")
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, (data[at : at + 1] for at in range(len(data))), 0.002)
        return outcome(receive(file), "/health")


@kind("nothing at all", CLOSED, "400")
def nothing(rng: Random, target: Target) -> str:
    return first_answer(target, rng.choice([b"", b"\r\n", b"P", b"POST /classify HTTP/1.1\r\n"]))


@kind("body with silences", "408")
def silent_body(rng: Random, target: Target) -> str:
    path, data = some_request(rng, target)
    at = data.index(b"\r\n\r\n") + rng.randint(4, 2000)
    return first_answer(target, data[:at], path)


@kind("body drop by drop", "408")
def dripping_body(rng: Random, target: Target) -> str:
    path, data = some_request(rng, target)
    at = data.index(b"\r\n\r\n") + 4
    drops = (data[at + number : at + number + 1] for number in range(NUM_DRIPS))
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, data[:at])
        send(line, drops, DRIP_SEC)
        return outcome(receive(file), path)


@kind("two requests in one", "200 200")
def pipelined(rng: Random, target: Target) -> str:
    clip = rng.choice(target.videos.good)
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, request("/classify", clip, x_request_id="one") + request("/health", b"", "GET", x_request_id="two"))
        answers = [receive(file), receive(file)]
    if "429" in (first := outcome(answers[0], "/classify")):
        return first
    if [answer and answer.headers["x-request-id"] for answer in answers] != ["one", "two"]:
        raise Damaged("pipelined answers are out of order")
    return " ".join(outcome(answer, "/classify") for answer in answers)


@kind("a request and garbage in one", "200 400")
def pipelined_garbage(rng: Random, target: Target) -> str:
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, request("/health", b"", "GET") + b"garbage\r\n\r\n")
        return " ".join(outcome(receive(file), "/health") for _ in range(2))


@kind("hundreds of requests in one", "200 x 300")
def pipelined_many(rng: Random, target: Target) -> str:
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, head("/health", "GET") * 300)
        statuses = {outcome(receive(file), "/health") for _ in range(300)}
    return f"{' '.join(statuses)} x 300"


@kind("Expect: 100-continue", "200")
def expects(rng: Random, target: Target) -> str:
    clip = rng.choice(target.videos.good)
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, head("/classify", length=len(clip), expect="100-continue"))
        time.sleep(rng.choice([0, 0.2]))
        send(line, clip)
        return outcome(receive(file), "/classify")


@kind("Expect: 100-continue, and nothing", "408", CLOSED)
def expects_in_vain(rng: Random, target: Target) -> str:
    return first_answer(target, head("/classify", length=5000, expect="100-continue"))
