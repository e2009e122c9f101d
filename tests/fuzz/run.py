"""Feeds damaged files to every parser of user files: none may crash, hang, fill the memory or end in a traceback.

    python tests/fuzz/run.py --runs 1000                        # so many files for each parser
    python tests/fuzz/run.py "pth zip" yaml --seconds 900       # so long for each of two
    python tests/fuzz/run.py pdparams --guided --seconds 900    # by coverage, if atheris is installed

Input i of a parser depends on --seed and i alone. A finding's file and its reason are kept in --save_dir, and the exit
code is 1. An input may take 5 s of processor time, and the memory that its target allows.
"""

import argparse
import ctypes
import hashlib
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from common import command_line  # noqa: E402
from fuzz.mutate import mutate  # noqa: E402
from fuzz.targets import TARGETS, Target  # noqa: E402

CPU_SEC, WALL_SEC = 5, 120
"""What one input may take; the kernel ends the process then."""
COLUMNS = "{:20} {:>9} {:>9} {:>9} {:>12} {:>9} {:>8}"


class Progress(ctypes.Structure):
    """What the worker and the main process share; of the input `index`, nothing is counted yet."""

    _fields_ = [(name, ctypes.c_int64) for name in ("index", "refused", "accepted", "slowest_us", "peak_kb")]


class Finding(NamedTuple):
    target: str
    index: int
    reason: str


def make_input(name: str, seeds: list[bytes], seed: int, index: int) -> bytes:
    """A damaged file."""
    target, rng = TARGETS[name], random.Random(f"{seed} {name} {index}")
    return target.pack(mutate(rng.choice(seeds), seeds, rng, target.tokens, target.is_pickle))


def judge(target: Target, folder: Path, content: bytes) -> tuple[bool, str]:
    """Whether a file was accepted, and what is wrong with the answer, if anything."""
    try:
        target.parse(folder, content)
    except (ValueError, OSError) as error:
        if not command_line.is_mistake(error):
            return False, f"a library raised it: {''.join(traceback.format_exception(error))[-3000:]}"
        return False, ""
    except BaseException as error:
        return False, "".join(traceback.format_exception(error))[-3000:]
    return True, ""


def work(
    name: str, seeds: list[bytes], seed: int, indices: range, until_sec: float, progress: Progress, findings: Any
) -> None:
    """Judge the inputs in a process of its own, which they may break."""
    target = TARGETS[name]
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped_bytes + (target.max_mb << 20),) * 2)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begun_kb = _peak_kb()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for index in indices:
            if time.monotonic() > until_sec:
                break
            progress.index = index
            content = make_input(name, seeds, seed, index)
            signal.setitimer(signal.ITIMER_PROF, CPU_SEC)
            signal.alarm(WALL_SEC)
            begun_sec = time.process_time()
            is_accepted, problem = judge(target, Path(folder), content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            progress.slowest_us = max(progress.slowest_us, int(1e6 * (time.process_time() - begun_sec)))
            progress.accepted += is_accepted
            progress.refused += not is_accepted
            progress.peak_kb = max(progress.peak_kb, _peak_kb() - begun_kb) if index % 50 == 0 else progress.peak_kb
            if problem:
                findings.put(Finding(name, index, problem))
        progress.peak_kb = max(progress.peak_kb, _peak_kb() - begun_kb)
    signal.alarm(0)


def _peak_kb() -> int:
    """The largest memory of this process since its peak was reset."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


def fuzz(name: str, seed: int, num_runs: int, seconds: float) -> tuple[Progress, list[Finding]]:
    """Judge damaged files of one parser."""
    context = multiprocessing.get_context("fork")  # what is loaded need not be loaded again
    seeds, until_sec = TARGETS[name].seeds(), time.monotonic() + seconds
    progress, queue, found = context.Value(Progress, lock=False), context.SimpleQueue(), []
    next_index = 0
    while next_index < num_runs and time.monotonic() < until_sec:
        progress.index = next_index
        arguments = (name, seeds, seed, range(next_index, num_runs), until_sec, progress, queue)
        process = context.Process(target=work, args=arguments)
        process.start()
        while process.is_alive() or not queue.empty():
            process.join(0.02)
            while not queue.empty():
                found.append(queue.get())
        if process.exitcode == 0:
            break
        found.append(Finding(name, progress.index, _death(process.exitcode)))
        progress.refused += 1
        next_index = progress.index + 1
    return progress, found


def _death(exit_code: int) -> str:
    limits = {-signal.SIGPROF: f"over {CPU_SEC} s of processor time", -signal.SIGALRM: f"over {WALL_SEC} s"}
    return limits.get(exit_code) or f"the process ended with {exit_code}"


def keep(finding: Finding, seed: int, save_dir: Path) -> None:
    """Save a finding's file and its reason."""
    content = make_input(finding.target, TARGETS[finding.target].seeds(), seed, finding.index)
    stem = f"{finding.target.replace(' ', '_')}-{seed}-{finding.index}-{hashlib.sha256(content).hexdigest()[:8]}"
    save_dir.mkdir(parents=True, exist_ok=True)
    (save_dir / f"{stem}.bin").write_bytes(content)
    (save_dir / f"{stem}.txt").write_text(finding.reason)


def rows(names: list[str], seed: int, num_runs: int, seconds: float, save_dir: Path) -> Iterator[int]:
    """Fuzz each parser and print its row; gives the number of its findings."""
    head = ("parser", "inputs", "refused", "accepted", "slowest [ms]", "peak [MB]", "findings")
    print(COLUMNS.format(*head), flush=True)
    for name in names:
        progress, found = fuzz(name, seed, num_runs, seconds)
        for finding in found:
            keep(finding, seed, save_dir)
        num_inputs = progress.refused + progress.accepted
        figures = (num_inputs, progress.refused, progress.accepted, round(progress.slowest_us / 1000))
        print(COLUMNS.format(name, *figures, progress.peak_kb >> 10, len(found)), flush=True)
        yield len(found)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"parsers (default: all): {', '.join(TARGETS)}")
    parser.add_argument("--runs", type=int, default=10**12, help="files for each parser")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    parser.add_argument("--save_dir", type=Path, default=Path("fuzz_findings"), help="where findings are kept")
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.targets if name not in TARGETS]:
        parser.error(f"unknown parser {unknown[0]!r}; known: {', '.join(TARGETS)}")
    if args.runs == 10**12 and args.seconds == float("inf"):
        parser.error("give --runs or --seconds")
    names = args.targets or list(TARGETS)
    if args.guided:
        from fuzz import guided

        return guided.fuzz(names, args.runs, args.seconds, args.seed, args.save_dir)
    return int(sum(rows(names, args.seed, args.runs, args.seconds, args.save_dir)) > 0)


if __name__ == "__main__":
    sys.exit(main())
