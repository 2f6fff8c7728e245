"""What is sent to a registry: read from any place on, and checked before its last bytes leave."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from bundler.adapters.registry.connections import Body
from bundler.errors import VerificationFailed
from bundler.model.artifact import Descriptor


class SourceFailed(Exception):
    """Reading failed, not sending: the registry has no part in it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class BlobSource:
    """A blob's bytes as often as they are needed; for one thread."""

    def __init__(
        self, place: str, descriptor: Descriptor, pieces: Callable[[], Iterator[bytes]]
    ) -> None:
        """`pieces` begins anew whenever it is called."""
        self.digest = descriptor.digest
        self.size = descriptor.size
        self._place = place
        self._pieces = pieces
        self._running: Iterator[bytes] | None = None
        self._restart()

    def part(self, start: int, end: int) -> Body:
        """The bytes from `start` up to `end`. Reading them raises SourceFailed."""
        if not self.size:
            self._check_emptiness()
        return Body(end - start, lambda: self._read(start, end))

    def close(self) -> None:
        if close := getattr(self._running, "close", None):
            close()

    def _read(self, start: int, end: int) -> Iterator[memoryview]:
        try:
            if start < self._position:
                self._restart()
            while self._position < start:
                self._take(start - self._position)
            while self._position < end:
                piece = self._take(end - self._position)
                if self._position == self.size:
                    self._check()
                yield piece
        except Exception as error:
            # The error could be one that is worth another attempt, if it were the registry's.
            raise SourceFailed(error) from error

    def _restart(self) -> None:
        self.close()
        self._running = None
        self._rest = memoryview(b"")
        self._position = 0
        self._hash = hashlib.sha256()

    def _take(self, limit: int) -> memoryview:
        if not self._rest:
            self._rest = memoryview(self._next())
        if not self._rest:
            raise VerificationFailed(
                f"{self._place} has {self._position} bytes where {self.size} are expected"
            )
        taken, self._rest = self._rest[:limit], self._rest[limit:]
        self._hash.update(taken)
        self._position += len(taken)
        return taken

    def _next(self) -> bytes:
        """The next piece that is not empty; an empty one at the end."""
        if self._running is None:
            self._running = iter(self._pieces())
        return next((piece for piece in self._running if piece), b"")

    def _check_emptiness(self) -> None:
        try:
            self._restart()
            self._check()
        except Exception as error:
            raise SourceFailed(error) from error

    def _check(self) -> None:
        if self._rest or self._next():
            raise VerificationFailed(f"{self._place} has more than {self.size} bytes")
        if self._hash.hexdigest() != self.digest.hex:
            raise VerificationFailed(
                f"{self._place} came with other content (sha256:{self._hash.hexdigest()})"
            )
