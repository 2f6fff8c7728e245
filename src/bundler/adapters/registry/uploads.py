"""Blobs of any size to a registry: mounted, sent whole or in chunks, never whole in memory.

Sources: OCI distribution-spec 1.1 ("Pushing blobs") and what registries do beyond it: Docker's
registry 2.8 appends a chunk that comes twice, some answer no `Range`, some take no chunks at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus

from bundler.adapters.registry.api import RegistryApi, error_codes
from bundler.adapters.registry.http import TRANSIENT, Response
from bundler.adapters.registry.patience import Broken
from bundler.adapters.registry.sources import BlobSource, SourceFailed
from bundler.adapters.registry.urls import joined
from bundler.errors import AccessRefused, BundlerError, VerificationFailed
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest

CHUNK_BYTES = 32 * 1024 * 1024
"""A blob that is larger is sent in chunks of this size: so much is lost with a connection."""
_LOST = TRANSIENT | {202, 404, 416}
"""What says that a session is lost or has got something else than we sent: 202 instead of 201."""
_DAMAGED = frozenset(["DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID"])
_REFUSED_CHUNK = frozenset([400, 405, 411, 413, 501])
_CHUNKED_ATTEMPTS = 2
_RECEIVED = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_OCTETS = {"Content-Type": "application/octet-stream"}


class BlobUploads:
    """Sends blobs to one registry; thread-safe."""

    def __init__(self, api: RegistryApi, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._api = api
        self._chunk_bytes = chunk_bytes

    def put(
        self,
        name: str,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: str | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Send a blob unless it is there; `near` is a repository of this host that has it.

        Whether it is there is not asked where that `is_absent` is known, nor before a mount, which
        succeeds then too. What comes damaged out of `pieces` is asked for once more.
        """
        source = BlobSource(f"{self._api.host}/{name}@{descriptor.digest}", descriptor, pieces)
        try:
            try:
                self._put(name, source, near, is_absent)
            except SourceFailed as failed:
                if not isinstance(failed.error, VerificationFailed):
                    raise
                self._put(name, source, near, is_absent=False)
        except SourceFailed as failed:
            raise failed.error from None
        finally:
            source.close()

    def _put(self, name: str, source: BlobSource, near: str | None, is_absent: bool) -> None:
        api, patience = self._api, self._api.http.patience
        is_whole = source.size <= self._chunk_bytes
        for attempt in range(patience.attempts):
            if attempt:
                near, is_absent = None, False
            if near is None and not is_absent and self._is_there(name, source.digest):
                return
            is_last = attempt + 1 == patience.attempts
            try:
                response = self._send(name, source, near, is_absent, is_whole)
            except Broken:
                if is_last:
                    raise
            else:
                if response is None:
                    return
                refuses_chunks = _refuses_chunks(response)
                if is_last or not (_is_lost(response) or refuses_chunks):
                    api.expect(response, HTTPStatus.CREATED)
                    return
                is_whole = is_whole or refuses_chunks
            is_whole = is_whole or attempt + 1 >= _CHUNKED_ATTEMPTS
            time.sleep(patience.pause(attempt, None))

    def _is_there(self, name: str, digest: Digest) -> bool:
        return self._api.exists(self._api.blob_url(name, digest))

    def _send(
        self, name: str, source: BlobSource, near: str | None, is_absent: bool, is_whole: bool
    ) -> Response | None:
        """The last answer of one upload session, 201 if the blob is there now; None if it was."""
        response = self._session(name, source.digest, near)
        location = response.headers.get("Location")
        if response.status == HTTPStatus.CREATED or not location:
            self._api.expect(response, HTTPStatus.CREATED)
            return response
        # Not parsed and written again: it may be signed as it is.
        session = joined(response.request.url, location)
        if near is not None and not is_absent and self._is_there(name, source.digest):
            with suppress(BundlerError):  # a session that is not wanted ends by itself too
                self._api.ask(session, "DELETE", repeatable=False)
            return None
        if not is_whole:
            step = max(self._chunk_bytes, _number(response.headers.get("OCI-Chunk-Min-Length")))
            return self._send_chunks(session, source, step)
        url = _closing(session, source.digest)
        return self._api.ask(url, "PUT", source.part(0, source.size), _OCTETS, repeatable=False)

    def _session(self, name: str, digest: Digest, near: str | None) -> Response:
        """201 where the blob was mounted, else 202 and where to send it."""
        if near is not None:
            mounted = self._mount(name, digest, near)
            if mounted is not None:
                return mounted
        response = self._api.ask(self._api.uploads_url(name), "POST")
        self._api.expect(response, HTTPStatus.ACCEPTED, HTTPStatus.CREATED)
        return response

    def _mount(self, name: str, digest: Digest, near: str) -> Response | None:
        """None where the registry does not mount; it may only hide the other repository."""
        try:
            response = self._api.ask(self._api.mount_url(name, digest, near), "POST")
        except AccessRefused:
            return None
        is_usable = response.status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
        return response if is_usable else None

    # --- chunks ---

    def _send_chunks(self, session: str, source: BlobSource, step: int) -> Response:
        position = failures = 0
        while position < source.size:
            end = min(position + step, source.size)
            answer = self._patch(session, source, position, end)
            if isinstance(answer, Response) and answer.status not in TRANSIENT:
                if answer.status >= 300 or _received(answer) not in (None, end):
                    return answer
                session, position, failures = _next_session(session, answer), end, 0
                continue
            failures += 1
            if failures >= self._api.http.patience.attempts:
                return _given(answer)
            time.sleep(self._api.http.patience.pause(failures - 1, None))
            # It may have got a part of the chunk, or all of it.
            state = self._api.ask(session, "GET")
            received = _received(state)
            if state.status >= 300 or received is None or received > end:
                return state
            session, position = _next_session(session, state), received
        return self._api.ask(
            _closing(session, source.digest), "PUT", b"", _OCTETS, repeatable=False
        )

    def _patch(self, session: str, source: BlobSource, start: int, end: int) -> Response | Broken:
        headers = {**_OCTETS, "Content-Range": f"{start}-{end - 1}"}
        try:
            part = source.part(start, end)
            return self._api.ask(session, "PATCH", part, headers, repeatable=False)
        except Broken as error:
            return error


def _closing(session: str, digest: Digest) -> str:
    return f"{session}{'&' if '?' in session else '?'}digest={digest}"


def _next_session(session: str, response: Response) -> str:
    """A registry may name another place after each step."""
    location = response.headers.get("Location")
    return joined(response.request.url, location) if location else session


def _received(response: Response) -> int | None:
    """How many bytes a registry says that it has; None where it does not.

    `0-0` is said of nothing, and of one byte; a chunk is longer than that.
    """
    received = _RECEIVED.fullmatch(response.headers.get("Range", ""))
    if received is None:
        return None
    last = int(received[1])
    return last + 1 if last else 0


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _is_lost(response: Response) -> bool:
    return response.status in _LOST or not _DAMAGED.isdisjoint(error_codes(response))


def _refuses_chunks(response: Response) -> bool:
    return response.request.method == "PATCH" and response.status in _REFUSED_CHUNK


def _given(answer: Response | Broken) -> Response:
    if isinstance(answer, Broken):
        raise answer
    return answer
