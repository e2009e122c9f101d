"""What hostile clients have found in the server, each kept from coming back; tests/hostile is the campaign."""

import contextlib
import json
import socket
import time

import numpy as np
import pytest

from conftest import SIDE
from hostile.served import ASSET, address, look, model_flags, problems_of_log, settles, start, stop
from hostile.wire import connected, head, receive, request, send, talk
from serve_process import ServeProcess
from serving.kserve import read_request
from serving.server import listen

INFER = "/v2/models/TSN/infer"
TENSOR = {"name": "frames", "datatype": "UINT8", "shape": [1, 1, 3, SIDE, SIDE], "data": [0] * 3 * SIDE * SIDE}


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return model_flags(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def server(flags, tmp_path_factory) -> ServeProcess:
    with start(flags, tmp_path_factory.mktemp("server")) as process:
        yield process
        assert not problems_of_log(process.log())


def test_a_path_with_a_slash_too_many_leads_nowhere(server):
    for path in ("/classify/", "//classify", "/health/"):
        assert talk(address(server), request(path, b"x", host="elsewhere.invalid")).status == 404, path


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": [{"name": "features", "parameters": "x"}]},
        {"outputs": [{"name": "features", "parameters": [1]}]},
        {"id": "\ud800"},
        {"id": 7},
    ],
)
def test_fields_of_other_types_are_named(server, change):
    reply = server.ask(INFER, json.dumps({"inputs": [TENSOR]} | change).encode())
    assert reply.status == 400 and list(reply.json) == ["error"], reply


def test_binary_tensors_stay_in_their_file(tmp_path):
    frames = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 1, 3, 4, 4)
    about = {"name": "frames", "datatype": "UINT8", "shape": list(frames.shape)}
    text = json.dumps({"inputs": [about | {"parameters": {"binary_data_size": frames.size}}]}).encode()
    (tmp_path / "body").write_bytes(text + frames.tobytes())
    clips = read_request(tmp_path / "body", len(text), 4).clips
    assert type(clips) is np.ndarray and not clips.flags.owndata and not clips.flags.writeable
    np.testing.assert_array_equal(clips, frames)


def test_a_length_of_thousands_of_digits_is_no_number(server):
    reply = server.ask(INFER, b"{}", {"Inference-Header-Content-Length": "9" * 5000})
    assert reply.status == 400 and "number of bytes" in reply.json["error"]


def test_a_flood_of_connections_leaves_descriptors_for_those_inside(server):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connected(address(server)))
        send(first, head("/classify", length=5))
        assert settles(lambda: bool(server.files()))
        for letter in b"hell":  # not silent for too long
            send(first, bytes([letter]))
            for _ in range(1000):
                send(stack.enter_context(connected(address(server))), b"P")
        assert look(server).num_files < 2500  # the last ones may not have been looked at
        send(first, b"o")
        assert receive(first.makefile("rb")).status == 422
        assert settles(lambda: look(server).num_files < 100)
        assert server.ask("/health").status == 200


def test_more_parts_than_a_form_has_are_refused(server):
    field = b'--x\r\nContent-Disposition: form-data; name="y"\r\n\r\n1\r\n'
    content_type = {"Content-Type": "multipart/form-data; boundary=x"}
    for number, status in ((1000, 422), (1001, 400)):
        assert server.ask("/classify", field * number + b"--x--\r\n", content_type).status == status


def test_a_boundary_of_thousands_of_letters_is_none(server):
    content_type = {"Content-Type": f"multipart/form-data; boundary={'x' * 20_000}"}
    reply = server.ask("/classify", b"x", content_type)
    assert reply.status == 400 and "multipart" in reply.json["error"] and "warning" not in server.log()


@pytest.mark.parametrize("path", ["/nothing", "/classify"])
@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_body_that_turns_out_to_be_damaged_is_closed(server, path, is_at_once):
    begin, rest = head(path, transfer_encoding="chunked") + b"5\r\nhello\r\n", b"zz\r\n"
    with connected(address(server)) as line, line.makefile("rb") as file:
        send(line, begin + rest if is_at_once else begin)
        if not is_at_once:
            time.sleep(0.3)
            send(line, rest)
        status = receive(file).status
        assert status == 404 if path == "/nothing" and not is_at_once else status == 400
        assert receive(file) is None
    assert not problems_of_log(server.log())


@pytest.mark.parametrize("is_last", [True, False])
def test_a_client_that_takes_no_answer_does_not_keep_the_server_from_ending(flags, tmp_path, is_last):
    with start(flags, tmp_path) as server, connected(address(server), receive_bytes=4096) as line:
        asking = head(ASSET, "GET", connection="close") if is_last else head(ASSET, "GET")
        send(line, asking * 5)
        time.sleep(0.5)
        assert server.ask("/health").status == 200
        assert stop(server) == 0 and not problems_of_log(server.log())


def test_small_answers_do_not_wait_for_the_clients_acknowledgement():
    """asyncio sets TCP_NODELAY where the socket says that it is TCP; else each second request takes 40 ms more."""
    with listen("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP
