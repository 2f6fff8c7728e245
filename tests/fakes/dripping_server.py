"""A server that answers a byte at a time, for as long as anybody listens."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

DRIP_SECONDS = 0.05


class DrippingServer:
    """Runs inside `with`: answers `begin` at once, then `drops`, again and again, byte by byte."""

    def __init__(self, begin: bytes, drops: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.asked = 0
        self._begin = begin
        self._drops = drops
        self._tls = tls
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._serve)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(10)
                thread = threading.Thread(target=self._answer, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _answer(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection:
                connection.recv(65536)
                self.asked += 1
                connection.sendall(self._begin)
                while True:
                    for byte in self._drops:
                        if self._is_over.wait(DRIP_SECONDS):
                            return
                        connection.sendall(bytes([byte]))
