"""The campaign of hostile clients: thousands of requests that no honest client sends, while honest ones are served.

    python tests/hostile/run.py                          # 5,000 requests, some minutes
    python tests/hostile/run.py --count=500 --seed=7 --only="slow,video"

Prints a table, a row for each kind: how many were sent, and what came of them. The exit code is 1 if a status was not
as documented, an answer was damaged or another's, a request hung, an honest one failed, or the server is not as it was
before: its queue, folder, processes, open files, memory, log, and how it ends.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from tabulate import tabulate  # noqa: E402

from hostile import field_kinds, http_kinds, slow_kinds, video_kinds  # noqa: E402, F401  they fill the table
from hostile.honest import Expected, HonestClient  # noqa: E402
from hostile.served import Look, address, look, model_flags, problems_of_log, settles, start, stop  # noqa: E402
from hostile.table import KINDS, Kind, Target  # noqa: E402
from hostile.videos import Videos, make_videos  # noqa: E402
from hostile.wire import TOKEN, ask  # noqa: E402
from serve_process import ServeProcess  # noqa: E402

NUM_HOSTILE, NUM_HONEST = 16, 4
MOST_MB = 200  # that a server may have grown by, decoded bombs and all
ALWAYS_RIGHT = ("429",)  # the queue is full; Retry-After has been checked


class Verdict(NamedTuple):
    """What came of one request."""

    kind: str
    outcome: str
    problem: str = ""


class Report(NamedTuple):
    """What came of a campaign."""

    verdicts: list[Verdict]
    honest: Counter[int]
    """Statuses that honest clients got."""
    problems: list[str]
    before: Look
    after: Look

    def table(self) -> str:
        """A row for each kind."""
        rows = []
        for name in dict.fromkeys(one.kind for one in self.verdicts):
            found = [one for one in self.verdicts if one.kind == name]
            counts = Counter(one.outcome for one in found)
            outcomes = ", ".join(f"{outcome}: {number}" for outcome, number in sorted(counts.items()))
            rows.append([name, len(found), outcomes, sum(bool(one.problem) for one in found)])
        return tabulate(
            rows, ["kind", "requests", "what came of them", "wrong"], tablefmt="github", disable_numparse=True
        )


def play(kind: Kind, target: Target, seed: str) -> Verdict:
    """Send one hostile request."""
    try:
        outcome = kind.play(Random(seed), target)
    except Exception:
        return Verdict(kind.name, "wrong", f"{kind.name} (seed {seed}): {traceback.format_exc()}")
    if outcome in (*kind.outcomes, *ALWAYS_RIGHT):
        return Verdict(kind.name, outcome)
    expected = " or ".join(kind.outcomes)
    return Verdict(kind.name, outcome, f"{kind.name} (seed {seed}): {outcome} in place of {expected}")


def attack(target: Target, kinds: list[Kind], count: int, seed: int) -> list[Verdict]:
    """Send so many, of all kinds alike, from several threads in a random order."""
    plan = [(kinds[number % len(kinds)], f"{seed} {number}") for number in range(count)]
    Random(seed).shuffle(plan)
    waiting: SimpleQueue[tuple[Kind, str]] = SimpleQueue()
    for one in plan:
        waiting.put(one)
    verdicts: list[Verdict] = []

    def work() -> None:
        while True:
            try:
                kind, number = waiting.get_nowait()
            except Empty:
                return
            verdicts.append(play(kind, target, number))
            if len(verdicts) % 500 == 0:
                print(f"{time.strftime('%H:%M:%S')} {len(verdicts)} requests", flush=True)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(NUM_HOSTILE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(verdicts, key=lambda one: list(KINDS).index(one.kind))


@contextmanager
def trap() -> Iterator[tuple[int, list[str]]]:
    """A port of this machine that nobody should connect to, and who did."""
    caught: list[str] = []
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        listener.settimeout(0.1)
        is_over = threading.Event()

        def listen() -> None:
            while not is_over.is_set():
                try:
                    connection, peer = listener.accept()
                except TimeoutError:
                    continue
                caught.append(f"the server has connected to the trap, from {peer}")
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], caught
        finally:
            is_over.set()
            thread.join()


def campaign(folder: Path, flags: list[str], count: int, seed: int, kinds: list[Kind]) -> Report:
    """Start a server, attack it, and look at what is left."""
    videos = make_videos(folder)
    with start(flags, folder, f"--token={TOKEN}", "--queue=12") as server, trap() as (trap_port, caught):
        expected = Expected(address(server), videos)
        before = look(server)
        verdicts, honest = play_all(server, expected, Target(address(server), videos, trap_port), kinds, count, seed)
        problems = [one.problem for one in verdicts if one.problem] + caught
        problems += [problem for one in honest for problem in one.problems]
        problems += recovered(server, expected, videos, before)
        after = look(server)
        if after.resident_mb > before.resident_mb + MOST_MB:
            problems.append(f"memory: {before.resident_mb:.0f} -> {after.resident_mb:.0f} MB")
        problems += ended(server)
    statuses = sum((one.statuses for one in honest), Counter())
    if not statuses[200]:
        problems.append("no honest client was served")
    return Report(verdicts, statuses, problems, before, after)


def play_all(
    server: ServeProcess, expected: Expected, target: Target, kinds: list[Kind], count: int, seed: int
) -> tuple[list[Verdict], list[HonestClient]]:
    honest = [HonestClient(target.address, expected, number, pause_sec=0.02) for number in range(NUM_HONEST)]
    for one in honest:
        one.start()
    try:
        verdicts = attack(target, kinds, count, seed)
    finally:
        for one in honest:
            one.is_over.set()
        for one in honest:
            one.join()
    return verdicts, honest


def recovered(server: ServeProcess, expected: Expected, videos: Videos, before: Look) -> list[str]:
    """What of a server, that nobody asks any more, is not as it was."""
    problems = []
    again = Expected(address(server), videos)
    if again.answers != expected.answers:
        problems.append("the answers are others than before")
    for gauge in ("tsn_queue", "tsn_sending"):
        if not settles(lambda gauge=gauge: metric(server, gauge) == 0):
            problems.append(f"{gauge} is {metric(server, gauge):g}")
    if not settles(lambda: not server.files()):
        problems.append(f"files are left: {server.files()}")
    if not settles(lambda: look(server)[2:] == before[2:]):
        problems.append(f"processes: {look(server)} in place of {before}")
    if not settles(lambda: look(server).num_files <= before.num_files):
        problems.append(f"open files: {before.num_files} -> {look(server).num_files}")
    return problems


def metric(server: ServeProcess, name: str) -> float:
    """A number of /metrics, which asks for the token."""
    text = ask(address(server), "/metrics").body.decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


def ended(server: ServeProcess) -> list[str]:
    """What is wrong with how a server ends."""
    code = stop(server)
    problems = [] if code == 0 else [f"SIGTERM ends it with exit code {code}"]
    if left := list(server.temp_dir.iterdir()):
        problems.append(f"its folder is left: {left}")
    return problems + problems_of_log(server.log())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="requests (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--only", default="", help="kinds whose names hold one of these, separated by commas")
    args = parser.parse_args()
    kinds = [kind for kind in KINDS.values() if any(part in kind.name for part in args.only.split(","))]
    begun_sec = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile ") as name:
        report = campaign(Path(name), model_flags(Path(name)), args.count, args.seed, kinds)
    print(report.table())
    print(
        f"{len(report.verdicts)} hostile requests in {(time.monotonic() - begun_sec) / 60:.1f} min; honest ones: "
        f"{dict(report.honest)}; before: {report.before}; after: {report.after}; {len(report.problems)} problems"
    )
    print("\n".join(report.problems[:100]))
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
