import gc
import io
import os
import pickle
import subprocess
import sys
import time
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conftest import frame_numbers, grey_frames, write_video
from datareader.decode import DECODERS, VideoError, check_decoder, decode_pkl, decode_video
from datareader.stream import play
from datareader.video import Bounds
from kinds import with_matrix

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "grey.mp4", grey_frames(40))


@pytest.mark.parametrize("decoder", DECODERS)
def test_picked_frames_in_the_order_asked_for(video, decoder):
    check_decoder(decoder)
    frames = decode_video(str(video), lambda n: np.array([n - 1, 3, 17, 3]), decoder).frames
    assert [(frame.dtype, frame.shape) for frame in frames] == [(np.uint8, (48, 64, 3))] * 4
    assert frame_numbers(frames) == [39, 3, 17, 3]


@pytest.mark.parametrize("decoder", DECODERS)
def test_number_of_frames_is_what_can_be_decoded(tmp_path, decoder):
    path = write_video(tmp_path / "x.avi", grey_frames(11), codec="mpeg4")
    seen = []
    decode_video(str(path), lambda n: seen.append(n) or np.array([0]), decoder)
    assert seen[-1] == 11


def turn(path, degrees):
    """Write a rotation into the track header of an mp4 file, as a phone does."""
    upright = b"".join(n.to_bytes(4, "big", signed=True) for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    a, b = {90: (0, 65536), 180: (-65536, 0), 270: (0, -65536)}[degrees]
    turned = b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, -b, a, 0, 0, 0, 1 << 30))
    content = path.read_bytes()
    header = content.index(b"tkhd")
    assert content.count(upright, header) == 1
    path.write_bytes(content[:header] + content[header:].replace(upright, turned))


@pytest.mark.parametrize("degrees, turns", [(90, -1), (180, 2), (270, 1)])
def test_rotation_in_the_file_is_honoured(tmp_path, degrees, turns):
    picture = np.full((1, 48, 64, 3), 30, np.uint8)
    picture[0, :24, :32] = 220  # bright in the upper left
    path = write_video(tmp_path / "turned.mp4", picture)
    (plain,) = decode_video(str(path), lambda n: np.array([0])).frames
    turn(path, degrees)
    (turned,) = decode_video(str(path), lambda n: np.array([0])).frames
    assert np.array_equal(turned, np.rot90(plain, turns))


MIRRORED = {  # matrix (a, b, c, d) -> what FFmpeg's programs make of the picture
    (1, 0, 0, 1): lambda picture: picture,
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda picture: np.rot90(picture, 2).transpose(1, 0, 2),
    (0.99985, -0.01745, 0.01745, 0.99985): lambda picture: picture,  # a degree
    (-0.99985, 0.01745, -0.01745, -0.99985): lambda picture: np.rot90(picture, 2),
    (0.02, 0.99, -0.99, 0.02): lambda picture: np.rot90(picture, -1),
    (0, 0, 0, 0): lambda picture: picture,
}


@pytest.mark.parametrize("matrix", MIRRORED)
def test_mirrored_and_slightly_turned_videos_come_out_as_viewers_show_them(tmp_path, matrix):
    picture = np.random.default_rng(0).integers(0, 255, (1, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    path = write_video(tmp_path / "x.mp4", picture)
    (plain,) = decode_video(str(path), lambda n: np.array([0])).frames
    (shown,) = decode_video(str(with_matrix(path, matrix)), lambda n: np.array([0])).frames
    assert np.array_equal(shown, MIRRORED[matrix](plain))
    (played,) = [frame.to_rgb() for frame in play(str(path))]
    assert np.array_equal(played, shown)


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_kept_is_prepared_and_sizes_are_compared_before(tmp_path, video, decoder):
    made = decode_video(str(video), np.arange, decoder, prepare=lambda picture: picture[:2, :3])
    whole = decode_video(str(video), np.arange, decoder)
    assert all(np.array_equal(one, other[:2, :3]) for one, other in zip(made.frames, whole.frames, strict=True))
    if decoder in ("selective", "pyav"):
        parts = [write_video(tmp_path / f"{side}.h264", grey_frames(5, side, side)).read_bytes() for side in (32, 64)]
        (tmp_path / "sizes.h264").write_bytes(b"".join(parts))
        with pytest.raises(VideoError, match="change size: 32x32, 64x64"):
            decode_video(str(tmp_path / "sizes.h264"), np.arange, decoder, prepare=lambda picture: picture[:2, :3])


def test_pictures_are_prepared_one_by_one(video):
    """Of 25 segments x 10 clips of a 4K video no more than one picture may be there at its full size."""
    alive, most = [], 0

    def prepare(picture):
        nonlocal most
        alive[:] = [one for one in alive if one() is not None]
        alive.append(weakref.ref(picture))
        most = max(most, len(alive))
        return picture[:2, :3].copy()

    decode_video(str(video), np.arange, prepare=prepare)
    assert most <= 2


@pytest.mark.parametrize("decoder", ["selective", "pyav"])
def test_no_decoded_frame_waits_for_the_garbage_collector(tmp_path, decoder):
    """Those of a 4K video hold 12 MB each."""
    path = write_video(tmp_path / "x.mp4", grey_frames(40))
    turn(path, 90)
    gc.collect()
    gc.disable()
    try:
        decode_video(str(path), np.arange, decoder, prepare=lambda picture: picture[:2, :3].copy())
        num_alive = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert num_alive <= 2


def test_frames_larger_than_any_video_are_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "x.mp4", grey_frames(3, 64, 96))
    with pytest.raises(VideoError, match="its frames of 96x64 are larger than 6143 pixels"):
        decode_video(str(path), np.arange, bounds=Bounds(max_pixels=96 * 64 - 1))
    assert len(decode_video(str(path), np.arange, bounds=Bounds(max_pixels=96 * 64)).frames) == 3
    monkeypatch.setattr(Bounds, "of_decoder", lambda bounds: {"max_pixels": "6143"})
    with pytest.raises(VideoError):  # where the file's header is silent and FFmpeg meets the size on the way
        decode_video(str(path), np.arange)


def test_longer_videos_and_other_containers_than_allowed_are_refused(tmp_path):
    path = write_video(tmp_path / "x.mp4", grey_frames(26))
    assert len(decode_video(str(path), np.arange, bounds=Bounds(max_video_sec=1.0)).frames) == 26
    with pytest.raises(VideoError, match="lasts 1 s, longer than 0.9 s"):
        decode_video(str(path), np.arange, bounds=Bounds(max_video_sec=0.9))
    assert len(decode_video(str(path), np.arange, bounds=Bounds(containers="avi,mov")).frames) == 26
    with pytest.raises(VideoError, match="damaged or no video"):
        decode_video(str(path), np.arange, bounds=Bounds(containers="avi"))
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile x.mp4\n")
    with pytest.raises(VideoError, match="damaged or no video"):  # which would show another's video
        decode_video(str(playlist), np.arange, bounds=Bounds(containers="mov"))


def test_broken_files_are_video_errors(tmp_path, video):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:600])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("cut.mp4", "empty.mp4", "text.mp4", "absent.mp4"):
        for decoder in DECODERS:
            with pytest.raises(VideoError):
                decode_video(str(tmp_path / name), lambda n: np.array([0]), decoder)


def test_pkl_written_by_python_3(tmp_path):
    jpegs = []
    for frame in grey_frames(4):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "jpeg")
        jpegs.append(buffer.getvalue())
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("an id", 2, jpegs)))
    video_id, label, frames = decode_pkl(str(tmp_path / "clip.pkl"), lambda n: np.array([n - 1, 1]))
    assert (video_id, label, frame_numbers(frames)) == ("an id", 2, [3, 1])


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey_frames(1)[0]).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "EPS", "BMP"])
def test_pictures_of_a_pkl_are_jpegs_and_nothing_else(tmp_path, kind):
    """For an EPS, Pillow would start Ghostscript, which runs the program that it is."""
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("id", 0, [picture(kind)])))
    with pytest.raises(VideoError, match="a frame is no readable JPEG"):
        decode_pkl(str(tmp_path / "clip.pkl"), np.arange)


def test_a_picture_that_would_fill_the_memory_is_unreadable(tmp_path):
    jpeg = picture("JPEG")
    height, width = (side.to_bytes(2, "big") for side in (48, 64))
    assert height + width in jpeg
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("id", 0, [jpeg.replace(height + width, b"\xff\xdc" * 2)])))
    with pytest.raises(VideoError, match="a frame is no readable JPEG: Image size .* could be decompression bomb"):
        decode_pkl(str(tmp_path / "clip.pkl"), np.arange)


def test_a_pkl_obeys_the_time_limit(tmp_path):
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("id", 0, [picture("JPEG")])))
    with pytest.raises(VideoError, match="^takes longer than 1e-09 s to read$"):
        decode_pkl(str(tmp_path / "clip.pkl"), np.arange, timeout_sec=1e-9)


def test_the_time_limit_counts_between_pictures(tmp_path):
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("id", 0, [picture("JPEG")])))

    def pick_late(num_frames: int) -> np.ndarray:
        time.sleep(0.3)
        return np.arange(num_frames)

    with pytest.raises(VideoError, match="takes longer than 0.2 s to read"):
        decode_pkl(str(tmp_path / "clip.pkl"), pick_late, timeout_sec=0.2)


ENDLESS = b")q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"h\x00"  # each tuple holds the one before twice


def test_what_a_pkl_holds_is_never_printed_whole(tmp_path):
    jpeg = picture("JPEG")
    frames = b"]B" + len(jpeg).to_bytes(4, "little") + jpeg + b"a"
    (tmp_path / "id.pkl").write_bytes(b"\x80\x03" + ENDLESS + b"K\0" + frames + b"\x87.")
    (tmp_path / "label.pkl").write_bytes(b"\x80\x03X\x02\0\0\0id" + ENDLESS + frames + b"\x87.")
    (tmp_path / "pkl.list").write_text("id.pkl\nlabel.pkl\n")
    code = """
import sys, numpy
from conftest import clip_reader
from datareader.records import read_list
reader = clip_reader(read_list(sys.argv[1], "pkl"), clip_format="pkl", num_classes=3)
for index in range(2):
    print(reader.read(0, index, numpy.empty(reader.clip_shape, numpy.uint8)).unreadable[0][1])
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pkl.list"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.stdout.splitlines() == ["its video id is no text", "its stored label is none of 0..2"], done.stderr


@pytest.mark.parametrize("content", [("id", 0, []), ("id", 0), {"a": 1}, ("id", 0, [b"no jpeg"]), ("id", 0, [3])])
def test_pkl_without_a_clip_is_a_video_error(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(VideoError):
        decode_pkl(str(tmp_path / "bad.pkl"), lambda n: np.zeros(1, int))
