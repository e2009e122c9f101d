"""What stands behind the steps of a pickle: numbers, texts and bytes, never more than the file has."""

import codecs
import pickle
import struct

MAX_INTEGER_BYTES = 32
MAX_NUMBER_CHARACTERS = 100


class Refused(ValueError):
    """Not a pickle of plain data; the message says why, the caller knows which file."""


class PickleReader:
    """A place in a file's bytes, which moves on as they are read; what is not there or is damaged raises Refused.

    Args:
        content: the file.
        encoding: of the strings of Python 2; "bytes" keeps them as bytes.
    """

    def __init__(self, content: bytes, encoding: str = "ascii"):
        self.position = 0
        self.num_bytes = len(content)
        self._content = content
        self._encoding = encoding

    def take(self, num_bytes: int) -> bytes:
        begun = self.pass_over(num_bytes)
        return self._content[begun : self.position]

    def pass_over(self, num_bytes: int) -> int:
        """Where these bytes begin."""
        begun, self.position = self.position, self.position + num_bytes
        if self.position > self.num_bytes:
            raise Refused("it is cut: it goes on beyond the file's end")
        return begun

    def count(self, num_bytes: int) -> int:
        return int.from_bytes(self.take(num_bytes), "little")

    def integer(self, num_bytes: int) -> int:
        if num_bytes > MAX_INTEGER_BYTES:
            raise Refused(f"it has an integer of {num_bytes} bytes, which plain data never needs")
        return int.from_bytes(self.take(num_bytes), "little", signed=True)

    def double(self) -> float:
        return struct.unpack(">d", self.take(8))[0]

    def sized(self, num_bytes: int) -> bytes:
        """Bytes; their number stands before them, in so many bytes."""
        return self.take(self.count(num_bytes))

    def text(self, num_bytes: int) -> str:
        """UTF-8; its length stands before it, in so many bytes."""
        begun = self.pass_over(self.count(num_bytes))
        return self._decode(memoryview(self._content)[begun : self.position], "utf-8", "surrogatepass")

    def string(self, num_bytes: int) -> str | bytes:
        """A string of Python 2; its length stands before it, in so many bytes."""
        return self._decode_string(self.sized(num_bytes))

    def line(self) -> bytes:
        end = self._content.find(b"\n", self.position)
        if end < 0:
            raise Refused("it is cut: a line has no end")
        return self.take(end + 1 - self.position)[:-1]

    def text_line(self, encoding: str) -> str:
        return self._decode(self.line(), encoding)

    def quoted_line(self) -> str | bytes:
        """A string as Python 2 would print it."""
        line = self.line()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise Refused("it has a string without quotes")
        try:
            data = codecs.escape_decode(line[1:-1])[0]
        except ValueError:
            raise Refused("it has a string with damaged escapes") from None
        return self._decode_string(data)

    def integer_line(self) -> int | bool:
        line = self._number_line()
        if line in (b"00", b"01"):  # how the first protocols write False and True
            return line == b"01"
        try:
            return int(line.removesuffix(b"L"))
        except ValueError:
            raise Refused("it has a line that is no number") from None

    def index_line(self) -> int:
        return int(self.integer_line())

    def float_line(self) -> float:
        try:
            return float(self._number_line())
        except ValueError:
            raise Refused("it has a line that is no number") from None

    def protocol(self) -> None:
        if self.count(1) > pickle.HIGHEST_PROTOCOL:
            raise Refused("its protocol is unknown")

    def frame(self) -> None:
        """A mark for readers of streams: so many bytes follow."""
        if self.count(8) > self.num_bytes - self.position:
            raise Refused("it is cut: it goes on beyond the file's end")

    def _number_line(self) -> bytes:
        line = self.line()
        if len(line) > MAX_NUMBER_CHARACTERS:
            raise Refused(f"it has a number of {len(line)} characters, which plain data never needs")
        return line

    def _decode_string(self, data: bytes) -> str | bytes:
        return data if self._encoding == "bytes" else self._decode(data, self._encoding)

    def _decode(self, data: bytes | memoryview, encoding: str, errors: str = "strict") -> str:
        try:
            return str(data, encoding, errors)
        except UnicodeDecodeError as error:
            raise Refused(f"it has a text that is no {encoding}: {error.reason}") from None
