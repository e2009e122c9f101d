"""Videos that are sent: good ones, and bombs that are small on the wire."""

import io
import struct
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from conftest import class_frames, write_video
from kinds import encode, packets_of, scene

NUM_GOOD = 6
SLOW_SIZE = (3840, 2160)
SLOW_FRAMES = 1600


class Videos(NamedTuple):
    """Contents of files."""

    good: list[bytes]
    """Clips whose best classes or scores differ."""
    long: bytes
    """Several windows."""
    whole: dict[str, bytes]
    """Readable ones, of several containers and codecs; what is sent of them is damaged."""
    slow: bytes
    """Takes longer to decode than the server allows."""
    bombs: dict[str, bytes]
    others: dict[str, bytes]
    """No videos, or none that may be read."""


def make_videos(folder: Path) -> Videos:
    rng = np.random.default_rng(11)
    good = [
        write_video(folder / f"good{number}.mp4", class_frames(number % 3, rng), crf=20).read_bytes()
        for number in range(NUM_GOOD)
    ]
    long = write_video(folder / "long.mp4", class_frames(1, rng, 40), crf=20).read_bytes()
    whole = {}
    for name, codec in (("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.avi", "mpeg4"), ("d.webm", "libvpx-vp9")):
        options = {"container_options": {"movflags": "faststart"}} if name == "a.mp4" else {}
        whole[name] = encode(folder / name, codec, {"g": "10"}, **options).read_bytes()
    return Videos(good, long, whole, slow_video(folder), bombs(folder), others(folder, good[0]))


def repeated(path: Path, target: Path, times: list[int]) -> bytes:
    """The first packet of a video, and its others again and again, at these times in milliseconds."""
    packets = packets_of(path)
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, time_ms in enumerate(times):
            template = packets[0] if number == 0 else packets[1 + (number - 1) % (len(packets) - 1)]
            packet = av.Packet(bytes(template))
            packet.pts = packet.dts = time_ms
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 1000), stream, number == 0
            container.mux(packet)
    return target.read_bytes()


def slow_video(folder: Path) -> bytes:
    """One key frame, so that the last frame needs all those before."""
    still = scene(1, *SLOW_SIZE).repeat(2, axis=0)
    source = encode(folder / "slow.avi", "mpeg4", {"g": "600", "qmin": "20"}, frames=still)
    return repeated(source, folder / "slow.mkv", [37 * number for number in range(SLOW_FRAMES)])


def bombs(folder: Path) -> dict[str, bytes]:
    """Small files of many pixels, or of a length that no film has."""
    black = np.zeros((1, 8000, 8000, 3), np.uint8)
    pixels = encode(folder / "pixels.mp4", "mpeg4", frames=black).read_bytes()
    small = encode(folder / "small.avi", "mpeg4", {"g": "600"}, frames=scene(10))
    times = [*range(0, 360, 40), 36_000_000]
    return {
        "8000 x 8000 pixels": pixels,
        "ten hours between two frames": repeated(small, folder / "hours.mkv", times),
        "GIF of 65535 x 65535": gif(65535, 65535),
        "PNG of 100000 x 100000": png(100_000, 100_000),
    }


def gif(width: int, height: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(bytes(100_000))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def others(folder: Path, clip: bytes) -> dict[str, bytes]:
    """What is no video; the lists among it name other files of the machine."""
    (folder / "neighbour.mp4").write_bytes(clip)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.mp4", bytes(10_000_000))
    names = ["/etc/passwd", folder / "neighbour.mp4"]
    lists = {}
    for name in names:
        lists |= {
            f"HLS of {name}": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{name}\n#EXT-X-ENDLIST\n",
            f"concat of {name}": f"ffconcat version 1.0\nfile '{name}'\n",
            f"DASH of {name}": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
            f'<Representation id="1"><BaseURL>file://{name}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        }
    described = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    texts = lists | {
        "SDP": described,
        "SVG": '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "text": "root\n" * 100,
        "PDF": "%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    }
    contents = {name: text.encode() for name, text in texts.items()}
    return contents | {
        "PNG": png(32, 32),
        "zip": archive.getvalue(),
        "WAV": wav(),
        "nothing": b"",
        "zeros": bytes(5000),
    }


def wav() -> bytes:
    sound = bytes(8000)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 8036, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 8000)
    return head + sound
