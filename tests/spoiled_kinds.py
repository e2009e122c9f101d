"""More kinds of file: sound ones that were cut, spliced, remuxed carelessly, mislabelled or damaged: into `KINDS`."""

import struct
from collections.abc import Callable
from pathlib import Path

import av

from kinds import FRAGMENTS, KINDS, NUM_FRAMES, boxes, edited, encode, packets_of, remux, scene, with_content

GROUPS, OPEN = {"g": "10"}, {"x264-params": "open-gop=1:keyint=10:scenecut=0:bframes=3:b-adapt=0"}
PLAIN = {"bf": "0", "g": "12"}
OTHER = {"x264-params": "cabac=0:8x8dct=0:weightp=0:ref=1:cqm=jvt", "crf": "30", "g": "10"}
SIMILAR = {
    "x264-params": "cqm=jvt",
    "g": "10",
}  # what has the other header is decoded without an error, to other pixels
SOURCES = {
    "H.264, B-frames": ("libx264", GROUPS),
    "H.264, no reordering": ("libx264", PLAIN),
    "H.264, open groups": ("libx264", OPEN),
    "H.264, intra refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "H.265": ("libx265", {"x265-params": "keyint=10"}),
    "MPEG-4": ("mpeg4", {"bf": "2", "g": "10"}),
}
Change = Callable[[int, av.Packet], object]


def changed(name: str, source: str, target: str, change: Change, source_file: str = "source.mp4") -> None:
    """A kind that copies a source's packets and changes them on the way."""
    codec, options = SOURCES[source]
    KINDS[f"{name}: {source}, {target[2:]}"] = lambda folder: remux(
        encode(folder / source_file, codec, options), folder / target, change
    )


def to_decoding_order(position: int, packet: av.Packet) -> None:
    packet.pts = packet.dts


def inserted(unit: bytes, every: int = 7) -> Change:
    """Puts a packet that holds no picture, only this NAL unit, before every so many packets."""

    def change(position: int, packet: av.Packet) -> list[av.Packet]:
        if position % every != every - 1:
            return [packet]
        extra = with_content(packet, struct.pack(">I", len(unit)) + unit)
        extra.is_keyframe = False
        step = packet.duration // 2
        extra.pts, extra.dts = packet.pts - step, packet.dts - step
        return [extra, packet]

    return change


def merged(position: int, packet: av.Packet, held: list[av.Packet | None] = [None]) -> list[av.Packet]:  # noqa: B006
    """Two pictures in one packet, now and then."""
    if position % 9 == 4:
        held[0] = packet
        return []
    if position % 9 == 5 and held[0] is not None:
        return [with_content(held[0], bytes(held[0]) + bytes(packet))]
    return [packet]


def all_keys(position: int, packet: av.Packet) -> None:
    packet.is_keyframe = True


def one_key(position: int, packet: av.Packet) -> None:
    packet.is_keyframe = position == 0


def stretched(position: int, packet: av.Packet) -> None:
    late = 100 * packet.duration * (packet.pts > 20 * packet.duration)
    packet.pts, packet.dts = packet.pts + late, packet.dts + late


def later(position: int, packet: av.Packet) -> None:
    packet.pts, packet.dts = packet.pts + 10_000 * packet.duration, packet.dts + 10_000 * packet.duration


def without(*positions: int) -> Change:
    return lambda position, packet: position not in positions


def retyped(old: int, new: int) -> Change:
    """H.265 NAL units of one type, said to be of another."""

    def change(position: int, packet: av.Packet) -> list[av.Packet]:
        content, at = bytearray(bytes(packet)), 0
        while at < len(content):
            if content[at + 4] >> 1 & 63 == old and position:
                content[at + 4] = content[at + 4] & 0x81 | new << 1
            at += 4 + int.from_bytes(content[at : at + 4], "big")
        return [with_content(packet, bytes(content))]

    return change


def ended(position: int, packet: av.Packet) -> list[av.Packet]:
    """An end of sequence (H.265) behind each tenth packet."""
    return [with_content(packet, bytes(packet) + b"\0\0\0\2\x48\1")] if position % 10 == 9 else [packet]


for source in SOURCES:
    for target in ("x.mkv", "x.mp4", "x.ts"):
        changed("times in decoding order", source, target, to_decoding_order)
    for target in ("x.mkv", "x.mp4"):
        changed("all marked as key frames", source, target, all_keys)
        changed("one key frame marked", source, target, one_key)
        changed("begins in the middle", source, target, without(*range(4)))
    if source != "MPEG-4":  # its groups are open: frames around the gap would change places
        changed("a gap in the times", source, "x.mp4", stretched)
    changed("late start", source, "x.mkv", later)
    changed("lost packets", source, "x.mkv", without(13, 14))
    changed("lost key frame", source, "x.mp4", without(10, 12))
    changed("two pictures in a packet", source, "x.mkv", merged)
    if source != "H.265":  # which AVI cannot hold
        changed("remuxed AVI", source, "x.mkv", to_decoding_order, "source.avi")
UNITS = {"delimiter": b"\x09\xf0", "hints": b"\x06\x05\x04abcd\x80", "filler": b"\x0c\xff\xff\xff\x80"}
for unit, content in UNITS.items():
    for source in ("H.264, B-frames", "H.264, no reordering"):
        for target in ("x.mkv", "x.mp4"):
            changed(f"packets of nothing but a {unit}", source, target, inserted(content))
for unit, content in {"delimiter": b"\x46\x01\x50", "hints": b"\x4e\x01\x05\x01\x61\x80"}.items():
    changed(f"packets of nothing but a {unit}", "H.265", "x.mkv", inserted(content))
for first in (10, 11, 12, 20):
    for source in ("H.264, open groups", "H.265"):
        changed(f"spliced at {first}", source, "x.mkv", without(*range(first, first + 10)))
        changed(f"begins at {first}", source, "x.mp4", without(*range(first)))
for new in (16, 17, 18, 20):
    changed(f"open starts said to be of type {new}", "H.265", "x.mkv", retyped(21, new))
changed("ends of sequence", "H.265", "x.mkv", ended)


def joined(target: Path, parts: list[Path]) -> Path:
    """The packets of several files in one, with the header of the first."""
    with av.open(str(parts[0])) as first, av.open(str(target), "w") as new:
        stream, offset = new.add_stream_from_template(first.streams.video[0]), 0
        for part in parts:
            packets = packets_of(part)
            for number, packet in enumerate(packets if packets[0].dts is None else []):  # AVI with B-frames
                packet.pts = packet.dts = number * packet.duration
            start = min(packet.dts for packet in packets)
            for packet in packets:
                packet.pts, packet.dts = packet.pts - start + offset, packet.dts - start + offset
                packet.stream = stream
                new.mux(packet)
            offset = max(packet.pts + packet.duration for packet in packets)
    return target


def two_setups(folder: Path, name: str, codec: str, first: dict[str, str], second: dict[str, str]) -> list[Path]:
    return [
        encode(folder / f"{number}{name}", codec, options, frames=scene(NUM_FRAMES // 2, seed=number))
        for number, options in enumerate((first, second))
    ]


for codec, first, second in (
    ("libx264", GROUPS, OTHER),
    ("libx264", OTHER, PLAIN),
    ("libx264", GROUPS, SIMILAR),
    ("libx265", {"x265-params": "keyint=10"}, {"x265-params": "keyint=8:ctu=16:no-sao=1:ref=1:bframes=0"}),
    ("mpeg4", {"bf": "2", "g": "10"}, {"flags": "+qpel", "g": "8"}),
):
    number = f"{codec} {'similar' if second is SIMILAR else 'another' if first is OTHER else 'B-frames'}"
    for name, target in ((".ts", "x.ts"), (".mkv", "x.mkv"), (".ts", "x.mp4"), (".avi", "x.avi")):
        if codec == "libx265" and target == "x.avi":  # which cannot hold it
            continue
        KINDS[f"two set-ups: {number}, {name[1:]} in {target[2:]}"] = (
            lambda folder, name=name, target=target, codec=codec, first=first, second=second: joined(
                folder / target, two_setups(folder, name, codec, first, second)
            )
        )


def flv_of_two(folder: Path, second: dict[str, str]) -> Path:
    """An FLV file whose second half has a sequence header of its own."""
    whole, offset_ms = b"", 0
    for part in two_setups(folder, ".flv", "libx264", GROUPS, second):
        content = part.read_bytes()
        whole = whole or content[:13]
        position, last_ms = 13, 0
        while position < len(content):
            size = int.from_bytes(content[position + 1 : position + 4], "big")
            time_ms = int.from_bytes(content[position + 7 : position + 8] + content[position + 4 : position + 7], "big")
            last_ms, time_ms = max(last_ms, time_ms), time_ms + offset_ms
            time = (time_ms & 0xFFFFFF).to_bytes(3, "big") + bytes([time_ms >> 24])
            whole += content[position : position + 4] + time + content[position + 8 : position + size + 15]
            position += size + 15
        offset_ms = last_ms + 40
    (folder / "x.flv").write_bytes(whole)
    return folder / "x.flv"


def mp4_of_two(folder: Path, second: dict[str, str]) -> Path:
    """An mp4 with two sample descriptions, the second one for its second half."""
    parts = two_setups(folder, ".mp4", "libx264", GROUPS, second)
    content, other = joined(folder / "x.mp4", parts).read_bytes(), parts[1].read_bytes()
    table = [b"moov", b"trak", b"mdia", b"minf", b"stbl"]
    found: dict[bytes, bytes] = {}
    edited(content, table, lambda payload: found.update(boxes(payload)) or payload)
    edited(other, table, lambda payload: found.update(other=dict(boxes(payload))[b"stsd"][8:]) or payload)
    sizes = struct.unpack(f">{NUM_FRAMES}I", found[b"stsz"][12:])
    first = struct.unpack(">I", found[b"stco"][8:12])[0]
    places = [first + sum(sizes[:number]) for number in range(NUM_FRAMES)]
    new = {  # a chunk for each frame
        b"stsd": found[b"stsd"][:4] + struct.pack(">I", 2) + found[b"stsd"][8:] + found["other"],
        b"stsc": struct.pack(">8I", 0, 2, 1, 1, 1, NUM_FRAMES // 2 + 1, 1, 2),
        b"stco": struct.pack(f">{NUM_FRAMES + 2}I", 0, NUM_FRAMES, *places),
    }
    for name, payload in new.items():
        content = edited(content, [*table, name], lambda _, payload=payload: payload)
    (folder / "x.mp4").write_bytes(content)
    return folder / "x.mp4"


for name, second in (("another", OTHER), ("a similar one", SIMILAR), ("no B-frames", PLAIN), ("the same", GROUPS)):
    KINDS[f"FLV with a second sequence header: {name}"] = lambda folder, second=second: flv_of_two(folder, second)
    KINDS[f"mp4 with two sample descriptions: {name}"] = lambda folder, second=second: mp4_of_two(folder, second)


def without_box(folder: Path, name: bytes, codec: str, options: dict[str, str]) -> Path:
    path = encode(folder / "x.mp4", codec, options)
    path.write_bytes(path.read_bytes().replace(name, b"free"))
    return path


for name in (b"stss", b"ctts", b"edts"):
    for source in ("H.264, B-frames", "H.264, open groups", "H.265", "MPEG-4"):
        KINDS[f"mp4 without a table: {name.decode()}, {source}"] = lambda folder, name=name, source=source: without_box(
            folder, name, *SOURCES[source]
        )


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


for codec, suffix in (
    ("libx264", "mkv"),
    ("libx264", "ts"),
    ("libx264", "flv"),
    ("mpeg4", "avi"),
    ("libx265", "mkv"),
    ("libvpx-vp9", "webm"),
    ("libsvtav1", "mkv"),
):
    KINDS[f"cut off: {codec}, {suffix}"] = lambda folder, codec=codec, suffix=suffix: cut(
        encode(folder / f"x.{suffix}", codec, {"g": "10"})
    )
KINDS["cut off: libx264, fragmented mp4"] = lambda folder: cut(
    encode(folder / "x.mp4", "libx264", GROUPS, container_options=FRAGMENTS)
)
