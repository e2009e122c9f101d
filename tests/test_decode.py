import pickle

import numpy as np
import pytest

from conftest import frame_numbers, grey_frames, write_video
from datareader.decode import DECODERS, VideoError, check_decoder, decode_pkl, decode_video


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
    from io import BytesIO

    from PIL import Image

    jpegs = []
    for frame in grey_frames(4):
        buffer = BytesIO()
        Image.fromarray(frame).save(buffer, "jpeg")
        jpegs.append(buffer.getvalue())
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(("an id", 2, jpegs)))
    video_id, label, frames = decode_pkl(str(tmp_path / "clip.pkl"), lambda n: np.array([n - 1, 1]))
    assert (video_id, label, frame_numbers(frames)) == ("an id", 2, [3, 1])


@pytest.mark.parametrize("content", [("id", 0, []), ("id", 0), {"a": 1}, ("id", 0, [b"no jpeg"]), ("id", 0, [3])])
def test_pkl_without_a_clip_is_a_video_error(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(VideoError):
        decode_pkl(str(tmp_path / "bad.pkl"), lambda n: np.zeros(1, int))
