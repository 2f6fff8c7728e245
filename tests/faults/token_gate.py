"""A guard in front of a registry that wants tokens, and the token service that gives them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Self

from bundler.errors import AccessRefused
from tests.fakes.scripted_server import Answer as ServiceAnswer
from tests.fakes.scripted_server import Asked, ScriptedServer
from tests.faults.fault_proxy import Answer, Exchange, Fault, Request
from tests.faults.faults import refusal


class TokenGate:
    """Runs inside `with`: `guard` is for a FaultProxy; any token it gave is good for everything."""

    def __init__(self, user: str, password: str, identity_token: str = "") -> None:
        self.basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.identity_token = identity_token
        self.prefix = "token"
        """What the tokens begin with."""
        self.given: list[str] = []
        self._valid: set[str] = set()
        self._lock = threading.Lock()
        self._service = ScriptedServer(self._answer)

    @property
    def realm(self) -> str:
        return f"{self._service.url}/token"

    @property
    def asked(self) -> list[Asked]:
        return self._service.asked

    def guard(self, request: Request) -> Answer | None:
        """The refusal of a request without a good token."""
        with self._lock:
            is_welcome = request.authorization.removeprefix("Bearer ") in self._valid
        return None if is_welcome else self.challenge()

    def challenge(self, error: str = "") -> Answer:
        text = f'Bearer realm="{self.realm}",service="registry"{error}'
        return refusal(401, "UNAUTHORIZED", ("WWW-Authenticate", text))

    def expire(self) -> None:
        """No token that was given until now is good any more."""
        with self._lock:
            self._valid = set()

    def forget(self) -> None:
        """As if nobody had asked."""
        self.given.clear()
        self.asked.clear()

    def answer_with(self, answer: Callable[[Asked], ServiceAnswer]) -> None:
        """Answer in another way from now on."""
        self._service.answer = answer

    def _answer(self, asked: Asked) -> ServiceAnswer:
        is_known = asked.authorization == self.basic or (
            self.identity_token and f"refresh_token={self.identity_token}" in asked.body.decode()
        )
        if not is_known:
            return ServiceAnswer(401)
        with self._lock:
            token = f"{self.prefix}-{len(self.given)}"
            self.given.append(token)
            self._valid.add(token)
        body = json.dumps({"token": token, "access_token": token, "expires_in": 300})
        return ServiceAnswer(200, body.encode(), {"Content-Type": "application/json"})

    # --- faults ---

    def expiry(self) -> Fault:
        def act(exchange: Exchange) -> None:
            self.expire()
            exchange.send(self.challenge(',error="invalid_token"'))

        return Fault("token-expired", act)

    def refusing_for_ever(self, error: str = "") -> Fault:
        words = f',error="{error}"' if error else ""
        name = f"401-forever{f'-{error}' if error else ''}"
        return Fault(
            name, lambda exchange: exchange.send(self.challenge(words)), errors=(AccessRefused,)
        )

    def __enter__(self) -> Self:
        self._service.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._service.__exit__()
