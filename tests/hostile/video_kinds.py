"""Hostile videos, and hostile ways to put them into a request."""

import json
from random import Random

import numpy as np

from fuzz_videos import damage
from hostile.table import INFER, PADDLEX, Target, kind, posted, posts
from hostile.wire import BOUNDARY, MULTIPART, Answer, Damaged, multipart, outcome, paddlex

WINDOWS = "/classify?window_sec=1&stride_sec=1"


def sent(target: Target, rng: Random, video: bytes) -> tuple[Answer | None, str]:
    """What is said of a video that is sent in one of four ways, and the path that it went to."""
    path, body, headers = rng.choice([
        ("/classify", video, {}),
        (WINDOWS, video, {"content_type": "video/mp4"}),
        ("/classify?pictures=true&topk=1000000000", multipart(video), {"content_type": MULTIPART}),
        (PADDLEX, paddlex(video), {}),
    ])  # fmt: skip
    return posted(target, path, body, **headers), path


def judged(answer: Answer | None, path: str) -> str:
    """The outcome; that of a timeline, which begins with 200, is in its last line."""
    said = outcome(answer, path)
    if said != "200" or path != WINDOWS:
        return said
    *_, last = map(json.loads, answer.body.splitlines())
    if "is_complete" not in last:
        raise Damaged("a timeline ends without its last line")
    return "200" if last["is_complete"] else str(last["status"])


def video_kind(name: str, *outcomes: str):
    """Enter a function that makes a video."""

    def enter(make):
        return kind(name, *outcomes)(lambda rng, target: judged(*sent(target, rng, make(rng, target))))

    return enter


@video_kind("video cut off", "200", "422")
def cut_off(rng: Random, target: Target) -> bytes:
    content = rng.choice([*target.videos.whole.values()])
    return content[: rng.randrange(1, len(content))]


@video_kind("video with flipped bits", "200", "422")
def flipped(rng: Random, target: Target) -> bytes:
    content = bytearray(rng.choice([*target.videos.whole.values()]))
    for _ in range(rng.choice([1, 10, 1000])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


@video_kind("random bytes behind a valid head", "200", "422")
def noise(rng: Random, target: Target) -> bytes:
    name = rng.choice([*target.videos.whole])
    content = target.videos.whole[name]
    at = content.find(b"mdat") + 4 if name == "a.mp4" else 600
    return content[:at] + rng.randbytes(len(content) - at)


@video_kind("video with damaged tables", "200", "422")
def damaged(rng: Random, target: Target) -> bytes:
    generator = np.random.default_rng(rng.getrandbits(64))
    return damage(rng.choice([*target.videos.whole.values()]), generator)


@video_kind("two videos in one", "200", "422")
def two_in_one(rng: Random, target: Target) -> bytes:
    return b"".join(rng.sample([*target.videos.whole.values()], 2))


@kind("video that takes too long to decode", "422")
def slow(rng: Random, target: Target) -> str:
    path = rng.choice(["/classify", "/classify?window_sec=1000", "/classify?pictures=true"])
    return judged(posted(target, path, target.videos.slow), path)


@video_kind("bomb: many pixels, many hours", "422")
def bomb(rng: Random, target: Target) -> bytes:
    return rng.choice([*target.videos.bombs.values()])


@video_kind("no video: playlists, pictures, archives", "422")
def no_video(rng: Random, target: Target) -> bytes:
    return rng.choice([*target.videos.others.values()])


@posts("random bytes as a body", "422", "400")
def random_body(rng: Random, target: Target) -> tuple:
    return rng.choice(["/classify", PADDLEX, INFER]), rng.randbytes(rng.randint(1, 100_000))


NAMES = (
    "x\0.mp4", "\x1b[2J", "../../etc/passwd", "/etc/passwd", "..\\..\\x", "x" * 3000, 'a\\"b', "%00", "é", "CON", ".",
    "", "|id;$(id)",
)  # fmt: skip


@posts("file names that are paths", "200")
def file_names(rng: Random, target: Target) -> tuple:
    name = rng.choice(NAMES)
    return "/classify", multipart(rng.choice(target.videos.good), name), {"content_type": MULTIPART}


@posts("huge headers of a part", "400")
def part_headers(rng: Random, target: Target) -> tuple:
    clip = rng.choice(target.videos.good)
    extra = rng.choice([b"x-y: " + b"z" * 100_000, b"\r\n".join(b"x-%d: y" % number for number in range(3000))])
    body = multipart(clip).replace(b"Content-Disposition", extra + b"\r\nContent-Disposition", 1)
    return "/classify", rng.choice([body, multipart(clip, "x" * 10_000)]), {"content_type": MULTIPART}


def parts(rng: Random, target: Target, number: int) -> tuple:
    """So many fields, and perhaps a file behind them."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'.encode()
    last = rng.choice([f"--{BOUNDARY}--\r\n".encode(), multipart(rng.choice(target.videos.good))])
    return "/classify", field * number + last, {"content_type": MULTIPART}


@posts("hundreds of parts", "422", "200")
def hundreds_of_parts(rng: Random, target: Target) -> tuple:
    return parts(rng, target, rng.randint(1, 999))


@posts("thousands of parts", "400")
def thousands_of_parts(rng: Random, target: Target) -> tuple:
    return parts(rng, target, rng.choice([1001, 20_000, 100_000]))


@posts("a second file behind the first", "200")
def second_file(rng: Random, target: Target) -> tuple:
    first = multipart(rng.choice(target.videos.good)).removesuffix(f"--{BOUNDARY}--\r\n".encode())
    return "/classify", first + multipart(b"no video", "y.mp4", "other"), {"content_type": MULTIPART}


@posts("no part that is a file", "422")
def no_file(rng: Random, target: Target) -> tuple:
    body = multipart(rng.choice(target.videos.good)).replace(b"; filename=", b"; x=")
    nested = multipart(multipart(rng.choice(target.videos.good)))
    return "/classify", rng.choice([body, nested, multipart(b"")]), {"content_type": MULTIPART}


@posts("damaged multipart", "400")
def damaged_multipart(rng: Random, target: Target) -> tuple:
    whole = multipart(rng.choice(target.videos.good))
    return rng.choice([
        ("/classify", whole, {"content_type": "multipart/form-data"}),
        ("/classify", whole, {"content_type": "multipart/form-data; boundary="}),
        ("/classify", whole, {"content_type": "multipart/form-data; boundary=other"}),
        ("/classify", whole, {"content_type": "multipart/form-data; boundary*=utf-8''x; boundary*0=y"}),
        ("/classify", whole, {"content_type": f"multipart/form-data; boundary*{'9' * 5000}*=x"}),
        ("/classify", whole, {"content_type": "multipart/form-data; boundary=" + "x" * 20_000}),
        ("/classify", whole[: rng.randrange(20, len(whole) - 6)], {"content_type": MULTIPART}),
        ("/classify", b"preamble" + whole, {"content_type": MULTIPART}),
        ("/classify", b"", {"content_type": MULTIPART}),
        ("/classify", whole.replace(b"Content-Disposition: ", b"Content-\0: "), {"content_type": MULTIPART}),
    ])  # fmt: skip
