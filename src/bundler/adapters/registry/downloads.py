"""Blobs of any size from a registry: in pieces, resumed where they break, checked at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus

from bundler.adapters.checked_pieces import PIECE_BYTES, checked
from bundler.adapters.registry.api import RegistryApi
from bundler.adapters.registry.http import Response, Stream
from bundler.adapters.registry.patience import Broken
from bundler.errors import NotFound, VerificationFailed
from bundler.model.artifact import Descriptor
from bundler.model.reference import Repository

_RANGE = re.compile(r"bytes (\d{1,18})-")


class BlobDownload:
    """One blob; for one thread."""

    def __init__(self, api: RegistryApi, repository: Repository, descriptor: Descriptor) -> None:
        self._api = api
        self._url = api.blob_url(repository.name, descriptor.digest)
        self._place = f"{repository}@{descriptor.digest}"
        self._descriptor = descriptor

    def pieces(self) -> Iterator[bytes]:
        """The blob in pieces of 1 MiB; the last one comes when all of them were found right.

        What came damaged is asked for once more, unless some of it was given away already.
        """
        given = False
        try:
            for piece in self._checked():
                given = True
                yield piece
        except VerificationFailed:
            if given:
                raise
            yield from self._checked()

    def _checked(self) -> Iterator[bytes]:
        return checked(_regular(self._received()), self._descriptor, self._place)

    def _received(self) -> Iterator[bytes]:
        """The bytes as they come, each once, however often the connection breaks."""
        patience = self._api.http.patience
        position = progress = failures = 0
        while True:
            stream, known = self._open(position)
            try:
                with closing(stream):
                    for piece in stream.pieces():
                        new = piece[known:]
                        known -= len(piece) - len(new)
                        position += len(new)
                        progress += len(new)
                        if new:
                            yield new
                return
            except Broken:
                # Who gives a little each time would be asked for ever.
                failures = 1 if progress >= PIECE_BYTES else failures + 1
                progress = 0
                if failures >= patience.attempts:
                    raise
            time.sleep(patience.pause(failures - 1, None))

    def _open(self, position: int) -> tuple[Stream, int]:
        """An answer, and how many bytes at its beginning are known already."""
        if position:
            response = self._ask({"Range": f"bytes={position}-"})
            if response.status == HTTPStatus.PARTIAL_CONTENT and response.stream:
                begins = _RANGE.match(response.headers.get("Content-Range", ""))
                if begins and int(begins[1]) == position:
                    return response.stream, 0
            if response.status == HTTPStatus.OK and response.stream:
                return response.stream, position
            if response.stream:
                response.stream.close()
        response = self._ask({})
        if self._api.is_missing(response):
            raise NotFound(f"{self._place} is not there")
        if response.stream is None or response.status != HTTPStatus.OK:
            if response.stream:
                response.stream.close()
            raise self._api.refusal(response)
        return response.stream, position

    def _ask(self, headers: dict[str, str]) -> Response:
        return self._api.ask(self._url, headers={"Accept": "*/*", **headers}, streamed=True)


def _regular(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of 1 MiB, and what is left."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES])
            del held[:PIECE_BYTES]
    if held:
        yield bytes(held)
