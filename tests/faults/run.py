"""The fault campaign: hurt every command in every way, at random, and see what is lost.

    python tests/faults/run.py                                    # at least 500 faults
    python tests/faults/run.py --count=100 --seed=7 --only=train,infer
    python tests/faults/run.py --short                            # half a minute, as the test suite does

Prints a table, a row for each command and fault: how many were injected, the exit codes, what the user sees in the end,
and how many lost something, hung, or ended in a way that docs/reliability.md does not explain.

Exit code: 0 if none did, 1 if one did.
"""

import argparse
import concurrent.futures
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from bench import COMMANDS, Bench, Command, Place, result  # noqa: E402
from process import Ended  # noqa: E402
from scenarios import FAULTS, QUICKNESS, Fault  # noqa: E402

from conftest import make_small_set  # noqa: E402

TIME = re.compile(r"^\d\d:\d\d:\d\d ")
FILE = re.compile(r'^ +File "(/.+?)"', re.MULTILINE)  # of a traceback
BAR = "\\|"  # in a cell of a table
SEEN_SHOWN = 120  # characters in the table
ATTEMPTS = 3  # for each fault that is to be injected: some come when the run is over
SHORT = {
    "SIGKILL": ("infer", "download"),
    "SIGTERM": ("download",),
    "disk full from the n-th write on": ("infer", "download"),
    "n-th write fails (EIO)": ("infer", "download"),
    "n-th read fails (EIO)": ("infer",),
    "a video fails to be read (EIO)": ("infer",),
    "two runs in one folder": ("download",),
    "the clock jumps": ("infer",),
}
"""What --short injects, once each."""


class Verdict(NamedTuple):
    """What came of one fault."""

    code: int | None
    output: str
    """All that the user saw."""
    problem: str
    """Empty, or "lost", "hung" or "unexplained" with what was."""

    @property
    def seen(self) -> str:
        """What tells the user what happened: the last error or stop, else the last line, without the time."""
        if self.code is not None and self.code < 0:
            return f"({signal.strsignal(-self.code)}, says the shell)"
        lines = self.output.strip().splitlines() or [""]
        telling = [line for line in lines if "error: " in line or "stop" in line] or lines
        return TIME.sub("", telling[-1])


def judge(fault: Fault, ended: Ended) -> str:
    """What is wrong with how a run ended; empty if nothing."""
    last = ended.output.strip().splitlines()[-1:] or [""]
    if ended.code is None:
        return f"hung: {last[0]}"
    if _is_of_a_start(ended):
        return ""
    if "Traceback (most recent call last)" in ended.output or "--- Logging error" in ended.output:
        return f"unexplained: a traceback: {last[0]}"
    if ended.code not in fault.codes:
        return f"unexplained: exit code {ended.code}: {last[0]}"
    if ended.code == 2 and "error: " not in ended.output:
        return f"unexplained: exit code 2 without a line: {last[0]}"
    if ended.left_behind:
        return f"unexplained: processes are left: {', '.join(ended.left_behind)}"
    return ""


def _is_of_a_start(ended: Ended) -> bool:
    """Whether it ended in one of the tracebacks that docs/reliability.md names: of a Python that is just starting."""
    last = ended.output.strip().splitlines()[-1:]
    if last == ["KeyboardInterrupt"]:
        return ended.output.startswith(("Traceback", "Fatal Python error: init"))
    files = FILE.findall(ended.output)
    was_killed = ended.code in (-signal.SIGKILL, -signal.SIGTERM)
    return was_killed and bool(files) and all("/multiprocessing/" in file for file in files)


def what_is_lost(bench: Bench, fault: Fault, command: Command, place: Place, last: Ended) -> str:
    """Compare what there is, after the same command was given again, with what an undisturbed run leaves."""
    bench.heal(place)
    if last.code != 0 or not fault.result_counts:
        # where videos were others for a while, going on would keep what is known of those
        again = bench.run_undisturbed(command, place, *(command.again if fault.result_counts else ()))
        is_whole = again.code == 2 and "holds an export already" in again.output
        if again.code != 0 and not is_whole:
            return f"lost: the same command ends with {again.code}: {again.output.strip()[-300:]}"
    try:
        left = result(place)
    except (AssertionError, ValueError, OSError) as error:
        return f"lost: damaged: {error}"
    expected = bench.reference(command.name).left
    if not fault.result_counts and command.name == "train":
        left, expected = dict.fromkeys(left), dict.fromkeys(expected)
    differing = sorted(name for name in left.keys() | expected.keys() if left.get(name, "-") != expected.get(name, "-"))
    return f"lost: differs from an undisturbed run: {', '.join(differing)}" if differing else ""


def _without(output: str, place: Place, bench: Bench) -> str:
    """What was said without the folders of the campaign."""
    return output.replace(str(place.folder), "...").replace(str(bench.folder), "...")


def play(bench: Bench, fault: Fault, command: Command, count: int, seed: int) -> list[Verdict]:
    """Inject a fault `count` times."""
    rng, verdicts = Random(seed), []
    in_a_row = fault.in_a_row if command.name == "train" else 1
    for _ in range(ATTEMPTS * count):
        if len(verdicts) >= count:
            break
        place, struck = bench.place(), []
        while len(struck) < min(in_a_row, count - len(verdicts)):
            ended = fault.hurt(bench, command, place, rng)
            if not ended.has_struck:
                break
            struck.append(Verdict(ended.code, _without(ended.output, place, bench), judge(fault, ended)))
        problem = what_is_lost(bench, fault, command, place, ended)
        if problem and not (struck and struck[-1].problem):
            struck[-1:] = [Verdict(ended.code, _without(ended.output, place, bench), problem)]
        verdicts += struck
        shutil.rmtree(place.folder)
    return verdicts


class Part(NamedTuple):
    """A piece of the campaign, of which none takes long."""

    fault: Fault
    command: str
    count: int
    seed: int


def short_plan(seed: int) -> list[Part]:
    return [Part(fault, name, 1, seed) for fault in FAULTS for name in SHORT.get(fault.name, ())]


def plan(count: int, only: list[str], seed: int) -> list[Part]:
    """So many faults, more of those with a larger share; one at least of each for each command."""
    rows = [(fault, name) for fault in FAULTS for name in fault.commands.split() if not only or name in only]
    for left_out in {fault.name: fault for fault, _ in rows if not fault.is_possible()}:
        print(f"left out, since this machine does not permit it: {left_out}")
    rows = [(fault, name) for fault, name in rows if fault.is_possible()]
    total = sum(fault.share * QUICKNESS[name] for fault, name in rows)
    parts = []
    for fault, name in rows:
        left = max(round(fault.share * QUICKNESS[name] / total * count), 1)
        number = 0
        while left:
            size = min(left, max(fault.in_a_row, 3))
            parts.append(Part(fault, name, size, zlib.crc32(f"{seed} {fault.name} {name} {number}".encode())))
            left, number = left - size, number + 1
    return parts


def table(verdicts: dict[tuple[str, str], list[Verdict]]) -> str:
    """Markdown, a row for each command and fault."""
    lines = [
        "| command | fault | faults | exit codes | what the user sees in the end | lost | hung | unexplained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = [(fault.name, name) for fault in FAULTS for name in fault.commands.split()]
    for fault, name in sorted(verdicts, key=order.index):
        found = verdicts[fault, name]
        codes = ", ".join(f"{code}: {number}" for code, number in Counter(one.code for one in found).most_common())
        ((seen, _),) = Counter(one.seen for one in found).most_common(1) or [("", 0)]
        kinds = Counter(one.problem.partition(":")[0] for one in found)
        seen = f"`{seen[:SEEN_SHOWN]}`" if seen else "nothing"
        cells = [
            name,
            fault,
            len(found),
            codes,
            seen.replace("|", "\\|"),
            kinds["lost"],
            kinds["hung"],
            kinds["unexplained"],
        ]
        lines.append(f"| {' | '.join(str(cell).replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines)


def campaign(
    parts: list[tuple[Fault, str, int, int]], num_lanes: int, end_sec: float
) -> dict[tuple[str, str], list[Verdict]]:
    """Inject the faults, several at a time; {(fault, command): what came of them}."""
    server = subprocess.Popen([sys.executable, HERE / "server.py"], stdout=subprocess.PIPE, text=True)
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    folder = Path(tempfile.mkdtemp(prefix="faults "))  # no TemporaryDirectory: each fork would remove it at its end
    folder.chmod(0o755)
    try:
        bench = Bench(
            folder, make_small_set(folder / "small set", num_train=6, num_val=4), server.stdout.readline().strip()
        )
        for name in dict.fromkeys(["train", *(name for _, name, *_ in parts)]):
            print(f"{name}: {bench.reference(name).seconds:.1f} s undisturbed", flush=True)
        with concurrent.futures.ProcessPoolExecutor(num_lanes, mp_context=multiprocessing.get_context("fork")) as lanes:
            futures = {}
            for fault, name, size, part_seed in parts:
                futures[lanes.submit(_play, bench, fault.name, name, size, part_seed)] = (fault.name, name)
            for future in concurrent.futures.as_completed(futures):
                row, found = futures[future], future.result()
                verdicts.setdefault(row, []).extend(found)
                tell(row, found, sum(map(len, verdicts.values())))
                if time.monotonic() > end_sec:
                    lanes.shutdown(cancel_futures=True)
                    break
    finally:
        server.kill()
        shutil.rmtree(folder)
    return verdicts


def tell(row: tuple[str, str], found: list[Verdict], num_done: int) -> None:
    """Say how far the campaign is, and all of what ended badly."""
    fault, command = row
    print(f"{time.strftime('%H:%M:%S')} {num_done} faults; {command}, {fault}", flush=True)
    for one in found:
        if one.problem:
            print(f"{command}, {fault}: {one.problem}\n{textwrap.indent(one.output, '    | ')}", flush=True)


def _play(bench: Bench, fault: str, command: str, count: int, seed: int) -> list[Verdict]:
    found = next(one for one in FAULTS if one.name == fault)
    try:
        return play(bench, found, COMMANDS[command], count, seed)
    except Exception:  # a defect of the campaign is told like any other problem, and the rest goes on
        return [Verdict(None, traceback.format_exc(), "unexplained: the campaign itself failed")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="faults, at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and places (default: %(default)s)")
    parser.add_argument("--only", default="", help="commands, separated by commas (default: all)")
    parser.add_argument("--lanes", type=int, default=2, help="faults at a time (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after that")
    parser.add_argument("--short", action="store_true", help="a dozen faults, the quickest")
    args = parser.parse_args()
    started_sec = time.monotonic()
    only = [name for name in args.only.split(",") if name]
    parts = short_plan(args.seed) if args.short else plan(args.count, only, args.seed)
    Random(args.seed).shuffle(parts)  # so that a campaign that ends early has seen something of all
    verdicts = campaign(parts, args.lanes, started_sec + 60 * args.minutes)
    found = [one for row in verdicts.values() for one in row]
    print(table(verdicts))
    kinds = Counter(one.problem.partition(":")[0] for one in found)
    print(
        f"{len(found)} faults in {(time.monotonic() - started_sec) / 60:.0f} min: {kinds['lost']} lost, "
        f"{kinds['hung']} hung, {kinds['unexplained']} unexplained"
    )
    never = [f"{command}: {fault}" for (fault, command), struck in verdicts.items() if not struck]
    if never:
        print(f"no run was struck by {', '.join(never)}; the campaign proves nothing of that")
    return int(bool(never) or any(one.problem for one in found))


if __name__ == "__main__":
    sys.exit(main())
