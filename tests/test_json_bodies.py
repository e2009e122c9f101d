"""JSON bodies that hold a video: read as `json.loads` and `base64` read them, without being whole in memory."""

import base64
import binascii
import io
import json
import math
import random
import tracemalloc

import pytest

from serving import json_bodies
from serving.json_bodies import LongText, decode_base64, read_json_body
from serving.refusals import Refusal


@pytest.fixture
def body(tmp_path):
    """Writes a body, gives its file."""

    def write(content):
        (tmp_path / "body").write_bytes(content)
        return tmp_path / "body"

    return write


def decoded(source, text):
    target = io.BytesIO()
    decode_base64(source, text, target)
    return target.getvalue()


def filled(source, value):
    """A body's values with the long strings in their places."""
    if isinstance(value, LongText):
        return json.loads(source.read_bytes()[value.start - 1 : value.end + 1])
    if isinstance(value, dict):
        return {name: filled(source, one) for name, one in value.items()}
    return [filled(source, one) for one in value] if isinstance(value, list) else value


def test_a_video_stays_in_the_file(body):
    video = random.Random(0).randbytes(10_000)
    source = body(json.dumps({"top": 5, "video": base64.b64encode(video).decode(), "labels": ["é", "a\nb"]}).encode())
    values = read_json_body(source)
    assert (values["top"], values["labels"]) == (5, ["é", "a\nb"])
    assert isinstance(values["video"], LongText)
    assert decoded(source, values["video"]) == video


def test_only_strings_above_the_bound_stay(body):
    at, above = "é" * (json_bodies.LONGEST_TEXT // 2), "a" * (json_bodies.LONGEST_TEXT + 1)
    at_bound, above_bound = read_json_body(body(json.dumps([at, above], ensure_ascii=False).encode()))
    assert at_bound == at
    assert above_bound.end - above_bound.start == len(above)


def test_several_long_strings_and_what_looks_like_a_placeholder(body):
    texts = ["NaN", "a" * 5000, "Infinity", '"' * 5000, {"video": "\\" * 5000, "NaN": "NaN"}, "b" * 5000]
    source = body(json.dumps(texts).encode())
    values = read_json_body(source)
    assert filled(source, values) == texts
    assert [type(value) for value in values] == [str, LongText, str, LongText, dict, LongText]
    assert read_json_body(body(json.dumps("a" * 5000).encode())) == LongText(1, 5001)


LONG = b'"' + b"a" * 5000 + b'"'


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "it is empty"),
    (b" \n", "Expecting value at byte 2"),
    (b"{" + b" " * 9, "Expecting property name"),
    (b'{"a": 1,}', "at byte"),
    (b'{"a": 1} x', "Extra data at byte 9"),
    (b'["a", ' + LONG + b", x]", "Expecting value at byte 5010"),
    (b'["\xc3\xa9", ' + LONG + b", x]", "Expecting value at byte 5011"),
    (LONG + LONG, "Extra data at byte 5002"),
    (b"{" + LONG + b": 1}", "Expecting property name enclosed in double quotes at byte 1"),
    (b'{"video": "abc', "the string at byte 10 never ends"),
    (b'{"video": "abc\\"}', "the string at byte 10 never ends"),
    (b'"', "the string at byte 0 never ends"),
    (b'["a\nb"]', "a control character or an unknown escape at byte 3"),
    (b'["' + b"a" * 9000 + b'\\x"]', "a control character or an unknown escape at byte 9002"),
    (b'["\\u00g0"]', "unknown escape at byte 2"),
    (b'["\xff"]', "it is no UTF-8: invalid start byte at byte 2"),
    (b"[" + LONG + b', "\xff"]', "it is no UTF-8: invalid start byte at byte 5006"),
    (b'["' + b"a" * 5000 + b'\xc3"]', "it is no UTF-8: unexpected end of data in the string at byte 1"),
    (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
    ('{"a": 1}'.encode("utf-16"), "a control character"),
    (b"[" * 100_000, "it is nested too deep"),
    (b'{"a":' * 100_000, "it is nested too deep"),
    (b"[NaN]", "unknown word at byte 1"),
    (b"[" + LONG + b",NaN]", "unknown word at byte 5004"),
    (b"-Infinity", "unknown word at byte 1"),
    (b"[1e999]", "1e999 is too large"),
    (b"[" + b"1" * 5000 + b"]", "limit"),
])  # fmt: skip
def test_what_is_no_json_is_refused(body, content, reason):
    with pytest.raises(Refusal, match="^the request's body is no JSON: ") as caught:
        read_json_body(body(content))
    assert caught.value.status == 422
    assert reason in caught.value.reason


@pytest.mark.parametrize("content", [
    b" " * (2 << 20), b'"a"' * (1 << 20), b"1" * (2 << 20), b"[" + LONG + b"]" * (2 << 20), b'"' * (2 << 20),
])  # fmt: skip
def test_a_body_that_is_large_without_a_video_is_refused(body, content):
    with pytest.raises(Refusal, match="more than 1 MB besides its long strings") as caught:
        read_json_body(body(content))
    assert caught.value.status == 413


@pytest.mark.parametrize("end", [b"", b"TQ==", b"TWE="])
@pytest.mark.parametrize("is_long", [False, True])
def test_base64_as_it_is_sent(body, end, is_long):
    plain = base64.b64encode(b"\xfb\xff\xfe" * (4000 if is_long else 4)) + end
    assert b"+" in plain and b"/" in plain
    expected = base64.b64decode(plain)
    for written in (
        plain,
        plain.replace(b"/", rb"\/"),
        plain.replace(b"+", rb"\u002B").replace(b"/", rb"\u002f"),
        b"data:video/mp4;base64," + plain,
        rb"DATA:video\/mp4;codecs=avc1.42E01E;base64," + plain,
        base64.encodebytes(base64.b64decode(plain)).replace(b"\n", rb"\r\n"),
        rb" \t" + b" ".join(plain[start : start + 7] for start in range(0, len(plain), 7)) + rb" \n",
    ):
        source = body(b'{"video": "' + written + b'"}')
        text = read_json_body(source)["video"]
        assert isinstance(text, LongText) == is_long
        assert decoded(source, text) == expected, written[:40]


@pytest.mark.parametrize(("text", "reason"), [
    ("QQ", "its end is missing"), ("QQ=", "not as many '='"), ("Q===", "not as many '='"), ("QUI==", "not as many '='"),
    ("QUJD=", "not as many '='"), ("=", "not as many '='"), ("QQ==QQ==", "'=' is in it"), ("Q", "its end is missing"),
    ("QQ-_", "'-' is in it"), ("QQ=\u200b=", r"'\u200b' is in it"), ("QQéQ", "'é' is in it"), ('Q"QQ', "'\"' is in it"),
    ("data:video/mp4,QQ==", "':' is in it"), ("https://host/my.mp4", "':' is in it"), ("Q\0==", r"'\x00' is in it"),
])  # fmt: skip
@pytest.mark.parametrize("is_long", [False, True])
def test_what_is_no_base64_is_refused(body, text, reason, is_long):
    source = body(json.dumps("QUJD" * 2000 * is_long + text, ensure_ascii=False).encode())
    with pytest.raises(Refusal, match="^video is no base64: ") as caught:
        decoded(source, read_json_body(source))
    assert caught.value.status == 422
    assert reason in caught.value.reason


def test_padding_before_the_end_is_noticed_from_piece_to_piece(body, monkeypatch):
    monkeypatch.setattr(json_bodies, "PIECE_BYTES", 8)
    monkeypatch.setattr(json_bodies, "LONGEST_TEXT", 2)
    for text, reason in (("QUJDQUI=QUJD", "something follows its end"), ("QUJDQQ==" + "=" * 8, "not as many '='")):
        source = body(json.dumps(text).encode())
        with pytest.raises(Refusal, match=reason):
            decoded(source, read_json_body(source))


def test_a_full_disk_is_no_refusal(body):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    for text in ("QUJD", "QUJD" * 2000):
        source = body(json.dumps(text).encode())
        with pytest.raises(OSError, match="No space left"):
            decode_base64(source, read_json_body(source), Full())


def some_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind < 4:
        return "".join(rng.choice('aN"\\/\n\té€😀=+\ud800 ') for _ in range(rng.choice((0, 1, 5, 20, 60))))
    if kind < 7:
        return rng.choice((None, True, False, 0, -1.5, 10**20, "NaN", "Infinity"))
    if kind == 7:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {f'{rng.randrange(9)}"\\': some_value(rng, depth + 1) for _ in range(rng.randrange(5))}


def damaged(content, rng):
    """A few bytes of it removed, put in or cut off."""
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(content) + 1)
        part = rng.choice((b'"', b"\\", b"N", b"NaN", b"{", b"]", b",", b"\xff", b"\x00", b"\\u12", b" ", b"e9", b""))
        content = content[:at] + part + content[at + rng.choice((0, 0, 1, 3)) :]
    return content


def strictly_loaded(content):
    """What `json.loads` says, or None."""

    def refuse(word):
        raise ValueError(word)

    try:
        value = json.loads(content.decode(), parse_constant=refuse)
    except ValueError:
        return None
    numbers, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
        numbers += [one] if isinstance(one, float) else []
    return (value,) if all(map(math.isfinite, numbers)) else None


@pytest.mark.parametrize("seed", range(4))
def test_random_bodies_say_what_json_says(body, monkeypatch, seed):
    """Long strings begin at 25 bytes here, above the longest name; and a piece ends in the midst of them."""
    monkeypatch.setattr(json_bodies, "LONGEST_TEXT", 24)
    monkeypatch.setattr(json_bodies, "PIECE_BYTES", 16)
    rng, num_accepted, num_refused, num_long = random.Random(seed), 0, 0, 0
    for _ in range(2000):
        content = json.dumps(some_value(rng), ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
        content = damaged(content, rng)
        expected, source = strictly_loaded(content), body(content)
        try:
            value = read_json_body(source)
        except Refusal as refusal:
            is_long_name = refusal.reason.count("Expecting property name") and expected is not None
            assert refusal.status == 422
            assert expected is None or is_long_name, content
            num_refused += 1
        else:
            assert expected == (filled(source, value),), content
            num_accepted += 1
            num_long += "LongText" in repr(value)
    assert min(num_accepted, num_refused, num_long) > 100


@pytest.mark.parametrize("seed", range(4))
def test_random_base64_is_decoded_as_python_does(body, monkeypatch, seed):
    monkeypatch.setattr(json_bodies, "LONGEST_TEXT", 24)
    monkeypatch.setattr(json_bodies, "PIECE_BYTES", 16)
    rng, num_accepted, num_refused = random.Random(seed), 0, 0
    for _ in range(3000):
        text = list(base64.b64encode(rng.randbytes(rng.randrange(60))).decode())
        for _ in range(rng.choice((0, 0, 1, 2))):
            text.insert(rng.randrange(len(text) + 1), rng.choice(("\n", " ", "\r\n", "=", "==", "-", "é", "A", "\\")))
        text = "".join(text)
        source = body(json.dumps(text, ensure_ascii=rng.random() < 0.5).encode())
        plain = "".join(text.split())
        try:
            answer = decoded(source, read_json_body(source))
        except Refusal:
            with pytest.raises(ValueError):
                python_decoded(plain)
            num_refused += 1
        else:
            assert answer == python_decoded(plain), text
            num_accepted += 1
    assert min(num_accepted, num_refused) > 300


def python_decoded(text):
    """What `base64` says; unlike it, padding that a whole text does not need is refused."""
    content = base64.b64decode(text, validate=True)
    if len(text) % 4 or base64.b64encode(content)[-2:].count(b"=") != text.count("="):
        raise binascii.Error("padding")
    return content


def test_memory_does_not_grow_with_the_body(body, tmp_path):
    peaks = {}
    for num_mb in (5, 50):
        piece = base64.b64encode(bytes(range(250)) * 3 * 1000)
        source = body(b'{"video": "' + piece * num_mb + b'", "top": 5}')
        assert source.stat().st_size > num_mb * 1e6
        tracemalloc.start()
        with (tmp_path / "video").open("wb") as target:
            decode_base64(source, read_json_body(source)["video"], target)
        peaks[num_mb] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / "video").stat().st_size == num_mb * 750_000
    assert peaks[50] < 1.2 * peaks[5] < 5e6, peaks
