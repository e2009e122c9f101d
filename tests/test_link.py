"""What ranks tell each other, without Paddle: whole messages, no rank that is lost unnoticed, no way in for strangers.

Wherever a link may end its process, it has a process of its own.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distributed import link
from distributed.link import EXIT_CODE, Invitation, Link
from distributed.ranks import meeting_address

ROOT = Path(__file__).resolve().parent.parent

LIMITS = "from distributed import link; link.BEAT_SEC, link.LOST_SEC = 0.1, 2.0\n"
"""Limits that a test can wait for."""
STALL_SEC = 2.5  # longer than that limit

RANK_SCRIPT = """
import sys
from distributed.link import Invitation, Link
rank = int(sys.argv[1])
if rank == 0:
    invitation = Invitation()
    print(invitation.port, invitation.key, flush=True)
    link = Link.host(invitation, int(sys.argv[2]))
else:
    link = Link.join("127.0.0.1", int(sys.argv[2]), int(sys.argv[3]), rank)
"""

THREE_RANKS = """
import time
for step in range(50):
    assert link.exchange([rank, step]) == [[0, step], [1, step], [2, step]]
print("exchanged", flush=True)
if sys.argv[-1] == "wait":
    sys.stdin.read()
    link.exchange("heard by nobody" if rank != 2 else time.sleep(1000))
link.leave()
"""


def begin(script: str, *words: object) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def three_ranks(*words: str, limits: str = "") -> list[subprocess.Popen]:
    script = limits + RANK_SCRIPT + THREE_RANKS
    host = begin(script, 0, 3, *words)
    port, key = host.stdout.readline().split()
    return [host, *(begin(script, rank, port, key, *words) for rank in (1, 2))]


class FakeRank:
    """The test's end of a connection to a rank that runs in a process."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self.reader = connection.makefile("rb")

    def say(self, *lines: object) -> None:
        texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        self.connection.sendall(b"".join(text + b"\n" for text in texts))

    @contextmanager
    def beating(self, pause_sec: float = 0.05) -> Iterator[None]:
        """Inside, it gives signs of life, whether or not it reads what comes."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(pause_sec):
                self.say({"beat": True})

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def hear(self) -> dict:
        """The next message that is no sign of life."""
        return next(message for line in self.reader if "beat" not in (message := json.loads(line)))


class Hosted:
    """Rank 0 of two in a process, doing what the script says; the test is rank 1."""

    def __init__(self, script: str):
        self.process = begin(LIMITS + RANK_SCRIPT + script, 0, 2)
        self.port, self.key = map(int, self.process.stdout.readline().split())
        self.rank = FakeRank(socket.create_connection(("127.0.0.1", self.port)))
        self.rank.say(b"%d 1" % self.key)

    def end(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output, errors


@pytest.fixture
def joined() -> Iterator:
    """Starts rank 1 of two in a process; the test is rank 0. Gives both."""
    server = socket.create_server(("127.0.0.1", 0))

    def start(script: str) -> tuple[subprocess.Popen, FakeRank]:
        process = begin(LIMITS + RANK_SCRIPT + script, 1, server.getsockname()[1], 5)
        fake = FakeRank(server.accept()[0])
        assert fake.reader.readline() == b"5 1\n"
        return process, fake

    with server:
        yield start


def test_ranks_exchange_values_and_leave_in_peace():
    for process in three_ranks():
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (0, "exchanged\n", "")


def test_what_a_rank_says_right_after_it_has_joined_is_heard():
    invitation = Invitation()
    with socket.create_connection(("127.0.0.1", invitation.port)) as other:
        other.sendall(b'%d 1\n{"beat": true}\n{"value": "early"}\n{"leaves": true}\n' % invitation.key)
        link = Link.host(invitation, 2)
        assert link.exchange("late") == ["late", "early"]
        link.leave()


@pytest.mark.parametrize("victim", [0, 2])
def test_when_one_rank_is_killed_the_others_end_with_a_message(victim):
    ranks = three_ranks("wait")
    for process in ranks:
        assert process.stdout.readline() == "exchanged\n"
    ranks[victim].kill()
    for rank, process in enumerate(ranks):
        if rank != victim:
            errors = process.communicate(timeout=60)[1]
            assert process.returncode == EXIT_CODE
            assert f"error: rank {victim} has ended before its time" in errors


def test_a_message_to_a_slow_rank_arrives_whole(joined):
    """Both ways, while the receiver is not lost but does not read; it used to be cut off at the limit for silence."""
    hosted = Hosted("assert link.exchange('h' * 30_000_000)[1] == 'short'; link.leave()")
    joiner, fake_host = joined("assert link.exchange('j' * 30_000_000) == [1, 2]; link.leave()")
    hosted.rank.say({"value": "short"})
    with hosted.rank.beating(), fake_host.beating():
        time.sleep(STALL_SEC)
        assert hosted.rank.hear() == {"values": ["h" * 30_000_000, "short"]}
        assert fake_host.hear() == {"value": "j" * 30_000_000}
    fake_host.say({"values": [1, 2]})
    assert hosted.rank.hear() == fake_host.hear() == {"leaves": True}
    hosted.rank.say({"leaves": True})
    fake_host.say({"leaves": True})
    assert hosted.end() == (0, "", "")
    assert joiner.communicate(timeout=60) == ("", "")


def test_a_rank_that_has_left_lives_until_what_it_said_has_arrived():
    """A process that ends with unread signs of life takes back what is under way."""
    hosted = Hosted("link.exchange('h' * 1_000_000); link.leave()")
    hosted.rank.say({"value": 1})
    with hosted.rank.beating(pause_sec=0):
        time.sleep(0.5)
    assert len(hosted.rank.hear()["values"][0]) == 1_000_000
    assert hosted.rank.hear() == {"leaves": True}
    hosted.rank.connection.shutdown(socket.SHUT_WR)
    assert hosted.end() == (0, "", "")


@pytest.mark.parametrize("line", [b"{no JSON", b"\xff\xfe", b"5", b'{"unknown": 1}', b"[" * 200_000], ids=range(5))
def test_a_message_that_cannot_be_understood_ends_the_run(line):
    hosted = Hosted("link.exchange(1)")
    hosted.rank.say(line)
    code, output, errors = hosted.end()
    assert (code, output) == (EXIT_CODE, "")
    assert errors.startswith("error: rank 1 cannot be understood (") and len(errors.splitlines()) == 1
    assert "cannot be understood" in hosted.rank.hear()["lost"]


def test_a_rank_that_leaves_while_another_waits_for_it_ends_the_run():
    hosted = Hosted("link.exchange(1)")
    hosted.rank.say({"leaves": True})
    code, _, errors = hosted.end()
    assert code == EXIT_CODE
    assert errors.startswith("error: rank 1 has ended its work, but rank 0 has not; this run ends here")


def test_strangers_do_not_hold_up_the_start():
    script = RANK_SCRIPT + "assert link.exchange(rank) == [0, 1]; link.leave()"
    host = begin(script, 0, 2)
    port, key = host.stdout.readline().split()
    strangers = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(6)]
    endless, wrong_key, wrong_words, *silent = strangers
    endless.sendall(b"5" * 100_000)
    wrong_key.sendall(b"%d 1\n" % (int(key) ^ 1))
    wrong_words.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for process in (begin(script, 1, port, key), host):
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("rank", [0, 1, 2, 999])
def test_a_rank_that_cannot_be_is_refused(rank):
    hosted = Hosted("assert link.exchange(0) == [0, 1]; link.leave()")
    hosted.rank.say({"beat": True})
    with socket.create_connection(("127.0.0.1", hosted.port)) as other:
        if rank == 1:  # the first to come is the one
            hosted.rank.reader.readline()
        try:
            other.sendall(b"%d %d\n" % (hosted.key, rank))
            assert f"has refused another rank {rank} of 2" in FakeRank(other).hear()["lost"]
        except ConnectionResetError:
            pass  # rank 0 has all ranks by now and listens no more; who has been let in shows below
    hosted.rank.say({"value": 1}, {"leaves": True})
    assert hosted.end() == (0, "", "")


def test_ranks_may_be_late(joined):
    """Later than a rank may be silent afterwards: another rank, and rank 0."""
    script = LIMITS + RANK_SCRIPT + "print(link.exchange(rank)); link.leave()"
    host = begin(script, 0, 3)
    port, key = host.stdout.readline().split()
    early = begin(script, 1, port, key)
    waiting, fake_host = joined("print(link.exchange(rank)); link.leave()")
    time.sleep(STALL_SEC)
    for process in (begin(script, 2, port, key), early, host):
        assert process.communicate(timeout=60) == ("[0, 1, 2]\n", "")
    fake_host.say({"values": [7]}, {"leaves": True})
    assert waiting.communicate(timeout=60) == ("[7]\n", "")


def test_a_rank_that_does_not_come_is_missed(monkeypatch):
    monkeypatch.setattr(link, "JOIN_SEC", 0.1)
    with pytest.raises(OSError, match="only 1 of 2 ranks came within 0 s; see the logs of the others; a firewall may"):
        Link.host(Invitation(), 2)


def test_a_rank_0_that_cannot_be_reached_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=f"rank 3 cannot reach rank 0 at 127.0.0.1:{port} .Connection refused.; see its"):
        Link.join("127.0.0.1", port, 5, 3)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OSError, match="rank 0 cannot listen on 192.0.2.1 .Cannot assign requested address"):
        Invitation("192.0.2.1")


def test_ranks_of_one_machine_meet_out_of_reach_of_others():
    assert Invitation().server.getsockname()[0] == "127.0.0.1"
    assert meeting_address(["10.0.0.7:3001", "10.0.0.7:3002"]) == "127.0.0.1"
    assert meeting_address(["10.0.0.7:3001", "10.0.0.8:3001"]) == "10.0.0.7"


def test_a_rank_that_stops_for_too_long_ends_the_run():
    ranks = three_ranks("wait", limits=LIMITS)
    for process in ranks:
        assert process.stdout.readline() == "exchanged\n"
    ranks[2].send_signal(signal.SIGSTOP)
    for process in ranks[:2]:
        errors = process.communicate(timeout=60)[1]
        assert (process.returncode, errors.count("\n")) == (EXIT_CODE, 1)
        assert errors.startswith("error: rank 2 has given no sign of life for 2 s; this run ends here")
    ranks[2].send_signal(signal.SIGCONT)
    assert "error: rank 2 has given no sign of life" in ranks[2].communicate(timeout=60)[1]


def test_ranks_that_stop_and_go_on_together_do_not_miss_each_other():
    """As with Ctrl-Z and fg."""
    ranks = three_ranks("wait", limits=LIMITS)
    for process in ranks:
        assert process.stdout.readline() == "exchanged\n"
    for process in ranks:
        process.send_signal(signal.SIGSTOP)
    time.sleep(STALL_SEC)
    for process in ranks:
        process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert [process.poll() for process in ranks] == [None, None, None]
    ranks[1].kill()
    for process in (ranks[0], ranks[2]):
        assert "error: rank 1 has ended before its time" in process.communicate(timeout=60)[1]
