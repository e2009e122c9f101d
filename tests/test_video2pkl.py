"""video2pkl: clips as the original wrote them, the same whatever happens on the way, clear refusals."""

import os
import pickle
import pickletools
import shutil

import numpy as np
import pytest

from common import command_line, whole_file
from conftest import clip_reader, frame_numbers, grey_frames, leftover, write_video
from datareader.decode import decode_pkl, decode_video
from datareader.records import read_list
from dataset.jobs import Failure
from dataset.kinetics import video2pkl

NAMES = ["one.mp4 2", "two words.mp4 0", "#three.avi 1", "text.mp4 1", "sizes.h264 1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a list of three videos, a file that is none, and one that changes size."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for number, name in enumerate(["one.mp4", "two words.mp4", "#three.avi"]):
        blocks = rng.integers(80, 160, (7, 4, 6, 3), dtype=np.uint8)
        write_video(folder / name, blocks.repeat(12, 1).repeat(12 + 4 * number, 2))
    (folder / "text.mp4").write_text("no video")
    parts = [write_video(folder / f"{side}.h264", grey_frames(3, side, side)).read_bytes() for side in (32, 64)]
    (folder / "sizes.h264").write_bytes(b"".join(parts))
    (folder / "train.list").write_text("".join(f"./{line}\n" for line in NAMES))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "set")


@pytest.fixture
def written(monkeypatch):
    """Works in this process, which is quicker; returns the names of the clips that are written."""
    names = []

    def run_jobs(work, clips, *args):
        for clip in clips:
            names.append(clip.pkl.name)
            yield clip, work(clip)

    monkeypatch.setattr(video2pkl, "run_jobs", run_jobs)
    return names


def convert(folder, *arguments) -> int:
    return video2pkl.main([str(folder / "train.list"), f"--out={folder / 'pkl'}", *arguments])


def mistake(capsys, *arguments) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: convert(*arguments))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_clips_read_back_as_the_videos(folder, capsys):
    assert convert(folder, "--workers=2") == 1
    for stem, label in (("one", 2), ("two words", 0), ("#three", 1)):
        (video,) = folder.glob(f"{stem}.*")
        video_id, stored_label, frames = decode_pkl(str(folder / "pkl" / f"{stem}.pkl"), np.arange)
        assert (video_id, stored_label) == (f"./{stem}", label)
        expected = decode_video(str(video), np.arange).frames
        assert np.shape(frames) == np.shape(expected)
        assert np.abs(np.subtract(frames, expected, dtype=float)).mean() < 4
    assert (folder / "pkl" / "train.list").read_text() == "./one.pkl\n./two words.pkl\n./#three.pkl\n"
    assert not list((folder / "pkl").glob(".*"))
    *found, summary = capsys.readouterr().out.splitlines()
    assert sorted(found) == [
        f"cannot be read: {folder}/sizes.h264: its frames change size: 32x32, 64x64",
        f"cannot be read: {folder}/text.mp4: damaged or no video: Invalid data found when processing input",
    ]
    assert summary == (f"{folder}/train.list: 3 of 5 videos are in {folder}/pkl/train.list, 2 cannot be read")


def test_training_reads_them(folder, written):
    convert(folder)
    records = read_list(folder / "pkl" / "train.list", "pkl")
    reader = clip_reader(
        records, clip_format="pkl", seg_num=3, seglen=1, short_size=40, target_size=32, num_classes=3, seed=0
    )
    clip = np.empty(reader.clip_shape, np.uint8)
    samples = [reader.read(0, index, clip) for index in range(len(records))]
    assert [(sample.is_readable, sample.label) for sample in samples] == [(True, 2), (True, 0), (True, 1)]


def test_all_frames_in_order(folder, written):
    write_video(folder / "grey.avi", grey_frames(20))  # x264 shows them in another order than it stores them
    (folder / "train.list").write_text("grey.avi 0\n")
    assert convert(folder) == 0
    assert frame_numbers(decode_pkl(str(folder / "pkl" / "grey.pkl"), np.arange)[2]) == list(range(20))


def test_python_2_and_3_read_them_without_this_project(folder, written):
    """Only what protocol 2 knows, and no names to look up; a Python 2.7 did read such a file."""
    convert(folder)
    content = (folder / "pkl" / "one.pkl").read_bytes()
    opcodes = [opcode for opcode, _, _ in pickletools.genops(content)]
    assert max(opcode.proto for opcode in opcodes) == 2
    assert not {"GLOBAL", "REDUCE"} & {opcode.name for opcode in opcodes}
    video_id, label, jpegs = pickle.loads(content, encoding="bytes")
    assert (video_id, label, len(jpegs)) == ("./one", 2, 7)
    assert len(content) < sum(map(len, jpegs)) + 100


def test_a_second_run_skips_what_is_finished(folder, written):
    convert(folder)
    before = contents(folder / "pkl")
    (folder / "pkl" / "one.pkl").unlink()
    leftover(folder / "pkl" / "one.pkl").write_bytes(b"half")  # what a killed run left
    written.clear()
    convert(folder)
    assert written == ["one.pkl", "text.pkl", "sizes.pkl"]
    assert contents(folder / "pkl") == before


def test_ctrl_c_says_how_far_it_came(folder, written, capsys, monkeypatch):
    def interrupted(work, clips, *args):
        yield clips[0], work(clips[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(video2pkl, "run_jobs", interrupted)
        command_line.run(lambda: convert(folder))
    assert caught.value.code == 130
    assert capsys.readouterr().err == "stopped: 1 of 5 videos are done; the same command goes on\n"
    assert list(contents(folder / "pkl")) == ["one.pkl"]
    convert(folder)
    assert written == [f"{stem}.pkl" for stem in ("two words", "#three", "text", "sizes")]


def test_too_slow_and_a_lost_process_are_unreadable(folder, written, capsys, monkeypatch):
    assert convert(folder, "--timeout_sec=0.001") == 1
    assert f"cannot be read: {folder}/one.mp4: takes longer than 0.001 s to read" in capsys.readouterr().out
    leftover(folder / "pkl" / "one.pkl").write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(video2pkl, "run_jobs", lambda work, clips, *args: [(clip, Failure("it died")) for clip in clips])
        assert convert(folder) == 1
    assert contents(folder / "pkl") == {"train.list": b""}
    assert f"cannot be read: {folder}/one.mp4: it died" in capsys.readouterr().out


def test_a_full_disk_loses_no_finished_clip(folder, written, capsys, monkeypatch):
    (folder / "pkl").mkdir()
    (folder / "pkl" / ".two words.pkl").symlink_to("/dev/full")
    monkeypatch.setattr(whole_file, "unfinished_path", lambda path: path.with_name(f".{path.name}"))
    assert mistake(capsys, folder) == (
        f"error: {folder}/pkl/two words.pkl: cannot be written (No space left on device); "
        "mend that and give the same command again: what is done stays"
    )
    left = contents(folder / "pkl")
    assert "one.pkl" in left and set(left) <= {"one.pkl", "#three.pkl"}
    convert(folder)
    assert left.items() <= contents(folder / "pkl").items() and len(contents(folder / "pkl")) == 4


def test_another_videos_clip_is_not_taken_for_this_ones(folder, written, capsys):
    """Two lists in one folder may have videos of the same name; and labels and videos may be corrected."""
    convert(folder)
    (folder / "train.list").write_text("one.mp4 1\n")
    line = mistake(capsys, folder)
    assert "one.pkl: is there already, but not made of 'one.mp4' as it is now, with label 1; delete it" in line
    (folder / "train.list").write_text("one.mp4 2\n")
    assert convert(folder) == 0
    os.utime(folder / "one.mp4", (1, 1))
    assert "not made of 'one.mp4' as it is now" in mistake(capsys, folder)


def test_mistakes_are_told_in_one_line(folder, capsys):
    lines = {
        "one.mp4\n": "train.list line 1: expected 'path label', got 'one.mp4'",
        "one.mp4 2\nx/one.avi 1\n": "'one.mp4' and 'x/one.avi' would both become",
        "one.mp4 2147483648\n": "label 2147483648 of 'one.mp4' is outside",
    }
    for text, expected in lines.items():
        (folder / "train.list").write_text(text)
        assert expected in mistake(capsys, folder)
    (folder / "train.list").write_text("one.mp4 2\n")
    assert "train.list: would be overwritten by the new list" in mistake(capsys, folder, f"--out={folder}")
    assert "text.mp4: cannot be written (File exists)" in mistake(capsys, folder, f"--out={folder / 'text.mp4'}")
    assert not (folder / "pkl").exists()
