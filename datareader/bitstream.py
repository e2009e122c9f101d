"""What the bytes of a packet say before they are decoded: its pictures, its parameter sets, whether decoding can begin.

Only headers are looked at, of the codecs that selective decoding knows; of another, a packet is taken for one picture.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

START_CODE = re.compile(rb"\x00\x00\x01")
MPEG4_LAYER_OR_PICTURE = re.compile(rb"\x00\x00\x01[\x20-\x2f\xb6]")
MPEG4_PICTURE = 0xB6
H264_PICTURES, H264_WHOLE_START, H264_HINTS, H264_SETS = (1, 5), 5, 6, (7, 8)  # types of NAL units; sets: SPS, PPS
HEVC_STARTS, HEVC_BROKEN_STARTS, HEVC_CRA, HEVC_SKIPPED = range(16, 24), (16, 17, 18), 21, (8, 9)
HEVC_SETS, HEVC_ENDS = (32, 33, 34), (36, 37)
RECOVERY_POINT = 6  # a type of SEI message
AV1_SEQUENCE, AV1_FRAME_HEADERS = 1, (3, 6)  # types of OBU


class Content(NamedTuple):
    """What one packet holds."""

    is_whole: bool = True
    """The parts of a packet of H.264 or H.265 add up."""
    num_pictures: int = 1
    """How many pictures the decoder shows for it."""
    can_begin: bool = True
    """If the file calls it a key frame: everything from here on can be decoded exactly, with what it holds."""
    has_new_setup: bool = False
    """It carries parameter sets that the file's header does not have."""


class Bitstream:
    """Looks at the packets of one stream, in their order.

    Args:
        codec_name: FFmpeg's name.
        extradata: the parameter sets of the file's header.
    """

    def __init__(self, codec_name: str, extradata: bytes):
        looks = {"h264": self._h264, "hevc": self._hevc, "mpeg4": self._mpeg4, "vp9": _vp9, "av1": self._av1}
        self._look: Callable[[memoryview], Content] = looks.get(codec_name, lambda content: Content())
        self._known_sets = extradata
        self._has_begun = self._must_repeat_sets = False
        self._skips_leading = self._has_ended = True  # H.265, at the start of a file and after an end of sequence
        offset = {"h264": 4, "hevc": 21}.get(codec_name, len(extradata))  # of lengthSizeMinusOne in avcC and hvcC
        has_lengths = extradata[:1] == b"\x01" and len(extradata) > offset
        self._length_bytes = (extradata[offset] & 3) + 1 if has_lengths else 0

    def look(self, packet: memoryview) -> Content:
        try:
            return self._look(packet)
        except IndexError:  # a header is cut off
            return Content(is_whole=False)
        finally:
            self._has_begun = True

    def _h264(self, packet: memoryview) -> Content:
        num_pictures, is_start, sets = 0, False, []
        for start, end in (units := _Units(packet, self._length_bytes)):
            kind = packet[start] & 31
            if kind in H264_PICTURES:
                num_pictures += packet[start + 1] >> 7  # first_mb_in_slice is 0
                is_start |= kind == H264_WHOLE_START
            elif kind in H264_SETS:
                sets.append(packet[start:end])
            elif kind == H264_HINTS:
                is_start |= _is_exact_recovery_point(packet[start + 1 : end])
        return self._content(sets, is_start, num_pictures, units.add_up)

    def _hevc(self, packet: memoryview) -> Content:
        num_pictures, is_start, sets = 0, False, []
        for start, end in (units := _Units(packet, self._length_bytes)):
            kind, layer = packet[start] >> 1 & 63, (packet[start] & 1) << 5 | packet[start + 1] >> 3
            if layer:  # of a second eye or a larger picture: not decoded
                continue
            if kind in HEVC_STARTS:
                is_start = True
                self._skips_leading = kind in HEVC_BROKEN_STARTS or (kind == HEVC_CRA and self._has_ended)
                self._has_ended = False
            if kind < 32 and not (kind in HEVC_SKIPPED and self._skips_leading):
                num_pictures += packet[start + 2] >> 7  # first_slice_segment_in_pic_flag
            elif kind in HEVC_SETS:
                sets.append(packet[start:end])
            elif kind in HEVC_ENDS:
                self._has_ended = True
        return self._content(sets, is_start, num_pictures, units.add_up)

    def _mpeg4(self, packet: memoryview) -> Content:
        num_pictures, sets = 0, []
        for match in MPEG4_LAYER_OR_PICTURE.finditer(packet):
            if packet[match.end() - 1] == MPEG4_PICTURE:
                num_pictures += 1
            else:
                following = START_CODE.search(packet, match.end())
                sets.append(packet[match.start() : following.start() if following else len(packet)])
        return self._content(sets, True, num_pictures)

    def _av1(self, packet: memoryview) -> Content:
        num_pictures, sets = 0, []
        for kind, payload in _obus(packet):
            if kind == AV1_SEQUENCE:
                sets.append(payload)
            elif kind in AV1_FRAME_HEADERS:  # show_existing_frame, or after two bits of frame_type show_frame
                num_pictures += payload[0] >> 7 | payload[0] >> 4 & 1
        return self._content(sets, True, num_pictures)

    def _content(self, sets: list[memoryview], is_start: bool, num_pictures: int, adds_up: bool = True) -> Content:
        has_unknown = False
        for one in sets:
            content = bytes(one).rstrip(b"\0")
            if content not in self._known_sets:
                has_unknown = self._has_begun
                self._known_sets += content
                self._must_repeat_sets = True  # a place that does not have them is no place to begin
        can_begin = is_start and (bool(sets) or not self._must_repeat_sets)
        return Content(adds_up, num_pictures, can_begin, has_unknown)


class _Units:
    """The NAL units of a packet: (start, end) of each, behind its length or start code; `add_up` once it is read.

    Args:
        length_bytes: how many bytes the length before each takes; 0: start codes stand between them.
    """

    def __init__(self, packet: memoryview, length_bytes: int):
        self._packet = packet
        self._length_bytes = length_bytes
        self.add_up = True

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if not self._length_bytes:
            starts = [match.end() for match in START_CODE.finditer(self._packet)]
            ends = [start - 3 for start in starts[1:]] + [len(self._packet)]
            yield from zip(starts, ends, strict=True) if starts else ()
            return
        packet, length_bytes, position = self._packet, self._length_bytes, 0
        while position + length_bytes < len(packet):
            start = position + length_bytes
            position = start + int.from_bytes(packet[position:start], "big")
            if position > start:
                yield start, position
        self.add_up = position == len(packet)


def _is_exact_recovery_point(messages: memoryview) -> bool:
    """Whether SEI messages say that from this very frame on everything is exact, as in open groups of pictures.

    With a gradual refresh the frames become whole later, and the decoder holds back those before.
    """
    position = 0
    while position + 2 < len(messages):
        kind = size = 0
        while messages[position] == 255:
            kind, position = kind + 255, position + 1
        kind, position = kind + messages[position], position + 1
        while messages[position] == 255:
            size, position = size + 255, position + 1
        size, position = size + messages[position], position + 1
        if kind == RECOVERY_POINT:
            return messages[position] >> 6 == 0b11  # recovery_frame_cnt is 0, exact_match_flag is 1
        position += size
    return False


def _vp9(packet: memoryview) -> Content:
    """The frames of a packet, some of which may be hidden; a superframe's index is at its end."""
    marker, sizes = packet[-1], [len(packet)]
    if marker & 0xE0 == 0xC0:
        num_bytes, num_frames = (marker >> 3 & 3) + 1, (marker & 7) + 1
        index = packet[-1 - num_bytes * num_frames : -1]
        if packet[-2 - num_bytes * num_frames] == marker:
            starts = range(0, len(index), num_bytes)
            sizes = [int.from_bytes(index[start : start + num_bytes], "little") for start in starts]
    position = num_pictures = 0
    for size in sizes:
        profile_bits = 5 if packet[position] >> 4 & 3 == 3 else 4  # what is before show_existing_frame
        header = int.from_bytes(packet[position : position + 2], "big") << profile_bits
        num_pictures += header >> 15 & 1 | header >> 13 & 1  # show_existing_frame, or after frame_type show_frame
        position += size
    return Content(num_pictures=num_pictures)


def _obus(packet: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, payload) of the units of an AV1 packet."""
    position = 0
    while position < len(packet):
        header = packet[position]
        position += 2 if header & 4 else 1
        size, shift = len(packet) - position, 0
        if header & 2:
            size = 0
            while packet[position] & 128:
                size, shift, position = size | (packet[position] & 127) << shift, shift + 7, position + 1
            size, position = size | packet[position] << shift, position + 1
        yield header >> 3 & 15, packet[position : position + size]
        position += size
