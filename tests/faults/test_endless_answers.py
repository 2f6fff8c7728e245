"""A registry whose answers have no end: it is left soon, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.model.artifact import Artifact
from tests.faults.fault_proxy import Exchange, Fault, Request
from tests.faults.scenarios import PATIENCE, VERSION, Place, push_to
from tests.memory import MEBIBYTE, measured

SECONDS = 10
MEBIBYTES = 200
_PIECE = bytes(1 << 20)
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"


def _sending(start: bytes, piece: bytes) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.hang_up()
        exchange.client.sendall(start)
        for _ in range((1 << 30) // len(piece)):
            exchange.client.sendall(piece)  # until nobody listens

    return act


def _is(part: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "GET" and part in request.target


SIZED = HEADERS + b"Content-Length: 1073741824\r\n\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"100000\r\n" + _PIECE + b"\r\n"
REFUSED = SIZED.replace(b"200 OK", b"400 Bad Request")
ENDLESS = {
    "a manifest": Fault("manifest", _sending(SIZED, _PIECE), _is("/manifests/")),
    "a manifest in chunks": Fault("chunks", _sending(CHUNKED, CHUNK), _is("/manifests/")),
    "a blob": Fault("blob", _sending(SIZED, _PIECE), _is("/blobs/")),
    "a blob in chunks": Fault("blob-chunks", _sending(CHUNKED, CHUNK), _is("/blobs/")),
    "a refusal": Fault("refusal", _sending(REFUSED, _PIECE)),
    "headers": Fault("headers", _sending(HEADERS, b"A: b\r\n" * 1000)),
    "a header": Fault("header", _sending(HEADERS, b"a" * 10_000)),
    "a status": Fault("status", _sending(b"HTTP/1.1 200 ", b"a" * 10_000)),
    "answers before the answer": Fault(
        "continue", _sending(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    ),
    "the size of a chunk": Fault("size", _sending(CHUNKED, b"1" * 10_000)),
    "what follows the chunks": Fault("trailer", _sending(CHUNKED + b"0\r\n", b"A: b\r\n" * 1000)),
}


@pytest.fixture(scope="module")
def reference(place: Place, artifact: Artifact) -> str:
    repository = place.fresh()
    push_to(place, repository, artifact, PATIENCE)
    return f"{repository}:{VERSION}"


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_an_end_is_refused(
    place: Place, reference: str, fault: Fault, tmp_path: Path
) -> None:
    environment = {**os.environ, "REGISTRY_AUTH_FILE": str(place.credentials)}
    command = [sys.executable, "-m", "bundler", "pull", reference, "-d", "out", "-o", "json"]
    injection = place.proxy.inject(fault, 0, forever=True)
    begin = time.monotonic()
    done, peak = measured(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, timeout=60
    )
    place.proxy.clear()
    assert injection.spoilt
    assert done.returncode in (4, 6)
    error = json.loads(done.stdout)["error"]
    assert error["code"] in ("verification-failed", "unreachable", "could-not-check")
    assert time.monotonic() - begin < SECONDS
    assert peak < MEBIBYTES * MEBIBYTE
    assert list(tmp_path.iterdir()) == []
