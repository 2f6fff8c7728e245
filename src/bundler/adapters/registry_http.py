"""HTTP for registries: bounded in time, size and number, and careful with whom it tells what.

Redirects are followed here, not by `requests`: at most five, never from https to http, and what
authorises us stays with the origin that it was made for. Answers are read whole, up to a limit.
No netrc, no cookies; proxies and certificate bundles come from the usual environment variables.
No message names a URL's path or query, which may be signed.
"""

from __future__ import annotations

import io
import os
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from queue import LifoQueue
from typing import Literal
from urllib.parse import urljoin, urlsplit

import requests
import requests.utils
import urllib3.exceptions

from bundler import __version__
from bundler.errors import BundlerError, CouldNotCheck, Unreachable, VerificationFailed

CONNECTIONS = 16
"""At most so many requests to a registry at one time."""
MAX_REDIRECTS = 5
MAX_ERROR_BYTES = 64 * 1024
TRANSIENT = frozenset([408, 429, 500, 502, 503, 504])
REDIRECTS = frozenset([301, 302, 303, 307, 308])
_DEFAULT_PORTS = {"http": 80, "https": 443}
_random = random.SystemRandom()

Origin = tuple[str, str, int | None]
"""Scheme, host and port."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a registry, in seconds, and how often to ask it."""

    connect: float = 5
    read: float = 30
    """Between two pieces of an answer."""
    answer: float = 600
    """For a whole answer."""
    attempts: int = 5
    retrying: float = 60
    """No attempt starts later than this after the first one."""
    first_pause: float = 0.25
    longest_pause: float = 20
    given_up: float = 30
    """A host that could not be connected to is not tried again for so long."""

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Full jitter, doubling with each attempt; or as long as the server asks for."""
        if retry_after is not None:
            return min(retry_after, self.longest_pause)
        return _random.uniform(0, min(self.first_pause * 2**attempt, self.longest_pause))


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    limit: int = MAX_ERROR_BYTES
    """The largest answer that is acceptable, in bytes."""
    redirects: int = MAX_REDIRECTS
    repeatable: bool = True
    """Whether it may be sent again where it is not known if it arrived."""


class Broken(Unreachable):
    """A failure that the next attempt may not meet."""


class Unconnected(Broken):
    """No connection at all: the host is down, its name is wrong, or the way there is closed."""

    def __init__(self, host: str, words: str) -> None:
        super().__init__(f"{host} does not answer: {words}")
        self.host = host


class RegistryHttp:
    """Sends requests; thread-safe, keeps connections alive."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        # A stack of sessions is pool and limit in one: each is used by one thread at a time.
        self._sessions: LifoQueue[requests.Session] = LifoQueue()
        for _ in range(CONNECTIONS):
            self._sessions.put(_session())
        self._proxies: dict[Origin, dict[str, str]] = {}
        self._given_up: dict[str, tuple[float, Unconnected]] = {}

    def send(self, request: Request) -> requests.Response:
        """The answer, read whole, after redirects and retries; whatever its status is.

        Raises Unreachable, CouldNotCheck, and VerificationFailed for an answer above the limit.
        """
        deadline = time.monotonic() + self.patience.retrying
        for attempt in range(self.patience.attempts):
            answer = self._attempt(request)
            if isinstance(answer, requests.Response) and answer.status_code not in TRANSIENT:
                return answer
            pause = self.patience.pause(attempt, _retry_after(answer))
            is_last = attempt + 1 == self.patience.attempts
            if is_last or not request.repeatable or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        if isinstance(answer, Unconnected):
            # or hundreds of images would each wait for a host that is down
            self._given_up[answer.host] = (time.monotonic() + self.patience.given_up, answer)
        if isinstance(answer, BundlerError):
            raise answer
        return answer

    def _attempt(self, request: Request) -> requests.Response | Broken:
        try:
            return self._follow(request)
        except Broken as error:
            return error

    def _follow(self, request: Request) -> requests.Response:
        for _ in range(request.redirects + 1):
            response = self._exchange(request)
            location = response.headers.get("Location")
            if response.status_code not in REDIRECTS or not (location and request.redirects):
                return response
            request = _redirected(request, response.status_code, location)
        raise CouldNotCheck(f"{host_of(request.url)} redirects without an end")

    def _exchange(self, request: Request) -> requests.Response:
        until, error = self._given_up.get(host_of(request.url), (0.0, None))
        if error and time.monotonic() < until:
            raise Unreachable(error.message, hint=error.hint)
        session = self._sessions.get()
        try:
            return self._read(request, self._start(session, request))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(request, error) from error
        finally:
            self._sessions.put(session)

    def _start(self, session: requests.Session, request: Request) -> requests.Response:
        agent = {"User-Agent": f"release-bundler/{__version__}", "Accept-Encoding": "identity"}
        return session.request(
            request.method,
            request.url,
            data=request.body,
            headers={**agent, **request.headers},
            allow_redirects=False,
            stream=True,
            timeout=(self.patience.connect, self.patience.read),
            proxies=self._proxies_for(request.url),
            verify=_trusted(),
        )

    def _proxies_for(self, url: str) -> dict[str, str]:
        """What the environment says; asked once for a host, as it takes a quarter of a request."""
        origin = origin_of(url)
        if origin not in self._proxies:
            self._proxies[origin] = dict(requests.utils.get_environ_proxies(url))
        return self._proxies[origin]

    def _read(self, request: Request, response: requests.Response) -> requests.Response:
        """Replace the open stream by what it holds."""
        deadline = time.monotonic() + self.patience.answer
        is_error = response.status_code >= 300
        limit = MAX_ERROR_BYTES if is_error else request.limit
        content = io.BytesIO()
        with response:
            for piece in response.raw.stream(64 * 1024, decode_content=False):
                content.write(piece)
                if content.tell() > limit and not is_error:
                    raise VerificationFailed(
                        f"{host_of(request.url)} answers with more than the expected {limit} bytes"
                    )
                if content.tell() > limit:
                    break
                if time.monotonic() > deadline:
                    raise Broken(f"{host_of(request.url)} answers too slowly")
        content.seek(0)
        response.raw = content
        return response


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, else `requests` reads all of a redirect's body and parses where it leads."""


def _session() -> requests.Session:
    session = _Session()
    session.trust_env = False  # else netrc would add credentials of its own
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _trusted() -> str | Literal[True]:
    """The file or folder of trusted certificates; True for those that `requests` brings."""
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if path := os.environ.get(variable):
            if not Path(path).exists():
                raise CouldNotCheck(f"{path} is not there, but ${variable} names it")
            return path
    return True


# --- origins and redirects ---


def origin_of(url: str) -> Origin:
    """Who gets what is meant for this URL. Raises CouldNotCheck."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        raise CouldNotCheck("a registry names a URL that is none") from None


def host_of(url: str) -> str:
    """The host with its port where it is not the usual one, without anything secret."""
    scheme, host, port = origin_of(url)
    host = f"[{host}]" if ":" in host else host
    return host if port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def joined(base: str, location: str) -> str:
    """Where a server sends us from a URL. Raises CouldNotCheck where that is less safe."""
    try:
        url = urljoin(base, location)
    except ValueError:
        raise CouldNotCheck(f"{host_of(base)} names a URL that is none") from None
    scheme, host, _ = origin_of(url)
    if scheme not in _DEFAULT_PORTS or not host:
        raise CouldNotCheck(f"{host_of(base)} names a URL that is none")
    if scheme == "http" and origin_of(base)[0] == "https":
        raise CouldNotCheck(f"{host_of(base)} sends us from https to http ({host})")
    return url


def _redirected(request: Request, status: int, location: str) -> Request:
    if status in (301, 302, 303) and request.method not in ("GET", "HEAD"):
        raise CouldNotCheck(f"{host_of(request.url)} redirects a {request.method} (HTTP {status})")
    url = joined(request.url, location)
    headers = request.headers
    if origin_of(url) != origin_of(request.url):
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
    return replace(request, url=url, headers=headers)


# --- failures ---


def _retry_after(answer: requests.Response | Broken) -> float | None:
    """Seconds, from either form of the header."""
    text = answer.headers.get("Retry-After", "") if isinstance(answer, requests.Response) else ""
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _translated(request: Request, error: Exception) -> BundlerError:
    host = host_of(request.url)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return CouldNotCheck(f"{host} cannot be asked: {type(error).__name__}")
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, (ssl.SSLError, ssl.CertificateError)):
            return Unreachable(
                f"{host}: no TLS connection ({_words(cause)})",
                hint="name a private CA's certificate in $SSL_CERT_FILE; a registry without TLS "
                "needs --plain-http",
            )
    return _broken(host, error, causes)


def _broken(host: str, error: Exception, causes: list[BaseException]) -> Broken:
    if isinstance(error, requests.exceptions.ProxyError):
        return Broken(f"{host}: the proxy does not let us through", hint="check $HTTPS_PROXY")
    if isinstance(error, requests.ConnectTimeout):
        return Unconnected(host, "no connection in time")
    words = next((words for cause in causes if (words := _words(cause))), "connection broken")
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        return Unconnected(host, words)
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return Broken(f"{host} does not answer in time")
    return Broken(f"{host} does not answer: {words}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    """The system's words; never a library's, which hold URLs."""
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return (error.strerror or "").lower()
    return ""
