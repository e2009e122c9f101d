"""Damaged videos, thousands of them: each must be read or refused, within time and memory, and no process may die.

    python tests/fuzz_videos.py --runs 10000            # some 20 minutes on one core
    python tests/fuzz_videos.py --runs 1000 --seed 7 --keep /tmp/findings

Files of many kinds (tests/kinds.py) are damaged: bytes, pieces, boxes' and units' sizes, sizes of frames. Each is read
as training reads it, selectively and in order, and played in windows, in a process whose address space is limited to
MEMORY_BYTES. Files that end the process, take longer than SLOWEST_SEC or raise anything but VideoError are findings:
they are kept, and the exit code is 1.
"""

import argparse
import collections
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av  # noqa: E402
import numpy as np  # noqa: E402
from tabulate import tabulate  # noqa: E402

import spoiled_kinds  # noqa: E402, F401  adds its kinds
from common import command_line  # noqa: E402
from datareader.decode import VideoError, decode_video  # noqa: E402
from datareader.sampling import segment_indices  # noqa: E402
from datareader.stream import play, windows  # noqa: E402
from kinds import KINDS  # noqa: E402

MEMORY_BYTES = 4 << 30
TIMEOUT_SEC, SLOWEST_SEC = 10.0, 60.0
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MARKS = (b"stsd", b"avc1", b"avcC", b"hvcC", b"stsz", b"stts", b"ctts", b"stsc", b"stco", b"elst", b"tkhd", b"mdhd",
         b"trun", b"tfhd", b"moov", b"mdat", b"LIST", b"strh", b"strf", b"idx1", b"\0\0\1", b"\x1aE\xdf\xa3",
         b"\x1fC\xb6u", b"\xa3", b"\xb0", b"\xba", b"\x47")  # fmt: skip


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """One or two kinds of damage."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        length = max(len(data), 1)
        at, size = int(rng.integers(length)), int(2 ** rng.uniform(0, 12))
        what = int(rng.integers(7))
        if what == 0:  # bytes anywhere
            for place in rng.integers(length, size=int(rng.integers(1, 30))):
                data[place : place + 1] = bytes([int(rng.integers(256))])
        elif what == 1:  # bytes at the beginning, where the headers are
            for place in rng.integers(min(length, 2000), size=int(rng.integers(1, 10))):
                data[place : place + 1] = bytes([int(rng.integers(256))])
        elif what == 2:
            del data[at : at + size]
        elif what == 3:
            data[at:at] = data[int(rng.integers(length)) :][:size]
        elif what == 4:
            data[at : at + size] = rng.bytes(size)
        elif what == 5:
            del data[max(at, 100) :]
        else:  # a number near a mark of the format
            mark = MARKS[int(rng.integers(len(MARKS)))]
            found = data.find(mark, at)
            place = max((data.find(mark) if found < 0 else found) + int(rng.integers(-4, 60)), 0)
            width = int(rng.choice([1, 2, 4]))
            number = int(rng.choice(EXTREMES)) & (1 << 8 * width) - 1
            data[place : place + width] = number.to_bytes(width, "big")
    return bytes(data)


def read(path: str) -> str:
    """What became of it: "read" or "refused", by each way of reading."""
    outcomes = []
    for decoder in ("selective", "pyav"):
        try:
            decoded = decode_video(
                path, lambda number: segment_indices(number, 7), decoder, TIMEOUT_SEC, lambda picture: picture[:8, :8]
            )
            outcomes.append("in order" if decoded.doubt else "read")
        except VideoError:
            outcomes.append("refused")
    try:
        for _ in windows(play(path), 1, 1, 2, 1, lambda picture: picture[:8, :8].copy()):
            pass
        outcomes.append("played")
    except VideoError:
        outcomes.append("refused")
    return ", ".join(outcomes)


def work(connection: Connection) -> None:
    """Read the files that are named, one after the other: (outcome, whether it is a finding, peak memory in bytes)."""
    av.logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while path := connection.recv():
        try:
            outcome, is_finding = read(path), False
        except Exception as error:  # whatever is raised but VideoError is what this looks for
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome, is_finding = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})", True
        connection.send((outcome[:200], is_finding, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


class Reader:
    """A process that reads files; started again after one that ended it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def read(self, path: Path) -> tuple[str, bool, int]:
        self._connection.send(str(path))
        try:
            if self._connection.poll(SLOWEST_SEC):
                return self._connection.recv()
            outcome = f"takes longer than {SLOWEST_SEC:g} s"
        except EOFError:
            self._process.join()
            outcome = f"the process ended with {self._process.exitcode}"
        self._process.kill()
        self._start()
        return outcome, True, 0

    def close(self) -> None:
        self._connection.send("")
        self._process.join()


def fuzz(num_runs: int, seed: int, keep: Path) -> int:
    """Returns the number of findings."""
    outcomes: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    num_findings, peak_bytes, started_sec = 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        names = list(KINDS)[:: max(len(KINDS) // max(num_runs // 50, 12), 1)]  # some 50 files of each at least
        sources = []
        for number, name in enumerate(names):
            (Path(folder) / str(number)).mkdir()
            sources.append(KINDS[name](Path(folder) / str(number)))
        reader = Reader()
        for run in range(num_runs):
            rng = np.random.default_rng([seed, run])
            source = sources[run % len(sources)]
            path = Path(folder) / f"damaged{source.suffix}"
            path.write_bytes(damage(source.read_bytes(), rng))
            outcome, is_finding, memory_bytes = reader.read(path)
            peak_bytes = max(peak_bytes, memory_bytes)
            outcomes[source.suffix][outcome if not is_finding else "FINDING"] += 1
            if is_finding:
                num_findings += 1
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}-{run}{source.suffix}").write_bytes(path.read_bytes())
                print(f"finding: {names[run % len(names)]}, run {run}: {outcome}", flush=True)
            if run % 1000 == 999:
                print(f"{run + 1} files, {num_findings} findings, {peak_bytes >> 20} MB", flush=True)
        reader.close()
    columns = sorted({outcome for counter in outcomes.values() for outcome in counter})
    rows = [[suffix, sum(of.values()), *(of[outcome] for outcome in columns)] for suffix, of in outcomes.items()]
    print(tabulate(rows, ["files", "number", *columns], "github"))
    print(f"{num_findings} findings in {num_runs} files; peak memory {peak_bytes >> 20} MB of {MEMORY_BYTES >> 20}; "
          f"{time.monotonic() - started_sec:.0f} s")  # fmt: skip
    return num_findings


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--runs", type=command_line.positive_int, default=200, help="files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"), help="folder for files that are findings")
    args: argparse.Namespace = parser.parse_args(argv)
    os.environ["SVT_LOG"] = "0"
    return int(fuzz(args.runs, args.seed, args.keep) > 0)


if __name__ == "__main__":
    command_line.run(lambda: sys.exit(main()))
