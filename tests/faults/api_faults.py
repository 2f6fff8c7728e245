"""What can go wrong between us and an API server, each as something that an ApiProxy can do."""

from __future__ import annotations

import json
import time

from bundler.errors import TryAgain, Unreachable
from tests.faults.api_proxy import STREAM_HEAD, is_watch, is_write, piece_of
from tests.faults.fault_proxy import Answer, Exchange, Fault, Request
from tests.faults.faults import (
    answer_lost,
    arrives_twice,
    hung_up_in_body,
    reset_in_body,
    reset_in_headers,
    reset_unheard,
    truncated,
)

SILENCE_SECONDS = 0.8
"""Longer than the patience of the tests."""


def status(code: int, reason: str, message: str, *headers: tuple[str, str]) -> Answer:
    body = json.dumps(
        {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "reason": reason, "message": message,
        }
    )  # fmt: skip
    return Answer(code, (("Content-Type", "application/json"), *headers), body.encode())


def refusing(
    code: int, reason: str, message: str, *headers: tuple[str, str], name: str = ""
) -> Fault:
    answer = status(code, reason, message, *headers)
    return Fault(name or str(code), lambda exchange: exchange.send(answer))


def is_no_watch(request: Request) -> bool:
    return not is_watch(request)


def is_patch(request: Request) -> bool:
    return request.method == "PATCH"


def _silent(exchange: Exchange) -> None:
    """The request is heard, and never answered."""
    exchange.forward()
    time.sleep(SILENCE_SECONDS)
    exchange.hang_up()


def _watch_drops(exchange: Exchange) -> None:
    exchange.client.sendall(STREAM_HEAD)
    exchange.hang_up()


def _watch_breaks(exchange: Exchange) -> None:
    exchange.client.sendall(STREAM_HEAD + piece_of(b'{"type": "MODI'))
    exchange.reset()


def _watch_is_gone(exchange: Exchange) -> None:
    error = json.loads(status(410, "Expired", "too old resource version").body)
    event = json.dumps({"type": "ERROR", "object": error}).encode() + b"\n"
    exchange.client.sendall(STREAM_HEAD + piece_of(event) + b"0\r\n\r\n")


PASSING = (
    refusing(429, "TooManyRequests", "please try again later"),
    refusing(429, "TooManyRequests", "later", ("Retry-After", "1"), name="429-retry-after"),
    refusing(500, "InternalError", "etcdserver: leader changed"),
    refusing(502, "", "bad gateway"),
    refusing(503, "ServiceUnavailable", "the server is currently unable"),
    refusing(504, "Timeout", "request did not complete within the allotted timeout"),
    Fault("reset-unheard", reset_unheard),
    Fault("answer-lost", answer_lost, is_no_watch),
    Fault("reset-in-headers", reset_in_headers, is_no_watch),
    Fault("reset-in-body", reset_in_body, is_no_watch),
    Fault("hung-up-in-body", hung_up_in_body, is_no_watch),
    Fault("arrives-twice", arrives_twice, is_write),
    Fault(
        "conflict",
        lambda exchange: exchange.send(status(409, "Conflict", "the object has been modified")),
        is_patch,
    ),
    Fault("watch-drops", _watch_drops, is_watch),
    Fault("watch-breaks", _watch_breaks, is_watch),
    Fault("watch-gone", _watch_is_gone, is_watch),
    Fault(
        "watch-410",
        lambda exchange: exchange.send(status(410, "Expired", "too old resource version")),
        is_watch,
    ),
)
"""Nobody notices these, if they happen once."""
DAMAGING = (
    Fault("truncated", truncated, is_no_watch, (Unreachable,)),
    Fault("silent", _silent, is_no_watch, (TryAgain,)),
)
"""These end a run, also if they happen once: cleanly."""
LASTING = (
    refusing(503, "ServiceUnavailable", "the server is currently unable", name="503-for-ever"),
    refusing(500, "InternalError", "etcdserver: no leader", name="500-for-ever"),
    Fault("reset-for-ever", reset_unheard),
    Fault("answers-lost-for-ever", answer_lost, is_no_watch),
    Fault("silent-for-ever", _silent, is_no_watch),
)
