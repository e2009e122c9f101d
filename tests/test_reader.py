import logging

import numpy as np
import pytest

from conftest import clip_reader
from datareader.decode import DECODERS
from datareader.records import Record, read_list
from datareader.unreadable import UnreadableVideos

SETTINGS = {
    "clip_format": "mp4",
    "seg_num": 3,
    "seglen": 1,
    "short_size": 72,
    "target_size": 64,
}


@pytest.fixture(scope="module")
def records(small_set):
    return read_list(small_set / "train.list", num_classes=3)


def with_broken(records: list[Record], *positions: int) -> list[Record]:
    return [r._replace(path=f"absent {i}.mp4") if i in positions else r for i, r in enumerate(records)]


def read(reader, epoch: int, index: int):
    """The sample and the pixels of its clip, which start as a value that no test video has."""
    clip = np.full(reader.clip_shape, 3, np.uint8)
    return reader.read(epoch, index, clip), clip


def test_a_sample_depends_on_seed_epoch_and_index_alone(records):
    reader = clip_reader(records, seed=5, **SETTINGS)
    sample, clip = read(reader, 2, 7)
    assert clip.shape == (3, 3, 64, 64) and (clip != 3).all()
    assert sample[:6] == (True, 1, 7, "train/class 1/7.mp4", [], []) and sample.read_sec > 0
    assert np.array_equal(read(clip_reader(records, seed=5, **SETTINGS), 2, 7)[1], clip)
    assert not np.array_equal(read(reader, 3, 7)[1], clip)
    assert not np.array_equal(read(clip_reader(records, seed=6, **SETTINGS), 2, 7)[1], clip)


def test_without_a_seed_the_epoch_changes_nothing(records):
    reader = clip_reader(records, **SETTINGS)
    assert np.array_equal(read(reader, 0, 3)[1], read(reader, 9, 3)[1])


def test_seglen_takes_consecutive_frames(records):
    reader = clip_reader(records, **{**SETTINGS, "seglen": 2})
    assert read(reader, 0, 0)[1].shape == (6, 3, 64, 64)


def test_every_decoder_gives_the_same_clip(records):
    clips = [read(clip_reader(records, seed=1, decoder=decoder, **SETTINGS), 0, 2)[1] for decoder in DECODERS]
    assert len(clips) == 4
    for clip in clips[1:]:  # OpenCV rounds a colour otherwise now and then
        assert np.abs(clip.astype(int) - clips[0]).max() <= 2


def test_in_training_the_next_readable_video_takes_a_broken_ones_place(records):
    reader = clip_reader(with_broken(records, 11, 0), seed=0, max_unreadable=3, **SETTINGS)
    sample, clip = read(reader, 0, 11)
    assert (sample.index, sample.label, sample.video_id) == (11, 1, "train/class 1/1.mp4")  # 11, 0 broken, so 1
    assert sample.unreadable == [[11, "no such file"], [0, "no such file"]]
    assert np.array_equal(clip, read(reader, 0, 1)[1])


def test_the_search_for_a_readable_video_ends(records):
    reader = clip_reader(with_broken(records, *range(12)), seed=0, max_unreadable=3, **SETTINGS)
    sample, _ = read(reader, 0, 0)
    assert not sample.is_readable and [index for index, _ in sample.unreadable] == [0, 1, 2, 3]


def test_outside_training_a_broken_video_stays_broken(records):
    sample, _ = read(clip_reader(with_broken(records, 4), max_unreadable=3, **SETTINGS), 0, 4)
    assert not sample.is_readable and sample.label == 1 and sample.unreadable == [[4, "no such file"]]


def test_a_video_that_takes_too_long_is_broken(records):
    sample, _ = read(clip_reader(records, timeout_sec=1e-9, **SETTINGS), 0, 4)
    assert sample.unreadable == [[4, "takes longer than 1e-09 s to read"]]


def test_pkl_labels_come_from_the_file_and_are_checked(tmp_path):
    from formula_weights import REFERENCE

    path = REFERENCE / "clips" / "odd_5frames_000000_000010.pkl"
    (tmp_path / "pkl.list").write_text(f"{path}\n")
    records = read_list(tmp_path / "pkl.list", "pkl", num_classes=8)
    sample, _ = read(clip_reader(records, num_classes=8, **{**SETTINGS, "clip_format": "pkl"}), 0, 0)
    assert (sample.label, sample.video_id) == (0, "./odd_5frames_000000_000010")
    refused, _ = read(clip_reader(records, num_classes=0, **{**SETTINGS, "clip_format": "pkl"}), 0, 0)
    assert "its stored label 0 is outside" in refused.unreadable[0][1]


def test_broken_videos_are_warned_of_once_summed_up_and_limited(records, caplog):
    broken = UnreadableVideos(records, max_fraction=0.2)
    with caplog.at_level(logging.WARNING):
        broken.add([[3, "cut"]])
        broken.add([[3, "cut"], [5, "empty"]])
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot read {records[3].path}: cut",
        f"cannot read {records[5].path}: empty",
    ]
    assert broken.summary() == "2 of 12 videos could not be read: train/class 0/3.mp4, train/class 2/5.mp4"
    with pytest.raises(ValueError, match="3 of 12 videos cannot be read, more than TRAIN.max_bad_fraction 0.2"):
        broken.add([[7, "cut"]])
    broken.start_epoch()
    broken.add([[3, "cut"]])
    assert broken.summary().startswith("1 of 12")
