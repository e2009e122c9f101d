"""H.264 and H.265 undecoded: which pictures a packet holds, in which order they are shown, whether one is missing."""

from datareader.bitstream import MISSING, NEW_SETUP, NO_PICTURE, Content, ParameterSets
from datareader.parameter_sets import (
    Bits,
    H264Sequence,
    HevcPicture,
    h264_sequence,
    hevc_picture,
    hevc_sequence,
    length_bytes,
    spans,
    units_behind_start_codes,
    units_of_avcc,
    units_of_hvcc,
)

DAMAGED, FIELDS, UNKNOWN_ORDER = "a packet is damaged", "it is interlaced", "its order of frames is of a rare kind"
SEQUENCE = 1 << 40  # what the order rises by, from one sequence of pictures that stands alone to the next
RECOVERY_POINT = 6  # a type of SEI message
HEADER_BYTES = 16  # of a slice: enough for what is read of it


class H264:
    """A stream of H.264.

    Args:
        extradata: the file's header for the decoder, avcC or units behind start codes.
    """

    def __init__(self, extradata: bytes):
        self._sets = ParameterSets(extradata)
        self._length_bytes = length_bytes(extradata, 4)
        self._sequence_sets: dict[int, H264Sequence] = {}
        self._picture_sets: dict[int, int] = {}
        self._is_first, self._sequence, self._last_frame_num = True, 0, 0
        self._last_low, self._last_high = 0, 0  # bits of the order of the last picture that others may need
        for unit in (units_of_avcc if self._length_bytes else units_behind_start_codes)(extradata):
            self._learn(unit)

    def look(self, packet: memoryview, time: int | None) -> Content:
        pictures, sets, is_start, end = [], [], False, 0
        for start, end in spans(packet, self._length_bytes):
            kind = packet[start] & 31
            if kind in (1, 5) and packet[start + 1] >> 7:  # a slice whose first_mb_in_slice is 0
                pictures.append(bytes(packet[start : start + HEADER_BYTES]))
                is_start |= kind == 5
            elif kind in (7, 8):
                sets.append(packet[start:end])
            elif kind == 6:
                is_start |= _is_exact_recovery_point(packet[start + 1 : end])
        if self._length_bytes and end != len(packet):
            return Content(DAMAGED)
        is_new = False
        if sets:
            unknown, is_new = self._sets.add(sets, self._is_first)
            for unit in unknown:
                self._learn(unit)
        self._is_first = False
        if len(pictures) != 1 or is_new:
            return Content(NEW_SETUP if is_new else NO_PICTURE)
        doubt, order = self._place(pictures[0])
        return Content(doubt, is_start and self._sets.are_there(sets), order)

    def _place(self, unit: bytes) -> tuple[str, int]:
        """(doubt, order) of a picture, from its first slice."""
        bits, is_start, is_needed = Bits(unit[1:]), unit[0] & 31 == 5, unit[0] & 96 != 0
        sequence = self._sequence_sets[self._picture_sets[bits.codes(3)]]
        frame_num = bits.number(sequence.colour_plane_bits + sequence.frame_num_bits)
        frame_num %= 1 << sequence.frame_num_bits
        if not sequence.has_only_frames and bits.number(1):
            return FIELDS, 0
        if is_start:
            self._sequence, self._last_low, self._last_high, self._last_frame_num = self._sequence + 1, 0, 0, 0
            bits.code()
        since_last = (frame_num - self._last_frame_num) % (1 << sequence.frame_num_bits)
        if is_needed:
            self._last_frame_num = frame_num
        doubt = MISSING if since_last > 1 else ""
        if sequence.order_type != 0:  # 2: as they are decoded
            return doubt or (UNKNOWN_ORDER if sequence.order_type == 1 else ""), self._in_turn()
        low, high = bits.number(sequence.order_bits), self._last_high
        high += _carry(low - self._last_low, 1 << sequence.order_bits)
        if is_needed:
            self._last_low, self._last_high = low, high
        return doubt, self._sequence * SEQUENCE + high + low

    def _in_turn(self) -> int:
        self._last_high += 1
        return self._sequence * SEQUENCE + self._last_high

    def _learn(self, unit: bytes) -> None:
        bits = Bits(unit[1:])
        if unit[0] & 31 == 7:
            number, sequence = h264_sequence(bits)
            self._sequence_sets[number] = sequence
        elif unit[0] & 31 == 8:
            number = bits.code()
            self._picture_sets[number] = bits.code()


class Hevc:
    """A stream of H.265.

    Args:
        extradata: the file's header for the decoder, hvcC or units behind start codes.
    """

    def __init__(self, extradata: bytes):
        self._sets = ParameterSets(extradata)
        self._length_bytes = length_bytes(extradata, 21)
        self._sequence_sets: dict[int, tuple[int, int]] = {}
        self._picture_sets: dict[int, HevcPicture] = {}
        self._is_first = self._skips_leading = True
        self._has_ended = False
        self._sequence, self._last_order = 0, 0
        for unit in (units_of_hvcc if self._length_bytes else units_behind_start_codes)(extradata):
            self._learn(unit)

    def look(self, packet: memoryview, time: int | None) -> Content:
        pictures, sets, ends, end = [], [], False, 0
        for start, end in spans(packet, self._length_bytes):
            kind, layer = packet[start] >> 1 & 63, (packet[start] & 1) << 5 | packet[start + 1] >> 3
            if layer:  # of a second eye or a larger picture: not decoded
                continue
            if kind < 32 and packet[start + 2] >> 7:  # first_slice_segment_in_pic_flag
                pictures.append(bytes(packet[start : start + HEADER_BYTES]))
            elif kind in (32, 33, 34):
                sets.append(packet[start:end])
            elif kind in (36, 37):
                ends = True
        if self._length_bytes and end != len(packet):
            return Content(DAMAGED)
        is_new = False
        if sets:
            unknown, is_new = self._sets.add(sets, self._is_first)
            for unit in unknown:
                self._learn(unit)
        is_new |= self._has_ended and not self._is_first
        self._is_first, self._has_ended = False, ends
        if len(pictures) != 1 or is_new:
            return Content(NEW_SETUP if is_new else NO_PICTURE)
        doubt, order = self._place(pictures[0])
        is_start = 16 <= pictures[0][0] >> 1 & 63 <= 23
        return Content(doubt, is_start and self._sets.are_there(sets), order)

    def _place(self, unit: bytes) -> tuple[str, int]:
        """(doubt, order) of a picture, from its first slice."""
        kind, bits = unit[0] >> 1 & 63, Bits(unit[2:])
        bits.number(1)
        is_start = 16 <= kind <= 23
        begins_alone = is_start and (kind != 21 or self._sequence == 0)  # 21: CRA, in the middle of a sequence
        drops_earlier = bits.number(1) if is_start else 0
        picture = self._picture_sets[bits.code()]
        bits.number(picture.extra_bits)
        bits.code()
        is_shown = bits.number(1) if picture.says_whether_shown else 1
        order_bits, colour_plane_bits = self._sequence_sets[picture.sequence]
        bits.number(colour_plane_bits)
        low = 0 if kind in (19, 20) else bits.number(order_bits)
        last_low = self._last_order % (1 << order_bits)
        high = 0 if begins_alone else self._last_order - last_low + _carry(low - last_low, 1 << order_bits)
        if begins_alone:
            self._sequence += 1
            self._skips_leading = kind not in (19, 20)  # leading pictures need what was before
        elif is_start:
            self._skips_leading = False
        temporal_layer = (unit[1] & 7) - 1
        if temporal_layer == 0 and kind not in range(6, 10) and (kind > 14 or kind % 2):  # others may count from it
            self._last_order = high + low
        is_left_out = (kind in (8, 9) and self._skips_leading) or not is_shown
        drops_earlier = drops_earlier and begins_alone and self._sequence > 1
        return NO_PICTURE if is_left_out or drops_earlier else "", self._sequence * SEQUENCE + high + low

    def _learn(self, unit: bytes) -> None:
        kind, bits = unit[0] >> 1 & 63, Bits(unit[2:])
        if kind == 33:
            number, sequence = hevc_sequence(bits)
            self._sequence_sets[number] = sequence
        elif kind == 34:
            number, picture = hevc_picture(bits)
            self._picture_sets[number] = picture


def _carry(difference: int, span: int) -> int:
    """What the higher bits rise by, where the lower ones, counted round and round, differ so much."""
    return span if difference <= -span // 2 else -span if difference > span // 2 else 0


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
