"""What the bytes of a stream's packets say before they are decoded: whether each is one picture that will be shown.

Only headers are looked at, of the codecs that selective decoding knows; of another, a packet is taken for one picture.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

DAMAGED = "a packet is damaged"
NO_PICTURE = "a packet has no picture, or several"
NEW_SETUP = "the decoder's set-up changes on the way"
MISSING = "a picture is missing that others need"
START_CODE = re.compile(rb"\x00\x00\x01")
MPEG4_LAYER_OR_PICTURE = re.compile(rb"\x00\x00\x01[\x20-\x2f\xb6]")
MPEG4_PICTURE, MPEG4_BETWEEN = 0xB6, 2  # a start code, and the picture type of a B-frame
MOST_UNITS = 1 << 12  # in a packet; of H.265's slices, a picture of 8192 x 4320 pixels may have 600
AV1_SEQUENCE, AV1_FRAME_HEADERS = 1, (3, 6)  # types of OBU

Unit = TypeVar("Unit")


class Bitstream(Protocol):
    """Looks at all packets of one stream, in the order of the file."""

    doubt: str
    """Why the packets seen so far cannot tell which frames decoding gives; empty if they can."""

    def look(self, packet: memoryview, time: int | None) -> bool:
        """Whether everything can be decoded exactly from here on, if the file calls the packet a key frame.

        Raises:
            IndexError: it is cut off, or no packet of a video.
        """

    def orders(self) -> np.ndarray | None:
        """A number for each packet, int64, which rises from one shown picture to the next; None if times need no check.

        Raises:
            IndexError, KeyError, ValueError: a header cannot be read.
        """


class ParameterSets:
    """Those that the file's header has, or else its first packet: any that come later are new.

    Args:
        extradata: the file's header for the decoder.
    """

    def __init__(self, extradata: bytes):
        self.extradata = extradata
        self.added: list[bytes] = []
        """What packets have that the header does not."""
        self._known = extradata
        self._is_first = True

    def are_new(self, sets: list[memoryview]) -> bool:
        """Whether these, of one packet, change the decoder's set-up."""
        contents = [bytes(one).rstrip(b"\0") for one in sets]
        unknown = [content for content in contents if content not in self._known]
        is_new = bool(unknown) and not self._is_first
        self._is_first = False
        self.added += unknown
        self._known += b"".join(unknown)
        return is_new

    def are_there(self, sets: list[memoryview]) -> bool:
        """Whether a decoder that begins at the packet with these sets has all that it needs."""
        self._is_first = False
        return bool(sets) or not self.added


class Mpeg4:
    """MPEG-4 part 2: a B-frame lies between the two pictures decoded before it that are none, or is left out."""

    def __init__(self, extradata: bytes):
        self.doubt = ""
        self._sets = ParameterSets(extradata)
        self._reference_times: list[int] = []  # of the last two

    def look(self, packet: memoryview, time: int | None) -> bool:
        pictures, sets = [], []
        for match in counted(MPEG4_LAYER_OR_PICTURE.finditer(packet)):
            if packet[match.end() - 1] == MPEG4_PICTURE:
                pictures.append(packet[match.end()] >> 6)
            else:
                following = START_CODE.search(packet, match.end())
                sets.append(packet[match.start() : following.start() if following else len(packet)])
        if sets and self._sets.are_new(sets):
            self.doubt = self.doubt or NEW_SETUP
        if len(pictures) != 1:
            self.doubt = self.doubt or NO_PICTURE
        elif time is not None and not self._fits(pictures[0], time):
            self.doubt = self.doubt or MISSING
        return self._sets.are_there(sets)

    def orders(self) -> None:
        return None

    def _fits(self, kind: int, time: int) -> bool:
        references = self._reference_times
        if kind == MPEG4_BETWEEN:
            return len(references) == 2 and references[0] < time < references[1]
        self._reference_times = [*references[-1:], time]
        return not references or references[-1] < time


class Av1:
    def __init__(self, extradata: bytes):
        self.doubt = ""
        self._sets = ParameterSets(extradata)

    def look(self, packet: memoryview, time: int | None) -> bool:
        num_shown, sets = 0, []
        for kind, payload in counted(_obus(packet)):
            if kind == AV1_SEQUENCE:
                sets.append(payload)
            elif kind in AV1_FRAME_HEADERS:  # show_existing_frame, or after two bits of frame_type show_frame
                num_shown += payload[0] >> 7 | payload[0] >> 4 & 1
        if sets and self._sets.are_new(sets):
            self.doubt = self.doubt or NEW_SETUP
        if num_shown != 1:
            self.doubt = self.doubt or NO_PICTURE
        return self._sets.are_there(sets)

    def orders(self) -> None:
        return None


class Vp9:
    """Of the frames in a packet all but one are hidden; a superframe's index is at its end."""

    def __init__(self, extradata: bytes):
        self.doubt = ""

    def look(self, packet: memoryview, time: int | None) -> bool:
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
        if num_shown != 1:
            self.doubt = self.doubt or NO_PICTURE
        return True

    def orders(self) -> None:
        return None


class Other:
    doubt = ""

    def __init__(self, extradata: bytes):
        pass

    def look(self, packet: memoryview, time: int | None) -> bool:
        return True

    def orders(self) -> None:
        return None


def counted(units: Iterable[Unit]) -> Iterator[Unit]:
    """The units of a packet. Raises IndexError where there are so many that looking at them is what the file is for."""
    for number, unit in enumerate(units):
        if number == MOST_UNITS:
            raise IndexError("a packet of too many units")
        yield unit


def _obus(packet: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, payload) of the units of an AV1 packet."""
    position = 0
    while position < len(packet):
        header = packet[position]
        position += 2 if header & 4 else 1
        size = len(packet) - position
        if header & 2:
            size = 0
            for shift in range(0, 56, 7):
                byte, position = packet[position], position + 1
                size |= (byte & 127) << shift
                if byte < 128:
                    break
            else:
                raise IndexError("a size of more than eight bytes")
        yield header >> 3 & 15, packet[position : position + size]
        position += size
