"""The headers of H.264 and H.265: parameter sets, as far as they tell how to read those of pictures, and these."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from datareader.bitstream import START_CODE, ParameterSets

MOST_SET_BYTES = 1 << 12  # of a parameter set, what is read of it at most
MOST_COUNTER_BITS, LONGEST_CYCLE = 16, 255  # what the standards allow
WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles of H.264 that say more


class H264Sequence(NamedTuple):
    colour_plane_bits: int
    frame_num_bits: int
    order_type: int
    order_bits: int
    has_only_frames: bool


class HevcSequence(NamedTuple):
    colour_plane_bits: int
    order_bits: int


class HevcPicture(NamedTuple):
    sequence: int
    says_whether_shown: bool
    extra_bits: int


class Bits:
    """Reads a NAL unit bit by bit. Raises ValueError at its end."""

    def __init__(self, unit: bytes):
        unit = unit[:MOST_SET_BYTES].replace(b"\0\0\3", b"\0\0")  # the third byte only keeps start codes out
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


class Headers:
    """Reads the headers of many pictures at once, bit by bit; of each as much as 64 bits.

    Args:
        headers: the beginnings of the pictures' units, one after the other.
        num_bytes: of each beginning.
        unit_bytes: of a unit's own header, before that of the picture.
    """

    def __init__(self, headers: bytearray, num_bytes: int, unit_bytes: int):
        self.units = np.frombuffer(bytes(headers), np.uint8).reshape(-1, num_bytes)
        """uint8 (pictures, num_bytes)."""
        contents = self.units[:, unit_bytes:]
        if b"\0\0\3" in headers:  # the third byte only keeps start codes out
            size = num_bytes - unit_bytes
            rows = [row.tobytes().replace(b"\0\0\3", b"\0\0").ljust(size, b"\0") for row in contents]
            contents = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, size)
        self._rest = np.ascontiguousarray(contents[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        self._num_read = np.zeros(len(self.units), np.int64)

    def numbers(self, num_bits: int, is_there: np.ndarray | None = None) -> np.ndarray:
        """A number of each picture, int64; 0 where it is not there."""
        if num_bits == 0:
            return np.zeros(len(self.units), np.int64)
        return self._read((self._rest >> np.uint64(64 - num_bits)).view(np.int64), num_bits, is_there)

    def codes(self, is_there: np.ndarray | None = None) -> np.ndarray:
        """An Exp-Golomb code, ue(v), of each picture, int64; 0 where it is not there."""
        exponents = (self._rest >> np.uint64(11)).astype(np.float64).view(np.int64) >> 52  # exact: floats have 53 bits
        num_bits = np.minimum(2151 - 2 * exponents, 63)  # as many zeros lead, 1075 - exponent, as bits follow the first
        codes = (self._rest >> (64 - num_bits).view(np.uint64)).view(np.int64) - 1
        return self._read(codes, num_bits, is_there)

    def _read(self, numbers: np.ndarray, num_bits: np.ndarray | int, is_there: np.ndarray | None) -> np.ndarray:
        if is_there is not None:
            numbers, num_bits = np.where(is_there, numbers, 0), np.where(is_there, num_bits, 0)
        self._rest <<= np.asarray(num_bits, np.uint64)
        self._num_read += num_bits
        if self._num_read.max() > 63:
            raise ValueError("a header is longer than what is read of it")
        return numbers


def length_bytes(extradata: bytes, offset: int) -> int:
    """How many bytes the length before each unit takes, by avcC or hvcC; 0: start codes stand between them."""
    has_lengths = extradata[:1] == b"\x01" and len(extradata) > offset
    return (extradata[offset] & 3) + 1 if has_lengths else 0


def spans(packet: memoryview, num_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each unit; the last end is the packet's if the lengths before the units add up.

    Args:
        packet: units with lengths before them, or behind start codes.
        num_bytes: of a length; 0: start codes.
    """
    if num_bytes:
        position = 0
        while position + num_bytes < len(packet):
            start = position + num_bytes
            position = start + int.from_bytes(packet[position:start], "big")
            if position > start:
                yield start, position
        return
    start = None
    for match in START_CODE.finditer(packet):
        if start is not None:
            yield start, match.start()
        start = match.end()
    if start is not None:
        yield start, len(packet)


def h264_sets(sets: ParameterSets, num_bytes: int) -> tuple[dict[int, H264Sequence], dict[int, int]]:
    """{number: sequence parameter set}, {number of a picture parameter set: that of its sequence}."""
    sequences, pictures = {}, {}
    for unit in [*(_units_of_avcc if num_bytes else _units_behind_start_codes)(sets.extradata), *sets.added]:
        bits = Bits(unit[1:])
        if unit[0] & 31 == 7:
            number, sequence = _h264_sequence(bits)
            sequences[number] = sequence
        elif unit[0] & 31 == 8:
            number = bits.code()
            pictures[number] = bits.code()
    return sequences, pictures


def hevc_sets(sets: ParameterSets, num_bytes: int) -> tuple[dict[int, HevcSequence], dict[int, HevcPicture]]:
    """{number: sequence parameter set}, {number: picture parameter set}."""
    sequences, pictures = {}, {}
    for unit in [*(_units_of_hvcc if num_bytes else _units_behind_start_codes)(sets.extradata), *sets.added]:
        kind, bits = unit[0] >> 1 & 63, Bits(unit[2:])
        if kind == 33:
            number, sequence = _hevc_sequence(bits)
            sequences[number] = sequence
        elif kind == 34:
            number, picture = _hevc_picture(bits)
            pictures[number] = picture
    return sequences, pictures


def _units_behind_start_codes(content: bytes) -> Iterator[bytes]:
    for start, end in spans(memoryview(content), 0):
        yield content[start:end]


def _units_of_avcc(content: bytes) -> Iterator[bytes]:
    position, num_units = 6, content[5] & 31
    for _ in range(2):  # the sequence parameter sets, then those of pictures
        for _ in range(num_units):
            end = position + 2 + int.from_bytes(content[position : position + 2], "big")
            yield content[position + 2 : end]
            position = end
        num_units = content[position] if position < len(content) else 0
        position += 1


def _units_of_hvcc(content: bytes) -> Iterator[bytes]:
    position = 23
    for _ in range(content[22]):
        num_units = int.from_bytes(content[position + 1 : position + 3], "big")
        position += 3
        for _ in range(num_units):
            end = position + 2 + int.from_bytes(content[position : position + 2], "big")
            yield content[position + 2 : end]
            position = end


def _h264_sequence(bits: Bits) -> tuple[int, H264Sequence]:
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
    frame_num_bits, order_type, order_bits = _counter_bits(bits), bits.code(), 0
    if order_type == 0:
        order_bits = _counter_bits(bits)
    elif order_type == 1:
        bits.number(1)
        bits.codes(2)
        bits.codes(_at_most(LONGEST_CYCLE, bits.code()))
    bits.codes(1)
    bits.number(1)
    bits.codes(2)
    return number, H264Sequence(colour_plane_bits, frame_num_bits, order_type, order_bits, bits.number(1) == 1)


def _counter_bits(bits: Bits) -> int:
    return _at_most(MOST_COUNTER_BITS, bits.code() + 4)


def _at_most(limit: int, number: int) -> int:
    """The number. Raises ValueError if it is above the limit."""
    if number > limit:
        raise ValueError("a header has a number that the standard does not know")
    return number


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_code()) % 256
        last = following or last


def _hevc_sequence(bits: Bits) -> tuple[int, HevcSequence]:
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
    return number, HevcSequence(colour_plane_bits, _counter_bits(bits))


def _hevc_picture(bits: Bits) -> tuple[int, HevcPicture]:
    number, sequence, _ = bits.code(), bits.code(), bits.number(1)
    return number, HevcPicture(sequence, bits.number(1) == 1, bits.number(3))
