"""A line to a server on loopback that takes its time, for what is measured with latency."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


class _Forward(asyncio.Protocol):
    """One direction of a connection: passes on what comes, each piece after the delay."""

    def __init__(self, delay: float, peer: asyncio.Transport | None = None) -> None:
        self.delay = delay
        self.peer = peer
        self.transport: asyncio.Transport | None = None
        self._early: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._pass_on, data)
        else:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        elif not self.peer.is_closing():
            self.peer.write(data)

    def connect(self, peer: asyncio.Transport) -> None:
        self.peer = peer
        while self._early:
            peer.write(self._early.popleft())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.peer:
            self.peer.close()


class _Accept(_Forward):
    """The client's side: opens the way to the registry. A request is one piece, so is late once."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        back, _ = await loop.create_connection(
            lambda: _Forward(0, self.transport), "127.0.0.1", self._port
        )
        self.connect(back)


def _run_line(delay: float, port: int, ready: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Accept(delay, port), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def slow_line(host: str, delay: float) -> Iterator[str]:
    """A host that is the given one with a delay of some seconds before each request."""
    ours, theirs = multiprocessing.Pipe()
    port = int(host.rpartition(":")[2])
    process = multiprocessing.get_context("spawn").Process(
        target=_run_line, args=(delay, port, theirs)
    )
    process.start()
    try:
        yield f"127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
