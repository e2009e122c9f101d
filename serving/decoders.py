"""The processes that decode: each has one video at a time, and can be lost without the others."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.command_line import PROJECT
from serving.decoder import Setup
from serving.refusals import Refusal

GRACE_SEC = 2.0  # what a decoder that keeps its own time is given on top, until it is killed
BUFFER_BYTES = 16 << 20  # of a pipe, in this process: most clips fit whole
ITS_FAULT = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""Signals by which the video itself has ended its decoder."""
TRY_AGAIN_SEC = 1

logger = logging.getLogger("serve")


class Clip(NamedTuple):
    """What was read of a video."""

    pixels: np.ndarray
    """uint8 (num_views * T, 3, H, W), view after view."""
    read_sec: float


class WindowPixels(NamedTuple):
    """A piece of a video."""

    start_sec: float
    end_sec: float
    pixels: np.ndarray
    """uint8 (num_crops * T, 3, H, W); T may be smaller in the last window."""


class Decoders:
    """Reads videos in processes of their own, in the order in which they are asked for.

    Args:
        setup: how videos are looked at.
        num_workers: processes. Windows of long videos leave one of them to others, where there are several.
    """

    def __init__(self, setup: Setup, num_workers: int):
        self._workers = [_Worker(setup) for _ in range(num_workers)]
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        self._long_videos = asyncio.Semaphore(max(num_workers - 1, 1))
        self._limit_sec = setup.read_sec + GRACE_SEC
        self._too_long = f"takes longer than {setup.read_sec:g} s to read"
        self._replacing: set[asyncio.Task] = set()
        self.num_lost = 0
        """Processes that have died, or had to be killed."""

    async def start(self) -> None:
        """Start all processes."""
        for worker in self._workers:
            await worker.start()
            self._free.put_nowait(worker)

    async def stop(self) -> None:
        """End all processes, whatever they do."""
        await asyncio.gather(*self._replacing)
        for worker in self._workers:
            await worker.kill()

    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers if worker.process]

    def memory_bytes(self) -> int:
        """What the processes hold together."""
        return sum(map(_resident_bytes, self.pids()))

    async def clip(self, path: Path) -> Clip:
        """All views of a video.

        Raises:
            Refusal: it cannot be read, takes too long, or its process has died.
        """
        async with self._worker() as worker:
            worker.tell({"path": str(path)})
            about, pixels = await self._hear(worker)
            return Clip(pixels, about["read_sec"])

    async def windows(self, path: Path, window_sec: float, stride_sec: float) -> AsyncIterator[WindowPixels]:
        """The windows of a video, each as soon as it is over; see `datareader.stream.windows`.

        Raises:
            Refusal: as `clip` does, for each window.
        """
        async with self._long_videos, self._worker() as worker:
            worker.tell({"path": str(path), "window_sec": window_sec, "stride_sec": stride_sec})
            while True:
                about, pixels = await self._hear(worker)
                if pixels is None:
                    return
                yield WindowPixels(about["start_sec"], about["end_sec"], pixels)

    async def _hear(self, worker: "_Worker") -> tuple[dict[str, Any], np.ndarray | None]:
        try:
            about, pixels = await asyncio.wait_for(worker.hear(), self._limit_sec)
        except asyncio.TimeoutError:
            raise Refusal(422, f"the video {self._too_long}") from None
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError) as error:
            raise await worker.post_mortem() from error
        if "problem" in about:
            worker.is_done = True
            raise Refusal(422, f"the video cannot be read: {about['problem']}")
        worker.is_done = pixels is None or "read_sec" in about
        return about, pixels

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator["_Worker"]:
        """A free process; a new one takes its place where it was not heard to the end."""
        worker = await self._free.get()
        worker.is_done = False
        try:
            if not worker.is_alive():  # it was killed while it had nothing to do, or could not be started
                await self._restart(worker)
            yield worker
        finally:
            if worker.is_done:
                self._free.put_nowait(worker)
            else:
                replacing = asyncio.create_task(self._replace(worker))
                self._replacing.add(replacing)
                replacing.add_done_callback(self._replacing.discard)

    async def _replace(self, worker: "_Worker") -> None:
        try:
            await self._restart(worker)
        except OSError as error:
            logger.warning("a process that decodes cannot be started: %s", error)
        self._free.put_nowait(worker)

    async def _restart(self, worker: "_Worker") -> None:
        self.num_lost += 1
        await worker.kill()
        await worker.start()


class _Worker:
    """One process."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self.process: Process | None = None
        self.is_done = True
        """Whether all was heard that it had to say."""

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serving.decoder",
            stdin=PIPE, stdout=PIPE, cwd=PROJECT, limit=BUFFER_BYTES, start_new_session=True,
        )  # fmt: skip
        self.tell(self._setup._asdict())

    async def kill(self) -> None:
        if self.is_alive():
            # not process.kill(), which looks first whether it lives, and so takes its exit code away from asyncio
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(self.process.pid, signal.SIGKILL)
        if self.process:
            await self.process.wait()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def tell(self, job: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(job).encode() + b"\n")

    async def hear(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """What it says next, and the pixels that belong to it."""
        about = json.loads(await self.process.stdout.readuntil(b"\n"))
        if "shape" not in about:
            return about, None
        shape = about["shape"]
        pixels = await self.process.stdout.readexactly(int(np.prod(shape)))
        return about, np.frombuffer(pixels, np.uint8).reshape(shape)

    async def post_mortem(self) -> Refusal:
        """Why it says nothing more, for the one whose video it had."""
        await self.kill()
        code = self.process.returncode
        if code < 0 and signal.Signals(-code) in ITS_FAULT:
            return Refusal(422, f"the video cannot be read: its decoder ended by {signal.Signals(-code).name}")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Refusal(503, f"the process that read the video ended {how}; try again", TRY_AGAIN_SEC)


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # it has ended, or this is no Linux
        return 0
