"""Selective decoding: the same bytes as decoding everything, or a doubt that leads to decoding in order."""

import logging
import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest

import datareader.selective
import datareader.video
from conftest import frame_numbers, grey_frames, write_video
from datareader.decode import VideoError, decode_video
from datareader.sampling import segment_indices
from datareader.selective import packet_ranges, parts_of
from datareader.video import Allowance, Video


def scene(num_frames: int) -> np.ndarray:
    """Frames of a camera that pans over a coarse pattern, (T, 96, 128, 3): something for motion compensation to do."""
    pattern = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([pattern[i : i + 96, 2 * i : 2 * i + 128] for i in range(num_frames)])


def everything(path: Path) -> list[np.ndarray]:
    """All frames in order, by PyAV's own loop; packets that cannot be decoded are passed over, as FFmpeg does."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError:
                continue
    return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]


def doubts_where_frames_differ(path: Path, picks: list[list[int]], num_threads: int = 1) -> set[str]:
    """Decode each pick; assert equality with decoding everything. Returns the doubts met, "" for none."""
    reference, doubts = everything(path), set()
    for pick in picks:
        counts = []

        def pick_indices(num_frames: int, pick=pick, counts=counts) -> np.ndarray:
            counts.append(num_frames)
            return np.array(pick) % num_frames

        decoded = decode_video(str(path), pick_indices, num_threads=num_threads)
        assert counts[-1] == len(reference), path
        for index, frame in zip(pick, decoded.frames, strict=True):
            assert np.array_equal(frame, reference[index % len(reference)]), (path, pick)
        doubts.add(decoded.doubt)
    return doubts


PICKS = [[i] for i in range(0, 40, 3)] + [[0, 39], [39, 0, 17, 17], [5, 6, 30], list(range(40))]

EXACT = {
    "key frame every 250": ("x.mp4", "libx264", {}),
    "key frame every 8": ("x.mp4", "libx264", {"g": "8"}),
    "no reordering": ("x.mp4", "libx264", {"bf": "0"}),
    "deep reordering": ("x.mp4", "libx264", {"x264-params": "bframes=8:b-adapt=0:ref=8"}),
    "open groups of pictures": ("x.mp4", "libx264", {"x264-params": "open-gop=1:keyint=10:scenecut=0"}),
    "open groups, Matroska": ("x.mkv", "libx264", {"x264-params": "open-gop=1:keyint=10:scenecut=0"}),
    "transport stream": ("x.ts", "libx264", {"g": "10"}),
    "H.265": ("x.mp4", "libx265", {"x265-params": "keyint=10:log-level=none"}),
    "H.265 with temporal layers": ("x.mp4", "libx265", {"x265-params": "temporal-layers=3:log-level=none"}),
    "MPEG-4": ("x.mp4", "mpeg4", {"bf": "2", "g": "10"}),
    "MPEG-4 in AVI, no reordering": ("x.avi", "mpeg4", {}),
    "VP9": ("x.webm", "libvpx-vp9", {"lag-in-frames": "16", "g": "20"}),
    "AV1": ("x.mp4", "libsvtav1", {"preset": "12", "g": "10"}),
    "motion JPEG": ("x.avi", "mjpeg", {}),
}


@pytest.mark.parametrize("case", EXACT)
def test_the_same_bytes_as_decoding_everything(tmp_path, case, monkeypatch):
    monkeypatch.setenv("SVT_LOG", "0")
    name, codec, options = EXACT[case]
    path = write_video(tmp_path / name, scene(40), codec, options=options)
    assert doubts_where_frames_differ(path, PICKS) == {""}


DOUBTFUL = {
    "B-frames in AVI": ("x.avi", "libx264", {}, "its packets tell when frames are decoded, not when they are shown"),
    "interlaced": ("x.mp4", "libx264", {"flags": "+ildct+ilme"}, "it is interlaced"),
    "frames that are not shown": ("x.webm", "libvpx", {"auto-alt-ref": "1"}, "a packet of vp8 is not always one frame"),
    "raw stream without times": ("x.h264", "libx264", {}, "it has packets without a time"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_packets_cannot_tell_is_decoded_in_order(tmp_path, case, caplog):
    name, codec, options, doubt = DOUBTFUL[case]
    path = write_video(tmp_path / name, scene(40), codec, options=options)
    with caplog.at_level(logging.DEBUG):
        assert doubts_where_frames_differ(path, PICKS[:3]) == {doubt}
    assert f"{path} is decoded in order: {doubt}" in caplog.text


def test_periodic_intra_refresh_begins_nowhere_but_at_the_start(tmp_path):
    """Its key frames become whole only over the frames that follow: the decoder holds those back."""
    options = {"x264-params": "intra-refresh=1:keyint=20"}
    path = write_video(tmp_path / "x.mkv", scene(60), options=options)
    assert doubts_where_frames_differ(path, [[i] for i in range(60)]) == {""}
    with Video(str(path), Allowance(None)) as video:
        assert [info.is_key for info in video.packet_infos] == [True] + [False] * 59


def test_each_pass_has_a_new_decoder(tmp_path):
    """One of MPEG-4 that was flushed gives 21 of these frames."""
    path = write_video(tmp_path / "x.mp4", scene(60), "mpeg4", options={"flags": "+ildct+ilme", "bf": "2"})
    with Video(str(path), Allowance(None)) as video:
        assert [sum(1 for _ in video.frames()) for _ in range(3)] == [60, 60, 60]


def remux(source: Path, target: Path, change) -> Path:
    """Copy the packets; `change(position, packet)` alters them, or returns False to leave one out."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for position, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            if change(position, packet) is not False:
                packet.stream = stream
                new.mux(packet)
    return target


def test_a_key_frame_that_is_none(tmp_path):
    def mark(position, packet):
        packet.is_keyframe = True

    wrong = remux(
        write_video(tmp_path / "x.mp4", scene(40), "mpeg4", options={"g": "250"}), tmp_path / "wrong.mp4", mark
    )
    assert doubts_where_frames_differ(wrong, [[i] for i in range(1, 40, 5)]) == {
        "a frame that the file marks as a key frame is not one"
    }


def test_a_stream_that_begins_in_the_middle(tmp_path):
    path = write_video(tmp_path / "x.mp4", scene(40), options={"g": "10"})
    cut = remux(path, tmp_path / "cut.mkv", lambda position, packet: position >= 4)
    assert doubts_where_frames_differ(cut, [[0], [5], [30]]) == {"it does not begin with a key frame"}


def test_variable_frame_rate_is_no_doubt(tmp_path):
    def stretch(position, packet):
        if packet.pts > 512 * 20:
            packet.pts, packet.dts = packet.pts + 100_000, packet.dts + 100_000

    path = write_video(tmp_path / "x.mp4", scene(40))
    assert doubts_where_frames_differ(remux(path, tmp_path / "vfr.mp4", stretch), PICKS[::4]) == {""}


def test_an_edit_list_cuts_frames_away(tmp_path):
    """Frames before the start are decoded, since others need them, but neither counted nor returned."""
    path = write_video(tmp_path / "x.mp4", scene(40))
    content = path.read_bytes()
    entry = content.index(b"elst") + 16  # version and flags, number of entries, duration; then the time to start at
    start = int.from_bytes(content[entry : entry + 4], "big")
    path.write_bytes(content[:entry] + (start + 7 * 512).to_bytes(4, "big") + content[entry + 4 :])
    assert len(everything(path)) == 33
    assert doubts_where_frames_differ(path, [[0], [1], [32], [3, 20]]) == {""}


def test_of_several_video_streams_one_is_read(tmp_path):
    path, videos = tmp_path / "two.mp4", (scene(20), grey_frames(10, 32, 32))
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25, width=v.shape[2], height=v.shape[1]) for v in videos]
        for stream, frames in zip(streams, videos, strict=True):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    frames = decode_video(str(path), np.arange).frames
    assert len(frames) == 20 and frames[0].shape == (96, 128, 3)


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "sound.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video stream"):
        decode_video(str(path), np.arange)


def test_a_damaged_packet_costs_its_frame_and_no_other_file(tmp_path):
    """What is left of the video is read, in order; the frame that cannot be decoded is not counted."""
    path = write_video(tmp_path / "x.mp4", scene(40))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[packets[20].pos : packets[20].pos + 4] = b"\xff\xff\xff\xff"  # the length of the packet's first part
    path.write_bytes(content)
    assert len(everything(path)) == 39
    assert doubts_where_frames_differ(path, [[0], [38], [1, 2]]) == {"a packet is damaged"}


def test_a_file_cut_in_the_middle(tmp_path):
    path = write_video(tmp_path / "x.mkv", scene(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    num_left = len(everything(path))
    assert 10 < num_left < 40
    doubts_where_frames_differ(path, [[0], [num_left - 1], [3, 9]])


def test_frames_that_change_size_are_refused(tmp_path):
    path = tmp_path / "x.h264"
    parts = [write_video(tmp_path / f"{side}.h264", grey_frames(5, side, side)).read_bytes() for side in (32, 64)]
    path.write_bytes(b"".join(parts))
    with pytest.raises(VideoError, match="change size: 32x32, 64x64"):
        decode_video(str(path), np.arange)


def test_time_limit(tmp_path):
    path = write_video(tmp_path / "x.mp4", scene(40))
    for decoder in ("selective", "pyav", "opencv", "decord"):
        with pytest.raises(VideoError, match="takes longer than 1e-06 s to read"):
            decode_video(str(path), np.arange, decoder, timeout_sec=1e-6)
        assert len(decode_video(str(path), np.arange, decoder, timeout_sec=60).frames) == 40


@pytest.fixture
def opened_beside(monkeypatch) -> list[str]:
    """Short files are decoded side by side too: the name of the thread each time; none may be left."""
    opened, beside = [], Video.beside

    def note(video: Video) -> Video:
        opened.append(threading.current_thread().name)
        return beside(video)

    monkeypatch.setattr(datareader.selective, "PACKETS_EACH", 1)
    monkeypatch.setattr(Video, "beside", note)
    yield opened
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


SEVERAL_KEYS = [
    "key frame every 8", "open groups of pictures", "open groups, Matroska", "transport stream", "VP9", "AV1",
]  # fmt: skip


@pytest.mark.parametrize("case", SEVERAL_KEYS)
def test_side_by_side_the_same_bytes(tmp_path, case, monkeypatch, opened_beside):
    monkeypatch.setenv("SVT_LOG", "0")
    name, codec, options = EXACT[case]
    path = write_video(tmp_path / name, scene(40), codec, options=options)
    assert doubts_where_frames_differ(path, PICKS[-4:], num_threads=2) == {""}
    assert opened_beside and all(name.startswith("decode") for name in opened_beside)


@pytest.mark.parametrize("case", ["H.265", "MPEG-4", "motion JPEG"])
def test_decoders_that_do_not_begin_anew_stay_alone(tmp_path, case, opened_beside):
    """Where a frame is damaged, these go on with what the frames before it left."""
    name, codec, options = EXACT[case]
    path = write_video(tmp_path / name, scene(40), codec, options=options)
    assert doubts_where_frames_differ(path, PICKS[-4:], num_threads=2) == {""}
    assert not opened_beside


def test_a_doubt_of_a_thread_is_that_of_decoding_in_turn(tmp_path, monkeypatch, opened_beside):
    def mark(position, packet):
        packet.is_keyframe = True

    monkeypatch.setattr(datareader.selective, "BEGIN_ANEW", ("mpeg4",))
    plain = write_video(tmp_path / "x.mp4", scene(40), "mpeg4", options={"g": "250"})
    wrong = remux(plain, tmp_path / "wrong.mp4", mark)
    for pick in ([0, 30], [0, 20, 30], [20, 30]):
        doubts = [doubts_where_frames_differ(wrong, [pick], num_threads) for num_threads in (1, 2, 3)]
        assert doubts == [{"a frame that the file marks as a key frame is not one"}] * 3
    assert opened_beside


def test_the_first_parts_error_is_raised(tmp_path, opened_beside):
    path = str(write_video(tmp_path / "x.mp4", scene(40), options={"g": "8"}))

    def fail(where: str) -> None:
        def prepare(picture):
            is_main = threading.current_thread() is threading.main_thread()
            if where in ("both", "main" if is_main else "thread"):
                raise VideoError("main" if is_main else "thread")
            return picture

        decode_video(path, lambda num_frames: np.array([0, 39]), prepare=prepare, num_threads=2)

    for where, raised in (("main", "main"), ("thread", "thread"), ("both", "main")):
        with pytest.raises(VideoError, match=raised):
            fail(where)
    assert len(opened_beside) == 3


def test_the_time_limit_counts_in_threads(tmp_path, monkeypatch, opened_beside):
    def check(allowance: Allowance) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise VideoError(f"takes longer than {allowance.limit_sec:g} s to read")

    monkeypatch.setattr(Allowance, "check", check)
    path = str(write_video(tmp_path / "x.mp4", scene(40), options={"g": "8"}))
    with pytest.raises(VideoError, match="takes longer than 60 s to read"):
        decode_video(path, lambda num_frames: np.array([0, 39]), timeout_sec=60, num_threads=2)
    assert len(decode_video(path, lambda num_frames: np.array([0, 39]), timeout_sec=60).frames) == 2


def test_parts_of_ranges():
    ranges = [range(0, 10), range(16, 26), range(32, 42), range(48, 78)]
    assert parts_of(ranges, 1) == [ranges]
    assert parts_of(ranges, 2) == [ranges[:3], ranges[3:]]
    assert parts_of(ranges, 9) == [ranges[:1], ranges[1:2], ranges[2:3], ranges[3:]]
    assert parts_of(ranges[3:], 2) == [ranges[3:]], "one place to begin"
    few = datareader.selective.PACKETS_EACH - 1
    assert parts_of([range(0, few), range(100, 100 + few)], 2) == [[range(0, few), range(100, 100 + few)]]


def test_large_files_are_read_again_instead_of_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(datareader.video, "KEPT_BYTES", 100)
    path = write_video(tmp_path / "x.mp4", scene(40), options={"g": "8"})
    assert doubts_where_frames_differ(path, PICKS) == {""}
    assert doubts_where_frames_differ(path, PICKS[-4:], num_threads=2) == {""}, "in one thread"
    doubtful = write_video(tmp_path / "x.avi", scene(40))
    assert len(doubts_where_frames_differ(doubtful, PICKS[:3])) == 1


@pytest.mark.parametrize("name", ["a:b.mp4", "50%d.mp4", "-x.mp4", "名 前.mp4"])
def test_odd_file_names(tmp_path, monkeypatch, name):
    write_video(tmp_path / "x.mp4", grey_frames(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert frame_numbers(decode_video(name, np.arange).frames) == [0, 1, 2]


def test_packet_ranges():
    times = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    keys = [True, False, False, False, True, False, False, False, False, False]
    assert packet_ranges(times, keys, {2}) == [range(0, 3)]
    assert packet_ranges(times, keys, {1, 2}) == [range(0, 3)]
    assert packet_ranges(times, keys, {4}) == [range(4, 5)]
    assert packet_ranges(times, keys, {1, 7}) == [range(0, 2), range(4, 8)]
    # shown before the key frame that it follows in the file: needs the one before
    assert packet_ranges(times, keys, {5}) == [range(0, 6)]
    assert packet_ranges(times, keys, {1, 4, 5, 8}) == [range(0, 9)]
    # where one run ends the next begins: no jump
    assert packet_ranges(times, keys, {3, 4}) == [range(0, 5)]


def test_real_formats_and_clips(clips):
    """Every real file: equal to decoding in order, or a clear error where it has no video; 20 of the fights or all."""
    picks = [segment_indices(1000, seg_num).tolist() for seg_num in (3, 7)]
    doubtful, refused = {}, {}
    for path in sorted((clips / "formats").iterdir()):
        try:
            decode_video(str(path), lambda n: np.zeros(1, int))
        except VideoError as error:
            refused[path.name] = str(error)
            continue
        doubts = doubts_where_frames_differ(path, picks)
        if doubts != {""}:
            doubtful[path.name] = doubts
    assert refused == {"nasa_13013.mp4.audio.mp3": "has no video stream"}
    assert doubtful == {
        "S001C001P001R001A001_rgb.avi": {"its packets tell when frames are decoded, not when they are shown"},
        "corrupted.mp4": {"a packet is damaged"},
        "test.avi": {"its packets tell when frames are decoded, not when they are shown"},
    }
    fights = sorted((clips / "fights").rglob("*.mp4"))[:: 1 if "TSN_LONG" in os.environ else 15]
    assert len(fights) >= 20
    for path in fights:
        assert doubts_where_frames_differ(path, picks[:1]) == {""}, path


def test_real_turned_videos_are_upright(clips):
    shapes = {
        name: decode_video(str(clips / "formats" / f"video_{name}.mov"), lambda n: np.array([0])).frames[0].shape[:2]
        for name in ("0", "90", "180", "270")
    }
    assert shapes == {"0": (320, 568), "180": (320, 568), "90": (568, 320), "270": (568, 320)}
