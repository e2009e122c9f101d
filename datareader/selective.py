"""Decode only what the wanted frames need, with the same bytes as decoding everything; or say why that cannot be sure.

The packets tell, undecoded, when each frame is shown and where decoding can begin. For a wanted frame the decoder gets
the packets from the key frame before it on; on the way it leaves out the frames that no other needs (`skip_frame =
NONREF`). All of this rests on every packet being one frame shown at the packet's time. `Doubt` says where it is not so.
"""

import itertools
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import av
import numpy as np

from datareader.video import Video

ONE_FRAME_PER_PACKET = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")
"""Codecs, in FFmpeg's names. Others have packets that are not shown (VP8), or two for one frame (MPEG-2 fields)."""
BEGIN_ANEW = ("h264", "vp9", "av1")
"""Codecs whose decoders keep nothing over a key frame. What the others make of damage depends on the frames before."""
EMPTY_MPEG4_BYTES = 10  # a packet without a picture, which stands in for a B-frame that was packed into an earlier one

PACKETS_EACH = 8
"""Packets that are worth a thread: it opens the file again, which takes as long as decoding some of them."""

DECODING_TIMES = "its packets tell when frames are decoded, not when they are shown"

Kept = TypeVar("Kept")
"""What is kept of a picture."""


class Doubt(Exception):
    """Why the packets of this video cannot tell which frames decoding gives: it has to be decoded in order."""


def decode_selectively(
    video: Video,
    pick_indices: Callable[[int], np.ndarray],
    keep: Callable[[np.ndarray], Kept] = lambda picture: picture,
    num_threads: int = 1,
) -> list[Kept]:
    """The picked frames' pictures, each as `keep` makes it from the upright uint8 RGB (H, W, 3), when it is decoded.

    Args:
        num_threads: how many may decode, where there are several places to begin; `keep` is called in all of them.

    Raises:
        Doubt: see there; found before decoding or on the way.
        VideoError: damaged, or out of time.
    """
    check_packets(video)
    times = [info.time for info in video.packet_infos]
    shown = sorted((info.time, position) for position, info in enumerate(video.packet_infos) if info.is_shown)
    indices = pick_indices(len(shown)).tolist()
    wanted = {shown[index][1] for index in indices}
    ranges = packet_ranges(times, [info.is_key for info in video.packet_infos], wanted)
    can_part = video.keeps_packets and video.codec_name in BEGIN_ANEW
    parts = parts_of(ranges, num_threads if can_part else 1)
    pictures = _decode_side_by_side(video, parts, wanted, keep)
    return [pictures[shown[index][0]] for index in indices]


def packet_ranges(times: list[int], are_keys: list[bool], wanted: set[int]) -> list[range]:
    """Which packets to decode, in runs; each run begins at a key frame.

    Args:
        times: when each packet's frame is shown, in the order of the file.
        are_keys: whether decoding can begin there.
        wanted: positions of packets.

    Returns:
        Ascending, disjoint ranges of positions. A wanted frame's run begins at the last key frame before it that is not
        shown later: frames that follow a key frame in the file but are shown before it need the one before that.
    """
    keys = [position for position, is_key in enumerate(are_keys) if is_key]
    ranges: list[range] = []
    for position in sorted(wanted):
        number = bisect_right(keys, position) - 1
        while number > 0 and times[keys[number]] > times[position]:
            number -= 1
        start = keys[number]
        while ranges and start <= ranges[-1].stop:  # it may reach back over several runs
            start = min(start, ranges.pop().start)
        ranges.append(range(start, position + 1))
    return ranges


def parts_of(ranges: list[range], most: int) -> list[list[range]]:
    """The ranges in up to so many parts of about as many packets, none of fewer than PACKETS_EACH on average."""
    lengths = np.array([len(packets) for packets in ranges])
    num_parts = max(min(most, lengths.sum() // PACKETS_EACH), 1)
    middles = lengths.cumsum() - lengths / 2
    numbers = (middles * num_parts / lengths.sum()).astype(int).tolist()
    parts = itertools.groupby(zip(numbers, ranges, strict=True), key=lambda numbered: numbered[0])
    return [[packets for _, packets in part] for _, part in parts]


def check_packets(video: Video) -> None:
    """Raise Doubt if the packets cannot be trusted, as far as can be seen without decoding."""
    infos = video.packet_infos
    times = [info.time for info in infos]
    if video.reading_error:
        raise Doubt(f"its end cannot be read: {video.reading_error}")
    if video.codec_name not in ONE_FRAME_PER_PACKET:
        raise Doubt(f"a packet of {video.codec_name} is not always one frame")
    if None in times:
        raise Doubt("it has packets without a time")
    if not any(info.is_shown for info in infos):
        raise Doubt("no packet is shown")
    if len({info.time for info in infos if info.is_shown}) < sum(info.is_shown for info in infos):
        raise Doubt("times occur twice")
    if not infos[0].is_key or min(times) < times[0]:
        raise Doubt("it does not begin with a key frame")
    if video.decoder.has_b_frames and video.format_name == "avi":
        raise Doubt(DECODING_TIMES)
    if video.codec_name == "mpeg4" and min(info.num_bytes for info in infos) <= EMPTY_MPEG4_BYTES:
        raise Doubt("it has packets without a picture (packed B-frames)")
    if video.bitstream.doubt:
        raise Doubt(video.bitstream.doubt)
    _check_order(video)


def _check_order(video: Video) -> None:
    """Raise Doubt if the packets' times are not in the order in which the decoder shows their pictures."""
    try:
        orders = video.bitstream.orders()
    except (IndexError, KeyError, ValueError) as error:
        raise Doubt("a header of it cannot be read") from error
    if video.bitstream.doubt:
        raise Doubt(video.bitstream.doubt)
    times = np.array([info.time for info in video.packet_infos])
    if orders is not None and (np.diff(orders[times.argsort(kind="stable")]) <= 0).any():
        raise Doubt(DECODING_TIMES)
    if not video.decoder.has_b_frames and (np.diff(times) < 0).any():
        raise Doubt("frames are reordered, which the decoder does not know beforehand")


def _decode_side_by_side(
    video: Video, parts: list[list[range]], wanted: set[int], keep: Callable[[np.ndarray], Kept]
) -> dict[int, Kept]:
    """{time: picture} of the wanted frames; each part but the first is decoded in a thread and by a decoder of its own.

    All threads have ended then. If several of them fail, the first part's error is raised, as if it were the only one.
    """

    def decode_beside(ranges: list[range]) -> tuple[dict[int, Kept], set[int]]:
        with video.beside() as other:
            return _decode_ranges(other, ranges, wanted, keep)

    with ThreadPoolExecutor(len(parts), "decode") as threads:  # which starts none for a single part
        beside = [threads.submit(decode_beside, part) for part in parts[1:]]
        decoded = [_decode_ranges(video, parts[0], wanted, keep), *(part.result() for part in beside)]
    infos, starts = video.packet_infos, [packets.start for part in parts for packets in part]
    announced = wanted.union(start for start in starts if infos[start].is_shown)
    if not {infos[position].time for position in announced} <= set().union(*(returned for _, returned in decoded)):
        raise Doubt("a frame is missing that its packet announces")
    return {time: picture for pictures, _ in decoded for time, picture in pictures.items()}


def _decode_ranges(
    video: Video, ranges: list[range], wanted: set[int], keep: Callable[[np.ndarray], Kept]
) -> tuple[dict[int, Kept], set[int]]:
    """{time: picture} of the wanted frames, and the times of all frames that the decoder returned."""
    infos = video.packet_infos
    wanted_times = {infos[position].time for position in wanted}
    unwanted = "NONREF" if _nonref_is_never_needed(video) else "DEFAULT"
    starts = {packets.start for packets in ranges}
    pictures: dict[int, Kept] = {}
    returned: set[int] = set()
    start_time = last_time = None
    decoder = video.begin()

    def take(frames: list[av.VideoFrame]) -> None:
        nonlocal last_time
        for frame in frames:
            if frame.pts is None or (last_time is not None and frame.pts <= last_time):
                raise Doubt("frames come in another order than their times")
            if frame.is_corrupt or frame.interlaced_frame:
                raise Doubt("a frame is damaged" if frame.is_corrupt else "it is interlaced")
            if frame.pts == start_time and not frame.key_frame:
                raise Doubt("a frame that the file marks as a key frame is not one")
            last_time = frame.pts
            returned.add(frame.pts)
            if frame.pts in wanted_times:
                pictures[frame.pts] = keep(video.to_rgb(frame))

    def drain() -> None:
        decoder.skip_frame = "DEFAULT"
        take(decoder.decode(None))
        decoder.flush_buffers()  # ready for another place in the file

    try:
        for position, packet in video.packets(itertools.chain.from_iterable(ranges)):
            if position in starts:
                if start_time is not None:
                    drain()
                start_time, last_time = infos[position].time, None
            decoder.skip_frame = "DEFAULT" if position in wanted else unwanted
            take(decoder.decode(packet))
        drain()
    except av.FFmpegError as error:
        raise Doubt(f"a packet cannot be decoded: {error.strerror}") from error
    return pictures, returned


def _nonref_is_never_needed(video: Video) -> bool:
    """Whether the decoder can leave out frames marked as no reference at any time, and nothing refers to them.

    libdav1d (AV1) decides once, when it is opened. In H.265 with temporal layers, higher layers may refer to them.
    """
    if video.codec_name == "hevc":
        header = video.extradata
        return header[:1] == b"\x01" and len(header) > 21 and (header[21] >> 3) & 7 == 1  # numTemporalLayers in hvcC
    return video.codec_name in ("h264", "mpeg4")
