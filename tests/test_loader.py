import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import datareader.build
import datareader.loader
from config import load_config
from conftest import clip_reader
from datareader.build import build_loader, build_reader
from datareader.loader import Loader, read_one_by_one
from datareader.order import shuffled_order
from datareader.records import read_list
from datareader.workers import ReadingFailed

SETTINGS = {
    "clip_format": "mp4",
    "seg_num": 2,
    "seglen": 1,
    "short_size": 72,
    "target_size": 64,
}


@pytest.fixture(scope="module")
def records(small_set):
    records = read_list(small_set / "train.list", num_classes=3)
    return records[:5] + [records[5]._replace(path="absent.mp4")] + records[6:]


def contents(loader: Loader, epoch: int) -> list:
    """Everything that the batches of an epoch hold, with arrays as bytes."""
    return [
        (
            batch.frames.numpy().tobytes(),
            batch.labels.numpy().tolist(),
            batch.indices,
            batch.video_ids,
            batch.unreadable,
        )
        for batch in loader.epoch(epoch)
    ]


def test_order_and_content_do_not_depend_on_the_number_of_workers(records):
    reader = clip_reader(records, seed=1, max_unreadable=2, **SETTINGS)
    loaders = [
        Loader(reader, 5, order=partial(shuffled_order, num_clips=len(reader), seed=1), num_workers=num_workers)
        for num_workers in (0, 1, 4)
    ]
    epochs = [[contents(loader, epoch) for epoch in (0, 1)] for loader in loaders]
    assert epochs[0] == epochs[1] == epochs[2]
    assert epochs[0][0] != epochs[0][1]
    assert [len(batch[1]) for batch in epochs[0][0]] == [5, 5, 2]
    assert sorted(index for batch in epochs[0][0] for index in batch[2]) == list(range(12))


@pytest.mark.parametrize("random_crop", ["random", "multi_scale", "random_resized"])
def test_augmented_clips_do_not_depend_on_workers_or_ranks(records, random_crop):
    augmented = SETTINGS | {"resize": "keep", "random_crop": random_crop, "color_jitter": 0.4}
    reader = clip_reader(records, seed=1, max_unreadable=2, **augmented)

    def clips(num_workers: int, num_ranks: int) -> dict[tuple[int, int], bytes]:
        """{(epoch, index): pixels} of what all ranks read."""
        found, order = {}, partial(shuffled_order, num_clips=len(reader), seed=1)
        for rank in range(num_ranks):
            loader = Loader(reader, 4, order=order, num_workers=num_workers, rank=rank, num_ranks=num_ranks)
            for epoch in (0, 1):
                for batch in loader.epoch(epoch):
                    pixels = [clip.tobytes() for clip in batch.frames.numpy()]
                    found.update(zip([(epoch, index) for index in batch.indices], pixels, strict=True))
        return found

    alone = clips(0, 1)
    assert len(alone) == 24 and alone == clips(2, 1) == clips(0, 2)
    assert alone[0, 3] != alone[1, 3]
    plain = clip_reader(records, seed=1, max_unreadable=2, **SETTINGS, random_crop=random_crop)
    assert read_bytes(plain, 0, 3) != alone[0, 3] == read_bytes(reader, 0, 3), "after a restart too"


def read_bytes(reader, epoch: int, index: int) -> bytes:
    clip = np.empty(reader.clip_shape, np.uint8)
    assert reader.read(epoch, index, clip).is_readable
    return clip.tobytes()


def test_without_shuffling_every_video_comes_once_in_order(records):
    loader = Loader(clip_reader(records, **SETTINGS), 5, num_workers=2)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 3
    assert [index for batch in batches for index in batch.indices] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert [entry for batch in batches for entry in batch.unreadable] == [[5, "no such file"]]
    assert batches[0].frames.shape == [5, 2, 3, 64, 64] and str(batches[0].frames.dtype) == "paddle.uint8"


def test_one_by_one_is_what_a_loader_reads(records):
    found = list(read_one_by_one(clip_reader([], **SETTINGS), iter(records)))
    expected = list(Loader(clip_reader(records, **SETTINGS), 1).epoch(0))
    assert len(found) == len(expected) == 12
    for batch, other in zip(found, expected, strict=True):
        assert batch._replace(frames=None, labels=None, read_sec=[]) == other._replace(
            frames=None, labels=None, read_sec=[]
        )
        assert (batch.frames is None) == (other.frames is None)
        assert batch.frames is None or np.array_equal(batch.frames.numpy(), other.frames.numpy())


def test_an_answer_does_not_wait_for_the_next_path(records):
    typed = threading.Event()

    def paths():
        yield records[0]
        typed.wait()

    batches = read_one_by_one(clip_reader([], **SETTINGS), paths())
    assert next(batches).indices == [0]
    typed.set()
    assert list(batches) == []


def test_cores_that_reading_several_videos_leaves_decode_one(records, monkeypatch):
    monkeypatch.setattr(datareader.build, "cores_each", lambda: 8)
    sections = ("TRAIN", "VALID", "TEST", "INFER")
    overrides = [f"{section}.num_reader_threads=8" for section in sections]
    overrides += [f"{section}.batch_size=4" for section in sections]
    config = load_config("configs/tsn.yaml", overrides)

    def num_threads(mode: str, num_videos: int) -> int:
        return build_loader(config, mode, records[:num_videos], seed=0).reader.decoding.num_threads

    for mode in ("valid", "test", "infer"):
        assert [num_threads(mode, num_videos) for num_videos in (1, 4, 5, 12)] == [8, 8, 4, 2], mode
    assert num_threads("train", 4) == 1
    assert build_reader(config, "infer", []).decoding.num_threads == 8


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_without_a_readable_video(records, num_workers):
    loader = Loader(clip_reader(records[5:6], **SETTINGS), 4, num_workers=num_workers)
    (batch,) = loader.epoch(0)
    assert batch.frames is None and batch.indices == [] and batch.unreadable == [[0, "no such file"]]


def steps_of(loader):
    loader._batches.begin_epoch(0)
    return list(loader._batches)


@pytest.mark.parametrize("num_clips, steps", [(33, 5), (32, 4), (7, 1), (2, 1), (1, 1)])
def test_ranks_share_each_list_without_loss_or_repetition(records, num_clips, steps):
    reader = clip_reader((records * 3)[:num_clips], **SETTINGS)
    keys = [steps_of(Loader(reader, 8, rank=rank, num_ranks=2)) for rank in range(2)]
    assert [len(rank_keys) for rank_keys in keys] == [steps, steps]
    assert sorted(index for rank in keys for (step,) in rank for _, index in step) == list(range(num_clips))


def test_in_training_ranks_have_equal_shares_at_every_step(records):
    reader = clip_reader((records * 3)[:33], seed=0, **SETTINGS)
    for num_clips, sizes in ((33, [4, 4, 4, 4]), (36, [4, 4, 4, 4, 2])):
        reader.records = (records * 3)[:num_clips]
        order = partial(shuffled_order, num_clips=num_clips, seed=0)
        for rank in range(2):
            loader = Loader(reader, 8, order=order, rank=rank, num_ranks=2, even_ranks=True)
            assert [len(step) for (step,) in steps_of(loader)] == sizes and len(loader) == len(sizes)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unexpected_error_in_a_reader_ends_the_run(records, num_workers):
    reader = clip_reader(records, **SETTINGS)
    reader.views.short_size = "a defect"
    with pytest.raises(TypeError if num_workers == 0 else ReadingFailed):  # the worker prints its own error
        list(Loader(reader, 4, num_workers=num_workers).epoch(0))


def test_too_little_shared_memory_is_said_and_survived(records, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(datareader.loader.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    reader = clip_reader(records, **SETTINGS)
    loader = Loader(reader, 5, num_workers=1)
    assert "batches travel through pipes" in caplog.text
    assert np.concatenate([batch.labels.numpy() for batch in loader.epoch(0)]).shape == (11,)


WORKERS_SCRIPT = """
import multiprocessing, sys, time
sys.path.insert(0, "tests")
from conftest import clip_reader
from datareader.loader import Loader
from datareader.records import read_list
from datareader.workers import ReadingFailed
settings = {"clip_format": "mp4", "seg_num": 1, "seglen": 1, "short_size": 72, "target_size": 64}
batches = Loader(clip_reader(read_list(sys.argv[1]), **settings), 2, num_workers=2).epoch(0)
next(batches)
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_workers_are_out_of_reach_of_ctrl_c_and_end_with_a_killed_parent(small_set):
    command = [sys.executable, "-c", WORKERS_SCRIPT, small_set / "train.list"]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2 and all(os.getpgid(worker) == worker for worker in workers)
        parent.send_signal(signal.SIGKILL)
    while any(is_running(worker) for worker in workers):  # for ever, if they do not end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
