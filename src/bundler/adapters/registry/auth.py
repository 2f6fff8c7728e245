"""Answers to a registry's 401: Basic and Bearer, told only to those who may know.

Sources: RFC 9110 section 11 (challenges), the distribution project's "Token Authentication" and
"OAuth2 Token Authentication" specifications. A password goes to the registry's own origin, or to
the token service that this origin names, and there only over https (unless the registry itself is
spoken to in plain http). A token is fetched once for all threads that need it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from bundler.adapters.registry.docker_credentials import Credential, DockerCredentials
from bundler.adapters.registry.http import RegistryHttp, Request, Response
from bundler.adapters.registry.urls import host_of, origin_of
from bundler.errors import AccessRefused, CouldNotCheck

CLIENT_ID = "release-bundler"
DEFAULT_TOKEN_SECONDS = 60.0
"""What the specification says where `expires_in` is absent."""
MAX_TOKEN_BYTES = 1024 * 1024
_EXPIRY_MARGIN = 0.2
"""The last fifth of a token's life is not used: clocks and requests take time."""
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110's word for a word
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?:,|$)")
_PATH = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/")


@dataclass(frozen=True)
class Challenge:
    scheme: str
    """In lower case."""
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a WWW-Authenticate header, several in one value too."""
    challenges = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        if not _PARAMETER.match(header, position) and (token68 := _TOKEN68.match(header, position)):
            position = token68.end()
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            parameters.setdefault(name.lower(), value)
            position = parameter.end()
        challenges.append(Challenge(match[1].lower(), parameters))
    return tuple(challenges)


def scope_of(method: str, url: str) -> str:
    """What a request needs, in the words of a token service; empty outside a repository."""
    match = _PATH.match(urlsplit(url).path)
    if match is None:
        return ""
    return f"repository:{match[1]}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"


def mount_scope(url: str) -> str:
    """What a blob that is mounted from another repository needs there; empty otherwise."""
    sources = parse_qs(urlsplit(url).query).get("from", [])
    return f"repository:{sources[0]}:pull" if sources and "/blobs/uploads/" in url else ""


def merged_scopes(*scopes: str) -> tuple[str, ...]:
    """Each resource once, with all its actions, sorted."""
    actions: dict[str, set[str]] = {}
    for scope in " ".join(scopes).split():
        resource, _, wanted = scope.rpartition(":")
        actions.setdefault(resource, set()).update(wanted.split(","))
    return tuple(
        f"{resource}:{','.join(sorted(actions[resource]))}" for resource in sorted(actions)
    )


# --- tokens ---


@dataclass(frozen=True)
class Token:
    value: str = field(repr=False)
    good_until: float
    """By the monotonic clock."""


class TokenCache:
    """Tokens by what they are for. Whoever asks while one is fetched waits for that one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[object, Future[Token]] = {}

    def get(self, key: object, rejected: str, fetch: Callable[[], Token]) -> str:
        """A token that is good for a while and is not the rejected one."""
        with self._lock:
            flight = self._flights.get(key)
            is_ours = flight is None or _is_spent(flight, rejected)
            if flight is None or is_ours:
                flight = self._flights[key] = Future()
        if is_ours:
            try:
                flight.set_result(fetch())
            except BaseException as error:
                flight.set_exception(error)
                raise
        return flight.result().value


def _is_spent(flight: Future[Token], rejected: str) -> bool:
    if not flight.done():
        return False
    if flight.exception() is not None:
        return True
    token = flight.result()
    return token.value == rejected or time.monotonic() > token.good_until


# --- one registry ---


class RegistryAuth:
    """Finds what a request to one registry has to be sent with; thread-safe."""

    def __init__(
        self, host: str, origin: str, http: RegistryHttp, credentials: DockerCredentials
    ) -> None:
        """`origin` is the URL of the registry's API; `host` what the user calls it."""
        self.host = host
        self._origin = origin_of(origin)
        self._http = http
        self._credentials = credentials
        self._tokens = TokenCache()
        self._challenge: Challenge | None = None
        self._scopes: dict[str, tuple[str, ...]] = {}
        """What the registry asked for where we needed a scope: a token has to be good for both."""
        self._rejected: dict[Credential, AccessRefused] = {}

    def credential(self, scope: str) -> Credential | None:
        """The credential for what a scope names, which may be one repository's only."""
        return self._credentials.find(self.host, scope.partition(":")[2].rpartition(":")[0])

    def looked_in(self) -> str:
        return ", ".join(str(path) for path in self._credentials.files) or "no configuration"

    def headers(self, method: str, url: str) -> dict[str, str]:
        """What a request can be sent with at once, after what the registry asked for before."""
        if self._challenge is None or origin_of(url) != self._origin:
            return {}
        scope = scope_of(method, url)
        mounted = mount_scope(url)
        scopes = self._scopes.get(f"{scope} {mounted}") or merged_scopes(scope, mounted)
        return self._answer(self._challenge, scope, scopes, "")

    def answer(self, response: Response, headers: Mapping[str, str]) -> tuple[dict[str, str], bool]:
        """Headers with an answer to a 401, and whether that is worth another attempt."""
        request = response.request
        if origin_of(request.url) != self._origin:
            return dict(headers), False
        challenge = _preferred(parse_challenges(response.headers.get("WWW-Authenticate", "")))
        if challenge is None:
            return dict(headers), False
        self._challenge = challenge
        scope = scope_of(request.method, request.url)
        mounted = mount_scope(request.url)
        scopes = merged_scopes(scope, mounted, challenge.parameters.get("scope", ""))
        self._scopes[f"{scope} {mounted}"] = scopes
        rejected = headers.get("Authorization", "")
        answer = self._answer(challenge, scope, scopes, rejected)
        return {**headers, **answer}, answer.get("Authorization", rejected) != rejected

    def _answer(
        self, challenge: Challenge, scope: str, scopes: tuple[str, ...], rejected: str
    ) -> dict[str, str]:
        credential = self.credential(scope)
        if challenge.scheme == "basic":
            return {"Authorization": credential.basic} if credential and credential.basic else {}
        if credential and credential.registry_token:
            return {"Authorization": f"Bearer {credential.registry_token}"}
        realm = self._realm(challenge)
        service = challenge.parameters.get("service", "")
        token = self._tokens.get(
            (realm, service, scopes, credential),
            rejected.removeprefix("Bearer "),
            lambda: self._fetch(realm, service, scopes, credential),
        )
        return {"Authorization": f"Bearer {token}"}

    def _realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        scheme, host, _ = origin_of(realm)
        allowed = ("https", "http") if self._origin[0] == "http" else ("https",)
        if scheme not in allowed or not host or urlsplit(realm).username is not None:
            raise CouldNotCheck(
                f"{self.host} names a token service that is not trusted",
                hint="a token service needs an https:// address",
            )
        return realm

    def _fetch(
        self, realm: str, service: str, scopes: Sequence[str], credential: Credential | None
    ) -> Token:
        if credential in self._rejected:
            raise self._rejected[credential]
        if credential and credential.identity_token:
            request = _refresh_request(realm, service, scopes, credential.identity_token)
        else:
            request = _token_request(realm, service, scopes, credential)
        asked_at = time.monotonic()
        response = self._http.send(request)
        if response.status != 200:
            raise self._no_token(realm, response.status, credential, scopes)
        value, seconds = _parse_token(response.content)
        if not value:
            raise CouldNotCheck(f"{self.host}: its token service {host_of(realm)} makes no sense")
        return Token(value, asked_at + seconds * (1 - _EXPIRY_MARGIN))

    def _no_token(
        self, realm: str, status: int, credential: Credential | None, scopes: Sequence[str]
    ) -> CouldNotCheck:
        message = f"{self.host}: its token service {host_of(realm)} gives no token (HTTP {status})"
        if status not in (401, 403):
            return CouldNotCheck(message, hint=self.hint(credential))
        refusal = AccessRefused(message, hint=self.hint(credential))
        if credential and status == 401 and len(scopes) <= 1:
            # It is wrong for every repository; a service locks out who goes on trying.
            self._rejected[credential] = refusal
        return refusal

    def hint(self, credential: Credential | None) -> str:
        """What a user whom the registry refuses can do."""
        if credential is None:
            known = f"no credentials for it in {self.looked_in()}: `docker login {self.host}`"
        else:
            known = (
                f"the credentials from {credential.source} do not suffice: check the permissions, "
                f"or `docker login {self.host}` again"
            )
        return f"{known}; a name that does not exist is often refused too: check the name"


def _preferred(challenges: Iterable[Challenge]) -> Challenge | None:
    by_scheme = {challenge.scheme: challenge for challenge in challenges}
    return by_scheme.get("bearer") or by_scheme.get("basic")


def _token_request(
    realm: str, service: str, scopes: Iterable[str], credential: Credential | None
) -> Request:
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    separator = "&" if urlsplit(realm).query else "?"
    headers = {"Accept": "application/json"}
    if credential and credential.basic:
        headers["Authorization"] = credential.basic
        query.append(("account", credential.username))
    url = f"{realm}{separator}{urlencode(query)}" if query else realm
    return Request("GET", url, headers, limit=MAX_TOKEN_BYTES, redirects=0)


def _refresh_request(
    realm: str, service: str, scopes: Iterable[str], identity_token: str
) -> Request:
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": CLIENT_ID,
        "scope": " ".join(scopes),
        "refresh_token": identity_token,
    }
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form).encode()
    return Request("POST", realm, headers, body, limit=MAX_TOKEN_BYTES, redirects=0)


def _parse_token(content: bytes) -> tuple[str, float]:
    """A token service's answer: token and seconds; an empty token where it makes no sense."""
    try:
        answer: Any = json.loads(content)
    except (ValueError, RecursionError):
        return "", 0
    if not isinstance(answer, dict):
        return "", 0
    value = answer.get("token") or answer.get("access_token")
    seconds = answer.get("expires_in")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        return "", 0
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        seconds = DEFAULT_TOKEN_SECONDS
    return value, float(seconds)
