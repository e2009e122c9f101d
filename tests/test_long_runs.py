"""What shows in long runs only: memory that grows, files that crash or hang a decoder.

The suite runs short versions; TSN_LONG=1 makes them 3,000 clips and 2,000 mutated files.
"""

import gc
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import clip_reader, write_video
from datareader.decode import VideoError, decode_video
from datareader.loader import Loader
from datareader.records import Record
from datareader.sampling import segment_indices
from dataset.jobs import Failure, run_jobs
from test_selective import scene

IS_LONG = "TSN_LONG" in os.environ


@pytest.fixture(scope="module")
def small_clips(tmp_path_factory) -> list[Path]:
    """A clip of each kind of file that people have, of a few kilobytes."""
    folder = tmp_path_factory.mktemp("clips")
    kinds = {
        "x.mp4": ("libx264", {"g": "8"}), "x.mkv": ("libx264", {}), "x.avi": ("mpeg4", {"bf": "2"}),
        "x.ts": ("libx264", {"g": "8"}), "y.mp4": ("libx265", {"x265-params": "log-level=none"}),
        "x.webm": ("libvpx-vp9", {}), "y.avi": ("mjpeg", {}), "x.mov": ("mpeg4", {"g": "10"}),
    }  # fmt: skip
    return [
        write_video(folder / name, scene(24)[:, :48, :64], codec, crf=30, options=options)
        for name, (codec, options) in kinds.items()
    ]


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_of_a_worker_does_not_grow(small_clips):
    num_clips, num_first = (3000, 300) if IS_LONG else (400, 100)
    records = [Record(str(path), 0, path.name) for path in small_clips]
    records = (records * (num_clips // len(records) + 1))[:num_clips]
    settings = {"clip_format": "mp4", "seg_num": 3, "seglen": 1, "short_size": 72, "target_size": 64}
    gc.collect()  # ends the workers of earlier tests' loaders
    loader = Loader(clip_reader(records, seed=0, **settings), 10, num_workers=1)
    used_mb = []
    for batch in loader.epoch(0):
        (worker,) = multiprocessing.active_children()
        used_mb.append(resident_mb(worker.pid))
        assert len(batch.indices) == 10
    first, last = used_mb[num_first // 10 - 1], used_mb[-1]
    print(f"memory of the worker: {first:.1f} MB after {num_first} clips, {last:.1f} MB after {num_clips}")
    assert last < 1.05 * first


def mutate(content: bytes, number: int) -> bytes:
    """Flip some bytes anywhere, damage the first or last kilobyte (headers and tables), or cut the file."""
    rng = np.random.default_rng(number)
    mutated = bytearray(content)
    kind = number % 4
    if kind == 3:
        return content[: rng.integers(len(content))]
    first, last = [(0, len(content)), (0, 1000), (len(content) - 1000, len(content))][kind]
    for position in rng.integers(first, last, size=rng.integers(1, 40)):
        mutated[position] = rng.integers(256)
    return bytes(mutated)


def read_mutated(job: tuple[int, str]) -> str:
    """How reading a mutated copy of a clip ends, in a process that may crash."""
    number, source = job
    path = Path(source).with_name(f"mutated {number}{Path(source).suffix}")
    path.write_bytes(mutate(Path(source).read_bytes(), number))
    try:
        frames, doubt = decode_video(str(path), lambda n: segment_indices(n, 3), timeout_sec=5)
        assert len(frames) == 3
        return "in order" if doubt else "selectively"
    except VideoError as error:
        return "out of time" if "takes longer" in str(error) else "refused"
    finally:
        path.unlink()


def test_mutated_files_neither_crash_nor_hang(small_clips):
    jobs = [(number, str(small_clips[number // 4 % len(small_clips)])) for number in range(2000 if IS_LONG else 200)]
    ends = Counter()
    for (number, source), end in run_jobs(read_mutated, jobs, 2, "file", timeout_sec=30):
        ends["lost" if isinstance(end, Failure) else end] += 1
        assert not isinstance(end, Failure), (number, source, end)
    print(dict(ends))
    assert sum(ends.values()) == len(jobs) and min(ends["selectively"], ends["in order"], ends["refused"]) > 0
