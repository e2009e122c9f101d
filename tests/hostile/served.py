"""A server that is started to be hurt, and what can be seen of it from outside."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conftest import SIDE, SMALL_MODEL, write_random_weights
from serve_process import ServeProcess

HERE = Path(__file__).resolve().parent
SETTLE_SEC, END_SEC = 60.0, 90.0
QUICK = ("--read_sec=2", "--upload_sec=6", "--timeout_sec=20", "--max_mb=8", "--max_video_sec=60", "--workers=2")
"""Flags of a server that does not wait long, and whose bombs may be small ones."""
ASSET = "/static-offline-docs/swagger-ui-bundle.js"
"""The largest answer that a request of no size gets."""


class Look(NamedTuple):
    """What a server holds, as its machine sees it."""

    num_files: int
    """Open file descriptors."""
    resident_mb: float
    num_children: int
    num_zombies: int


def model_flags(folder: Path) -> list[str]:
    """Flags for a small model, whose weights are written to a folder."""
    sizes = [f"INFER.short_size={SIDE + 8}", f"INFER.target_size={SIDE}", "INFER.seg_num=3"]
    weights = [f"--weights={write_random_weights(folder)}", "--engine=eager"]
    return [*SMALL_MODEL, *(part for size in sizes for part in ("-o", size)), *weights]


def start(flags: list[str], folder: Path, *more: str, **settings) -> ServeProcess:
    """A server without patience; to be used in a `with`."""
    return ServeProcess([*flags, *QUICK, *more], folder, script=str(HERE / "quick_server.py"), **settings)


def address(server: ServeProcess) -> tuple[str, int]:
    return server.host, server.port


def look(server: ServeProcess) -> Look:
    proc = Path(f"/proc/{server.process.pid}")
    states = _children(server.process.pid)
    pages = int((proc / "statm").read_text().split()[1])
    resident_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Look(len(os.listdir(proc / "fd")), resident_mb, len(states), states.count("Z"))


def _children(pid: int) -> list[str]:
    """States of a process's children, as "S" or "Z"."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it has just ended
        if int(parent) == pid:
            found.append(state)
    return found


def settles(condition: Callable[[], bool], seconds: float = SETTLE_SEC) -> bool:
    """Wait until it holds; whether it does in the end."""
    end_sec = time.monotonic() + seconds
    while time.monotonic() < end_sec:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def stop(server: ServeProcess) -> int | None:
    """The exit code after SIGTERM; None: it does not end."""
    server.process.send_signal(signal.SIGTERM)
    settles(lambda: server.process.poll() is not None, END_SEC)
    return server.process.poll()


def problems_of_log(text: str) -> list[str]:
    """Lines that no request of a client may cause."""
    signs = ("Traceback", "Fatal error", "has failed:", "Exception in", "never retrieved", "was destroyed", "leaked")
    return [line for line in text.splitlines() if not line.startswith("{") and any(sign in line for sign in signs)]
