"""check_videos: what is wrong with each video, the lists without the broken, and going on after any end."""

import csv
import os
import shutil

import av
import numpy as np
import pytest

from common import command_line, whole_file
from conftest import grey_frames, write_video
from dataset.jobs import Failure
from dataset.kinetics import check_videos

DAMAGED = "1 of its packets cannot be decoded"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a video of each kind."""
    folder = tmp_path_factory.mktemp("made")
    write_video(folder / "good.mp4", grey_frames(9))
    write_video(folder / "in order.avi", grey_frames(9))
    write_video(folder / "damaged.mp4", grey_frames(9))
    with av.open(str(folder / "damaged.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray((folder / "damaged.mp4").read_bytes())
    content[packets[4].pos : packets[4].pos + 4] = b"\xff\xff\xff\xff"  # the length of the packet's first part
    (folder / "damaged.mp4").write_bytes(content)
    (folder / "text.mp4").write_text("no video")
    parts = [write_video(folder / f"{side}.h264", grey_frames(3, side, side)).read_bytes() for side in (32, 64)]
    (folder / "sizes.h264").write_bytes(b"".join(parts))
    with av.open(str(folder / "sound.mp3"), "w") as container:
        stream = container.add_stream("mp3", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, with a list of everything; the first video is in another list too, under another name."""
    shutil.copytree(made, tmp_path / "set")
    names = [
        "good.mp4 2",
        "in order.avi 0",
        "damaged.mp4 1",
        "text.mp4 1",
        "sizes.h264 1",
        "sound.mp3 1",
        "absent.mp4 1",
    ]
    (tmp_path / "set" / "train.list").write_text("".join(f"{name}\n" for name in names))
    (tmp_path / "set" / "val.list").write_text("./good.mp4\n32.h264\n")
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch):
    """Checks in this process, which is quicker; returns the names of what is checked."""
    names = []

    def run_jobs(work, videos, *args):
        for video in videos:
            names.append(os.path.basename(video))
            yield video, work(video)

    monkeypatch.setattr(check_videos, "run_jobs", run_jobs)
    return names


def check(*arguments) -> int:
    return check_videos.main([str(argument) for argument in arguments])


def rows(path) -> dict[str, list[str]]:
    """{path: status, number of frames, decoding, reason} of a csv file."""
    with path.open(newline="") as file:
        return {row["path"]: list(row.values())[1:5] for row in csv.DictReader(file)}


def mistake(capsys, *arguments) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: check(*arguments))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_kind_of_video(folder, capsys):
    assert check(folder / "train.list", folder / "val.list", "--workers=2") == 1
    assert rows(folder / "train.check.csv") == {
        "good.mp4": ["ok", "9", "selective", ""],
        "in order.avi": ["ok", "9", "in order: its packets tell when frames are decoded, not when they are shown", ""],
        "damaged.mp4": ["damaged", "8", "in order: a packet is damaged", DAMAGED],
        "text.mp4": ["broken", "0", "", "damaged or no video: Invalid data found when processing input"],
        "sizes.h264": ["broken", "0", "", "its frames change size: 32x32, 64x64"],
        "sound.mp3": ["broken", "0", "", "has no video stream"],
        "absent.mp4": ["broken", "0", "", "no such file"],
    }
    assert list(rows(folder / "val.check.csv")) == ["./good.mp4", "32.h264"]
    assert (folder / "train.checked.list").read_text() == "good.mp4 2\nin order.avi 0\ndamaged.mp4 1\n"
    assert (folder / "val.checked.list").read_text() == (folder / "val.list").read_text()
    *found, train, val = capsys.readouterr().out.splitlines()
    assert f"damaged: {folder}/damaged.mp4: {DAMAGED}" in found and len(found) == 5
    assert train == (
        f"{folder}/train.list: 2 of 7 videos are fine, 1 damaged, 4 broken, 2 are decoded in order; "
        f"3 videos in {folder}/train.checked.list"
    )
    assert val.startswith(f"{folder}/val.list: 2 of 2 videos are fine, 0 damaged, 0 broken, 1 are decoded in order; 2")


def test_exit_code_and_dropping_the_damaged(folder, decoded):
    (folder / "x.list").write_text("good.mp4\ndamaged.mp4\n")
    assert check(folder / "x.list") == 0
    assert (folder / "x.checked.list").read_text() == "good.mp4\ndamaged.mp4\n"
    assert check(folder / "x.list", "--drop_damaged") == 0
    assert (folder / "x.checked.list").read_text() == "good.mp4\n"
    assert decoded == ["good.mp4", "damaged.mp4"]


def test_lines_stay_as_they_are(folder, decoded):
    (folder / "x.list").write_bytes(
        b"\xef\xbb\xbf# first\r\n\r\n \tgood.mp4\t2 \r\nabsent.mp4 1\n  # in order.avi\nin order.avi\ngood.mp4 1"
    )
    assert check(folder / "x.list") == 1
    assert (folder / "x.checked.list").read_bytes() == (
        b"# first\r\n\r\n \tgood.mp4\t2 \r\n  # in order.avi\nin order.avi\ngood.mp4 1"
    )
    assert list(rows(folder / "x.check.csv")) == ["good.mp4", "absent.mp4", "in order.avi"]


def test_a_second_run_checks_what_is_new_changed_or_was_broken(folder, decoded):
    lists = (folder / "train.list", folder / "val.list")
    check(*lists)
    assert len(decoded) == 8 and decoded.count("good.mp4") == 1  # though both lists name it
    before = (folder / "train.check.csv").read_bytes()
    decoded.clear()
    check(*lists)
    assert decoded == ["text.mp4", "sizes.h264", "sound.mp3", "absent.mp4"]
    assert (folder / "train.check.csv").read_bytes() == before

    os.utime(folder / "in order.avi", (1, 1))
    shutil.copy(folder / "good.mp4", folder / "absent.mp4")
    with (folder / "val.list").open("a") as file:
        file.write("64.h264\n")
    decoded.clear()
    check(*lists)
    assert decoded == ["in order.avi", "text.mp4", "sizes.h264", "sound.mp3", "absent.mp4", "64.h264"]
    assert rows(folder / "train.check.csv")["absent.mp4"][0] == "ok"


def test_cut_off_anywhere_it_gives_the_same_files(folder, decoded):
    check(folder / "train.list")
    csv_path, checked_path = folder / "train.check.csv", folder / "train.checked.list"
    whole, checked = csv_path.read_bytes(), checked_path.read_bytes()
    first, second = whole.splitlines(keepends=True)[1:3]
    header = len(whole.splitlines(keepends=True)[0])
    for length in (header, header + 5, header + len(first) - 2, header + len(first), header + len(first + second) - 30):
        csv_path.write_bytes(whole[:length])
        checked_path.unlink()
        decoded.clear()
        check(folder / "train.list")
        assert ("good.mp4" in decoded) == (length < header + len(first)), length
        assert "in order.avi" in decoded, length
        assert csv_path.read_bytes() == whole and checked_path.read_bytes() == checked, length


def test_ctrl_c_says_how_far_it_came(folder, decoded, capsys, monkeypatch):
    def interrupted(work, videos, *args):
        for video in videos[:2]:
            yield video, work(video)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(check_videos, "run_jobs", interrupted)
        command_line.run(lambda: check(folder / "train.list"))
    assert caught.value.code == 130
    assert capsys.readouterr().err == "stopped: 2 of 7 videos are done; the same command goes on\n"
    assert not (folder / "train.checked.list").exists()
    check(folder / "train.list")
    assert decoded == ["damaged.mp4", "text.mp4", "sizes.h264", "sound.mp3", "absent.mp4"]
    assert len(rows(folder / "train.check.csv")) == 7


def test_too_slow_a_lost_process_and_a_defect_are_broken(folder, decoded, monkeypatch):
    (folder / "x.list").write_text("good.mp4\n")
    check(folder / "x.list", "--timeout_sec=0.001")
    assert rows(folder / "x.check.csv") == {"good.mp4": ["broken", "0", "", "takes longer than 0.001 s to read"]}

    def fails(*args):
        raise RuntimeError("so\nit is")

    with monkeypatch.context() as patch:
        patch.setattr(check_videos, "decode_selectively", fails)
        check(folder / "x.list")
    assert rows(folder / "x.check.csv")["good.mp4"][3] == "reading it fails with RuntimeError: so it is"

    with monkeypatch.context() as patch:
        patch.setattr(check_videos, "run_jobs", lambda work, videos, *args: [(videos[0], Failure("it died"))])
        assert check(folder / "x.list") == 1
    assert rows(folder / "x.check.csv") == {"good.mp4": ["broken", "0", "", "it died"]}
    assert check(folder / "x.list") == 0


def test_a_doubt_costs_no_frames(folder, decoded):
    """After the doubt all frames are counted with a new decoder: one that was flushed gives 21 of these."""
    options = {"flags": "+ildct+ilme", "bf": "2"}
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 96, 3), dtype=np.uint8)
    write_video(folder / "interlaced.mp4", noise, "mpeg4", options=options)
    (folder / "x.list").write_text("interlaced.mp4\n")
    assert check(folder / "x.list") == 0
    assert rows(folder / "x.check.csv")["interlaced.mp4"] == ["ok", "60", "in order: it is interlaced", ""]


def test_mistakes_are_told_in_one_line(folder, capsys):
    train = folder / "train.list"
    assert "no such list file" in mistake(capsys, folder / "none.list")
    assert "argument --timeout_sec: 0 is out of range" in mistake(capsys, train, "--timeout_sec=0")
    assert "argument --timeout_sec: invalid number" in mistake(capsys, train, "--timeout_sec=x")
    shutil.copy(train, folder / "train.txt")
    assert f"train.list and {folder}/train.txt would both write" in mistake(capsys, train, folder / "train.txt")
    (folder / "train.check.csv").write_text("my,table\n1,2\n")
    assert "train.check.csv: not of check_videos" in mistake(capsys, train)
    assert (folder / "train.check.csv").read_text() == "my,table\n1,2\n"


def test_a_full_disk_is_told_in_one_line(folder, decoded, capsys, monkeypatch):
    (folder / ".train.check.csv").symlink_to("/dev/full")
    monkeypatch.setattr(whole_file, "unfinished_path", lambda path: path.with_name(f".{path.name}"))
    assert mistake(capsys, folder / "train.list") == (
        f"error: {folder}/train.check.csv: cannot be written (No space left on device); "
        "mend that and give the same command again: what is done stays"
    )
