"""Clips that read fast: the same frames in the same order, whole files whatever happens."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from common import command_line
from conftest import frame_numbers, grey_frames, write_video
from datareader.decode import decode_video
from dataset.kinetics import transcode
from test_decode import turn
from test_selective import scene

COMMAND = [sys.executable, "dataset/kinetics/transcode.py"]


def run(folder: Path, *flags: str) -> int:
    return transcode.main([f"--videos={folder / 'in'}", f"--out={folder / 'out'}", "--short_side=48", *flags])


def mistake(capsys, *flags: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: sys.exit(transcode.main(list(flags))))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def all_frames(path: Path) -> list[np.ndarray]:
    decoded = decode_video(str(path), np.arange)
    assert decoded.doubt == ""
    return decoded.frames


def packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return [packet for packet in container.demux(video=0) if packet.size]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_frames_small_and_with_a_key_frame_every_16(tmp_path, capsys):
    write_video(tmp_path / "in" / "class a" / "x.mp4", grey_frames(40, 96, 128))
    write_video(tmp_path / "in" / "class_b" / "B frames.AVI", grey_frames(35, 80, 60), options={"bf": "3"})
    with av.open(str(tmp_path / "in" / "odd.mkv"), "w") as container:  # sides that are odd, and a sound track
        video = container.add_stream("libx264", rate=25, width=129, height=97)
        video.pix_fmt = "yuv444p"
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for frame in grey_frames(17, 97, 129):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        noise.rate = 44100
        container.mux(sound.encode(noise))
        container.mux(sound.encode())
    assert run(tmp_path) == 0
    sizes = {"class a/x.mp4": (40, 48, 64), "class_b/B frames.mp4": (35, 64, 48), "odd.mp4": (17, 48, 64)}
    assert sorted(tree(tmp_path / "out")) == sorted(sizes)
    for name, (num_frames, height, width) in sizes.items():
        frames = all_frames(tmp_path / "out" / name)
        assert frame_numbers(frames) == list(range(num_frames)) and frames[0].shape == (height, width, 3)
        keys = [i for i, packet in enumerate(packets(tmp_path / "out" / name)) if packet.is_keyframe]
        assert keys == list(range(0, num_frames, 16))
    assert "3 transcoded in" in capsys.readouterr().out


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_come_out_upright(tmp_path, degrees):
    picture = np.full((20, 48, 64, 3), 30, np.uint8)
    picture[:, :24, :32] = 220
    turn(write_video(tmp_path / "in" / "x.mp4", picture), degrees)
    assert run(tmp_path) == 0
    before, after = (decode_video(str(tmp_path / name / "x.mp4"), np.arange).frames for name in ("in", "out"))
    assert before[0].shape == after[0].shape
    assert np.abs(np.stack(before).astype(int) - np.stack(after)).mean() < 2


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("is_full", [True, False])
def test_colours_stay(tmp_path, matrix, is_full):
    frames = scene(1)[:, :24:8, :32:8].repeat(16, 1).repeat(16, 2).repeat(5, 0)  # 48 x 64, large patches
    path = tmp_path / "in" / "x.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"}, width=64, height=48)
        color_range = ColorRange.JPEG if is_full else ColorRange.MPEG
        stream.codec_context.color_range, stream.codec_context.colorspace = color_range, matrix
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=matrix, dst_color_range=color_range
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert run(tmp_path) == 0
    before, after = (np.stack(decode_video(str(tmp_path / n / "x.mp4"), np.arange).frames) for n in ("in", "out"))
    assert np.abs(before.astype(int) - frames).mean() < 8  # the test's own file is right
    assert np.abs(before.astype(int) - after).mean() < 4


def test_times_of_a_variable_frame_rate_stay(tmp_path):
    path = tmp_path / "in" / "x.mp4"
    path.parent.mkdir()
    times = [0, 1, 2, 10, 11, 30]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48)
        for frame, pts in zip(grey_frames(6), times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert run(tmp_path) == 0
    with av.open(str(tmp_path / "out" / "x.mp4")) as container:
        assert [round(frame.time * 25) for frame in container.decode(video=0)] == times


def test_unreadable_and_damaged_videos_are_counted(tmp_path, capsys):
    write_video(tmp_path / "in" / "good.mp4", grey_frames(20))
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    damaged = write_video(tmp_path / "in" / "damaged.mp4", scene(20))
    position, content = packets(damaged)[9].pos, bytearray(damaged.read_bytes())
    content[position : position + 4] = b"\xff\xff\xff\xff"
    damaged.write_bytes(content)
    for name in (".hidden.mp4", "x.mp4.part", "notes.txt"):
        (tmp_path / "in" / name).write_text("not a video of the folder")
    assert run(tmp_path) == 1
    out = capsys.readouterr().out
    assert "2 transcoded" in out and "1 of them damaged; 1 cannot be read" in out
    assert f"cannot be read: {tmp_path / 'in' / 'bad.mp4'}: damaged or no video" in out
    (line,) = (tmp_path / "out" / "transcode_failed.tsv").read_text().splitlines()
    assert line.split("\t")[0] == str(tmp_path / "in" / "bad.mp4")
    assert len(all_frames(tmp_path / "out" / "damaged.mp4")) == 19
    (tmp_path / "in" / "bad.mp4").unlink()
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "2 videos in" in out and "0 transcoded" in out and "2 were done already" in out
    assert sorted(tree(tmp_path / "out")) == ["damaged.mp4", "good.mp4"]


def test_a_video_that_takes_too_long_is_counted(tmp_path, capsys):
    write_video(tmp_path / "in" / "x.mp4", scene(40))
    assert run(tmp_path, "--timeout_sec=0.001") == 1
    assert "x.mp4: takes longer than 0.001 s" in capsys.readouterr().out


def test_shards_together_are_the_whole_for_any_number_of_workers(tmp_path):
    for number in range(5):
        write_video(tmp_path / "in" / f"{number}.mp4", scene(20 + number), crf=20)
    run(tmp_path, "--workers=2")
    whole, shares = tree(tmp_path / "out"), []
    for number in (1, 2, 3):
        transcode.main([
            f"--videos={tmp_path / 'in'}", f"--out={tmp_path / 'shares'}", "--short_side=48", f"--shard={number}/3",
            "--workers=1",
        ])  # fmt: skip
        shares.append(len(tree(tmp_path / "shares")))
    assert shares == [2, 4, 5] and tree(tmp_path / "shares") == whole and len(whole) == 5


def test_stopped_or_killed_and_given_again_it_leaves_the_same_files(tmp_path):
    for number in range(8):
        write_video(tmp_path / "in" / f"{number}.mp4", scene(40), crf=20)
    command, out = [*COMMAND, f"--videos={tmp_path / 'in'}"], tmp_path / "out"
    subprocess.run([*command, f"--out={tmp_path / 'undisturbed'}", "--workers=2"], check=True, capture_output=True)
    whole = tree(tmp_path / "undisturbed")

    def finished() -> list[Path]:
        return list(out.glob("[!.]*.mp4"))

    def end(how, number: signal.Signals, num_files: int, num_workers: int) -> tuple[int, str]:
        """Start the command, end it once there are so many files; returns its exit code and what it says."""
        process = subprocess.Popen(
            [*command, f"--out={out}", f"--workers={num_workers}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and len(finished()) < num_files:
            time.sleep(0.01)
        how(process.pid, number)
        said = process.communicate()[1]  # returns when the worker processes have ended too
        assert num_files <= len(finished()) < len(whole)
        assert all(path.read_bytes() == whole[path.name] for path in finished())
        return process.returncode, said

    code, said = end(os.killpg, signal.SIGINT, 1, 1)
    assert code == 130 and re.fullmatch(r"stopped: \d of 8 videos are done; the same command goes on\n", said)
    assert not list(out.glob(".*"))
    assert end(os.killpg, signal.SIGKILL, 3, 2)[0] == -signal.SIGKILL
    assert end(os.kill, signal.SIGKILL, 5, 2)[0] == -signal.SIGKILL  # the worker processes are not killed with it
    subprocess.run([*command, f"--out={out}", "--workers=2"], check=True, capture_output=True)
    assert tree(out) == whole


def test_worker_processes_end_with_a_command_that_is_killed(tmp_path):
    """Else they would write to the files of the same command, given again."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), dtype=np.uint8)
    write_video(tmp_path / "in" / "x.mp4", noise)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, f"--videos={tmp_path / 'in'}", f"--out={out}", "--short_side=960"],  # takes a while
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while process.poll() is None and not list(out.glob(".unfinished.*")):
        time.sleep(0.01)
    process.kill()
    process.communicate()  # returns when the worker processes have ended too
    assert process.returncode == -signal.SIGKILL and not (out / "x.mp4").exists()


def test_a_full_disk_ends_with_one_line_and_loses_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        flags = [f"--videos={tmp_path / 'in'}", f"--out={out}", "--workers=2"]
        write_video(tmp_path / "in" / "1.mp4", grey_frames(20))
        assert transcode.main(flags) == 0
        noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), dtype=np.uint8)
        for number in (2, 3, 4):  # while one meets the full disk, others are being written
            write_video(tmp_path / "in" / f"{number}.mp4", noise)
        line = mistake(capsys, *flags)
        assert re.search(r"/[234]\.mp4: cannot be written \(No space left on device\)", line)
        assert "the same command again" in line
        assert list(tree(out)) == ["1.mp4"] and len(all_frames(out / "1.mp4")) == 20
    finally:
        subprocess.run(["umount", out], check=True)


def test_links_to_folders_are_followed(tmp_path, capsys):
    write_video(tmp_path / "elsewhere" / "x.mp4", grey_frames(20))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "up").symlink_to(tmp_path)  # would lead back to in/
    assert run(tmp_path) == 0 and list(tree(tmp_path / "out")) == ["class/x.mp4"]
    capsys.readouterr()
    line = mistake(capsys, f"--videos={tmp_path / 'in'}", f"--out={tmp_path / 'elsewhere' / 'out'}")
    assert "lies in" in line


def test_names_that_are_no_text(tmp_path):
    write_video(tmp_path / "in" / "x.mp4", grey_frames(20)).rename(tmp_path / "in" / os.fsdecode(b"\xff.mp4"))
    (tmp_path / "in" / os.fsdecode(b"broken \xff.mp4")).write_bytes(b"no video")
    ended = subprocess.run(
        [*COMMAND, f"--videos={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1 and not ended.stderr and r"/broken \udcff.mp4: damaged or no video" in ended.stdout
    assert len(all_frames(tmp_path / "out" / os.fsdecode(b"\xff.mp4"))) == 20


def test_mistakes_give_one_line(tmp_path, capsys):
    videos, out = tmp_path / "in", tmp_path / "out"
    assert "/in: no such folder" in mistake(capsys, f"--videos={videos}", f"--out={out}")
    videos.mkdir()
    assert "/in: no videos in it" in mistake(capsys, f"--videos={videos}", f"--out={out}")
    for name in ("a.avi", "a.mp4"):
        (videos / name).write_text("x")
    assert f"a.avi and {videos / 'a.mp4'} would both become" in mistake(capsys, f"--videos={videos}", f"--out={out}")
    assert "lies in" in mistake(capsys, f"--videos={videos}", f"--out={videos}/out")
    assert "lies in" in mistake(capsys, f"--videos={videos}", f"--out={videos}")
    for share in ("0/8", "9/8", "x", "1/"):
        assert "give I/N" in mistake(capsys, f"--videos={videos}", f"--out={out}", f"--shard={share}")
    assert "is odd" in mistake(capsys, f"--videos={videos}", f"--out={out}", "--short_side=255")
    assert not out.exists()
