"""What the bytes of a packet say before they are decoded: its picture, where it is shown, whether decoding can begin.

Only headers are looked at, of the codecs that selective decoding knows; of another, a packet is taken for one picture.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

NO_PICTURE = "a packet has no picture, or several"
NEW_SETUP = "the decoder's set-up changes on the way"
MISSING = "a picture is missing that others need"
START_CODE = re.compile(rb"\x00\x00\x01")
MPEG4_LAYER_OR_PICTURE = re.compile(rb"\x00\x00\x01[\x20-\x2f\xb6]")
MPEG4_PICTURE, MPEG4_BETWEEN = 0xB6, 2  # a start code, and the picture type of a B-frame
AV1_SEQUENCE, AV1_FRAME_HEADERS = 1, (3, 6)  # types of OBU


class Content(NamedTuple):
    """What one packet holds."""

    doubt: str = ""
    """Why its frame cannot be known without decoding everything; empty if it can."""
    can_begin: bool = True
    """If the file calls it a key frame: from here on everything can be decoded exactly."""
    order: int | None = None
    """Rises from one shown picture to the next; None where pictures come as they are shown, or it is not known."""


class Bitstream(Protocol):
    """Looks at all packets of one stream, in the order of the file."""

    def look(self, packet: memoryview, time: int | None) -> Content: ...


class ParameterSets:
    """Those that the file's header has, or else its first packet: any that come later are new.

    Args:
        extradata: the file's header for the decoder.
    """

    def __init__(self, extradata: bytes):
        self._known = extradata
        self._are_in_packets = False

    def add(self, sets: list[memoryview], is_first: bool) -> tuple[list[bytes], bool]:
        """(those that were not known, whether that is a new set-up)."""
        unknown = []
        for one in sets:
            content = bytes(one).rstrip(b"\0")
            if content not in self._known:
                unknown.append(content)
                self._known += content
                self._are_in_packets = True
        return unknown, bool(unknown) and not is_first

    def are_there(self, sets: list[memoryview]) -> bool:
        """Whether a decoder that begins at the packet with these sets has all that it needs."""
        return bool(sets) or not self._are_in_packets


class Mpeg4:
    """MPEG-4 part 2: a B-frame lies between the two pictures decoded before it that are none, or is left out."""

    def __init__(self, extradata: bytes):
        self._sets = ParameterSets(extradata)
        self._reference_times: list[int] = []  # of the last two

    def look(self, packet: memoryview, time: int | None) -> Content:
        pictures, sets = [], []
        for match in MPEG4_LAYER_OR_PICTURE.finditer(packet):
            if packet[match.end() - 1] == MPEG4_PICTURE:
                pictures.append(packet[match.end()] >> 6)
            else:
                following = START_CODE.search(packet, match.end())
                sets.append(packet[match.start() : following.start() if following else len(packet)])
        _, is_new = self._sets.add(sets, is_first=not self._reference_times)
        doubt = NO_PICTURE if len(pictures) != 1 else NEW_SETUP if is_new else ""
        if not doubt and time is not None and not self._fits(pictures[0], time):
            doubt = MISSING
        return Content(doubt, self._sets.are_there(sets))

    def _fits(self, kind: int, time: int) -> bool:
        references = self._reference_times
        if kind == MPEG4_BETWEEN:
            return len(references) == 2 and references[0] < time < references[1]
        self._reference_times = [*references[-1:], time]
        return not references or references[-1] < time


class Av1:
    def __init__(self, extradata: bytes):
        self._sets = ParameterSets(extradata)
        self._is_first = True

    def look(self, packet: memoryview, time: int | None) -> Content:
        num_shown, sets = 0, []
        for kind, payload in _obus(packet):
            if kind == AV1_SEQUENCE:
                sets.append(payload)
            elif kind in AV1_FRAME_HEADERS:  # show_existing_frame, or after two bits of frame_type show_frame
                num_shown += payload[0] >> 7 | payload[0] >> 4 & 1
        _, is_new = self._sets.add(sets, self._is_first)
        self._is_first = False
        return Content(NO_PICTURE if num_shown != 1 else NEW_SETUP if is_new else "", self._sets.are_there(sets))


class Vp9:
    def look(self, packet: memoryview, time: int | None) -> Content:
        """Of the frames in a packet all but one are hidden; a superframe's index is at its end."""
        marker, sizes = packet[-1], [len(packet)]
        if marker & 0xE0 == 0xC0:
            num_bytes, num_frames = (marker >> 3 & 3) + 1, (marker & 7) + 1
            index = packet[-1 - num_bytes * num_frames : -1]
            if packet[-2 - num_bytes * num_frames] == marker:
                starts = range(0, len(index), num_bytes)
                sizes = [int.from_bytes(index[start : start + num_bytes], "little") for start in starts]
        position = num_shown = 0
        for size in sizes:
            profile_bits = 5 if packet[position] >> 4 & 3 == 3 else 4  # what is before show_existing_frame
            header = int.from_bytes(packet[position : position + 2], "big") << profile_bits
            num_shown += header >> 15 & 1 | header >> 13 & 1  # show_existing_frame, or after frame_type show_frame
            position += size
        return Content(NO_PICTURE if num_shown != 1 else "")


class Other:
    def look(self, packet: memoryview, time: int | None) -> Content:
        return Content()


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
