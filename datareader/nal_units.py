"""H.264 and H.265 undecoded: which pictures a packet holds, in which order they are shown, whether one is missing.

A video has hundreds of packets and more, so that little is done for each: the beginning of its picture's header is put
aside, and all of them are read together.
"""

import struct

import numpy as np

from datareader.bitstream import DAMAGED, MISSING, NEW_SETUP, NO_PICTURE, ParameterSets, counted
from datareader.parameter_sets import Headers, h264_sets, hevc_sets, length_bytes, spans

FIELDS, RARE_ORDER = "it is interlaced", "its order of frames is of a rare kind"
RECOVERY_POINT = 6  # a type of SEI message
HEADER_BYTES = 18  # put aside of each picture
LENGTH_AND_BEGINNING = struct.Struct(">II")  # of a unit behind a length of four bytes, as mp4 files have it
SEQUENCE = 1 << 40  # what the order rises by, from one sequence of pictures that stands alone to the next


class _Pictures:
    """What both have: parameter sets, and the beginnings of the pictures' headers.

    Args:
        extradata: the file's header for the decoder, avcC or hvcC, or units behind start codes.
        length_offset: where avcC or hvcC says how many bytes a unit's length has.
    """

    ordinary: tuple[int, int]
    """A mask over a unit's first four bytes, and what it leaves of a whole picture that refers to others."""

    def __init__(self, extradata: bytes, length_offset: int):
        self.doubt = ""
        self._length_bytes = length_bytes(extradata, length_offset)
        self._sets = ParameterSets(extradata)
        self._headers = bytearray()

    def _takes_ordinary(self, packet: memoryview) -> bool:
        """Put the header aside if the packet is, as most are, one unit and a picture that refers to others."""
        if self._length_bytes != 4 or len(packet) < 4 + HEADER_BYTES:
            return False
        length, beginning = LENGTH_AND_BEGINNING.unpack_from(packet)
        mask, remainder = self.ordinary
        if 4 + length != len(packet) or beginning & mask != remainder:
            return False
        self._headers += packet[4 : 4 + HEADER_BYTES]
        return True

    def _put_aside(self, header: memoryview) -> None:
        self._headers += header if len(header) == HEADER_BYTES else bytes(header).ljust(HEADER_BYTES, b"\0")

    def _judge(self, is_whole: bool, num_pictures: int, sets: list[memoryview]) -> None:
        """Note what is doubtful in a packet of so many pictures and these parameter sets."""
        if not is_whole or num_pictures != 1:
            self.doubt = self.doubt or (NO_PICTURE if is_whole else DAMAGED)
        if sets and self._sets.are_new(sets):
            self.doubt = self.doubt or NEW_SETUP


class H264(_Pictures):
    """Args: extradata: see `_Pictures`."""

    ordinary = (0x1F800000, 0x01800000)  # nal_unit_type 1, first_mb_in_slice 0

    def __init__(self, extradata: bytes):
        super().__init__(extradata, length_offset=4)

    def look(self, packet: memoryview, time: int | None) -> bool:
        if self._takes_ordinary(packet):
            return False
        num_pictures, is_start, sets, end = 0, False, [], 0
        for start, end in counted(spans(packet, self._length_bytes)):
            kind = packet[start] & 31
            if kind == 1 or kind == 5:
                if packet[start + 1] >> 7:  # its first slice: first_mb_in_slice is 0
                    num_pictures += 1
                    is_start |= kind == 5
                    self._put_aside(packet[start : start + HEADER_BYTES])
            elif kind == 7 or kind == 8:
                sets.append(packet[start:end])
            elif kind == 6:
                is_start |= _is_exact_recovery_point(packet[start + 1 : end])
        self._judge(end == len(packet), num_pictures, sets)
        return is_start and self._sets.are_there(sets)

    def orders(self) -> np.ndarray:
        sequences, pictures = h264_sets(self._sets, self._length_bytes)
        headers = Headers(self._headers, HEADER_BYTES, unit_bytes=1)
        headers.numbers(1)  # first_mb_in_slice, which is 0
        headers.codes()  # slice_type
        used = {sequences[pictures[number]] for number in set(headers.codes().tolist())}
        if len(used) > 1:
            self.doubt = NEW_SETUP
            return np.zeros(0, np.int64)
        (sequence,) = used
        headers.numbers(sequence.colour_plane_bits)
        frame_nums = headers.numbers(sequence.frame_num_bits)
        if not sequence.has_only_frames and headers.numbers(1).any():
            self.doubt = FIELDS
            return np.zeros(0, np.int64)
        begins_alone, is_needed = headers.units[:, 0] & 31 == 5, headers.units[:, 0] & 96 != 0
        headers.codes(begins_alone)  # idr_pic_id
        before = _last_before(is_needed)
        since_last = (frame_nums - np.where(begins_alone, 0, frame_nums[before])) % (1 << sequence.frame_num_bits)
        if (since_last[1:] > 1).any():
            self.doubt = MISSING
        elif sequence.order_type == 1:
            self.doubt = RARE_ORDER
        if sequence.order_type == 2:  # as they are decoded
            return np.arange(len(frame_nums))
        return _whole_orders(headers.numbers(sequence.order_bits), sequence.order_bits, begins_alone, is_needed)


class Hevc(_Pictures):
    """Args: extradata: see `_Pictures`."""

    ordinary = (0xE1F88000, 0x00008000)  # nal_unit_type below 16, layer 0, first_slice_segment_in_pic_flag

    def __init__(self, extradata: bytes):
        super().__init__(extradata, length_offset=21)
        self._has_ended = False

    def look(self, packet: memoryview, time: int | None) -> bool:
        if self._has_ended:
            self.doubt = self.doubt or NEW_SETUP
        if self._takes_ordinary(packet):
            return False
        num_pictures, is_start, sets, end = 0, False, [], 0
        for start, end in counted(spans(packet, self._length_bytes)):
            kind = packet[start] >> 1 & 63
            if packet[start] & 1 or packet[start + 1] >> 3:  # of a second eye or a larger picture: not decoded
                continue
            if kind < 32:
                if packet[start + 2] >> 7:  # first_slice_segment_in_pic_flag
                    num_pictures += 1
                    is_start = 16 <= kind <= 23
                    self._put_aside(packet[start : start + HEADER_BYTES])
            elif kind <= 34:
                sets.append(packet[start:end])
            elif kind == 36 or kind == 37:
                self._has_ended = True
        self._judge(end == len(packet), num_pictures, sets)
        return is_start and self._sets.are_there(sets)

    def orders(self) -> np.ndarray:
        sequences, pictures = hevc_sets(self._sets, self._length_bytes)
        headers = Headers(self._headers, HEADER_BYTES, unit_bytes=2)
        kinds, layers = headers.units[:, 0] >> 1 & 63, headers.units[:, 1] & 7
        is_start, is_whole_start = (kinds >= 16) & (kinds <= 23), (kinds == 19) | (kinds == 20)
        begins_alone = is_start & (kinds != 21)  # CRA (21) stands in the middle of a sequence, or is the file's first
        begins_alone[0] = True
        headers.numbers(1)
        drops_earlier = headers.numbers(1, is_start) > 0
        used = {pictures[number] for number in set(headers.codes().tolist())}
        if len(used) > 1:
            self.doubt = NEW_SETUP
            return np.zeros(0, np.int64)
        (picture,) = used
        sequence = sequences[picture.sequence]
        headers.numbers(picture.extra_bits)
        headers.codes()
        is_hidden = picture.says_whether_shown and (headers.numbers(1) == 0).any()
        headers.numbers(sequence.colour_plane_bits)
        lows = headers.numbers(sequence.order_bits, ~is_whole_start)
        latest = np.maximum.accumulate(np.where(is_start, np.arange(len(kinds)), 0))  # the start before, or this
        is_left_out = ((kinds == 8) | (kinds == 9)) & begins_alone[latest] & ~is_whole_start[latest]
        if is_hidden or is_left_out.any() or (drops_earlier & begins_alone)[1:].any():
            self.doubt = NO_PICTURE
        others_count_from_it = (layers == 1) & ((kinds > 9) | (kinds < 6)) & ((kinds > 14) | (kinds % 2 == 1))
        orders = _whole_orders(lows, sequence.order_bits, begins_alone, others_count_from_it | begins_alone)
        steps = np.diff(np.sort(orders))
        if len(np.unique(steps[steps < SEQUENCE // 2])) > 1:  # pictures are numbered, however far apart they are shown
            self.doubt = self.doubt or MISSING
        return orders


def _last_before(is_meant: np.ndarray) -> np.ndarray:
    """For each place the last one before it that is meant; the first where there is none."""
    places = np.maximum.accumulate(np.where(is_meant, np.arange(len(is_meant)), 0))
    return np.concatenate([[0], places[:-1]])


def _whole_orders(lows: np.ndarray, num_bits: int, begins_alone: np.ndarray, is_counted_from: np.ndarray) -> np.ndarray:
    """The order of each picture, of which only the lower bits are told: they count on from an earlier picture."""
    span, before = 1 << num_bits, _last_before(is_counted_from)
    differences = np.where(begins_alone, 0, lows - np.where(begins_alone, 0, lows[before]))
    carries = np.where(differences <= -span // 2, span, np.where(differences > span // 2, -span, 0))
    highs = np.cumsum(np.where(is_counted_from, carries, 0))  # of the pictures that are counted from
    highs = np.where(is_counted_from, highs, highs[before] + carries)
    sequences = np.cumsum(begins_alone)
    firsts = np.maximum.accumulate(np.where(begins_alone, np.arange(len(lows)), 0))
    return sequences * SEQUENCE + highs - highs[firsts] + lows


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
