"""Sockets between the processes of a run: small exchanges, and a watch that notices when a rank dies.

Rank 0 listens, the others connect to it; a message is a line of JSON. Gradients do not travel here: Paddle's
collectives carry them. They would not do for the rest: when a rank dies on another machine, the others wait in a
collective for half an hour or for ever; and on GPUs, exchanging a number through them means waiting for all work on
the device first.
"""

import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
from typing import Any

BEAT_SEC = 5.0  # between the signs of life that every rank gives
LOST_SEC = 40.0  # after so long without one a rank counts as dead; a process that ends is noticed at once
JOIN_SEC = 120.0  # for all ranks to come together at the start
EXIT_CODE = 1  # of a rank that ends because another one has


class Invitation:
    """Rank 0's side of the start: a listening socket, with the port and the key that the others need."""

    def __init__(self):
        self.server = socket.create_server(("", 0))
        self.server.settimeout(JOIN_SEC)
        self.port = self.server.getsockname()[1]
        self.key = secrets.randbits(62)


class Link:
    """The connection of one rank to the others.

    Args:
        rank: of this process.
        peers: on rank 0 all other ranks in their order; elsewhere rank 0.
    """

    def __init__(self, rank: int, peers: list["_Peer"]):
        self.rank = rank
        self.peers = peers
        self._is_leaving = False
        for peer in self.peers:
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    @classmethod
    def host(cls, invitation: Invitation, num_ranks: int) -> "Link":
        """Rank 0: wait until all other ranks have joined.

        Raises:
            OSError: they have not within JOIN_SEC.
        """
        peers: dict[int, _Peer] = {}
        with invitation.server as server:
            while len(peers) < num_ranks - 1:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    raise OSError(
                        f"only {len(peers) + 1} of {num_ranks} ranks came; see the logs of the others"
                    ) from None
                peer = _Peer(connection)
                try:
                    line = peer.reader.readline(200)
                except OSError:  # it says nothing, or hangs up
                    line = b""
                key, _, rank = line.decode("ascii", errors="replace").strip().partition(" ")
                if key != str(invitation.key) or not rank.isdigit():
                    connection.close()  # a stranger
                    continue
                peer.rank = int(rank)
                peers[peer.rank] = peer
        return cls(0, [peers[rank] for rank in range(1, num_ranks)])

    @classmethod
    def join(cls, host: str, port: int, key: int, rank: int) -> "Link":
        """Another rank: connect to rank 0."""
        connection = socket.create_connection((host, port), timeout=LOST_SEC)
        connection.sendall(f"{key} {rank}\n".encode("ascii"))
        return cls(rank, [_Peer(connection)])

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks; each rank has to call this as often as the others.

        Args:
            value: what JSON can hold.
        """
        if self.rank == 0:
            values = [value, *(peer.received.get() for peer in self.peers)]
            for peer in self.peers:
                peer.send({"values": values})
            return values
        (host,) = self.peers
        host.send({"value": value})
        return host.received.get()

    def leave(self) -> None:
        """Say that this rank has done its work: from now on nobody misses it."""
        self._is_leaving = True
        for peer in self.peers:
            peer.send({"leaves": True})

    def _listen(self, peer: "_Peer") -> None:
        reason = "has ended before its time (its own log says why, if it could)"
        try:
            for line in peer.reader:
                message = json.loads(line)
                if "value" in message or "values" in message:
                    peer.received.put(message.get("value", message.get("values")))
                elif "lost" in message:
                    self._end(message["lost"])
                elif "leaves" in message:
                    return
        except ConnectionResetError:
            pass  # ended, with messages that it has not read
        except TimeoutError:
            reason = f"has given no sign of life for {LOST_SEC:.0f} s"
        except OSError as error:
            reason = f"cannot be reached any more ({error.strerror})"
        if not self._is_leaving:
            self._end(f"rank {peer.rank} {reason}")

    def _end(self, text: str) -> None:
        for other in self.peers:
            other.send({"lost": text})
        print(
            f"error: {text}; this run ends here, on every rank (train.py goes on with --resume=auto)",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_CODE)  # the main thread may wait for that rank for ever

    def _beat(self) -> None:
        while not self._is_leaving:
            for peer in self.peers:
                peer.send({"beat": True})
            time.sleep(BEAT_SEC)


class _Peer:
    """Another rank, as seen from this one; rank 0 until it says otherwise."""

    def __init__(self, connection: socket.socket):
        self.rank = 0
        self.connection = connection
        connection.settimeout(LOST_SEC)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # or a forked worker would hold the connection of a rank that is gone
        os.register_at_fork(after_in_child=lambda: connection.fileno() >= 0 and os.close(connection.fileno()))
        self.reader = connection.makefile("rb")  # the only one: it may hold more than the line that was asked for
        self.received: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()  # two threads send

    def send(self, message: dict) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self.connection.sendall(line)
        except OSError:
            pass  # the thread that listens to this rank finds out, and says so
