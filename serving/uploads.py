"""The body of a request -> a file, as it comes: never whole in memory, never beyond its limits, never left behind."""

import asyncio
import contextlib
import errno
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from common.whole_file import prepare_save_dir, remove, unfinished_path
from serving.refusals import Refusal

SILENCE_SEC = 20.0  # how long a client may say nothing in the middle of its request
SPARE_BYTES = 1 << 20  # of a request besides its video: the parts' headers, other fields, JSON
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
AGAIN_SEC = 10
RAW_TYPES = ("video/", "application/octet-stream", "application/mp4", "image/gif", "application/x-www-form-urlencoded")
"""Beginnings of the types of a raw video; the last is what curl calls any file."""
MULTIPART = "multipart/form-data"
MOST_HEADER_BYTES = 8 << 10  # of a part's headers
MOST_PARTS = 1000  # each costs time in which no other request is heard


class Uploads:
    """A folder for the videos that are being answered. It goes with the server; of one that was killed, with the next.

    Args:
        parent: where the folder is made.
        max_bytes: of a video.
        upload_sec: that sending may take.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, parent: Path, max_bytes: int, upload_sec: float):
        prepare_save_dir(parent, "--temp_dir")
        self.folder = unfinished_path(parent / "uploads")
        self.folder.mkdir(mode=0o700)
        self.max_bytes = max_bytes
        self._upload_sec = upload_sec

    def close(self) -> None:
        remove(self.folder)

    @contextlib.contextmanager
    def new_file(self) -> Iterator[Path]:
        """The path of a file that is deleted in the end.

        Raises:
            Refusal: the disk is full; nothing of the file is left.
        """
        path = self.folder / secrets.token_hex(8)
        try:
            yield path
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            raise Refusal(507, "the server's disk is full", AGAIN_SEC) from error
        finally:
            path.unlink(missing_ok=True)

    async def receive_video(self, request: Request, path: Path) -> int:
        """Write the video of a request, its raw body or its multipart file, to a path.

        Returns:
            Its bytes.

        Raises:
            Refusal: 400 damaged, 408 too slow, 413 too large, 415 no type that is taken, 422 no video in it.
            starlette.requests.ClientDisconnect: the client has gone.
        """
        content_type, options = parse_options_header(request.headers.get("content-type", ""))
        content_type = content_type.decode("latin-1").lower()
        with path.open("wb") as file:
            sink = _Sink(file, self.max_bytes)
            if content_type == MULTIPART:
                await self._receive_part(request, options.get(b"boundary"), sink)
            elif not content_type or content_type.startswith(RAW_TYPES):
                async for chunk in self._chunks(request, self.max_bytes):
                    sink.write(chunk)
            else:
                raise Refusal(
                    415, f"the content type {content_type[:80]} is not taken: send video/*, application/octet-stream "
                    "or a multipart/form-data with a file"
                )  # fmt: skip
        if not sink.num_bytes:
            raise Refusal(422, "the request has no video in it")
        return sink.num_bytes

    async def receive_body(self, request: Request, path: Path, max_bytes: int) -> int:
        """Write a request's body, whatever it is, to a path; see `receive_video`."""
        with path.open("wb") as file:
            sink = _Sink(file, max_bytes)
            async for chunk in self._chunks(request, max_bytes):
                sink.write(chunk)
        return sink.num_bytes

    async def _receive_part(self, request: Request, boundary: bytes | None, sink: "_Sink") -> None:
        """Write the first file of a multipart body; other fields are passed over."""
        if not boundary:
            raise Refusal(400, "the multipart body has no boundary")
        part = _FilePart(sink)
        try:
            parser = MultipartParser(boundary, part.callbacks())
            async for chunk in self._chunks(request, self.max_bytes, SPARE_BYTES):
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise Refusal(400, f"the multipart body is damaged: {error}") from error
        if not part.is_whole:
            raise Refusal(400, "the multipart body ends in its middle")

    async def _chunks(self, request: Request, max_bytes: int, spare_bytes: int = 0) -> AsyncIterator[bytes]:
        """The body as it comes, within its limits; what is spare is not told."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "the body is compressed: send it as it is")
        announced = int(request.headers.get("content-length", 0))
        if announced > max_bytes + spare_bytes:
            raise too_large(max_bytes)
        if announced > shutil.disk_usage(self.folder).free:
            raise Refusal(507, "the server's disk is full", AGAIN_SEC)
        end_sec, num_bytes, stream = time.monotonic() + self._upload_sec, 0, request.stream()
        while True:
            left_sec = min(end_sec - time.monotonic(), SILENCE_SEC)
            try:
                chunk = await asyncio.wait_for(anext(stream, b""), left_sec)
            except asyncio.TimeoutError:
                raise Refusal(408, "the request did not come in time") from None
            if not chunk:
                return
            num_bytes += len(chunk)
            if num_bytes > max_bytes + spare_bytes:
                raise too_large(max_bytes)
            yield chunk


class _Sink:
    """A file that takes so many bytes, and no more."""

    def __init__(self, file: BinaryIO, max_bytes: int):
        self._file = file
        self._max_bytes = max_bytes
        self.num_bytes = 0

    def write(self, data: bytes) -> None:
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._file.write(data)


class _FilePart:
    """Follows a multipart parser, and writes the first part that is a file."""

    def __init__(self, sink: _Sink):
        self._sink = sink
        self._field = self._value = b""
        self._header_bytes = self._num_parts = 0
        self._is_file = self._was_file = False
        self.is_whole = False
        """Whether the last boundary has come."""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._last,
        }

    def _begin(self) -> None:
        self._header_bytes = 0
        self._num_parts += 1
        if self._num_parts > MOST_PARTS:
            raise Refusal(400, f"the multipart body has more than {MOST_PARTS} parts")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._is_file = b"filename" in options and not self._was_file
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._was_file = True
            self._sink.write(data[start:end])

    def _end(self) -> None:
        self._was_file |= self._is_file
        self._is_file = False

    def _last(self) -> None:
        self.is_whole = True

    def _count(self, num_bytes: int) -> None:
        self._header_bytes += num_bytes
        if self._header_bytes > MOST_HEADER_BYTES:
            raise Refusal(400, "the multipart body is damaged: a part's headers are too long")


def too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the request is larger than the {max_bytes / 1e6:g} MB that are taken")
