"""A JSON body that holds a whole video -> its values, and the video as a file; neither is ever whole in memory.

A video in base64 makes a body of hundreds of megabytes, of which all but one string is small. So the body lies in a
file; long strings are only looked at where they lie, and the rest goes through Python's own parser, which stays the
judge of what is JSON.
"""

import binascii
import codecs
import json
import math
import mmap
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from serving.refusals import Refusal

LONGEST_TEXT = 4096  # bytes between the quotes of a string that is read at once
LARGEST_REST = 1 << 20
"""Bytes of a body without its long strings; Python's values of them may take forty times as much."""
PIECE_BYTES = 1 << 18
"""Looked at in one step, which no other thread of Python can interrupt: about 1 ms."""
_INSIDE = re.compile(rb'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*){0,1000}')
"""What may stand between quotes. Escapes are counted, since the regex engine remembers each repetition of a group."""
_CAPITAL = re.compile(rb"[NI]")  # as NaN and Infinity begin, and no word of JSON does
_CONTROLS = bytes(range(0x20))
_PLACEHOLDER = b"NaN"
_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
_PREFIX = re.compile(rb"data:[\w.+/=;-]{0,100};base64,", re.IGNORECASE)


class LongText(NamedTuple):
    """Where the content of a long string lies in the body's file, without its quotes, in bytes."""

    start: int
    end: int


def read_json_body(path: Path) -> Any:
    """What a body says; each string of more than LONGEST_TEXT bytes is a `LongText`.

    Refuses what `json.loads` refuses, and NaN, numbers beyond a float, and names (keys) that are so long.

    Raises:
        Refusal: 422, it is no JSON; 413, it is larger than LARGEST_REST without its long strings.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # how it refuses an empty file
            raise _no_json("it is empty") from error
        with source:
            texts = list(_long_texts(source))
            starts, ends = [0, *(text.end + 1 for text in texts)], [*(text.start - 1 for text in texts), len(source)]
            rest = _PLACEHOLDER.join(source[start:end] for start, end in zip(starts, ends, strict=True))
    return _parse(rest, texts)


def _long_texts(source: mmap.mmap) -> Iterator[LongText]:
    """The long strings of a body, in its order; all strings are proved to be JSON's, and long ones UTF-8."""
    at, num_rest = 0, 0
    while (quote := source.find(b'"', at)) >= 0:
        _check_rest(num_rest + quote - at)
        _check_words(source, at, quote)
        text = LongText(quote + 1, _end_of_string(source, quote + 1))
        num_rest += quote - at
        at = text.end + 1
        if text.end - text.start > LONGEST_TEXT:
            _check_utf8(source, text)
            yield text
        else:
            num_rest += at - quote
    _check_rest(num_rest + len(source) - at)
    _check_words(source, at, len(source))


def _check_rest(num_bytes: int) -> None:
    if num_bytes > LARGEST_REST:
        raise Refusal(413, f"the request's body has more than {LARGEST_REST >> 20} MB besides its long strings")


def _check_words(source: mmap.mmap, start: int, end: int) -> None:
    """Look for NaN between two strings: since no sender can write it there, it may stand for a long string."""
    if found := _CAPITAL.search(source, start, end):
        raise _no_json(f"unknown word at byte {found.start()}")


def _end_of_string(source: mmap.mmap, start: int) -> int:
    """Where the quote is that ends a string."""
    quote = source.find(b'"', start)
    if quote >= 0 and _is_plain(source, start, quote):
        return quote
    at = max((end for _, end in _pieces(source, start, len(source))), default=start)
    if at == len(source):
        raise _no_json(f"the string at byte {start - 1} never ends")
    if source[at] != ord('"'):
        raise _no_json(f"a control character or an unknown escape at byte {at}, in a string")
    return at


def _is_plain(source: mmap.mmap, start: int, end: int) -> bool:
    """Whether nothing there is escaped, or has to be: a quick look, which is enough for most videos."""
    if source.find(b"\\", start, end) >= 0:
        return False
    places = range(start, end, PIECE_BYTES)
    pieces = (source[place : min(end, place + PIECE_BYTES)] for place in places)
    return all(len(piece.translate(None, _CONTROLS)) == len(piece) for piece in pieces)


def _pieces(source: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Consecutive parts of a string's content, none of which ends within an escape, up to what is no content."""
    while (stop := _INSIDE.match(source, start, min(end, start + PIECE_BYTES)).end()) > start:
        yield start, stop
        start = stop


def _check_utf8(source: mmap.mmap, text: LongText) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(text.start, text.end, PIECE_BYTES):
            decoder.decode(source[start : min(text.end, start + PIECE_BYTES)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _no_json(f"it is no UTF-8: {error.reason} in the string at byte {text.start - 1}") from error


def _parse(rest: bytes, texts: list[LongText]) -> Any:
    """What a body says.

    Args:
        rest: the body with a placeholder for each of `texts`.
    """
    waiting = iter(texts)
    try:
        return json.loads(rest.decode(), parse_constant=lambda _: next(waiting), parse_float=_finite)
    except UnicodeDecodeError as error:
        place = _place_in_body(error.start, texts)
        raise _no_json(f"it is no UTF-8: {error.reason} at byte {place}") from error
    except json.JSONDecodeError as error:
        place = _place_in_body(len(error.doc[: error.pos].encode()), texts)
        raise _no_json(f"{error.msg} at byte {place}") from error
    except RecursionError as error:
        raise _no_json("it is nested too deep") from error
    except ValueError as error:  # a number of thousands of digits, or none that a float holds
        raise _no_json(str(error)) from error


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large")
    return number


def _place_in_body(place: int, texts: list[LongText]) -> int:
    """The byte of the body that a byte of its rest is."""
    for text in texts:
        if place < text.start:
            break
        place += text.end + 1 - (text.start - 1) - len(_PLACEHOLDER)
    return place


def _no_json(why: str) -> Refusal:
    return Refusal(422, f"the request's body is no JSON: {why}")


def decode_base64(source: Path, text: LongText | str, target: BinaryIO) -> None:
    """Write what a string says in base64 to a file.

    The alphabet is the standard one, padded; white space in it and `data:video/mp4;base64,` before it do no harm.

    Args:
        source: the body's file.
        text: one of its strings, as `read_json_body` gives it.

    Raises:
        Refusal: 422, it is no base64.
        OSError: the body cannot be read, or the target cannot be written.
    """
    rest, num_padding = b"", 0
    for number, piece in enumerate(_plain_pieces(source, text)):
        piece = piece.translate(None, string.whitespace.encode())
        if number == 0 and (prefix := _PREFIX.match(piece)):
            piece = piece[prefix.end() :]
        data = piece.rstrip(b"=")
        if wrong := data.translate(None, _ALPHABET):
            raise _no_base64(f"{chr(wrong[0])!r} is in it")
        if data and num_padding:
            raise _no_base64("something follows its end, '='")
        num_padding += len(piece) - len(data)
        data = rest + data
        num_whole = len(data) // 4 * 4
        target.write(binascii.a2b_base64(data[:num_whole]))
        rest = data[num_whole:]
    if (len(rest), num_padding) not in ((0, 0), (2, 2), (3, 1)):
        raise _no_base64("its end is missing, or has not as many '=' as it should")
    target.write(binascii.a2b_base64(rest + b"=" * num_padding))


def _plain_pieces(source: Path, text: LongText | str) -> Iterator[bytes]:
    """What a string says, in parts, ASCII."""
    if isinstance(text, str):
        yield _ascii(text)
        return
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"\\", text.start, text.end) < 0:
            for start in range(text.start, text.end, PIECE_BYTES):
                piece = content[start : min(text.end, start + PIECE_BYTES)]
                yield piece if piece.isascii() else _ascii(piece.decode(errors="replace"))
            return
        for start, end in _pieces(content, text.start, text.end):
            piece = content[start:end].decode(errors="replace")  # a letter may be cut; no base64 has such letters
            # As in "\/", "\n" and "\u002B": some writers of JSON escape a "+" so.
            yield _ascii(json.loads(f'"{piece}"') if "\\" in piece else piece)


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise _no_base64(f"{text[error.start]!r} is in it") from error


def _no_base64(why: str) -> Refusal:
    return Refusal(422, f"video is no base64: {why}")
