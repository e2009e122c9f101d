"""Selective decoding over kinds of file that broke it once; TSN_LONG=1 takes all (see benchmarks/exactness.py)."""

import os

import pytest

import spoiled_kinds  # noqa: F401  adds its kinds
from benchmarks.exactness import compare
from fuzz_videos import fuzz
from kinds import KINDS

SHORT = """\
FLV with a second sequence header: a similar one
mp4 with two sample descriptions: a similar one
two set-ups: libx264 similar, ts in mp4
two set-ups: libx265 B-frames, ts in ts
two set-ups: mpeg4 B-frames, avi in avi
MPEG-4: interlaced, B-frames, mp4
H.264 in Matroska: intra refresh
H.264 in transport stream: interlaced
begins in the middle: H.264, intra refresh, mkv
times in decoding order: H.264, B-frames, mkv
times in decoding order: H.265, mp4
times in decoding order: MPEG-4, mkv
remuxed AVI: H.264, B-frames, mkv
mp4 without a table: ctts, H.264, open groups
mp4 without a table: stss, MPEG-4
all marked as key frames: H.264, open groups, mp4
packets of nothing but a delimiter: H.264, no reordering, mkv
packets of nothing but a hints: H.265, mkv
packets of nothing but a filler: H.264, B-frames, mp4
two pictures in a packet: H.264, no reordering, mkv
lost packets: H.264, B-frames, mkv
lost packets: H.265, mkv
lost packets: MPEG-4, mkv
lost key frame: H.264, no reordering, mp4
spliced at 11: H.265, mkv
spliced at 12: H.264, open groups, mkv
begins at 20: H.265, mp4
open starts said to be of type 16: H.265, mkv
ends of sequence: H.265, mkv
VP8, VP9, AV1: VP9, hidden frames, mkv
H.265: intra refresh, ts
H.265: temporal layers, mp4
display matrix: (0, 1, 1, 0)
cut off: libx264, flv""".splitlines()


@pytest.mark.parametrize("kind", KINDS if "TSN_LONG" in os.environ else SHORT)
def test_the_frames_of_decoding_in_order(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("SVT_LOG", "0")
    row = compare(kind, KINDS[kind](tmp_path), num_picks=16)
    assert row.num_different == 0, row


SOUND = [
    "H.264 in mp4: plain", "H.264 in mp4: open groups", "H.264 in Matroska: slices", "H.264 in transport stream: plain",
    "H.264 in mp4: weighted, references 4", "H.265: plain, mp4", "H.265: key frame every 10, mkv",
    "MPEG-4: B-frames, mp4", "H.264 in other files: no B-frames, avi", "H.264 in other files: plain, flv",
    "mp4: fragments", "mp4: edit list cuts 7 frames", "VP8, VP9, AV1: AV1, mp4",
]  # fmt: skip


@pytest.mark.parametrize("kind", SOUND)
def test_what_people_have_is_not_decoded_in_order(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("SVT_LOG", "0")
    assert compare(kind, KINDS[kind](tmp_path), num_picks=2).doubts == ()


def test_damaged_videos_are_read_or_refused(tmp_path):
    """A few of the thousands that `python tests/fuzz_videos.py --runs 10000` makes."""
    assert fuzz(60, seed=1, keep=tmp_path) == 0
