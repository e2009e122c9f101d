"""Hostile requests below the interfaces: HTTP that is damaged, too long, or none."""

import os
from random import Random

from hostile.table import INFER, PADDLEX, Target, first_answer, kind, posts
from hostile.wire import (
    CLOSED,
    MULTIPART,
    TOKEN,
    Damaged,
    chunked,
    connected,
    head,
    multipart,
    outcome,
    receive,
    request,
    send,
    talk,
)

TOO_LARGE = 9_000_000
PATHS = ("/classify", PADDLEX, INFER, "/health", "/nothing")


@kind("Content-Length too small", "200", "422")
def length_too_small(rng: Random, target: Target) -> str:
    clip = rng.choice(target.videos.good)
    return first_answer(target, head("/classify", length=rng.randrange(1, len(clip))) + clip)


@kind("Content-Length is no number", "400")
def length_is_none(rng: Random, target: Target) -> str:
    length = rng.choice(
        ["-1", "-" + "9" * 30, "5x", "+5", "0x10", "", "1e3", "5, 6", "9" * 30, "٣".encode().decode("latin-1")]
    )
    return first_answer(target, head(rng.choice(PATHS), content_length=length) + b"hello")


@kind("Content-Length beyond all limits", "413")
def length_beyond(rng: Random, target: Target) -> str:
    path = rng.choice(["/classify", PADDLEX, INFER])
    return first_answer(target, head(path, content_length=rng.choice(["9" * 18, "9000000000"])), path)


@kind("Content-Length twice", "400")
def length_twice(rng: Random, target: Target) -> str:
    data = head("/classify", length=5).replace(b"content-length: 5", b"content-length: 5\r\ncontent-length: 6")
    return first_answer(target, data + b"hello!")


@kind("Content-Length and chunked", "400", "422", "200")
def length_and_chunked(rng: Random, target: Target) -> str:
    clip = rng.choice(target.videos.good)
    return first_answer(target, head("/classify", length=5, transfer_encoding="chunked") + chunked(clip))


@kind("unknown transfer encodings", "400")
def transfer_encodings(rng: Random, target: Target) -> str:
    encoding = rng.choice(["gzip, chunked", "gzip", "identity", "chunked, chunked", "xchunked", ""])
    return first_answer(target, head("/classify", transfer_encoding=encoding) + chunked(b"hello"))


@kind("damaged chunks", "400", "404")
def damaged_chunks(rng: Random, target: Target) -> str:
    path = rng.choice(["/classify", PADDLEX, INFER, "/nothing"])
    wrong = rng.choice([b"zz", b"-1", b"0x5", b"f" * 40, b"5 5", b"", b";x=y", b"\0"])
    data = (
        head(path, transfer_encoding="chunked") + chunked(b"x" * rng.randint(1, 70_000), ends=False) + wrong + b"\r\n"
    )
    return first_answer(target, data, path)


@kind("chunks that are longer than they say", "400")
def longer_chunks(rng: Random, target: Target) -> str:
    return first_answer(target, head("/classify", transfer_encoding="chunked") + b"3\r\nhello\r\n0\r\n\r\n")


@kind("an endless chunk extension", "400", CLOSED)
def endless_extension(rng: Random, target: Target) -> str:
    return first_answer(target, head("/classify", transfer_encoding="chunked") + b"5;" + b"x" * 200_000)


@kind("too large, in chunks", "413")
def too_large_chunks(rng: Random, target: Target) -> str:
    path, size = rng.choice([("/classify", TOO_LARGE), (INFER, TOO_LARGE), (PADDLEX, 13_000_000)])
    pieces = chunked(*[bytes(1 << 20)] * (size >> 20), bytes(1 << 20))
    return first_answer(target, head(path, transfer_encoding="chunked") + pieces, path)


@kind("too large, as multipart", "413")
def too_large_part(rng: Random, target: Target) -> str:
    return first_answer(target, request("/classify", multipart(bytes(TOO_LARGE)), content_type=MULTIPART))


@kind("10,000 headers", "400", CLOSED)
def many_headers(rng: Random, target: Target) -> str:
    lines = b"".join(b"x-%d: %d\r\n" % (number, number) for number in range(10_000))
    return first_answer(target, head("/classify", length=5)[:-2] + lines + b"\r\nhello")


@kind("1,000 headers", "200")
def thousand_headers(rng: Random, target: Target) -> str:
    lines = b"".join(b"x-%d: %d\r\n" % (number, number) for number in range(1000))
    return first_answer(target, head("/health", "GET")[:-2] + lines + b"\r\n", "/health", "GET")


@kind("a header of 1 MB", "400", CLOSED)
def huge_header(rng: Random, target: Target) -> str:
    return first_answer(target, head(rng.choice(PATHS), "GET", x="y" * 1_000_000))


@kind("an endless request line", "400", CLOSED)
def endless_line(rng: Random, target: Target) -> str:
    return first_answer(target, b"GET /" + b"x" * rng.choice([70_000, 3_000_000]))


@kind("no HTTP", "400", CLOSED)
def no_http(rng: Random, target: Target) -> str:
    return first_answer(target, rng.choice([
        b"GET /health\r\n", b"\0" * 5000, b"GET /health HTTP/x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        rng.randbytes(3000), b"SSH-2.0-OpenSSH_9.0\r\n", b"HELO x\r\n", b"GET  /  HTTP/1.1\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n", "GET /café HTTP/1.1\r\nhost: x\r\n\r\n".encode(), b"HTTP/1.1 200 OK\r\n\r\n",
    ]))  # fmt: skip


@kind("HTTP of other versions, taken for 1.1", "200", "401 400")
def versions(rng: Random, target: Target) -> str:
    if rng.random() < 0.5:
        line = rng.choice(["HTTP/0.9", "HTTP/1.0", "HTTP/3.0", "HTTP/9.9"])
        return first_answer(target, f"GET /health {line}\r\nhost: x\r\n\r\n".encode(), "/health")
    with connected(target.address) as line, line.makefile("rb") as file:
        send(line, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        return " ".join(outcome(receive(file), "*") for _ in range(2))


@kind("damaged headers", "400")
def damaged_headers(rng: Random, target: Target) -> str:
    line = rng.choice([
        b"no colon", b": no name", b"two words: x", b"nul: \0", b"cr: x\ry", b"host: two", b"n\xc3\xa9: x", b"x : y",
        b"content-length: 1\r\ncontent-length: 2",
    ])  # fmt: skip
    return first_answer(target, head("/health", "GET")[:-2] + line + b"\r\n\r\n", "/health")


@kind("no Host", "400")
def no_host(rng: Random, target: Target) -> str:
    return first_answer(target, b"GET /health HTTP/1.1\r\n\r\n", "/health")


@kind("other methods", "405", "404")
def methods(rng: Random, target: Target) -> str:
    method = rng.choice(["HEAD", "PUT", "TRACE", "OPTIONS", "DELETE", "PATCH", "BREW", "get", "CONNECT"])
    path = "127.0.0.1:80" if method == "CONNECT" else rng.choice(["/", "/classify", PADDLEX, INFER])
    return first_answer(target, head(path, method), path, method)


@kind("paths that lead nowhere", "404")
def paths(rng: Random, target: Target) -> str:
    path = rng.choice([
        "http://127.0.0.1/nothing", "//nothing", "//127.0.0.1/classify", "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/static-offline-docs/../../serve.py", "/static-offline-docs/%2e%2e/%2e%2e/serve.py", "/classify%00", "/%00",
        "/static-offline-docs//etc/passwd", "/%ff%fe", "/classify/", "/classify/..", "/" + "x" * 50_000, "*",
        "/v2/models/x",
        "/static-offline-docs/%00", "/static-offline-docs/" + "x" * 5000, "/.env", "/v2/models/../../etc/passwd",
    ])  # fmt: skip
    return first_answer(target, head(path, "GET"), path, "GET")


@kind("upgrades to other protocols", "200")
def upgrades(rng: Random, target: Target) -> str:
    fields = rng.choice([
        {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_key": "x" * 24, "sec_websocket_version": "13"},
        {"upgrade": "h2c", "connection": "Upgrade, HTTP2-Settings", "http2_settings": "AAMAAABkAAQAAP__"},
    ])  # fmt: skip
    return first_answer(target, head("/health", "GET", **fields), "/health", "GET")


@kind("ids that are none", "200")
def wrong_ids(rng: Random, target: Target) -> str:
    mark = rng.choice(["x" * 65, "x" * 9000, '"}{', "é", "a b", "../x", "%0d%0aset-cookie: x", ""])
    answer = talk(target.address, head("/health", "GET", x_request_id=mark), method="GET")
    if answer is not None and answer.headers.get("x-request-id") == mark:
        raise Damaged(f"{mark[:80]!r} is taken for an id")
    return outcome(answer, "/health")


@kind("wrong tokens", "401")
def wrong_tokens(rng: Random, target: Target) -> str:
    size = rng.randrange(len(TOKEN))
    token = rng.choice([
        TOKEN[:size], TOKEN + "x" * size, TOKEN.upper(), "", "x" * 30_000, TOKEN[:size] + "é" + TOKEN[size + 1 :], "*",
    ])  # fmt: skip
    kind_of = rng.choice(["Bearer", "Basic", "", "Bearer Bearer"])
    path = rng.choice(["/classify", PADDLEX, INFER, "/metrics", "/nothing"])
    return first_answer(target, request(path, b"x" * 100, authorization=f"{kind_of} {token}".strip()), path)


@posts("compressed bodies", "415")
def compressed(rng: Random, target: Target) -> tuple:
    encoding = rng.choice(["gzip", "br", "deflate", "gzip, identity", "x"])
    return rng.choice(["/classify", PADDLEX, INFER]), rng.choice(target.videos.good), {"content_encoding": encoding}


@posts("content types that are not taken", "415")
def content_types(rng: Random, target: Target) -> tuple:
    content_type = rng.choice(
        ["text/plain", "image/png", "application/json", "x" * 5000, "multipart/mixed; boundary=x"]
    )
    return "/classify", rng.choice(target.videos.good), {"content_type": content_type}
