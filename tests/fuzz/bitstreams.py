"""The headers of videos, which are read before FFmpeg decodes anything: their files for the fuzzer.

A file is what a container holds: the header for the decoder, then the packets, with SEPARATOR between them.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av

from datareader.bitstream import Bitstream
from kinds import encode, packets_of, scene

SEPARATOR = b"--packet--"
UNITS = (
    SEPARATOR, b"\0\0\1", b"\0\0\1\x67", b"\0\0\1\x68", b"\0\0\1\x65\x88", b"\0\0\1\x41\x9a", b"\0\0\1\x42\1",
    b"\0\0\1\x44\1", b"\0\0\1\x26\1\x80", b"\0\0\1\2\1\x80", b"\0\0\1\xb6\x10", b"\0\0\1\x20", b"\0\0\3", b"\x0a\x0b",
    b"\x12\0", b"\x32", b"\xff" * 300, b"\0" * 300, b"\0\0\0\1", b"\0\0\0\x20", b"\xc1\1\2\xc1",
    b"\1\x64\0\x1f\xff\xe1",
)  # fmt: skip
"""What may stand in them: start codes, headers and lengths of units."""


def looked_at(bitstream: Callable[[bytes], Bitstream]) -> Callable[[Path, bytes], None]:
    """A parser for `targets.Target`."""

    def parse(folder: Path, content: bytes) -> None:
        extradata, *packets = content.split(SEPARATOR)
        seen = bitstream(extradata)
        try:
            for time, packet in enumerate(packets):
                seen.look(memoryview(packet), time)
            orders = seen.orders() if packets and not seen.doubt else None
        except (IndexError, KeyError, ValueError):  # as the protocol says
            return
        assert seen.doubt or orders is None or len(orders) == len(packets)

    return parse


def streams(*codecs: str) -> Callable[[], list[bytes]]:
    """Videos in these codecs, of a few small frames, in mp4 and behind start codes."""

    def make() -> list[bytes]:
        os.environ["SVT_LOG"] = "0"
        with tempfile.TemporaryDirectory() as folder:
            return [_content(path) for codec in codecs for path in _files(Path(folder), codec)]

    return make


def _files(folder: Path, codec: str) -> Iterator[Path]:
    frames = scene(10, width=64, height=64)
    for options in {"libx264": ({}, {"x264-params": "slices=2"}), "mpeg4": ({}, {"bf": "2"})}.get(codec, ({},)):
        for suffix in (".mp4",) if codec in ("libvpx-vp9", "libsvtav1") else (".mp4", ".ts"):
            yield encode(folder / f"file{suffix}", codec, {"g": "5"} | options, frames=frames)


def _content(path: Path) -> bytes:
    with av.open(str(path)) as container:
        extradata = container.streams.video[0].codec_context.extradata or b""
    return SEPARATOR.join([extradata, *map(bytes, packets_of(path))])
