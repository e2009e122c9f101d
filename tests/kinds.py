"""Files of some 200 kinds, made with PyAV alone: what people's videos can be, and what breaks readers.

`KINDS` is {name: a function that writes the file to a path and returns where it lies}; a name is "group: kind".
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

NUM_FRAMES, WIDTH, HEIGHT = 48, 96, 64
Make = Callable[[Path], Path]
KINDS: dict[str, Make] = {}


def scene(num_frames: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> np.ndarray:
    """Frames of a camera that pans over a coarse pattern, with a square that jumps: (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    size = (height // 8 + num_frames // 8 + 2, width // 8 + num_frames // 4 + 2, 3)
    pattern = rng.integers(0, 255, size, dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.stack([pattern[i : i + height, 2 * i : 2 * i + width] for i in range(num_frames)])
    for frame in frames:
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        frame[top : top + 8, left : left + 8] = rng.integers(0, 255, 3)
    return frames


def encode(
    path: Path,
    codec: str,
    options: dict[str, str] | None = None,
    *,
    frames: np.ndarray | None = None,
    pix_fmt: str = "yuv420p",
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write the scene at 25 frames per second."""
    frames = scene(NUM_FRAMES) if frames is None else frames
    quiet = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    options = quiet | (options or {})
    if codec == "libx265" and "log-level" not in options["x265-params"]:
        options["x265-params"] += ":log-level=none"
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1"} | options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def remux(
    source: Path,
    target: Path,
    change: Callable[[int, av.Packet], object] = lambda position, packet: None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets; `change(position, packet)` alters them, returns False to leave one out, or a list instead."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=container_options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for position, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            changed = change(position, packet)
            for one in changed if isinstance(changed, list) else [packet] * (changed is not False):
                one.stream = stream
                new.mux(one)
    return target


def with_content(packet: av.Packet, content: bytes) -> av.Packet:
    """A packet with the times and flags of another."""
    new = av.Packet(content)
    new.pts, new.dts, new.time_base, new.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    new.is_keyframe = packet.is_keyframe
    return new


def plain(name: str, file_name: str, codec: str, options: dict[str, str] | None = None, **settings) -> None:
    KINDS[name] = lambda folder: encode(folder / file_name, codec, options, **settings)


X264 = {
    "plain": {},
    "no B-frames": {"bf": "0"},
    "key frame every 8": {"g": "8"},
    "deep reordering": {"x264-params": "bframes=8:b-adapt=0:ref=8:keyint=20"},
    "open groups": {"x264-params": "open-gop=1:keyint=10:scenecut=0"},
    "intra refresh": {"x264-params": "intra-refresh=1:keyint=12"},
    "interlaced": {"flags": "+ildct+ilme", "g": "12"},
    "all intra": {"g": "1"},
    "slices": {"x264-params": "slices=4:keyint=16"},
    "access unit delimiters": {"x264-params": "aud=1:keyint=16"},
    "no pyramid, baseline": {"profile": "baseline", "x264-params": "bframes=0:cabac=0:keyint=16"},
    "weighted, references 4": {"x264-params": "weightp=2:weightb=1:ref=4:keyint=24:b-pyramid=strict"},
}
X264_FILES = {"mp4": "x.mp4", "Matroska": "x.mkv", "transport stream": "x.ts"}
for option, settings in X264.items():
    for container, file_name in X264_FILES.items():
        plain(f"H.264 in {container}: {option}", file_name, "libx264", settings)
for option in ("plain", "no B-frames", "open groups", "interlaced", "slices"):
    for file_name in ("x.mov", "x.avi", "x.flv", "x.3gp", "x.m4v", "x.mpg", "x.h264"):
        plain(f"H.264 in other files: {option}, {file_name[2:]}", file_name, "libx264", X264[option])
for pix_fmt in ("yuv422p", "yuv444p", "yuv420p10le", "gray", "nv12"):
    plain(f"H.264, pixels: {pix_fmt}", "x.mp4", "libx264", {"g": "16"}, pix_fmt=pix_fmt)
plain("H.264, pixels: lossless rgb", "x.mkv", "libx264rgb", {"crf": "0", "g": "16"}, pix_fmt="rgb24")

X265 = {
    "plain": "keyint=250",
    "key frame every 10": "keyint=10",
    "closed groups": "keyint=10:open-gop=0",
    "no B-frames": "bframes=0:keyint=12",
    "temporal layers": "temporal-layers=3:keyint=16",
    "deep reordering": "bframes=8:b-adapt=0:ref=4:keyint=24",
    "leading pictures that can be decoded": "radl=2:keyint=12:open-gop=0:bframes=4",
    "delimiters, repeated headers": "aud=1:repeat-headers=1:keyint=12",
    "intra refresh": "intra-refresh=1:keyint=12",
    "interlaced fields": "interlace=tff:keyint=12",
    "slices": "slices=2:keyint=12",
}
for option, parameters in X265.items():
    for file_name in ("x.mp4", "x.mkv", "x.ts"):
        plain(f"H.265: {option}, {file_name[2:]}", file_name, "libx265", {"x265-params": parameters})
plain("H.265: 10 bits, mp4", "x.mp4", "libx265", {"x265-params": "keyint=12"}, pix_fmt="yuv420p10le")
plain("H.265: plain, mov", "x.mov", "libx265", {"x265-params": "keyint=12"})

MPEG4 = {
    "plain": {},
    "B-frames": {"bf": "2", "g": "10"},
    "interlaced": {"flags": "+ildct+ilme", "g": "12"},
    "interlaced, B-frames": {"flags": "+ildct+ilme", "bf": "2", "g": "12"},
    "quarter pixels": {"flags": "+qpel", "bf": "1", "g": "12"},
    "four vectors": {"flags": "+mv4", "g": "12"},
}
for option, settings in MPEG4.items():
    for file_name in ("x.mp4", "x.avi", "x.mkv"):
        plain(f"MPEG-4: {option}, {file_name[2:]}", file_name, "mpeg4", settings)
for option, file_name, codec, settings in (
    ("VP8", "x.webm", "libvpx", {"g": "16"}),
    ("VP8, hidden frames", "x.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
    ("VP8", "x.mkv", "libvpx", {"g": "16"}),
    ("VP9", "x.webm", "libvpx-vp9", {"g": "16", "deadline": "realtime", "cpu-used": "8"}),
    ("VP9, hidden frames", "x.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
    ("VP9, hidden frames", "x.mp4", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
    ("VP9, hidden frames", "x.mkv", "libvpx-vp9", {"auto-alt-ref": "6", "lag-in-frames": "24", "g": "40"}),
    ("VP9, error resilient", "x.webm", "libvpx-vp9", {"error-resilient": "1", "g": "16", "cpu-used": "8"}),
    ("AV1", "x.mp4", "libsvtav1", {"preset": "12", "g": "10"}),
    ("AV1", "x.mkv", "libsvtav1", {"preset": "12", "g": "16"}),
    ("AV1", "x.webm", "libsvtav1", {"preset": "12"}),
    ("AV1, low delay", "x.mp4", "libsvtav1", {"preset": "12", "g": "12", "svtav1-params": "pred-struct=1"}),
):
    plain(f"VP8, VP9, AV1: {option}, {file_name[2:]}", file_name, codec, settings)
for option, file_name, codec, pix_fmt, settings in (
    ("motion JPEG", "x.avi", "mjpeg", "yuvj420p", {}),
    ("motion JPEG", "x.mov", "mjpeg", "yuvj422p", {}),
    ("motion JPEG", "x.mkv", "mjpeg", "yuvj444p", {}),
    ("MPEG-2", "x.ts", "mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
    ("MPEG-2", "x.mpg", "mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
    ("MPEG-2, interlaced", "x.mkv", "mpeg2video", "yuv420p", {"flags": "+ildct+ilme", "bf": "2"}),
    ("MPEG-1", "x.mpg", "mpeg1video", "yuv420p", {"bf": "2"}),
    ("H.263+", "x.avi", "h263p", "yuv420p", {}),
    ("Sorenson", "x.flv", "flv", "yuv420p", {}),
    ("Windows Media 1", "x.asf", "wmv1", "yuv420p", {}),
    ("Windows Media 2", "x.wmv", "wmv2", "yuv420p", {}),
    ("Microsoft MPEG-4", "x.avi", "msmpeg4", "yuv420p", {}),
    ("ProRes", "x.mov", "prores_ks", "yuv422p10le", {}),
    ("FFV1", "x.mkv", "ffv1", "yuv420p", {}),
    ("Huffyuv", "x.avi", "ffvhuff", "yuv420p", {}),
    ("raw", "x.avi", "rawvideo", "yuv420p", {}),
    ("PNG", "x.mov", "png", "rgb24", {}),
    ("GIF", "x.gif", "gif", "rgb8", {}),
    ("animated PNG", "x.apng", "apng", "rgb24", {}),
    ("QuickTime animation", "x.mov", "qtrle", "rgb24", {}),
    ("Ut Video", "x.avi", "utvideo", "yuv420p", {}),
    ("RealVideo 2", "x.rm", "rv20", "yuv420p", {}),
):
    plain(f"other codecs: {option}, {file_name[2:]}", file_name, codec, settings, pix_fmt=pix_fmt)
for codec, file_name, settings in (
    ("libx264", "x.mp4", {}),
    ("libx265", "x.mp4", {"x265-params": "bframes=0"}),  # with B-frames mp4 refuses a single frame
    ("mpeg4", "x.avi", {}),
    ("libvpx-vp9", "x.webm", {}),
):
    for number in (1, 2, 3):
        plain(f"short: {number} frames, {codec}", file_name, codec, settings, frames=scene(number))
for codec, file_name, size in (
    ("libx264", "x.mp4", (98, 66)),
    ("libx265", "x.mp4", (130, 70)),
    ("mpeg4", "x.avi", (97, 65)),
    ("mjpeg", "x.avi", (33, 17)),
    ("libvpx-vp9", "x.webm", (97, 65)),
):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    plain(f"odd sizes: {codec}", file_name, codec, {"g": "16"}, frames=scene(NUM_FRAMES, *size), pix_fmt=pix_fmt)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
plain("mp4: fragments", "x.mp4", "libx264", {"g": "10"}, container_options=FRAGMENTS)
plain("mp4: header first", "x.mp4", "libx264", {"g": "10"}, container_options={"movflags": "faststart"})
plain("mp4: negative times", "x.mp4", "libx264", {"g": "10"}, container_options={"movflags": "negative_cts_offsets"})
plain("mp4: no edit list", "x.mp4", "libx264", {"g": "10"}, container_options={"use_editlist": "0"})


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, payload) of the boxes of an mp4, one after the other."""
    while content:
        size = struct.unpack(">I", content[:4])[0] or len(content)
        yield content[4:8], content[8:size]
        content = content[size:]


def box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + name + payload


def edited(content: bytes, path: list[bytes], edit: Callable[[bytes], bytes]) -> bytes:
    """The boxes with the payload at the path, through all boxes of these names, replaced."""
    return b"".join(
        box(name, payload if name != path[0] else edit(payload) if not path[1:] else edited(payload, path[1:], edit))
        for name, payload in boxes(content)
    )


def cut_by_edit_list(path: Path, num_frames: int) -> Path:
    def later(payload: bytes) -> bytes:
        (start,) = struct.unpack(">i", payload[12:16])
        return payload[:12] + struct.pack(">i", start + num_frames * 512) + payload[16:]

    path.write_bytes(edited(path.read_bytes(), [b"moov", b"trak", b"edts", b"elst"], later))
    return path


for number in (1, 7, 20):
    KINDS[f"mp4: edit list cuts {number} frames"] = lambda folder, number=number: cut_by_edit_list(
        encode(folder / "x.mp4", "libx264", {"g": "12"}), number
    )


def with_matrix(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Write (a, b, c, d) of a display matrix into the track's header."""
    a, b, c, d = (round(value * 65536) for value in matrix)

    def turn(payload: bytes) -> bytes:
        return payload[:40] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + payload[76:]

    path.write_bytes(edited(path.read_bytes(), [b"moov", b"trak", b"tkhd"], turn))
    return path


MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]  # upright, then clockwise by quarters
MATRICES += [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]  # mirrored
for matrix in [*MATRICES, (0.99985, -0.01745, 0.01745, 0.99985)]:
    KINDS[f"display matrix: {matrix}"] = lambda folder, matrix=matrix: with_matrix(
        encode(folder / "x.mp4", "libx264", frames=scene(12)), matrix
    )
