"""One video file, opened with PyAV: its packets, its decoder, its pictures. Knows no wanted frames."""

import copy
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datareader.bitstream import DAMAGED, NEW_SETUP, Av1, Mpeg4, Other, Vp9
from datareader.nal_units import H264, Hevc
from datareader.upright import Upright

KEPT_BYTES = 64 << 20  # packets of a file up to this size stay in memory; a larger file is read again to decode it
PACKET_BYTES = 800  # what a packet takes there besides its content
MOST_PIXELS = 1 << 26  # of a frame: 8192 x 8192, twice those of 8K video; a damaged header asks for any size
LIMITS = {"max_pixels": str(MOST_PIXELS)}
ONLY_LOCAL_FILES = {"protocol_whitelist": "file"}  # a playlist in a video's clothes cannot make FFmpeg open addresses
BITSTREAMS = {"h264": H264, "hevc": Hevc, "mpeg4": Mpeg4, "vp9": Vp9, "av1": Av1}


class VideoError(ValueError):
    """One video cannot be read; the message says why, the caller knows which."""


class Bounds(NamedTuple):
    """What a file may be: those who read strangers' files are stricter than these."""

    max_pixels: int = MOST_PIXELS
    """Of a frame."""
    max_video_sec: float | None = None
    """Length of the video, by its packets' times; None: any."""
    containers: str | None = None
    """FFmpeg's names of the formats that may be opened, with commas between; None: all."""

    def of_decoder(self) -> dict[str, str]:
        """What FFmpeg's decoders hear of it, for frames that grow on the way; they count rows with their padding."""
        return {"max_pixels": str(min(2 * self.max_pixels, MOST_PIXELS))}

    def of_file(self) -> dict[str, str]:
        """What FFmpeg hears of it as it opens a file: it would not tell the size of one that it must not decode."""
        return LIMITS | ({"format_whitelist": self.containers} if self.containers else {})


class Allowance:
    """What reading one file may take.

    Args:
        limit_sec: seconds from now; None: no limit.
        bounds: what the file may be.
    """

    def __init__(self, limit_sec: float | None, bounds: Bounds = Bounds()):
        self.limit_sec = limit_sec
        self.bounds = bounds
        self._end_sec = None if limit_sec is None else time.monotonic() + limit_sec

    def left_sec(self) -> float | None:
        return None if self._end_sec is None else max(self._end_sec - time.monotonic(), 0.001)

    def check(self) -> None:
        """Raise VideoError if the time is over."""
        if self._end_sec is not None and time.monotonic() > self._end_sec:
            raise VideoError(f"takes longer than {self.limit_sec:g} s to read")


class PacketInfo(NamedTuple):
    """What a packet says of its frame without being decoded."""

    time: int | None
    """When the frame is shown, in the stream's time base."""
    is_key: bool
    """Decoding can begin here: the file says so, and what the packet holds as well."""
    is_shown: bool
    """False where an edit list cuts the frame away: decoded, since others need it, but never returned."""
    num_bytes: int


class Video:
    """A file's video stream; of several, the one that FFmpeg calls the best. Close it, or use it in a `with`.

    Args:
        path: a local file.
        allowance: its time is checked at every packet.

    Raises:
        VideoError: damaged, no video in it, or out of its bounds.
    """

    def __init__(self, path: str, allowance: Allowance):
        self.allowance = allowance
        self._path = path
        self._container = self._open()
        try:
            stream = self._container.streams.best("video")
            if stream is None:
                raise VideoError("has no video stream")
            if stream.codec_context is None:
                raise VideoError("is in a codec that FFmpeg does not know")
            max_pixels = allowance.bounds.max_pixels
            if stream.codec_context.width * stream.codec_context.height > max_pixels:
                size = f"{stream.codec_context.width}x{stream.codec_context.height}"
                raise VideoError(f"its frames of {size} are larger than {max_pixels} pixels")
            self._stream_index = stream.index
            self.format_name = self._container.format.name
            self.codec_name = stream.codec_context.codec.canonical_name
            self.time_base = stream.time_base
            """Seconds that a packet's and a frame's time counts in."""
            self.average_rate = stream.average_rate
            """Frames per second; None where the file does not say."""
            self.decoder = stream.codec_context
            """For reading its settings; `begin` gives one to decode with."""
            self.extradata = self.decoder.extradata or b""
            self._has_begun = False
            self.reading_error = ""
            """Why the packets end before the file does, if they do."""
            self._kept: list[av.Packet] | None = []
            self.bitstream = BITSTREAMS.get(self.codec_name, Other)(self.extradata)
            """What the packets' bytes say of them."""
            self.packet_infos = self._read_all()
            self._check_length()
            self.num_refused = 0
            """Packets that the decoder refused, when `frames` was last asked."""
        except BaseException:
            self.close()
            raise
        self._reformatter = VideoReformatter()  # one for all pictures: it keeps its tables
        self._upright = Upright()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._kept = None
        self._container.close()

    @property
    def keeps_packets(self) -> bool:
        """Whether they stay in memory; else `packets` reads the file again."""
        return self._kept is not None

    def beside(self) -> "Video":
        """The same video with a decoder and a converter of its own, for another thread; to be closed as well.

        The file is opened again for it: only FFmpeg's own opening gives a decoder all that the file says.
        """
        other = copy.copy(self)
        other._container = self._open()
        other.decoder = other._container.streams[self._stream_index].codec_context
        other._has_begun = False
        other._reformatter, other._upright = VideoReformatter(), Upright()
        return other

    def packets(self, positions: Iterable[int] | None = None) -> Iterator[tuple[int, av.Packet]]:
        """(position, packet) in the order of the file; positions count from 0.

        Args:
            positions: ascending; None: all.
        """
        wanted = range(len(self.packet_infos)) if positions is None else positions
        if self._kept is not None:
            for position in wanted:
                self.allowance.check()
                yield position, self._kept[position]
            return
        remaining = iter(wanted)
        following = next(remaining, None)
        with self._open() as container:
            for position, packet in enumerate(self._demux(container)):
                if following is None:
                    return
                if position == following:
                    yield position, packet
                    following = next(remaining, None)

    def begin(self) -> av.VideoCodecContext:
        """A decoder that has not decoded anything yet: one that was flushed may give other frames the second time."""
        if self._has_begun:
            self._container.close()
            self._container = self._open()
            self.decoder = self._container.streams[self._stream_index].codec_context
        self._has_begun = True
        self.decoder.options = self.allowance.bounds.of_decoder()
        self.decoder.thread_count = 1  # one thread per decoder: the worker processes are the parallelism
        return self.decoder

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that a new decoder returns, in its order; packets that it refuses are passed over and counted."""
        decoder = self.begin()
        self.num_refused = 0
        for _, packet in self.packets():
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError:
                self.num_refused += 1
        try:
            yield from decoder.decode(None)
        except av.FFmpegError:
            self.num_refused += 1

    def to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame's picture, upright, uint8 (H, W, 3)."""
        try:
            plane = self._reformatter.reformat(frame, format="rgb24").planes[0]
        except (av.FFmpegError, OSError) as error:  # a colour space such as YCgCo
            raise VideoError(f"its colours cannot be converted to RGB: {error.strerror}") from error
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # a view: FFmpeg's own memory
        picture = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        return self._upright.turned(picture, frame)

    def _open(self) -> av.container.InputContainer:
        try:
            return open_local(self._path, self.allowance.left_sec(), self.allowance.bounds)
        except VideoError:
            self.allowance.check()
            raise

    def _demux(self, container: av.container.InputContainer) -> Iterator[av.Packet]:
        """The packets that hold something, to the end or to where reading fails."""
        try:
            for packet in container.demux(container.streams[self._stream_index]):
                self.allowance.check()
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            self.allowance.check()
            self.reading_error = error.strerror
        except IndexError:  # how PyAV meets a stream that the file did not announce
            self.reading_error = "a further stream begins in its middle"

    def _check_length(self) -> None:
        longest_sec = self.allowance.bounds.max_video_sec
        times = [info.time for info in self.packet_infos if info.time is not None]
        length_sec = float((max(times) - min(times)) * self.time_base) if times else 0.0
        if longest_sec is not None and length_sec > longest_sec:
            raise VideoError(f"lasts {length_sec:.0f} s, longer than {longest_sec:g} s")

    def _read_all(self) -> list[PacketInfo]:
        infos, num_bytes, bitstream = [], 0, self.bitstream
        for packet in self._demux(self._container):
            try:
                can_begin = not bitstream.doubt and bitstream.look(memoryview(packet), packet.pts)
            except IndexError:
                can_begin, bitstream.doubt = False, DAMAGED
            if packet.is_corrupt:
                bitstream.doubt = bitstream.doubt or DAMAGED
            for data in packet.iter_sidedata():  # which most packets have none of
                if data.data_type == "new_extradata" and bytes(data) != self.extradata:
                    bitstream.doubt = bitstream.doubt or NEW_SETUP
            infos.append(PacketInfo(packet.pts, can_begin and packet.is_keyframe, not packet.is_discard, packet.size))
            num_bytes += packet.size + PACKET_BYTES
            if num_bytes > KEPT_BYTES:
                self._kept = None
            if self._kept is not None:
                self._kept.append(packet)
        return infos


def open_local(path: str, timeout_sec: float | None = None, bounds: Bounds = Bounds()) -> av.container.InputContainer:
    """Open a file with FFmpeg.

    Raises:
        VideoError: it is damaged, or no video.
    """
    try:
        return av.open(
            f"file:{path}",
            options=ONLY_LOCAL_FILES | bounds.of_file(),
            timeout=timeout_sec,
            metadata_errors="replace",  # a title in another encoding is no reason to refuse the pictures
        )
    except av.FFmpegError as error:
        raise VideoError(f"damaged or no video: {error.strerror}") from error
