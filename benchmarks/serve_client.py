"""The clients of benchmarks/serve.py: one process that costs little, told what to do by a JSON object (see `Order`).

A closed loop has so many clients, each of which asks again as soon as it is answered. An open loop asks at random times
(a Poisson process), whether the answers have come or not, and counts from the time at which a request was due: what had
to wait because the server, or this process, was late is not left out. Answers are checked.
"""

import asyncio
import base64
import json
import math
import random
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.process_tree import family, processor_sec, resident_mb  # noqa: E402
from common import command_line  # noqa: E402

HOST = "127.0.0.1"
WARM_UP_SEC = 2.0
TIMEOUT_SEC = 120.0  # of a request
IDLE_SEC = 2.0  # after which a connection is not used again: the server may be closing it
TICK_SEC = 0.05
BUSY = 429
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Order(NamedTuple):
    port: int
    server_pid: int
    as_json: bool
    """Whether to ask as PaddleX' clients do; else the bare video is sent to /classify."""
    clips: list[list[Any]]
    """[path, best class]."""
    seed: int
    num_clients: int = 0
    """Of a closed loop; 0: an open one."""
    num_requests: int = 0
    """After which a closed loop ends; 0: by time."""
    rate: float = 0.0
    """Requests per second of an open loop."""
    seconds: float = 0.0
    """That are measured, after the warm-up."""


class Tally:
    """What is measured, between `begin` and `end`."""

    def __init__(self, server_pid: int):
        self._server_pid = server_pid
        self.latencies_sec: list[float] = []
        self.num_refused = 0
        self.is_open = False

    def begin(self) -> None:
        self.is_open, self._begun_sec = True, time.perf_counter()
        self._own_sec, self._server_sec = time.process_time(), processor_sec(family(self._server_pid))

    def end(self) -> None:
        self.is_open, self._seconds = False, time.perf_counter() - self._begun_sec
        server = family(self._server_pid)
        self._own_sec, self._server_sec = time.process_time() - self._own_sec, processor_sec(server) - self._server_sec
        self._memory_mb = resident_mb(server)

    def add(self, latency_sec: float, is_refused: bool) -> None:
        if is_refused:
            self.num_refused += 1
        else:
            self.latencies_sec.append(latency_sec)

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.latencies_sec)
        if not ordered:
            raise ValueError("nothing was answered in the time that is measured; give more --seconds")
        milliseconds = {f"p{q}_ms": 1e3 * ordered[math.ceil(q / 100 * len(ordered)) - 1] for q in (50, 95, 99)}
        return milliseconds | {
            "num_requests": len(ordered),
            "num_refused": self.num_refused,
            "rate": len(ordered) / self._seconds,
            "client_cores": self._own_sec / self._seconds,
            "server_cores": self._server_sec / self._seconds,
            "memory_mb": self._memory_mb,
        }


class Connections:
    """To the server, kept for further requests."""

    def __init__(self, port: int):
        self._port = port
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of an answer.

        Raises:
            ValueError: there is none in time.
        """
        reader, writer = await self._one()
        try:
            head, body = await asyncio.wait_for(exchange(reader, writer, request), TIMEOUT_SEC)
        except (asyncio.TimeoutError, OSError, EOFError) as error:
            writer.close()
            raise ValueError(f"a request has no answer: {error!r}") from error
        status = int(head.split(b" ", 2)[1])
        if status == 200:
            self._free.append((time.monotonic(), reader, writer))
        else:
            writer.close()
        return status, body

    async def _one(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            used_sec, reader, writer = self._free.pop()
            if time.monotonic() - used_sec < IDLE_SEC:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(HOST, self._port)

    def close(self) -> None:
        for _, _, writer in self._free:
            writer.close()


class Clients:
    """Requests, and what must be answered."""

    def __init__(self, order: Order):
        self.order = order
        self.tally = Tally(order.server_pid)
        self.connections = Connections(order.port)
        self._requests = [request_of(Path(path).read_bytes(), order.as_json) for path, _ in order.clips]
        self._num_begun = 0

    async def ask(self, due_sec: float | None = None, counts: bool | None = None) -> None:
        """The next clip's answer, checked and counted.

        Args:
            due_sec: when it should have been asked for; None: now.
            counts: whether it does; None: if it comes while the tally is open.
        """
        number = self._num_begun % len(self._requests)
        self._num_begun += 1
        due_sec = time.perf_counter() if due_sec is None else due_sec
        status, body = await self.connections.ask(self._requests[number])
        latency_sec = time.perf_counter() - due_sec
        is_refused = status == BUSY and not self.order.num_clients
        if not is_refused:
            check(status, body, self.order, number)
        if self.tally.is_open if counts is None else counts:
            self.tally.add(latency_sec, is_refused)

    async def closed_loop(self) -> None:
        """Measure `seconds`, from when each client has had an answer, or all of `num_requests`."""
        order, is_over, num_answers = self.order, False, 0

        async def client() -> None:
            nonlocal num_answers
            while not is_over and (not order.num_requests or self._num_begun < order.num_requests):
                await self.ask()
                num_answers += 1

        async def watch() -> None:
            nonlocal is_over
            begun_sec = time.perf_counter()
            while num_answers < order.num_clients or time.perf_counter() - begun_sec < WARM_UP_SEC:
                await asyncio.sleep(TICK_SEC)
            self.tally.begin()
            await asyncio.sleep(order.seconds)
            self.tally.end()
            is_over = True

        all_clients = [client() for _ in range(order.num_clients)]
        if order.num_requests:
            self.tally.begin()
            await asyncio.gather(*all_clients)
            self.tally.end()
        else:
            await asyncio.gather(watch(), *all_clients)

    async def open_loop(self) -> None:
        """Measure what is due in `seconds`, after a warm-up."""
        draw, due_sec = random.Random(self.order.seed), time.perf_counter()
        measured_sec = due_sec + WARM_UP_SEC
        end_sec = measured_sec + self.order.seconds
        asking: list[asyncio.Task] = []
        while (due_sec := due_sec + draw.expovariate(self.order.rate)) < end_sec:
            await asyncio.sleep(due_sec - time.perf_counter())
            if due_sec >= measured_sec and not self.tally.is_open:
                self.tally.begin()
            asking.append(asyncio.create_task(self.ask(due_sec, counts=self.tally.is_open)))
        if not self.tally.is_open:
            raise ValueError(f"nothing is due in {self.order.seconds:g} s; give more --seconds")
        await asyncio.sleep(end_sec - time.perf_counter())
        self.tally.end()
        await asyncio.gather(*asking)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(int(LENGTH.search(head)[1]))


def request_of(video: bytes, as_json: bool) -> bytes:
    if as_json:
        video = json.dumps({"video": base64.b64encode(video).decode(), "topk": 1}).encode()
    path, kind = ("/video-classification", "application/json") if as_json else ("/classify?topk=1", "video/mp4")
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: {kind}\r\ncontent-length: {len(video)}\r\n\r\n"
    return head.encode() + video


def check(status: int, body: bytes, order: Order, number: int) -> None:
    """Raise ValueError if the answer is not infer.py's."""
    path, expected = order.clips[number]
    if status != 200:
        raise ValueError(f"{path}: was answered with status {status}: {body[:300]!r}")
    content = json.loads(body)
    found = (content["result"] if order.as_json else content)["categories"][0]["id"]
    if found != expected:
        raise ValueError(f"{path}: the server's best class is {found}, that of the plain loop {expected}")


async def measure(order: Order) -> dict[str, Any]:
    clients = Clients(order)
    try:
        await (clients.closed_loop() if order.num_clients else clients.open_loop())
    finally:
        clients.connections.close()
    return clients.tally.figures()


def main() -> None:
    print(json.dumps(asyncio.run(measure(Order(**json.load(sys.stdin))))))


if __name__ == "__main__":
    command_line.run(main)
