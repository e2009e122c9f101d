"""uvicorn, with patience that ends, and a way to stop that loses nobody."""

import asyncio
import logging
import resource
import signal
import socket
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.console import write_now
from serving.app import build_app
from serving.doors import Doors
from serving.house import House
from serving.metrics import Metrics

HEAD_SEC = 15.0  # for a request's head to come, and for the rest of one that was refused
TAKE_SEC = 30.0  # for a client to take a part of its answer
IDLE_SEC = 10  # between requests on one connection
BACKLOG = 512
MOST_CONNECTIONS = 1000  # further requests get 503
SPARE_CONNECTIONS = 200  # on which that can be said; further ones are closed at once
FILES_EACH, OTHER_FILES = 3, 200  # descriptors that a connection, and the rest of the server, may need
REPEATS_SEC = 1.0  # a signal that comes again so soon is the same: shells and `timeout` send it to all of their group

logger = logging.getLogger("serve")


class Protocol(H11Protocol):
    """A connection that is closed where no whole head of a request comes, or no answer is taken; uvicorn would wait
    for ever, and its stop would wait for both.

    h11 takes heads of 64 KB at most.
    """

    metrics: Metrics
    """Set by `make_server`."""
    _patience: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limit_concurrency + SPARE_CONNECTIONS:
            transport.abort()  # without descriptors, those inside could not be answered
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing():
            self._stop_waiting(self._patience)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:  # one that is closing may still have bytes to write
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self.loop.call_later(TAKE_SEC, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting(self._patience)
        self._stop_waiting(self._taking)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in a request's head or in the body of one that is being answered."""
        self.metrics.requests.labels("none", "400").inc()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # nothing that it says can be sent any more
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._stop_waiting(self._patience)
        self._patience = self.loop.call_later(HEAD_SEC, self.transport.abort)

    @staticmethod
    def _stop_waiting(timer: asyncio.TimerHandle | None) -> None:
        if timer:
            timer.cancel()


class Server(uvicorn.Server):
    """Stops in two steps: nobody new comes in and those inside are answered; then the connections are closed."""

    def __init__(self, config: uvicorn.Config, doors: Doors, address: str):
        super().__init__(config)
        self._doors = doors
        self._address = address
        self._stopped_sec = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:  # another has begun to listen there since `listen`
            raise cannot_listen(self._address, error) from error
        logger.info("[SERVE] ready at %s; Ctrl-C stops it", self._address)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or (self._doors.is_closed and self._doors.is_empty)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._doors.is_closed and time.monotonic() - self._stopped_sec < REPEATS_SEC:
            return
        if self._doors.is_closed:
            write_now("stopped; requests that were under way have no answer")
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._doors.is_closed = True
        self._stopped_sec = time.monotonic()
        write_now("stopping: requests that are under way are answered; a second signal ends the server at once")


def listen(host: str, port: int) -> socket.socket:
    """A socket that has its address, but does not listen yet.

    Raises:
        OSError: it cannot be had; the message says what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)  # of TCP by name: asyncio sends small parts at once only then
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise cannot_listen(f"{host}:{port}", error) from error
    return found


def cannot_listen(address: str, error: OSError) -> OSError:
    return OSError(f"{address}: cannot listen there ({error.strerror}); choose another --port or --host")


def most_connections() -> int:
    """As many as this process may have files for; it takes what it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS * FILES_EACH + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min((soft - OTHER_FILES) // FILES_EACH, MOST_CONNECTIONS)


def address_of(bound: socket.socket) -> str:
    """For people and browsers."""
    host, port, *_ = bound.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(house: House, bound: socket.socket) -> None:
    """Answer requests until a signal comes, and those that have come in by then."""

    async def run() -> None:
        try:
            await house.service.decoders.start()
            await make_server(build_app(house), house.doors, house.metrics, bound).serve(sockets=[bound])
        finally:
            await house.service.decoders.stop()

    try:
        asyncio.run(run())
    finally:
        house.service.batcher.close()
        house.uploads.close()


def make_server(app: ASGIApp, doors: Doors, metrics: Metrics, bound: socket.socket) -> Server:
    """A server on a socket."""
    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # each request has its line already
    protocol: Any = type("Protocol", (Protocol,), {"metrics": metrics})
    config = uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
        timeout_keep_alive=IDLE_SEC, limit_concurrency=most_connections(), backlog=BACKLOG, server_header=False,
    )  # fmt: skip
    return Server(config, doors, address_of(bound))
