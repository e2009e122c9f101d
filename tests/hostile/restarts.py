"""SIGTERM, restart and load, again and again: which accepted request has no answer?

python tests/hostile/restarts.py --seconds=60
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from hostile.honest import Expected, said, same  # noqa: E402
from hostile.served import address, model_flags, problems_of_log, start, stop  # noqa: E402
from hostile.videos import Videos, make_videos  # noqa: E402
from hostile.wire import Address, Answer, Damaged, Hangs, connected, receive, request, send  # noqa: E402

NUM_CLIENTS = 8
PORTS = range(20_000, 30_000)  # below those that connections get by themselves: a client could meet itself there
LIVES_SEC = (0.5, 3.0)  # of a server that is ready


class Sent(NamedTuple):
    """What a client knows of one request."""

    id: str
    number: int
    """Which of the known requests."""
    was_whole: bool
    """Whether all of its bytes were taken."""
    answer: Answer | None


class Report(NamedTuple):
    """What came of the lives of a server."""

    num_lives: int
    outcomes: Counter[str]
    problems: list[str]


class Client(threading.Thread):
    """Sends known requests, several on one connection, and goes on where none can be had."""

    def __init__(self, address: Address, expected: Expected, seed: int):
        super().__init__(daemon=True)
        self._address = address
        self._expected = expected
        self._rng = Random(seed)
        self.is_over = threading.Event()
        self.sent: list[Sent] = []
        self.problems: list[str] = []

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                with connected(self._address) as line, line.makefile("rb") as file:
                    for _ in range(self._rng.choice([1, 1, 20])):
                        if self.is_over.is_set() or self._ask(line, file) is None:
                            break
            except ConnectionError:
                self.is_over.wait(0.02)  # there is no server now
            except (Hangs, Damaged) as error:
                self.problems.append(repr(error))

    def _ask(self, line: socket.socket, file) -> Answer | None:
        number, mark = self._rng.randrange(len(self._expected.requests)), uuid.uuid4().hex
        path, body, headers = self._expected.requests[number]
        data = request(path, body, **headers, x_request_id=mark)
        half = self._rng.randrange(len(data)) if self._rng.random() < 0.3 else len(data)  # the rest comes later
        was_whole = send(line, [data[:half], data[half:]], 0.1 if half < len(data) else 0.0)
        answer = receive(file)
        self.sent.append(Sent(mark, number, was_whole, answer))
        return answer


def live_and_die(folder: Path, flags: list[str], seconds: float, seed: int) -> Report:
    """Let clients send, while the server is ended and started until the time is over."""
    rng, videos = Random(seed), make_videos(folder)
    port = free_port(rng)
    clients: list[Client] = []
    lines, problems, num_lives = [], [], 0
    end_sec = time.monotonic() + seconds
    try:
        while time.monotonic() < end_sec or num_lives < 2:
            place = folder / f"life {num_lives}"
            place.mkdir()
            with start(flags, place, port=port, temp_dir=folder / "under way") as server:
                clients = clients or begin_clients(address(server), videos)
                time.sleep(rng.uniform(*LIVES_SEC))
                code = stop(server)
                problems += [] if code == 0 else [f"life {num_lives}: exit code {code}"]
                problems += [f"left: {path}" for path in server.temp_dir.iterdir()] + problems_of_log(server.log())
                lines += server.requests()
            num_lives += 1
    finally:
        for client in clients:
            client.is_over.set()
        for client in clients:
            client.join()
    return compare(clients, lines, num_lives, problems)


def begin_clients(address: Address, videos: Videos) -> list[Client]:
    expected = Expected(address, videos)
    clients = [Client(address, expected, number) for number in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    return clients


def compare(clients: list[Client], lines: list[dict], num_lives: int, problems: list[str]) -> Report:
    """What clients got, and what the server has logged: neither may know of an answer that the other does not."""
    logged = {line["id"]: line for line in lines}
    sent = [one for client in clients for one in client.sent]
    problems = problems + [problem for client in clients for problem in client.problems]
    problems += [problem for client in clients for one in client.sent if (problem := _wrong(one, client, logged))]
    twice = [mark for mark, number in Counter(line["id"] for line in lines).items() if number > 1]
    problems += [f"the log has these twice: {twice}"] if twice else []
    outcomes = Counter(str(one.answer.status) if one.answer else "never let in" for one in sent)
    if not outcomes["200"]:
        problems.append("no request was answered")
    return Report(num_lives, outcomes, problems)


def _wrong(sent: Sent, client: Client, logged: dict[str, dict]) -> str:
    line = logged.get(sent.id)
    if sent.answer is None:
        return f"let in, whole: {sent.was_whole}, but not answered: {line}" if line else ""
    if line is None or line["status"] != sent.answer.status or sent.answer.headers.get("x-request-id") != sent.id:
        return f"answered {sent.answer}, but logged {line}"
    if sent.answer.status == 503 and "retry-after" in sent.answer.headers:
        return ""
    if sent.answer.status != 200 or not same(said(sent.answer), client._expected.answers[sent.number]):
        return f"a wrong answer: {sent.answer}"
    return ""


def free_port(rng: Random) -> int:
    while True:
        port = rng.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the whole (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile ") as name:
        report = live_and_die(Path(name), model_flags(Path(name)), args.seconds, args.seed)
    print(f"{report.num_lives} lives; {dict(report.outcomes)}; {len(report.problems)} problems")
    print("\n".join(report.problems[:50]))
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
