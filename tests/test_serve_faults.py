"""What a server loses when its machine is hurt: nothing but what was hurt. TSN_LONG=1 restarts it for a minute."""

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from hostile import restarts
from hostile.honest import Expected, HonestClient, said, same
from hostile.served import address, model_flags, problems_of_log, settles, start, stop
from hostile.slow_kinds import some_request
from hostile.table import PADDLEX, Target
from hostile.videos import Videos, make_videos
from hostile.wire import MULTIPART, Answer, chunked, connected, head, multipart, paddlex, receive, request, send, talk
from serve_process import ServeProcess
from small_disks import may_mount, small_disk

IS_LONG = "TSN_LONG" in os.environ
NUM_KILLS, NUM_CRASHES = (200, 50) if IS_LONG else (12, 2)
DISK_BYTES = 1_000_000


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return model_flags(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Videos:
    return make_videos(tmp_path_factory.mktemp("videos"))


def sane(server: ServeProcess) -> bool:
    """Whether nothing is under way, and nothing was unforeseen."""
    is_idle = settles(lambda: server.metric("tsn_queue") == server.metric("tsn_sending") == 0 and not server.files())
    return is_idle and not problems_of_log(server.log())


def test_a_killed_decoder_loses_its_own_request_alone(flags, videos, tmp_path):
    rng = Random(0)
    with start(flags, tmp_path) as server:
        expected = Expected(address(server), videos)
        clients = [HonestClient(address(server), expected, seed) for seed in range(6)]
        for client in clients:
            client.start()
        try:
            for _ in range(NUM_KILLS):
                time.sleep(rng.uniform(0, 0.3))
                if pids := server.decoders():
                    os.kill(rng.choice(pids), signal.SIGKILL)
        finally:
            for client in clients:
                client.is_over.set()
            for client in clients:
                client.join()
        assert not [problem for client in clients for problem in client.problems]
        answered, lost = (sum(client.statuses[status] for client in clients) for status in (200, 503))
        assert answered and 1 <= lost <= NUM_KILLS
        reasons = [line["reason"] for line in server.requests() if "reason" in line]
        assert len(reasons) == lost
        assert set(reasons) == {"the process that read the video ended by SIGKILL; try again"}
        assert settles(lambda: len(server.decoders()) == 2) and sane(server)
        assert stop(server) == 0 and not list(server.temp_dir.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 422), (signal.SIGABRT, 422), (signal.SIGKILL, 503)])
def test_how_a_decoder_ended_is_said(flags, videos, tmp_path, number, status):
    with start(flags, tmp_path, "--workers=1", "--read_sec=60") as server, ThreadPoolExecutor(1) as pool:
        for _ in range(NUM_CRASHES):
            assert settles(lambda: len(server.decoders()) == 1)
            (pid,) = server.decoders()
            os.kill(pid, signal.SIGSTOP)
            waiting = pool.submit(server.ask, "/classify", videos.good[0])
            assert settles(lambda: server.metric("tsn_queue") == 1)
            os.kill(pid, number)
            with contextlib.suppress(ProcessLookupError):  # SIGKILL ends also what is stopped
                os.kill(pid, signal.SIGCONT)
            reply = waiting.result()
            assert reply.status == status and f"ended by {number.name}" in reply.json["error"], reply
            assert server.ask("/classify", videos.good[0]).status == 200
        assert sane(server)


@pytest.mark.skipif(not may_mount(), reason="this user may not mount disks")
def test_a_full_disk_is_said_and_got_over(flags, videos, tmp_path):
    temp_dir, clip = tmp_path / "disk", videos.good[0]
    temp_dir.mkdir()
    with small_disk(temp_dir, DISK_BYTES), start(flags, tmp_path, temp_dir=temp_dir) as server:
        right = said(Answer(*server.ask("/classify", clip)))
        large = bytes(2 * DISK_BYTES)
        in_chunks = head("/classify", transfer_encoding="chunked") + chunked(*[large[: 1 << 16]] * 30)
        as_part = head("/classify", transfer_encoding="chunked", content_type=MULTIPART) + chunked(multipart(large))
        for data in (
            request("/classify", large),
            in_chunks,
            as_part,
            request(PADDLEX, paddlex(large)),
            request(PADDLEX, paddlex(large[: DISK_BYTES // 2])),  # which fits as text, but not with its video
        ):
            answer = talk(address(server), data)
            assert answer.status == 507 and answer.headers["retry-after"] == "10", answer
            assert "disk is full" in answer.body.decode() and not server.files()
            assert same(said(Answer(*server.ask("/classify", clip))), right)
        with (temp_dir / "neighbour").open("wb", 0) as file:
            with pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))
        assert server.ask("/classify", clip).status == 507
        assert server.ask("/health").status == 200
        (temp_dir / "neighbour").unlink()
        assert same(said(Answer(*server.ask("/classify", clip))), right) and sane(server)
        assert stop(server) == 0 and not list(temp_dir.iterdir())


def test_what_a_killed_server_leaves_goes_with_the_next_start(flags, videos, tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with start(flags, folders[0], temp_dir=tmp_path / "shared") as server, connected(address(server)) as line:
        send(line, request("/classify", videos.good[0])[:-1])
        assert settles(lambda: len(server.files()) == 1)
        decoders = server.decoders()
        server.process.kill()
        server.process.wait()
        assert len(server.files()) == 1
        assert settles(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in decoders))
    with start(flags, folders[1], temp_dir=tmp_path / "shared") as server:
        assert len(list(server.temp_dir.iterdir())) == 1 and not server.files()
        assert server.ask("/classify", videos.good[0]).status == 200
        assert stop(server) == 0 and not list(server.temp_dir.iterdir())


def test_a_signal_lets_half_sent_requests_be_sent_and_answered(flags, videos, tmp_path):
    rng = Random(1)
    with start(flags, tmp_path, "--upload_sec=60") as server:
        expected = Expected(address(server), videos)
        lines = [socket.create_connection(address(server)) for _ in range(6)]
        try:
            lines[0].sendall(b"POST /clas")  # a head that never comes
            send(lines[1], request("/health", b"", "GET"))  # a connection that stays
            assert receive(lines[1].makefile("rb")).status == 200
            halves = []
            for line in lines[2:]:
                path, data = some_request(rng, Target(address(server), videos, 0))
                send(line, data[: len(data) // 2])
                halves.append((line, data[len(data) // 2 :]))
            assert settles(lambda: server.metric("tsn_sending") == len(halves))
            server.process.send_signal(signal.SIGTERM)
            assert settles(lambda: server.ask("/v2/health/ready").status == 503)
            late = server.ask("/classify", videos.good[0])
            assert late.status == 503 and late.headers["retry-after"] == "5"
            for line, rest in halves:
                send(line, rest)
            answers = [said(receive(line.makefile("rb"))) for line, _ in halves]
            assert all(any(same(answer, known) for known in expected.answers) for answer in answers)
        finally:
            for line in lines:
                line.close()
        assert server.process.wait(60) == 0 and not problems_of_log(server.log())
        assert not list(server.temp_dir.iterdir())


def test_no_accepted_request_is_lost_by_restarts(flags, tmp_path):
    report = restarts.live_and_die(tmp_path, flags, 60.0 if IS_LONG else 10.0, seed=0)
    assert not report.problems and report.num_lives >= 2
