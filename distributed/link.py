"""Sockets between the processes of a run: small exchanges, and a watch that notices when a rank dies.

Rank 0 listens, the others connect to it; a message is a line of JSON. Gradients do not travel here: Paddle's
collectives carry them. They would not do for the rest: when a rank dies on another machine, the others wait in a
collective for half an hour or for ever; and on GPUs, exchanging a number through them means waiting for all work on
the device first.

Sending takes as long as it takes. Each connection has a thread that gives signs of life, and one that receives: it
judges whether the other rank still lives, and whatever stops it ends the run.
"""

import json
import os
import queue
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

BEAT_SEC = 5.0  # between the signs of life that every rank gives
# After so long without one a rank counts as dead; a process that ends is noticed at once. Gloo, which carries the
# gradients on CPUs, aborts with a trace of its own after 30 s.
LOST_SEC = 25.0
JOIN_SEC = 120.0  # for all ranks to come together at the start
HELLO_BYTES = 100  # that whoever connects has to say who it is
CHUNK_BYTES = 1 << 20  # received at once
FAREWELL_SEC = 1.0  # to wait for a message that is under way, to tell another rank why the run ends
LOOK_UP_SEC = 0.05  # how often rank 0 counts those that have come
EXIT_CODE = 1  # of a rank that ends because another one has

LEFT = object()  # what a rank that has done its work leaves to be received


class Invitation:
    """Rank 0's side of the start: a listening socket, with the port and the key that the others need.

    Args:
        address: of this machine, at which the others reach it.

    Raises:
        OSError: nothing can listen there.
    """

    def __init__(self, address: str = "127.0.0.1"):
        try:
            self.server = socket.create_server((address, 0))
        except OSError as error:
            raise OSError(
                f"rank 0 cannot listen on {address} ({error.strerror or error}), the address of this machine as "
                "the launcher found it; name the right one: --host=ADDRESS after paddle.distributed.launch"
            ) from None
        self.server.settimeout(LOOK_UP_SEC)
        self.address = address
        self.port = self.server.getsockname()[1]
        self.key = secrets.randbits(62)


class Link:
    """The connection of one rank to the others.

    Args:
        rank: of this process. Rank 0 is connected to all others, they are connected to it.
    """

    def __init__(self, rank: int):
        self.rank = rank
        self.peers: list[_Peer] = []
        self._is_leaving = False
        self._joining, self._ending = threading.Lock(), threading.Lock()

    @classmethod
    def host(cls, invitation: Invitation, num_ranks: int) -> "Link":
        """Rank 0: wait until all other ranks have joined.

        Raises:
            OSError: they have not within JOIN_SEC.
        """
        link, started_sec = cls(0), time.monotonic()
        with invitation.server as server:
            while len(link.peers) < num_ranks - 1:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    if time.monotonic() - started_sec < JOIN_SEC:
                        continue
                    raise OSError(
                        f"only {len(link.peers) + 1} of {num_ranks} ranks came within {JOIN_SEC:.0f} s; see the logs "
                        f"of the others; a firewall may keep them from {invitation.address}:{invitation.port}"
                    ) from None
                greeting = (connection, invitation.key, num_ranks)
                threading.Thread(target=link._greet, args=greeting, daemon=True).start()
        link.peers.sort(key=lambda peer: peer.rank)
        return link

    @classmethod
    def join(cls, address: str, port: int, key: int, rank: int) -> "Link":
        """Another rank: connect to rank 0.

        Raises:
            OSError: rank 0 cannot be reached.
        """
        try:
            connection = socket.create_connection((address, port), timeout=JOIN_SEC)
        except OSError as error:
            raise OSError(
                f"rank {rank} cannot reach rank 0 at {address}:{port} ({error.strerror or error}); see its log; a "
                "firewall may be in between, or the address wrong: --host=ADDRESS after paddle.distributed.launch"
            ) from None
        link, host = cls(rank), _Peer(connection, JOIN_SEC)
        link._send(host, f"{key} {rank}\n".encode("ascii"))
        link._add(host)
        return link

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks; each rank has to call this as often as the others.

        Args:
            value: what JSON can hold.
        """
        if self.rank != 0:
            (host,) = self.peers
            self._send(host, _line({"value": value}))
            return self._next_from(host)
        values = [value, *(self._next_from(peer) for peer in self.peers)]
        line = _line({"values": values})
        for peer in self.peers:
            self._send(peer, line)
        return values

    def leave(self) -> None:
        """Say that this rank has done its work: from now on nobody misses it."""
        self._is_leaving = True
        for peer in self.peers:
            self._send(peer, _line({"leaves": True}))
        for peer in self.peers:
            peer.listener.join()  # it has heard that: if this process ended earlier, what is under way could be lost

    def _greet(self, connection: socket.socket, key: int, num_ranks: int) -> None:
        """Let whoever has connected in, if it has the key."""
        peer = _Peer(connection, JOIN_SEC, HELLO_BYTES)
        try:
            hello = re.fullmatch(rb"(\d{1,19}) (\d{1,9})", next(peer.lines))
        except OSError:  # it says nothing, or too much, or hangs up
            hello = None
        if hello is None or int(hello[1]) != key:
            connection.close()
            return
        peer.rank, peer.patience_sec, peer.longest_line = int(hello[2]), LOST_SEC, None
        with self._joining:
            if 0 < peer.rank < num_ranks and all(peer.rank != other.rank for other in self.peers):
                self._add(peer)
                return
        peer.send_if_possible(_line({"lost": f"rank 0 has refused another rank {peer.rank} of {num_ranks}"}))
        connection.close()

    def _add(self, peer: "_Peer") -> None:
        self.peers.append(peer)
        peer.listener = threading.Thread(target=self._listen, args=(peer,), daemon=True)
        peer.listener.start()
        threading.Thread(target=self._beat, args=(peer,), daemon=True).start()

    def _next_from(self, peer: "_Peer") -> Any:
        value = peer.received.get()
        if value is LEFT:
            self._end(f"rank {peer.rank} has ended its work, but rank {self.rank} has not")
        return value

    def _listen(self, peer: "_Peer") -> None:
        try:
            for line in peer.lines:
                peer.patience_sec = LOST_SEC
                match json.loads(line):
                    case {"value": value} | {"values": value}:
                        peer.received.put(value)
                    case {"lost": text}:
                        self._end(text)
                    case {"leaves": True}:
                        peer.received.put(LEFT)
                        peer.hang_up()
                        return
                    case {"beat": True}:
                        pass
                    case message:
                        raise ValueError(f"unknown message {str(message)[:40]}")
        except Exception as error:  # any: without this thread the others would wait for ever
            self._end(f"rank {peer.rank} {_reason(error)}")
            peer.hang_up()

    def _beat(self, peer: "_Peer") -> None:
        while not peer.is_gone:
            self._send(peer, _line({"beat": True}))
            time.sleep(BEAT_SEC)

    def _send(self, peer: "_Peer", line: bytes) -> None:
        try:
            peer.send(line)
        except OSError as error:
            if not peer.is_gone:
                self._end(f"rank {peer.rank} {_reason(error)}")

    def _end(self, text: str) -> None:
        """End this process, unless its work is done, and tell the other ranks why."""
        if self._is_leaving:
            return
        self._ending.acquire()  # for good: the first reason is the one to tell
        try:
            for peer in self.peers:
                peer.send_if_possible(_line({"lost": text}))
            line = f"error: {text}; this run ends here, on every rank (train.py goes on with --resume=auto)\n"
            # straight to the file descriptor, because the main thread may be within a line of its own
            os.write(2, line.encode(errors="replace"))
        finally:
            os._exit(EXIT_CODE)  # the main thread may wait for that rank for ever


class _Peer:
    """Another rank, as seen from this one.

    Args:
        connection: to it.
        patience_sec: how long it may be silent.
        longest_line: bytes that a line of its may have; None: any number.
    """

    def __init__(self, connection: socket.socket, patience_sec: float, longest_line: int | None = None):
        self.rank = 0
        """Rank 0 until it says otherwise."""
        self.patience_sec = patience_sec
        self.longest_line = longest_line
        self.listener: threading.Thread
        self.is_gone = False
        """Nothing more is sent to it."""
        self.received: queue.SimpleQueue = queue.SimpleQueue()
        self.lines = self._lines()
        self._connection = connection
        self._sending = threading.Lock()
        connection.settimeout(BEAT_SEC)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # or a forked worker would hold the connection of a rank that is gone
        os.register_at_fork(after_in_child=connection.close)

    def send(self, line: bytes) -> None:
        """Send a line to its end: half a one would garble the next."""
        rest = memoryview(line)
        with self._sending:
            while rest and not self.is_gone:
                try:
                    rest = rest[self._connection.send(rest) :]
                except TimeoutError:
                    pass  # it is slow; whether it lives is for the thread that listens to it to say

    def hang_up(self) -> None:
        self.is_gone = True
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has done so itself

    def send_if_possible(self, line: bytes) -> None:
        """Send a last line, if that takes no long waiting."""
        if self._sending.acquire(timeout=FAREWELL_SEC):
            try:
                self._connection.sendall(line)
            except OSError:
                pass  # it is gone, or will notice that this rank is

    def _lines(self) -> Iterator[bytes]:
        """What it says.

        Raises:
            TimeoutError: it has been silent for too long. Silence counts while this process runs itself: ranks that are
                stopped and go on together (Ctrl-Z, fg) do not miss each other.
            ConnectionError: it has hung up.
            OSError: a line is too long; or the connection has failed in another way.
        """
        parts, silent_sec = [], 0.0
        while True:
            try:
                chunk = self._connection.recv(self.longest_line or CHUNK_BYTES)
            except TimeoutError:
                silent_sec += BEAT_SEC
                if silent_sec < self.patience_sec:
                    continue
                raise
            if not chunk:
                raise ConnectionResetError
            silent_sec = 0.0
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                yield b"".join([*parts, end])
                parts = []
            parts.append(rest)
            if self.longest_line is not None and sum(map(len, parts)) > self.longest_line:
                raise OSError("an overlong line")


def _line(message: dict) -> bytes:
    return json.dumps(message).encode("ascii") + b"\n"


def _reason(error: Exception) -> str:
    """Why a rank counts as lost."""
    if isinstance(error, TimeoutError):
        return f"has given no sign of life for {LOST_SEC:.0f} s"
    if isinstance(error, ConnectionError):  # reset: ended, with messages that it has not read
        return "has ended before its time (its own log says why, if it could)"
    if isinstance(error, OSError):
        return f"cannot be reached any more ({error.strerror or error})"
    return f"cannot be understood ({type(error).__name__}: {error})"
