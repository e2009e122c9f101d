"""Headers that no encoder writes: doubted, whatever numbers and however many units they have."""

import numpy as np
import pytest

from conftest import grey_frames, write_video
from datareader import video
from datareader.bitstream import MOST_UNITS, Av1, Mpeg4
from datareader.decode import decode_video
from datareader.nal_units import H264, Hevc
from datareader.video import Allowance, Video, VideoError
from kinds import KINDS, packets_of

PICTURE = b"\0\0\1\x65\x88\x84"
"""Of H.264, behind a start code."""


def bits_to_bytes(bits: str) -> bytes:
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def exp_golomb(number: int) -> str:
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


@pytest.mark.parametrize("num_bits", [17, 64, 65, 500])
def test_a_counter_of_more_bits_than_the_standard_knows_leaves_the_video_to_ffmpeg(tmp_path, num_bits):
    path = write_video(tmp_path / "clip.mp4", grey_frames(9), options={"profile": "baseline"})
    content = bytearray(path.read_bytes())
    start = content.index(b"avcC") + 4 + 8 + 4  # of what follows the profile and level in the sequence parameter set
    rest = f"{int.from_bytes(content[start : start + 8], 'big'):064b}"
    changed = exp_golomb(0) + exp_golomb(num_bits - 4)
    content[start : start + 8] = bits_to_bytes(changed + rest[len(changed) :])
    path.write_bytes(content)
    with pytest.raises(VideoError, match="not one frame can be decoded"):
        decode_video(str(path), lambda num_frames: np.arange(3))


def test_a_cycle_as_long_as_the_file_is_not_followed():
    sequence = exp_golomb(0) + exp_golomb(0) + exp_golomb(1) + "1" + exp_golomb(0) * 2 + exp_golomb(2**22)
    sets = b"\0\0\1\x67\x42\0\x0a" + bits_to_bytes(sequence) + b"\xff" * 2**20  # each bit is a code: hours
    stream = H264(b"")
    stream.look(memoryview(sets + b"\0\0\1\x68\xff" + PICTURE), 0)
    assert not stream.doubt
    with pytest.raises(ValueError, match="a number that the standard does not know"):
        stream.orders()


@pytest.mark.parametrize(
    "stream, unit",
    [
        (H264(b""), b"\0\0\1\x67"),
        (Hevc(b""), b"\0\0\1\x42\1"),
        (Mpeg4(b""), b"\0\0\1\x20"),
        (Av1(b""), b"\x0a\0"),  # a sequence header of no bytes
    ],
)
def test_a_packet_of_more_units_than_any_picture_has_is_damaged(stream, unit):
    with pytest.raises(IndexError, match="too many units"):
        stream.look(memoryview(unit * (MOST_UNITS + 1)), 0)


def test_a_size_without_an_end_is_damaged():
    with pytest.raises(IndexError, match="more than eight bytes"):
        Av1(b"").look(memoryview(b"\x0a" + b"\xff" * 2**20), 0)


@pytest.mark.parametrize("kind", ["H.264 in mp4: plain", "H.265: plain, mp4"])
def test_ordinary_pictures_are_put_aside_as_the_others_are(tmp_path, kind):
    """Most packets are one unit, which is looked at in a shorter way."""
    path = KINDS[kind](tmp_path)
    packets = [bytes(packet) for packet in packets_of(path)]
    with Video(str(path), Allowance(None)) as opened:
        stream, slowly = opened.bitstream, type(opened.bitstream)(opened.extradata)
        slowly._takes_ordinary = lambda packet: False
        for time, packet in enumerate(packets):
            slowly.look(memoryview(packet), time)
        assert slowly._headers == stream._headers
        assert sum(type(stream)(opened.extradata)._takes_ordinary(packet) for packet in packets) > len(packets) // 2
        assert np.array_equal(slowly.orders(), stream.orders()) and not stream.doubt and not slowly.doubt


def test_many_small_packets_are_not_kept_in_memory(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", grey_frames(40))
    frames = decode_video(str(path), lambda num_frames: np.arange(0, 40, 7)).frames
    monkeypatch.setattr(video, "KEPT_BYTES", path.stat().st_size)  # their contents alone are less
    with Video(str(path), Allowance(None)) as opened:
        assert sum(info.num_bytes for info in opened.packet_infos) < video.KEPT_BYTES
        assert opened._kept is None
    again = decode_video(str(path), lambda num_frames: np.arange(0, 40, 7)).frames
    assert all(np.array_equal(one, other) for one, other in zip(frames, again, strict=True))
