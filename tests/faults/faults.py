"""What can go wrong between us and a registry, each as something that a FaultProxy can do."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from urllib.parse import urlsplit

from bundler.errors import AccessRefused, CouldNotCheck, TryAgain, Unreachable, VerificationFailed
from tests.faults.fault_proxy import Answer, Exchange, Fault, Request

SLOW_SECONDS = 1.2
"""How long a slow answer goes on; longer than the patience of the tests."""
_PIECE_SECONDS = 0.05


def refusal(status: int, code: str, *headers: tuple[str, str]) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Answer(status, (("Content-Type", "application/json"), *headers), body)


def _refusing(status: int, code: str, *headers: tuple[str, str]) -> Fault:
    words = "-".join(name.lower() for name, _ in headers)
    return Fault(
        f"{status}{'-' if words else ''}{words}",
        lambda exchange: exchange.send(refusal(status, code, *headers)),
    )


def _too_many_until_a_date(exchange: Exchange) -> None:
    moment = formatdate(time.time() + 1, usegmt=True)
    exchange.send(refusal(429, "TOOMANYREQUESTS", ("Retry-After", moment)))


# --- broken connections ---


def reset_unheard(exchange: Exchange) -> None:
    exchange.reset()


def answer_lost(exchange: Exchange) -> None:
    exchange.forward()
    exchange.reset()


def reset_in_headers(exchange: Exchange) -> None:
    answer = exchange.head(exchange.forward())
    exchange.client.sendall(answer[: len(answer) // 2])
    exchange.reset()


def _reset_after_headers(exchange: Exchange) -> None:
    exchange.client.sendall(exchange.head(exchange.forward()))
    exchange.reset()


def reset_in_body(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.client.sendall(exchange.head(answer) + answer.body[: len(answer.body) // 2])
    exchange.reset()


def hung_up_in_body(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.client.sendall(exchange.head(answer) + answer.body[: len(answer.body) // 2])
    exchange.hang_up()


# --- damaged answers ---


def truncated(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(answer.with_body(answer.body[: len(answer.body) // 2]))


def _too_long(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(answer.with_body(answer.body + b"\n"))


def _flipped(exchange: Exchange) -> None:
    answer = exchange.forward()
    middle = len(answer.body) // 2
    spoilt = bytes([answer.body[middle] ^ 4])
    exchange.send(answer.with_body(answer.body[:middle] + spoilt + answer.body[middle + 1 :]))


# --- slowness ---


def _slow_body(exchange: Exchange) -> None:
    def slowly(body: bytes) -> None:
        _drip(exchange, body)

    exchange.send(exchange.forward(), pieces=slowly)
    exchange.hang_up()


def _slow_headers(exchange: Exchange) -> None:
    answer = exchange.forward()
    _drip(exchange, exchange.head(answer) + answer.body)
    exchange.hang_up()


def _silent(exchange: Exchange) -> None:
    exchange.forward()
    time.sleep(SLOW_SECONDS)
    exchange.hang_up()


def _drip(exchange: Exchange, content: bytes) -> None:
    """A byte at a time, until nobody would wait any more."""
    for position in range(min(len(content), int(SLOW_SECONDS / _PIECE_SECONDS))):
        exchange.client.sendall(content[position : position + 1])
        time.sleep(_PIECE_SECONDS)


# --- redirects ---


def _redirecting(name: str, status: int, location: str, *errors: type[TryAgain]) -> Fault:
    def act(exchange: Exchange) -> None:
        other = exchange.proxy.elsewhere
        places = {
            "ELSEWHERE": f"http://{other.host}" if other else "",
            "HERE": f"http://{exchange.request.headers['Host']}",
        }
        to = location.replace("TARGET", exchange.request.target)
        for word, place in places.items():
            to = to.replace(word, place)
        exchange.send(Answer(status, (("Location", to),)))

    return Fault(name, act, errors=errors)


def _session_elsewhere(exchange: Exchange) -> None:
    other = exchange.proxy.elsewhere
    answer = exchange.forward()
    [location] = [value for name, value in answer.headers if name.lower() == "location"]
    parts = urlsplit(location)
    assert other
    exchange.send(answer.with_header("Location", f"http://{other.host}{parts.path}?{parts.query}"))


def arrives_twice(exchange: Exchange) -> None:
    exchange.forward()
    exchange.send(exchange.forward())


def _starts_upload(request: Request) -> bool:
    return request.method == "POST"


def has_body(request: Request) -> bool:
    """Whether it is answered with content."""
    return request.method == "GET"


def _puts(request: Request) -> bool:
    return request.method == "PUT"


def _reads(request: Request) -> bool:
    return request.method in ("GET", "HEAD")


PASSING = (
    _refusing(429, "TOOMANYREQUESTS"),
    _refusing(429, "TOOMANYREQUESTS", ("Retry-After", "1")),
    Fault("429-retry-after-date", _too_many_until_a_date),
    *(_refusing(status, "UNKNOWN") for status in (500, 502, 503, 504)),
    Fault("reset-unheard", reset_unheard),
    Fault("answer-lost", answer_lost),
    Fault("reset-in-headers", reset_in_headers),
    Fault("reset-after-headers", _reset_after_headers, has_body),
    Fault("reset-in-body", reset_in_body, has_body),
    Fault("hung-up-in-body", hung_up_in_body, has_body),
    Fault("session-elsewhere", _session_elsewhere, _starts_upload),
    Fault(
        "session-lost",
        lambda exchange: exchange.send(refusal(404, "BLOB_UPLOAD_UNKNOWN")),
        lambda request: request.is_upload,
    ),
    Fault("arrives-twice", arrives_twice, lambda request: request.method != "POST"),
)
"""Nobody notices these, if they happen once."""
DAMAGING = (
    Fault("truncated", truncated, has_body, (CouldNotCheck,)),
    Fault("too-long", _too_long, has_body),
    Fault("flipped-bit", _flipped, has_body, (CouldNotCheck,)),
)
"""What a digest names is asked for again; a damaged refusal has no digest."""
SLOW = (
    Fault("slow-body", _slow_body, has_body),
    Fault("slow-headers", _slow_headers),
    Fault("silent", _silent),
)
LEADING = (
    _redirecting("307-elsewhere", 307, "ELSEWHERETARGET"),
    _redirecting("302-elsewhere", 302, "ELSEWHERETARGET", CouldNotCheck),
    _redirecting("307-here", 307, "HERETARGET"),
    _redirecting("308-relative", 308, "TARGET"),
    _redirecting("307-file", 307, "file:///etc/passwd", CouldNotCheck),
    _redirecting("307-nowhere", 307, "http://:0/", CouldNotCheck),
    _redirecting("307-odd-port", 307, "http://127.0.0.1:99999/", CouldNotCheck),
    _redirecting("307-closed", 307, "http://127.0.0.1:1TARGET", Unreachable),
    _redirecting("307-empty", 307, "", CouldNotCheck),
)
LASTING = (
    Fault("503-forever", lambda e: e.send(refusal(503, "UNAVAILABLE")), errors=(TryAgain,)),
    Fault("429-forever", lambda e: e.send(refusal(429, "TOOMANY")), errors=(TryAgain,)),
    Fault("reset-forever", reset_unheard, errors=(Unreachable,)),
    Fault("answers-lost-forever", answer_lost, errors=(TryAgain,)),
    Fault("403-forever", lambda e: e.send(refusal(403, "DENIED")), errors=(AccessRefused,)),
    Fault("404-forever", lambda e: e.send(refusal(404, "UNKNOWN")), _puts, (CouldNotCheck,)),
    Fault("flipped-forever", _flipped, has_body, (VerificationFailed, CouldNotCheck)),
    Fault("truncated-forever", truncated, has_body, (VerificationFailed, CouldNotCheck)),
    _redirecting("loop-forever", 307, "HERETARGET", CouldNotCheck),
    _redirecting("elsewhere-forever", 307, "ELSEWHERETARGET"),
)
"""These do not go away."""
