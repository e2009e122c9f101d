"""Hostile JSON, tensors and parameters."""

import base64
import json
from random import Random
from typing import Any

from conftest import SIDE
from hostile.table import INFER, PADDLEX, Target, posts

TEN_MB = 10_000_000


@posts("JSON that is none", "422")
def no_json(rng: Random, target: Target) -> tuple:
    return PADDLEX, rng.choice([
        b"", b"{", b"[" * 100_000, b'{"video":' * 100_000, b'{"video": "', b'{"video": "\\', b'{"video": "\\u12"}',
        b"\xff\xfe",
        b'{"video": NaN}', b'{"video": "AAAA", "topk": Infinity}', b'{"video": "AAAA", "topk": 1e999}',
        b'{"video" "x"}',
        b'{"video": "AAAA", "topk": ' + b"9" * 10_000 + b"}", b'{"video": "a\nb"}', b'\xef\xbb\xbf{"video": "AAAA"}',
        b'{"video": "AAAA"} {}', b"{'video': 'AAAA'}", b'{"video": "\xc3"}', b'{"' + b"k" * 10_000 + b'": 1}',
    ])  # fmt: skip


@posts("JSON of other types", "422")
def other_types(rng: Random, target: Target) -> tuple:
    clip = base64.b64encode(rng.choice(target.videos.good)).decode()
    wrong: list[Any] = [
        [], {}, 7, None, "text", [{"video": clip}], {"video": None}, {"video": 7}, {"video": []}, {"video": {}},
        {"video": ""}, {"Video": clip}, {"video": clip, "topk": 0}, {"video": clip, "topk": -1},
        {"video": clip, "topk": "5"},
        {"video": clip, "topk": 1.5}, {"video": clip, "topk": True}, {"video": clip, "topk": [1]}, {"video": [clip]},
    ]  # fmt: skip
    return PADDLEX, json.dumps(rng.choice(wrong)).encode()


@posts("damaged base64", "422")
def damaged_base64(rng: Random, target: Target) -> tuple:
    clip = base64.b64encode(rng.choice(target.videos.good)).decode()
    at = rng.randrange(len(clip))
    video = rng.choice([
        clip[:at] + rng.choice("!-_.é\0\ud800") + clip[at:], clip + "=", "====", "A",
        clip[:at] + "==" + clip[at:] + "A",
        "data:video/mp4;base64,", "data:video/mp4,x", "\0", "\U0001f600" * 2000,
    ])  # fmt: skip
    return PADDLEX, json.dumps({"video": video}).encode()


@posts("huge strings in other fields", "200", "413")
def huge_fields(rng: Random, target: Target) -> tuple:
    clip = base64.b64encode(rng.choice(target.videos.good)).decode()
    more = rng.choice([{"x": "y" * TEN_MB}, {"x": ["y" * 5000] * 500}, {"x": "y" * 2000}])
    return PADDLEX, json.dumps(rng.choice([more | {"video": clip}, {"video": clip} | more])).encode()


@posts("millions of small values", "413")
def small_values(rng: Random, target: Target) -> tuple:
    return PADDLEX, b'{"video": "AAAA", "x": [' + rng.choice([b"0,", b"{},", b'"",']) * 2_000_000 + b"0]}"


@posts("addresses that nobody may fetch", "422")
def addresses(rng: Random, target: Target) -> tuple:
    port = target.trap_port
    host = rng.choice([
        "127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "x@127.0.0.1", "127.0.0.1.", "[::]", "LOCALHOST", "127.0.0.1%00.example.com", "[::ffff:7f00:1]", "①②⑦.0.0.1",
    ])  # fmt: skip
    address = rng.choice([
        f"http://{host}:{port}/x.mp4", f"https://{host}:{port}/", f"http://{host}:{port}/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/x.mp4", "http://192.168.0.1/", "http://[fe80::1]/",
        "http://", "http://:80/", "http://[", "http://x:99999/", "https://" + "x" * 3000, "http://\0/",
        "http:///etc/passwd",
        "file:///etc/passwd", "ftp://127.0.0.1/", "/etc/passwd", "../../etc/passwd", "FILE:///etc/passwd",
        "gopher://x/",
        f"HTTP://127.0.0.1:{port}/", f" http://127.0.0.1:{port}/", "data:text/plain,x", "concat:/etc/passwd|/etc/hosts",
    ])  # fmt: skip
    return PADDLEX, json.dumps({"video": address}).encode()


def tensor(**change: Any) -> dict[str, Any]:
    right = {"name": "frames", "datatype": "UINT8", "shape": [1, 1, 3, SIDE, SIDE], "data": [0] * 3 * SIDE * SIDE}
    return {name: value for name, value in (right | change).items() if value is not ...}


def infer_body(**change: Any) -> dict[str, Any]:
    return {"inputs": [tensor(**change)]}


@posts("KServe: tensors that are none", "400", "413")
def tensors(rng: Random, target: Target) -> tuple:
    shapes: list[Any] = [
        [1, 3, SIDE, SIDE], [-1, 1, 3, SIDE, SIDE], [0, 1, 3, SIDE, SIDE], [1, 2, 3, SIDE, SIDE],
        [1, 1, 3, SIDE, SIDE, 1], [],
        [2**63, 2**63, 3, SIDE, SIDE], [10**400, 1, 3, SIDE, SIDE], [64, 1024, 3, SIDE, SIDE], [1.0, 1, 3, SIDE, SIDE],
        "x",
        [True, 1, 3, SIDE, SIDE], None, [[1], 1, 3, SIDE, SIDE], {}, [1, 1, 1, 3 * SIDE, SIDE],
    ]  # fmt: skip
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    data: list[Any] = [
        ..., None, [], [256] * 3 * SIDE * SIDE, [-1] * 3 * SIDE * SIDE, [0.5] * 3 * SIDE * SIDE,
        ["0"] * 3 * SIDE * SIDE, deep,
        [10**30] * 3 * SIDE * SIDE, [None], [[1], [1, 2]], "AAAA", {"x": 1}, 7, [True] * 3 * SIDE * SIDE, [0] * 5,
        [{}, []],
    ]  # fmt: skip
    change = rng.choice([{"shape": rng.choice(shapes)}, {"data": rng.choice(data)}])
    return INFER, json.dumps(infer_body(**change)).encode()


@posts("KServe: requests that are none", "400")
def requests(rng: Random, target: Target) -> tuple:
    wrong: list[Any] = [
        [], {}, 7, {"inputs": []}, {"inputs": {}}, {"inputs": [7]}, {"inputs": [tensor(), tensor()]}, {"inputs": None},
        infer_body(name="video"), infer_body(name=[]), infer_body(datatype="FP32"), infer_body() | {"id": []},
        infer_body() | {"id": "\ud800"}, infer_body() | {"outputs": "x"}, infer_body() | {"outputs": []},
        infer_body() | {"outputs": [{"name": []}]}, infer_body() | {"outputs": [{"name": "other"}]},
        infer_body() | {"outputs": [{"name": "features", "parameters": "x"}]}, infer_body() | {"outputs": [7]},
    ]  # fmt: skip
    broken = [b"", b"{", b"[" * 100_000, b"NaN", b"\xff", b"9" * 10_000]
    return INFER, rng.choice([json.dumps(rng.choice(wrong)).encode(), rng.choice(broken)])


@posts("KServe: binary tensors of wrong sizes", "400", "413")
def binary(rng: Random, target: Target) -> tuple:
    size = 3 * SIDE * SIDE
    about = {"binary_data_size": rng.choice([size, size - 1, 0, -1, 2**70, "x", None, size + 1])}
    text = json.dumps(infer_body(data=..., parameters=rng.choice([about, [], "x", None]))).encode()
    length = rng.choice(
        [len(text), len(text) - 1, 0, "-1", "x", 10**17, "9" * 5000, "1e3", "²".encode().decode("latin-1")]
    )
    return INFER, text + bytes(rng.choice([size - 1, 0, size + 1])), {"inference_header_content_length": str(length)}


@posts("parameters that make no sense", "422")
def parameters(rng: Random, target: Target) -> tuple:
    query = rng.choice([
        "topk=-1", "topk=0", "topk=x", "topk=1.5", "topk=", "topk=" + "9" * 5000, "topk=nan", "window_sec=0",
        "window_sec=nan",
        "window_sec=inf", "window_sec=-1", "window_sec=1e999", "window_sec=x", "window_sec=1&stride_sec=0",
        "stride_sec=1",
        "window_sec=1&stride_sec=nan", "window_sec=1&stride_sec=1e-9", "window_sec=1000&stride_sec=0.5",
        "pictures=perhaps",
        "window_sec=1e7", "window_sec=0.49", "topk=%00", "topk=%ff", "window_sec=1&stride_sec=inf", "topk[]=1&topk=x",
    ])  # fmt: skip
    return f"/classify?{query}", rng.choice(target.videos.good)


@posts("parameters at their ends", "200")
def extremes(rng: Random, target: Target) -> tuple:
    query = rng.choice([
        "topk=1000000000", "topk=" + "9" * 400, "window_sec=0.5&stride_sec=0.5", "window_sec=1000000", "x=y&" * 1000,
        "window_sec=10&stride_sec=0.5", "window_sec=0.5&stride_sec=1000000", "topk=1&topk=2", "%00=%00",
        "pictures=1&topk=9",
    ])  # fmt: skip
    return f"/classify?{query}", rng.choice(target.videos.good)
