"""An HTTP proxy on loopback that opens tunnels, and can cut them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Tunnel:
    """Runs inside `with`; `asked` holds the head of each CONNECT request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://me:secret@127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break all connections; new ones are let through."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += client.recv(1)
                self.asked.append(head.decode())
                host, _, port = head.split()[1].decode().rpartition(":")
                server = socket.create_connection((host, int(port)))
                self._ends += [client, server]
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                thread = threading.Thread(target=_connect, args=(client, server), daemon=True)
                self._threads.append(thread)
                thread.start()


def _connect(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes in both directions until one of the ends is closed."""
    back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
    back.start()
    _pass_on(client, server)
    back.join()
    client.close()
    server.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
