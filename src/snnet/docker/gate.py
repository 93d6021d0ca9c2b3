"""Limits on connections and on the time that a request may take to arrive.

A connection *waits* while no complete request of it is being answered: before its TLS
handshake, between two requests, and while a request arrives.  Connections that wait are
limited in time.  When there are too many connections, the one that has waited longest is
closed, so that clients that send nothing cannot keep out those that send requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

CONNECTIONS_MAX = 256
"""Maximum number of open connections; the next one is accepted when one of them ends."""

PATIENCE = 10.0
"""Seconds in which a request must arrive, its TLS handshake included."""

_RETRY = 0.5
"""Seconds until the next attempt to accept a connection after the system refused one."""

_log = logging.getLogger("snnet.docker")


def connections_max() -> int:
    """The limit for this process: at most a quarter of the descriptors that it may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft < 0 else max(1, min(CONNECTIONS_MAX, soft // 4))


class Gate:
    """The open connections, and which of them wait."""

    def __init__(self, limit: int, patience: float) -> None:
        self.limit = limit
        self.patience = patience
        self._open: set[Seat] = set()
        self._waiting: dict[Seat, None] = {}
        """Those that have waited longest come first."""
        self._left = asyncio.Event()

    async def room(self) -> None:
        """Return once there is room for one more connection; close one that waits if need be."""
        while len(self._open) >= self.limit:
            self._left.clear()
            for seat in self._waiting:
                seat.dismiss()
                break
            await self._left.wait()

    def seat(self, connected: socket.socket) -> Seat:
        seat = Seat(self, connected)
        self._open.add(seat)
        seat.wait()
        return seat

    def started_waiting(self, seat: Seat) -> None:
        self._waiting[seat] = None

    def stopped_waiting(self, seat: Seat) -> None:
        self._waiting.pop(seat, None)

    def left(self, seat: Seat) -> None:
        self.stopped_waiting(seat)
        self._open.discard(seat)
        self._left.set()


class Seat:
    """One open connection."""

    def __init__(self, gate: Gate, connected: socket.socket) -> None:
        self._gate = gate
        self._socket = connected
        self._timer: asyncio.TimerHandle | None = None

    def wait(self) -> None:
        """A request must arrive in time from now on."""
        self.serve()
        self._gate.started_waiting(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._gate.patience, self.dismiss)

    def serve(self) -> None:
        """A request has arrived: it has no time limit from now on."""
        self._gate.stopped_waiting(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dismiss(self) -> None:
        """End the connection: its reader, TLS or HTTP, sees the end of the stream."""
        self.serve()
        with contextlib.suppress(OSError):  # the client was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """The connection is closed."""
        self.serve()
        self._gate.left(self)


class Connection(H11Protocol):
    """HTTP on one connection, whose seat learns when a request is complete and answered."""

    def __init__(self, seat: Seat, server: GatedServer) -> None:
        super().__init__(server.config, server.server_state, server.lifespan.state)
        self._seat = seat
        self.app = cast("ASGI3Application", _counted(cast(ASGIApp, self.app), seat))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._seat.leave()


def _counted(app: ASGIApp, seat: Seat) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_counted() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                seat.serve()
            return message

        try:
            await app(scope, receive_counted, send)
        finally:
            seat.wait()

    return answer


class GatedServer(uvicorn.Server):
    """A server whose connections all pass a gate, before the TLS handshake."""

    def __init__(self, config: uvicorn.Config, gate: Callable[[], Gate]) -> None:
        super().__init__(config)
        self._make_gate = gate
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``; ``sockets`` are listening."""
        await super().startup(sockets=[])
        gate = self._make_gate()
        for listening in sockets or []:
            listening.setblocking(False)
            self._spawn(self._accept(listening, gate)).add_done_callback(self._ended)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets=sockets)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        """A server that accepts nothing ends, so that its owner notices."""
        self.should_exit = True

    async def _accept(self, listening: socket.socket, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await gate.room()
            try:
                connected, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue
            except OSError as error:
                _log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(_RETRY)
                continue
            connected.setblocking(False)
            self._spawn(self._connect(connected, gate.seat(connected)))

    async def _connect(self, connected: socket.socket, seat: Seat) -> None:
        """Hand the connection over to HTTP, after the TLS handshake if there is one."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(seat, self), connected, ssl=self.config.ssl
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            connected.close()
            seat.leave()
            if isinstance(error, asyncio.CancelledError):
                raise
