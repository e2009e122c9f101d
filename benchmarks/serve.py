"""How many requests serve.py answers, how soon, and in what memory; beside a plain loop and a single-lock server.

    python benchmarks/serve.py                                     # ResNet-50, 3 segments of 224 px: an hour
    python benchmarks/serve.py --clients 1 16 --seconds 10 --repeats 1
    python benchmarks/serve.py --soak 20000                        # does the memory stay?

Clips of 10 s, 340x256, as dataset/kinetics/transcode.py makes them, are sent from this machine, whose cores the clients
share with the server: what they take of them is told. Every answer is checked against the plain loop's. All take turns,
and the figures are medians over the repeats, so that a noisy machine blurs the ratios less. What is compared:

- "plain loop": infer.py over a list, its workers and its loop and nothing else: what a server could reach at most.
- "serve.py": as users start it, asked with bare videos; "serve.py, JSON": asked as PaddleX' clients ask.
- "single lock": benchmarks/single_lock.py, which serves as PaddleX does, asked as PaddleX' clients ask. It computes by
  Paddle Inference, which PaddleX itself uses, in float32; "same engine" by what serve.py uses.

A closed loop has clients that ask again as soon as they are answered. An open loop asks at random times, so many per
second as are a share of what was answered at best, and counts from when a request was due. Memory is resident memory of
a server and its processes, in which pages that they share count several times. "Cores" are seconds of processor time
per second. Every measurement is a JSON line, before the tables. Needs Linux, requirements-serve.txt.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from benchmarks.infer import ANSWER, PRECISIONS  # noqa: E402
from benchmarks.process_tree import family, resident_mb  # noqa: E402
from benchmarks.processor import read_processor  # noqa: E402
from common import command_line  # noqa: E402
from common.processes import num_cores  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256 transcoded, made"
KEY_FRAME_EVERY = 16  # as transcode.py
ENGINES = ("auto", "eager", "paddle", "onnxruntime", "openvino")
SHARES = (0.25, 0.5, 0.75, 0.9)  # of the capacity, in open loops
COMPARED_CLIENTS, COMPARED_SHARE = 16, 0.5
SOAK_STEP, SOAK_CLIENTS, WARM_UP_SHARE = 1000, 16, 0.2
START_SEC, STOP_SEC, SPARE_SEC = 600.0, 30.0, 600.0  # what waiting for a process is bounded by
ADDRESS = re.compile(r"(?:ready at|running on) http://127\.0\.0\.1:(\d+)")
LOOP, OURS, OURS_JSON = "plain loop", "serve.py", "serve.py, JSON"
SINGLE = {"paddle": "single lock", "same": "single lock, same engine"}
FIGURES = {
    "requests/s": "rate", "p50, ms": "p50_ms", "p95, ms": "p95_ms", "p99, ms": "p99_ms", "memory, MB": "memory_mb",
    "server, cores": "server_cores", "clients, cores": "client_cores", "answers": "num_requests",
}  # fmt: skip
CLOSED = {"what": "what", "clients": "num_clients"} | FIGURES | {"plain loop = 1": "ratio"}
OPEN = {"share": "share", "asked/s": "asked"} | FIGURES | {"p99 / p50": "ratio", "refused": "num_refused"}
SOAK = {"requests": "num_requests", "requests/s": "rate", "server, MB": "server_mb", "decoders, MB": "decoders_mb"}

Row = dict[str, Any]


class System(NamedTuple):
    """What is asked, and how."""

    port: int
    pid: int
    as_json: bool
    clips: list[tuple[str, int]]
    """Path and best class."""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int = command_line.positive_int
    parser.add_argument("--backbone", default="resnet", help="(default: %(default)s)")
    parser.add_argument("--num_layers", type=int, default=50, help="of the backbone (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--target_size", type=positive_int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="(default: %(default)s)")
    parser.add_argument("--workers", type=positive_int, help="processes that decode for serve.py (default: its own)")
    parser.add_argument(
        "--single_lock_engines", choices=SINGLE, nargs="+", default=list(SINGLE), help="(default: all)"
    )  # fmt: skip
    parser.add_argument(
        "--clients", type=positive_int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="at once (default: 1 to 64)"
    )
    parser.add_argument(
        "--seconds", type=command_line.positive_float, default=20, help="of each measurement (default: %(default)s)"
    )
    parser.add_argument("--clips", type=positive_int, default=24, help="different ones (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="of everything (default: %(default)s)")
    parser.add_argument(
        "--soak", type=positive_int, default=0, metavar="REQUESTS",
        help=f"watch the memory over so many requests of {SOAK_CLIENTS} clients instead",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if not Path("/proc/self/statm").is_file():
        parser.error("needs Linux, which tells a process's memory")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # which ends what was started, too
    clips = [CLIPS / f"{seed}.mp4" for seed in range(args.clips)]
    for seed, clip in enumerate(clips):
        make_clip(clip, *SIZES["340x256"], seed, KEY_FRAME_EVERY)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = Bench(args, Path(folder), clips)
        print(bench.about(), flush=True)
        if args.soak:
            print(f"\n{soak(bench, stack)}")
            return
        systems = bench.start_all(stack)
        closed = closed_loops(bench, systems)
        opened = open_loops(bench, systems[OURS], max(row["rate"] for row in closed if row["what"] == OURS))
    print("", bench.about(), tabulated(closed, CLOSED), tabulated(opened, OPEN), verdict(closed, opened), sep="\n\n")


class Bench:
    """What is measured: a network with random weights, clips, and what the plain loop says of them."""

    def __init__(self, args: argparse.Namespace, folder: Path, clips: list[Path]):
        self.args, self.folder, self.clips = args, folder, [str(clip) for clip in clips]
        self._environment = os.environ | {"TSN_ENGINE_CACHE": str(folder / "cache")}
        overrides = [
            f"MODEL.backbone={args.backbone}", f"MODEL.num_layers={args.num_layers}", f"INFER.seg_num={args.seg_num}",
            f"INFER.short_size={args.target_size * 8 // 7}", f"INFER.target_size={args.target_size}",
        ]  # fmt: skip
        self._network = self._compute(START_SEC, job="prepare", overrides=overrides)["title"]
        self._wishes = {"same": (args.engine, args.precision), "paddle": ("paddle", "float32")}
        self._found = {name: self.loop(name, 0) for name in dict.fromkeys(("same", *args.single_lock_engines))}

    def about(self) -> str:
        sizes_kb = [Path(clip).stat().st_size / 1e3 for clip in self.clips]
        titles = [f"{OURS}: {self._found['same']['title']}"]
        titles += [f"{SINGLE[name]}: {self._found[name]['title']}" for name in self.args.single_lock_engines]
        return "\n".join((
            self._network,
            f"Paddle {self._found['same']['paddle']}; {'; '.join(titles)}",
            f"{read_processor()}, {num_cores()} cores, which the clients share; "
            f"{len(sizes_kb)} clips of {min(sizes_kb):.0f} to {max(sizes_kb):.0f} kB, of "
            f"{len(set(self._found['same']['classes']))} different best classes",
        ))  # fmt: skip

    def loop(self, name: str, seconds: float) -> Row:
        """The plain loop over the clips, again and again for so many seconds; 0: once."""
        engine, precision = self._wishes[name]
        order = {"job": "loop", "engine": engine, "precision": precision, "seconds": seconds}
        return self._compute(START_SEC + 10 * seconds, **order)

    def ask(self, system: System, seed: int = 0, **order: Any) -> Row:
        """What the clients measure; see `benchmarks.serve_client.Order`."""
        whole = order | {"server_pid": system.pid, "seed": seed} | system._asdict()
        del whole["pid"]
        bound_sec = SPARE_SEC + 10 * order.get("seconds", 0) + 10 * order.get("num_requests", 0)
        return json.loads(self._run(["benchmarks/serve_client.py"], json.dumps(whole), bound_sec))

    def start_all(self, stack: contextlib.ExitStack) -> dict[str, System]:
        """All systems, by title. They end with the stack."""
        systems = self.start_ours(stack)
        for name in self.args.single_lock_engines:
            server = self._start(stack, "benchmarks/single_lock.py", name, [])
            systems[SINGLE[name]] = System(*server, True, self._expected(name))
        return systems

    def start_ours(self, stack: contextlib.ExitStack) -> dict[str, System]:
        workers = [f"--workers={self.args.workers}"] if self.args.workers else []
        server = self._start(stack, "serve.py", "same", workers)
        return {title: System(*server, title == OURS_JSON, self._expected("same")) for title in (OURS, OURS_JSON)}

    def _expected(self, name: str) -> list[tuple[str, int]]:
        return list(zip(self.clips, self._found[name]["classes"], strict=True))

    def _start(self, stack: contextlib.ExitStack, script: str, name: str, more: list[str]) -> tuple[int, int]:
        """The port and the process of a server."""
        engine, precision = self._wishes[name]
        log = self.folder / f"{Path(script).stem} {name}.log"
        process = subprocess.Popen(
            [
                sys.executable, script, f"--weights={self.folder}/weights.pdparams",
                f"--config={self.folder}/config.yaml", f"--engine={engine}", f"--precision={precision}", "--port=0",
                *more,
            ],
            cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        stack.callback(end, process)
        end_sec = time.monotonic() + START_SEC
        while not (found := ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))):
            if process.poll() is not None or time.monotonic() > end_sec:
                raise ValueError(f"{script} has not started: {log.read_text()[-1500:]}")
            time.sleep(0.2)
        return int(found[1]), process.pid

    def _compute(self, bound_sec: float, **order: Any) -> Row:
        """The answer of benchmarks/serve_loop.py, before which libraries may print lines of their own."""
        whole = json.dumps({"folder": str(self.folder), "clips": self.clips} | order)
        lines = self._run(["benchmarks/serve_loop.py", whole], "", bound_sec).splitlines()
        return json.loads(next(line for line in lines if line.startswith(ANSWER)).removeprefix(ANSWER))

    def _run(self, command: list[str], told: str, bound_sec: float) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env=self._environment, input=told, capture_output=True, text=True, timeout=bound_sec,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(f"{command[0]} failed: {done.stderr[-1500:]}")
        return done.stdout


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_SEC)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def closed_loops(bench: Bench, systems: dict[str, System]) -> list[Row]:
    """A row of the loop, then one of each system for each number of clients."""
    measured: dict[tuple[str, int | None], list[Row]] = {}
    for _ in range(bench.args.repeats):
        loop = bench.loop("same", bench.args.seconds)
        keep(measured, (LOOP, None), {key: loop[key] for key in ("rate", "memory_mb")})
        for num_clients in bench.args.clients:
            for title, system in systems.items():
                found = bench.ask(system, num_clients=num_clients, seconds=bench.args.seconds)
                keep(measured, (title, num_clients), found)
    rows = [{"what": what, "num_clients": number} | medians(found) for (what, number), found in measured.items()]
    return [row | {"ratio": row["rate"] / rows[0]["rate"]} for row in rows]


def open_loops(bench: Bench, system: System, capacity: float) -> list[Row]:
    """A row for each share of what the server answers per second at best."""
    measured: dict[tuple[str, float], list[Row]] = {}
    for repeat in range(bench.args.repeats):
        for share in SHARES:
            found = bench.ask(system, seed=repeat, rate=share * capacity, seconds=bench.args.seconds)
            keep(measured, ("open loop", share), found)
    rows = [{"share": share, "asked": share * capacity} | medians(found) for (_, share), found in measured.items()]
    return [row | {"ratio": row["p99_ms"] / row["p50_ms"]} for row in rows]


def soak(bench: Bench, stack: contextlib.ExitStack) -> str:
    """The memory of serve.py and its decoders, between equal numbers of requests of both kinds in turn."""
    systems, rows, num_requests = list(bench.start_ours(stack).values()), [], 0
    while num_requests < bench.args.soak:
        step = min(SOAK_STEP, bench.args.soak - num_requests)
        found = bench.ask(systems[len(rows) % 2], num_clients=SOAK_CLIENTS, num_requests=step)
        num_requests += step
        server, *decoders = family(systems[0].pid)
        memory = {"server_mb": resident_mb([server]), "decoders_mb": resident_mb(decoders)}
        rows.append({"num_requests": num_requests, "rate": round(found["rate"], 2)} | memory)
        print(json.dumps(rows[-1]), flush=True)
    lines = [tabulated(rows, SOAK), ""]
    for title, key in (("server", "server_mb"), ("decoders", "decoders_mb")):
        sizes = [row[key] for row in rows]
        later = rows[min(int(WARM_UP_SHARE * len(rows)), len(rows) - 2) :] if len(rows) > 1 else []
        thousands = [row["num_requests"] / 1000 for row in later]
        slope = statistics.linear_regression(thousands, [row[key] for row in later]).slope if later else 0.0
        lines.append(
            f"{title}: first {sizes[0]:g} MB, last {sizes[-1]:g}, largest {max(sizes):g}; after the warm-up "
            f"{slope:+.3f} MB per 1000 requests"
        )
    return "\n".join(lines)


def keep(measured: dict[Any, list[Row]], key: tuple[str, Any], found: Row) -> None:
    print(json.dumps({"what": key[0], "clients or share": key[1]} | found), flush=True)
    measured.setdefault(key, []).append(found)


def medians(found: list[Row]) -> Row:
    return {key: statistics.median(each[key] for each in found) for key in found[0]}


def tabulated(rows: list[Row], columns: dict[str, str]) -> str:
    """The rows as Markdown; {heading: key}."""
    formats = [rounding(key) for key in columns.values()]
    cells = [[row.get(key) for key in columns.values()] for row in rows]
    return tabulate(cells, list(columns), "github", floatfmt=formats)


def rounding(key: str) -> str:
    return "g" if key.startswith("num_") or key == "share" else ".0f" if key.endswith(("_ms", "_mb")) else ".2f"


def verdict(closed: list[Row], opened: list[Row]) -> str:
    """What the tables come to, in plain words."""
    loop, most = closed[0]["rate"], max(row["num_clients"] or 0 for row in closed)
    compared = COMPARED_CLIENTS if any(row["num_clients"] == COMPARED_CLIENTS for row in closed) else most
    rates = {row["what"]: row["rate"] for row in closed if row["num_clients"] == compared}
    lines = []
    for ours in (OURS, OURS_JSON):
        ratios = [f"{rates[ours] / loop:.2f} of the plain loop"]
        ratios += [f"{rates[ours] / rates[it]:.2f} times the {it}" for it in SINGLE.values() if it in rates]
        lines.append(f"{compared} clients, {ours}: {', '.join(ratios)}")
    (half,) = (row for row in opened if row["share"] == COMPARED_SHARE)
    lines.append(
        f"half the capacity: p99 is {half['ratio']:.2f} times p50, {half['num_refused']:g} requests are refused"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)
