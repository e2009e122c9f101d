"""Joins the processes of a run on the host: small exchanges between ranks, and a watch that no rank dies unnoticed.

Rank 0 listens, the others connect; a message is a line of JSON. Gradients do not travel here but through Paddle. Its
collectives wait, for half an hour or for ever, for a rank that has died on another machine, and on GPUs they can tell
the hosts nothing without halting the devices.
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
        rank, num_ranks: this process's place.
        connections: on rank 0 a socket for every other rank, in their order; elsewhere the one to rank 0.
    """

    def __init__(self, rank: int, num_ranks: int, connections: list[socket.socket]):
        self.rank = rank
        self.peers = [
            _Peer(peer, connection) for peer, connection in zip(_peers(rank, num_ranks), connections, strict=True)
        ]
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
        connections: dict[int, socket.socket] = {}
        with invitation.server as server:
            while len(connections) < num_ranks - 1:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    raise OSError(
                        f"only {len(connections) + 1} of {num_ranks} ranks came; see the logs of the others"
                    ) from None
                connection.settimeout(LOST_SEC)
                line = connection.makefile("rb").readline(200)
                key, _, rank = line.decode("ascii", errors="replace").strip().partition(" ")
                if key != str(invitation.key) or not rank.isdigit():
                    connection.close()  # a stranger
                    continue
                connections[int(rank)] = connection
        return cls(0, num_ranks, [connections[rank] for rank in range(1, num_ranks)])

    @classmethod
    def join(cls, host: str, port: int, key: int, rank: int, num_ranks: int) -> "Link":
        """Another rank: connect to rank 0."""
        connection = socket.create_connection((host, port), timeout=LOST_SEC)
        connection.sendall(f"{key} {rank}\n".encode("ascii"))
        return cls(rank, num_ranks, [connection])

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
            for line in peer.connection.makefile("rb"):
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
    """Another rank, as seen from this one."""

    def __init__(self, rank: int, connection: socket.socket):
        self.rank = rank
        self.connection = connection
        self.received: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()  # two threads send
        connection.settimeout(LOST_SEC)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: dict) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self.connection.sendall(line)
        except OSError:
            pass  # the thread that listens to this rank finds out, and says so


def _peers(rank: int, num_ranks: int) -> list[int]:
    return list(range(1, num_ranks)) if rank == 0 else [0]
