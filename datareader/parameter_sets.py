"""The parameter sets of H.264 and H.265, as far as they tell how to read the headers of pictures."""

from collections.abc import Iterator
from typing import NamedTuple

from datareader.bitstream import START_CODE

WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles of H.264 that say more


class Bits:
    """Reads a NAL unit bit by bit; ValueError at its end. Called for every packet: as few steps as can be."""

    def __init__(self, unit: bytes):
        if b"\0\0\3" in unit:
            unit = unit.replace(b"\0\0\3", b"\0\0")  # the third byte only keeps start codes out
        self._rest = int.from_bytes(unit, "big")
        self._num_left = 8 * len(unit)

    def number(self, num_bits: int) -> int:
        self._num_left -= num_bits
        number = self._rest >> self._num_left
        self._rest ^= number << self._num_left
        return number

    def codes(self, number: int) -> int:
        """The last of so many Exp-Golomb codes, ue(v)."""
        rest, num_left, code = self._rest, self._num_left, 1
        for _ in range(number):
            num_left = 2 * rest.bit_length() - num_left - 1  # as many zeros lead as bits follow the first one
            code = rest >> num_left
            rest ^= code << num_left
        self._rest, self._num_left = rest, num_left
        return code - 1

    def code(self) -> int:
        return self.codes(1)

    def signed_code(self) -> int:
        code = self.codes(1)
        return (code + 1) // 2 if code % 2 else -(code // 2)


class H264Sequence(NamedTuple):
    colour_plane_bits: int
    frame_num_bits: int
    order_type: int
    order_bits: int
    has_only_frames: bool


class HevcPicture(NamedTuple):
    sequence: int
    says_whether_shown: bool
    extra_bits: int


def length_bytes(extradata: bytes, offset: int) -> int:
    """How many bytes the length before each unit takes, by avcC or hvcC; 0: start codes stand between them."""
    has_lengths = extradata[:1] == b"\x01" and len(extradata) > offset
    return (extradata[offset] & 3) + 1 if has_lengths else 0


def spans(packet: memoryview, num_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each unit; the last end is the packet's if its lengths add up."""
    if not num_bytes:
        starts = [match.end() for match in START_CODE.finditer(packet)]
        yield from zip(starts, [start - 3 for start in starts[1:]] + [len(packet)], strict=False)
        return
    position = 0
    while position + num_bytes < len(packet):
        start = position + num_bytes
        position = start + int.from_bytes(packet[position:start], "big")
        if position > start:
            yield start, position


def units_behind_start_codes(content: bytes) -> Iterator[bytes]:
    for start, end in spans(memoryview(content), 0):
        yield content[start:end]


def units_of_avcc(content: bytes) -> Iterator[bytes]:
    position, num_units = 6, content[5] & 31
    for _ in range(2):  # the sequence parameter sets, then those of pictures
        for _ in range(num_units):
            end = position + 2 + int.from_bytes(content[position : position + 2], "big")
            yield content[position + 2 : end]
            position = end
        num_units = content[position] if position < len(content) else 0
        position += 1


def units_of_hvcc(content: bytes) -> Iterator[bytes]:
    position = 23
    for _ in range(content[22]):
        num_units = int.from_bytes(content[position + 1 : position + 3], "big")
        position += 3
        for _ in range(num_units):
            end = position + 2 + int.from_bytes(content[position : position + 2], "big")
            yield content[position + 2 : end]
            position = end


def h264_sequence(bits: Bits) -> tuple[int, H264Sequence]:
    profile, _ = bits.number(8), bits.number(16)
    number, colour_plane_bits = bits.code(), 0
    if profile in WITH_CHROMA:
        chroma = bits.code()
        colour_plane_bits = 2 * bits.number(1) if chroma == 3 else 0
        bits.codes(2)
        bits.number(1)
        if bits.number(1):
            for size in [16] * 6 + [64] * (6 if chroma == 3 else 2):
                if bits.number(1):
                    _skip_scaling_list(bits, size)
    frame_num_bits, order_type, order_bits = bits.code() + 4, bits.code(), 0
    if order_type == 0:
        order_bits = bits.code() + 4
    elif order_type == 1:
        bits.number(1)
        bits.codes(2)
        bits.codes(bits.code())
    bits.codes(1)
    bits.number(1)
    bits.codes(2)
    return number, H264Sequence(colour_plane_bits, frame_num_bits, order_type, order_bits, bits.number(1) == 1)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_code()) % 256
        last = following or last


def hevc_sequence(bits: Bits) -> tuple[int, tuple[int, int]]:
    """(number, (bits of the order, bits of the colour plane))."""
    bits.number(4)
    num_lower = bits.number(3)
    bits.number(1 + 96)  # profile, tier and level
    present = [(bits.number(1), bits.number(1)) for _ in range(num_lower)]
    bits.number(2 * (8 - num_lower) if num_lower else 0)
    for has_profile, has_level in present:
        bits.number(88 * has_profile + 8 * has_level)
    number, chroma = bits.code(), bits.code()
    colour_plane_bits = 2 * bits.number(1) if chroma == 3 else 0
    bits.codes(2)
    if bits.number(1):
        bits.codes(4)
    bits.codes(2)
    return number, (bits.code() + 4, colour_plane_bits)


def hevc_picture(bits: Bits) -> tuple[int, HevcPicture]:
    number, sequence, _ = bits.code(), bits.code(), bits.number(1)
    return number, HevcPicture(sequence, bits.number(1) == 1, bits.number(3))
