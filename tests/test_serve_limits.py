"""What serve.py refuses, and how it stops. One server for all: the last test ends it."""

import base64
import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from conftest import SIDE, SMALL_MODEL, class_frames, write_random_weights, write_video
from hostile.served import settles
from serve_process import ServeProcess, multipart

TOKEN = "s3cret"
LIMITS = ["--max_mb=0.2", "--max_video_sec=1", "--max_pixels=12000", "--queue=2", "--timeout_sec=2", "--workers=1"]
STOP_SEC = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    sizes = ["-o", f"INFER.short_size={SIDE + 8}", "-o", f"INFER.target_size={SIDE}"]
    weights = f"--weights={write_random_weights(folder)}"
    with ServeProcess([*SMALL_MODEL, *sizes, weights, "--engine=eager", *LIMITS], folder, token=TOKEN) as process:
        yield process


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    return video(tmp_path_factory.mktemp("clip"), class_frames(0, np.random.default_rng(0)))


def video(folder: Path, frames: np.ndarray) -> bytes:
    return write_video(folder / "x.mp4", frames, crf=20).read_bytes()


class Stopped:
    """The decoders of a server do nothing meanwhile: whoever needs one waits."""

    def __init__(self, server: ServeProcess):
        self._server = server

    def __enter__(self) -> None:
        for pid in self._server.decoders():
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *exception: object) -> None:
        for pid in self._server.decoders():
            os.kill(pid, signal.SIGCONT)


def test_a_token_is_asked_for(server):
    none = {"Authorization": ""}
    for path in ("/", "/about", "/health", "/v2/health/ready", "/docs", "/openapi.json"):
        assert server.ask(path, headers=none).status == 200, path
    assert server.ask("/about").json["needs_token"] is True
    assert server.ask("/openapi.json").json["components"]["securitySchemes"] == {
        "HTTPBearer": {"type": "http", "scheme": "bearer"}
    }
    for path in ("/metrics", "/v2/models/TSN", "/nothing"):
        assert server.ask(path, headers=none).status == 401, path
    for given in ("", "Bearer", "Bearer s3cre", "Bearer s3cret1", "Basic s3cret", "s3cret", "Bearer \xe9"):
        reply = server.ask("/classify", b"x" * 5000, {"Authorization": given})
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer", given
    assert server.ask("/video-classification", b"{}", none).json["errorCode"] == 401
    assert server.ask("/classify", b"no video", {"Authorization": f"bearer {TOKEN}"}).status == 422


def test_what_is_too_large_is_refused(server, clip, tmp_path):
    large = bytes(250_000)
    for body, headers in ((large, {}), (iter([large]), {}), multipart(large)):
        reply = server.ask("/classify", body, headers)
        assert reply.status == 413 and "0.2 MB" in reply.json["error"]
    for size in (250_000, 1_500_000):
        body = json.dumps({"video": base64.b64encode(bytes(size)).decode()}).encode()
        reply = server.ask("/video-classification", body)
        assert reply.status == 413 and "MB" in reply.json["errorMsg"], size
    long = video(tmp_path, class_frames(0, np.random.default_rng(0), 60))
    wide = video(tmp_path, np.zeros((2, 64, 240, 3), np.uint8))
    assert "longer than 1 s" in server.ask("/classify", long).json["error"]
    assert "longer than 1 s" in server.ask("/classify?window_sec=1", long).json["error"]
    assert "larger than 12000 pixels" in server.ask("/classify", wide).json["error"]
    assert server.ask("/classify", clip).status == 200 and not server.files()


def test_who_comes_when_the_queue_is_full_hears_so_and_who_waits_too_long_too(server, clip):
    with Stopped(server), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.ask, "/classify", clip) for _ in range(2)]
        assert settles(lambda: server.metric("tsn_queue") == 2)
        reply = server.ask("/classify", clip)
        assert reply.status == 429 and int(reply.headers["retry-after"]) >= 1
        assert [one.result().status for one in waiting] == [504, 504]
    assert server.ask("/classify", clip).status == 200 and not server.files()


def test_a_client_that_leaves_makes_room(server, clip):
    with Stopped(server):
        with socket.create_connection((server.host, server.port)) as client:
            head = f"POST /classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nX-Request-Id: left\r\n"
            client.sendall(f"{head}Content-Length: {len(clip)}\r\n\r\n".encode() + clip)
            assert settles(lambda: server.metric("tsn_queue") == 1)
        assert settles(lambda: server.metric("tsn_queue") == 0)
    assert server.ask("/classify", clip).status == 200
    (line,) = [one for one in server.requests() if one["id"] == "left"]
    assert line["status"] == 499 and line["reason"] == "the client has gone"


def test_a_signal_lets_those_inside_be_answered(server, clip):
    with ThreadPoolExecutor(1) as pool:
        with Stopped(server):
            inside = pool.submit(server.ask, "/classify", clip)
            assert settles(lambda: server.metric("tsn_queue") == 1)
            server.process.send_signal(signal.SIGTERM)
            assert settles(lambda: server.ask("/v2/health/ready").status == 503)
            late = server.ask("/classify", clip)
            assert late.status == 503 and "shutting down" in late.json["error"] and late.headers["retry-after"] == "5"
        assert inside.result().status == 200
    assert server.process.wait(STOP_SEC) == 0 and "Traceback" not in server.log()
    assert not list(server.temp_dir.iterdir())
