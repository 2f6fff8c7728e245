"""Posts events to webhooks, behind the back of the apply: late, broken or absent, they change
nothing.

Each webhook has a thread of its own and gets its events in order. Redirects are not followed: what
is sent, and where to, are secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import queue
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from bundler.model.webhook import Webhook

SIGNATURE = "X-Bundler-Signature-256"
_SECONDS = 5.0
_PAUSES = (0.5, 1.5)
"""Between the attempts, of which there is one more."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """No other request: the redirect itself is the answer."""


class Webhooks:
    """Never raises once it is there; `tell` is called by `close` only."""

    def __init__(self, hooks: Iterable[Webhook], tell: Callable[[str], None], program: str) -> None:
        self._tell = tell
        self._posts = [_Posts(hook, program) for hook in hooks]
        for each in self._posts:
            if each.is_open_to_all:
                tell(f"webhook {each.host}: http lets everybody on the way read and change events")
            each.start()

    def __call__(self, event: Mapping[str, Any]) -> None:
        content = json.dumps(event, ensure_ascii=False).encode(errors="replace")
        for each in self._posts:
            each.put(str(event["event"]), content)

    def close(self, seconds: float) -> None:
        """Wait for what is on its way, and tell what did not arrive."""
        end = time.monotonic() + seconds
        for each in self._posts:
            each.finish()
        for each in self._posts:
            each.join(max(0.0, end - time.monotonic()))
            if each.undelivered:
                self._tell(each.report())


class _Posts(threading.Thread):
    def __init__(self, hook: Webhook, program: str) -> None:
        super().__init__(name="webhook", daemon=True)
        self.host = hook.host
        self._hook = hook
        self._program = program
        self._waiting: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._given = self._delivered = 0
        self._reason = "no answer in time"
        self._opener = urllib.request.build_opener(_Stays)

    @property
    def is_open_to_all(self) -> bool:
        parts = urlsplit(self._hook.url)
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")

    @property
    def undelivered(self) -> int:
        return self._given - self._delivered

    def report(self) -> str:
        count = self.undelivered
        events = "1 event was" if count == 1 else f"{count} events were"
        return f"webhook {self.host}: {events} not delivered: {self._reason}"

    def put(self, event: str, content: bytes) -> None:
        if event in self._hook.events:
            self._given += 1
            self._waiting.put((event, content))

    def finish(self) -> None:
        self._waiting.put(None)

    def run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._is_delivered(*item):
                self._delivered += 1

    def _is_delivered(self, event: str, content: bytes) -> bool:
        request = self._request(event, content)
        for pause in (*_PAUSES, None):
            status, reason = self._sent(request)
            if reason is None:
                return True
            self._reason = reason
            if pause is None or (status and status not in _PASSING):
                break
            time.sleep(pause)
        return False

    def _request(self, event: str, content: bytes) -> urllib.request.Request:
        headers = {
            **self._hook.headers,
            "Content-Type": "application/json",
            "User-Agent": self._program,
            "X-Bundler-Event": event,
            "X-Bundler-Delivery": secrets.token_hex(16),
        }
        if self._hook.secret:
            signature = hmac.new(self._hook.secret, content, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={signature}"
        # Only http and https come here; the file was read so.
        return urllib.request.Request(self._hook.url, content, headers, method="POST")  # noqa: S310

    def _sent(self, request: urllib.request.Request) -> tuple[int | None, str | None]:
        """Status, and what is wrong in our words: an exception's own may hold the address."""
        try:
            with self._opener.open(request, timeout=_SECONDS):
                return 200, None
        except urllib.error.HTTPError as error:
            with error:
                moved = " (redirects are not followed)" if 300 <= error.code < 400 else ""
                return error.code, f"it answers {error.code}{moved}"
        except TimeoutError:
            return None, "no answer in time"
        except urllib.error.URLError as error:
            system = error.reason.strerror if isinstance(error.reason, OSError) else None
            return None, f"no connection ({system.lower()})" if system else "no connection"
        except (OSError, http.client.HTTPException, ValueError):
            return None, "the connection broke off"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
