import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import frame_numbers, grey_frames, write_video
from datareader.stream import Clock, PlayedFrame, Window, is_address, play, windows
from datareader.video import VideoError
from inference.overlay import copy_with_overlay
from inference.pictures import draw_caption

ROOT = Path(__file__).resolve().parents[1]


def film(times_sec, made: list | None = None):
    """Frames whose picture is their number; `made` notes which ones were asked for."""

    def to_rgb(number):
        if made is not None:
            made.append(number)
        return number

    return [PlayedFrame(time, functools.partial(to_rgb, number)) for number, time in enumerate(times_sec)]


def cut(times_sec, window_sec, stride_sec, seg_num=2, seglen=1, made=None) -> list[Window]:
    return list(windows(film(times_sec, made), window_sec, stride_sec, seg_num, seglen, lambda picture: picture))


def test_windows_side_by_side():
    found = cut(np.arange(8) / 2, 2, 2)  # 4 s at 2 frames per second; segments of 1 s, their middles at 0.5 and 1.5
    assert found == [Window(0, 2, [1, 3]), Window(2, 3.5, [5, 7])]  # the last frame begins at 3.5


def test_overlapping_windows_convert_each_frame_once():
    made = []
    found = cut(np.arange(16) / 4, 2, 1, made=made)
    assert [(window.start_sec, window.end_sec) for window in found] == [(0, 2), (1, 3), (2, 3.75)]
    assert [window.pictures for window in found] == [[2, 6], [6, 10], [10, 14]]
    assert sorted(made) == sorted(set(made)), "a frame in two windows is converted once"


def test_the_rest_of_a_video_is_a_shorter_window():
    assert cut(np.arange(11) / 2, 4, 4)[-1] == Window(4, 5, [10])  # the second middle, at 7 s, is beyond the end


def test_a_video_shorter_than_half_a_segment_is_its_last_frame():
    assert cut([0, 0.1, 0.2], 10, 10) == [Window(0, 0.2, [2])]


def test_seglen_takes_following_frames_and_repeats_the_last_at_the_end():
    assert cut(np.arange(7) / 2, 2, 2, seg_num=1, seglen=2) == [Window(0, 2, [2, 3]), Window(2, 3, [6, 6])]


def test_a_gap_has_no_windows():
    starts = [window.start_sec for window in cut([0, 0.5, 1, 1.5, 20, 20.5, 21, 21.5], 2, 2)]
    assert starts == [0, 20]


def test_memory_holds_only_the_windows_under_way():
    frames = (PlayedFrame(number / 25, lambda: np.zeros(1)) for number in range(25 * 600))
    generator = windows(frames, 4, 2, 7, 1, lambda picture: picture)
    next(generator)
    pending = generator.gi_frame.f_locals["pending"]
    for _ in range(100):
        next(generator)
        assert len(pending) <= 3 and all(len(window.pictures) <= 7 for window in pending)


def test_playing_a_file_gives_every_frame_at_its_time(tmp_path):
    path = write_video(tmp_path / "grey.mp4", grey_frames(20))
    frames = [(frame.time_sec, frame.to_rgb()) for frame in play(str(path))]
    assert frame_numbers(np.stack([picture for _, picture in frames])) == list(range(20))
    assert np.allclose([time for time, _ in frames], np.arange(20) / 25)


def test_an_address_is_played_as_it_is_received(tmp_path):
    write_video(tmp_path / "grey.mkv", grey_frames(20))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        frames = [frame.to_rgb() for frame in play(f"{address}/grey.mkv")]
        assert frame_numbers(np.stack(frames)) == list(range(20))
        with pytest.raises(VideoError, match="cannot be received"):
            list(play(f"{address}/absent.mkv"))
        server.shutdown()
    assert is_address("rtsp://camera/live") and is_address("/dev/video0") and not is_address("/data/a.mp4")


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="damaged or no video"):
        list(play(str(tmp_path / "no.mp4")))


def with_sound(path, frames, codec="aac") -> None:
    """A video with sound as long as its frames."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25, options={"crf": "5"})
        sound = container.add_stream(codec, rate=44100, layout="mono")
        pictures.height, pictures.width, pictures.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(pictures.encode())
        for number in range(len(frames) * 44100 // 25 // 1024):
            noise = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 1024)).astype(np.float32)
            kind = {"format": "fltp" if codec == "aac" else "s16", "layout": "mono"}
            samples = av.AudioFrame.from_ndarray(noise if codec == "aac" else (noise * 9999).astype(np.int16), **kind)
            samples.sample_rate, samples.pts, samples.time_base = 44100, number * 1024, Fraction(1, 44100)
            container.mux(sound.encode(samples))
        container.mux(sound.encode())


def test_a_copy_with_overlay_keeps_frames_times_and_sound(tmp_path):
    with_sound(tmp_path / "source.mp4", grey_frames(25, 72, 96))
    times = []

    def draw(picture, time_sec):
        times.append(time_sec)
        return draw_caption(picture, ["something  93.0%", "else  7.0%"])

    copy_with_overlay(str(tmp_path / "source.mp4"), tmp_path / "copy.mp4", draw)
    assert np.allclose(times, np.arange(25) / 25)
    with av.open(str(tmp_path / "copy.mp4")) as copy, av.open(str(tmp_path / "source.mp4")) as source:
        assert [stream.codec.canonical_name for stream in copy.streams] == ["h264", "aac"]
        packets = [[bytes(packet) for packet in one.demux(audio=0) if packet.size] for one in (copy, source)]
        assert packets[0] == packets[1]
    pictures = [frame.to_rgb() for frame in play(str(tmp_path / "copy.mp4"))]
    assert frame_numbers(np.stack(pictures)[:, 50:]) == list(range(25))  # below the caption
    assert np.median(pictures[20][:8, :60]) < 70, "the ground of the caption is dark"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.mp4", "source.mp4"]


def test_sound_that_mp4_does_not_take_is_left_out_with_a_warning(tmp_path, caplog):
    with_sound(tmp_path / "source.mkv", grey_frames(5, 72, 96), codec="pcm_s16le")
    copy_with_overlay(str(tmp_path / "source.mkv"), tmp_path / "copy.mp4", lambda picture, time_sec: picture)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert [stream.type for stream in copy.streams] == ["video"]
    assert "the copy has no sound: mp4 cannot hold pcm_s16le" in caplog.text


def test_what_cannot_be_copied_leaves_nothing(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        copy_with_overlay(str(tmp_path / "no.mp4"), tmp_path / "copy.mp4", lambda picture, time_sec: picture)
    assert [path.name for path in tmp_path.iterdir()] == ["no.mp4"]


def test_a_caption_with_chinese_is_drawn():
    plain = np.zeros((120, 200, 3), np.uint8)
    assert (draw_caption(plain, ["游泳  93.0%"]) != plain).any() and not plain.any()


def test_real_videos_are_copied_with_all_their_frames(clips, tmp_path):
    long_ones = ["S001C001P001R001A001_rgb.avi"] if "TSN_LONG" in os.environ else []
    for name in ("unordered.mov", "video_90.mov", *long_ones):
        copy_with_overlay(str(clips / "formats" / name), tmp_path / "copy.mp4", lambda picture, time_sec: picture)
        sources, copies = (list(play(str(path))) for path in (clips / "formats" / name, tmp_path / "copy.mp4"))
        assert len(sources) == len(copies), name
        height, width = sources[0].to_rgb().shape[:2]
        assert copies[0].to_rgb().shape[:2] == (height // 2 * 2, width // 2 * 2)


def times(*parts) -> np.ndarray:
    """Frames' times as `play` tells them, of a stream whose frames say these."""
    clock = Clock()
    return [clock.elapsed_sec(time) for part in parts for time in part]


def test_where_a_stream_begins_anew_time_goes_on():
    elapsed = times(np.arange(40) / 4, np.arange(40) / 4)  # 10 s, twice
    assert np.allclose(elapsed, np.arange(80) / 4)
    assert [window.start_sec for window in cut(elapsed, 4, 4)] == [0, 4, 8, 12, 16]


def test_a_frame_out_of_place_or_without_a_time_is_shown_with_the_one_before():
    assert times([5, 5.5, None, 5.25, 6]) == [0, 0.5, 0.5, 0.5, 1]


def test_a_clock_that_jumps_far_is_no_gap_and_a_gap_stays():
    assert times([0, 0.5, 2_000_000, 2_000_000.5]) == [0, 0.5, 1, 1.5]
    assert times([0, 0.5, 3000, 3000.5]) == [0, 0.5, 3000, 3000.5]


def test_the_windows_of_a_long_gap_are_passed_over():
    """Made one by one, the windows of these 2,000,000,000 s would take hours: it is tried in a process of its own."""
    code = (
        "from datareader.stream import Clock, PlayedFrame, windows\n"
        "frames = [PlayedFrame(time, lambda: 0) for time in (0, 1, 2, 3, 2e9, 2e9 + 1, 2e9 + 2, 2e9 + 3)]\n"
        "print([w.start_sec for w in windows(frames, 2, 0.5, 1, 1, lambda picture: picture)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    starts = json.loads(done.stdout)
    assert starts[:4] == [0, 0.5, 1, 1.5] and 2e9 in starts, done.stderr
    assert all(2e9 - 2 < start or start <= 3 for start in starts)


def test_a_file_that_begins_anew_is_played_to_its_end(tmp_path):
    """Two recordings in one file, each from 0 s on, as a camera leaves them that was restarted."""
    part = write_video(tmp_path / "part.ts", grey_frames(40)).read_bytes()
    (tmp_path / "x.ts").write_bytes(part + part)
    frames = list(play(str(tmp_path / "x.ts")))
    assert len(frames) == 80 and frames[-1].time_sec == pytest.approx(79 / 25, abs=0.05)
    assert [window.start_sec for window in windows(frames, 0.5, 0.5, 1, 1, lambda picture: picture)][-1] == 3.0
