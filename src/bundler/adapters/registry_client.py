"""The client of one registry host: `oras.provider.Registry` on our own HTTP and credentials.

What `oras` gives: the API's URLs, the tag list, the order of request and authentication. What is
overridden, and why: `do_request` (no timeouts, any exception retried for two minutes, redirects
followed blindly, a token sent to whatever URL an answer names), the auth backend (one token for
all repositories, no OAuth2, no Basic challenge, credentials kept across hosts) and the pages of
the tag list (followed to any host, and for ever). What it would do with manifests and blobs is
not used: it re-serialises the ones and does not check the others.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import oras.provider
import requests
from oras.container import Container

from bundler.adapters.docker_credentials import DOCKER_HUB, DOCKER_HUB_HOSTS, DockerCredentials
from bundler.adapters.registry_auth import RegistryAuth, scope_of
from bundler.adapters.registry_http import (
    TRANSIENT,
    Broken,
    Patience,
    RegistryHttp,
    Request,
    joined,
    origin_of,
)
from bundler.errors import BundlerError, CouldNotCheck, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import MAX_MANIFEST_BYTES
from bundler.model.reference import Digest

MAX_TAG_PAGES = 10_000
MAX_TAG_PAGE_BYTES = 64 * 1024 * 1024
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_DOCKER_HUB_API = "registry-1.docker.io"


def is_loopback(host: str) -> bool:
    """Whether a registry host, with or without port, can only be this machine."""
    try:
        name = origin_of(f"//{host}")[1]
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except (CouldNotCheck, ValueError):
        return False


class RegistryClient(oras.provider.Registry):
    """Thread-safe; answers any status but those that `expect` refuses."""

    auth: RegistryAuth

    def __init__(
        self, host: str, credentials: DockerCredentials, patience: Patience, plain_http: bool
    ) -> None:
        self._api_host = _DOCKER_HUB_API if host in DOCKER_HUB_HOSTS else host
        super().__init__(self._api_host, insecure=plain_http or is_loopback(host))
        self.host = DOCKER_HUB if host in DOCKER_HUB_HOSTS else host
        self.origin = f"{self.prefix}://{self._api_host}"
        self.patience = patience
        self._http = RegistryHttp(patience)
        self.auth = RegistryAuth(self.host, self.origin, self._http, credentials)
        self.speaks_registry = False
        """Whether a 404 of this host can be believed; see `is_missing`."""

    # --- requests ---

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: dict[str, Any] | bytes | None = None,
        headers: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,  # noqa: ARG002  an answer is always read, up to a limit
        *,
        limit: int = MAX_MANIFEST_BYTES,
        repeatable: bool = True,
    ) -> requests.Response:
        """The answer after authentication, redirects and retries, whatever its status is.

        Raises Unreachable, CouldNotCheck, VerificationFailed.
        """
        if isinstance(data, dict) or json is not None:
            raise TypeError("a registry is sent bytes, so that their digest is known")
        headers = {**(headers or {}), **self.auth.get_auth_header(method, url)}
        request = Request(method, url, headers, data, limit, repeatable=repeatable)
        response = self._http.send(request)
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            return response
        headers, changed = self.auth.authenticate_request(response, headers)
        if not changed:
            return response
        return self._http.send(Request(method, url, headers, data, limit, repeatable=repeatable))

    def exists(self, url: str, accept: str = "*/*") -> bool:
        """Whether a HEAD finds something; False too where a registry has no HEAD."""
        response = self.do_request(url, "HEAD", headers={"Accept": accept})
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return False
        self.expect(response, HTTPStatus.OK)
        return True

    def upload(self, name: str, digest: Digest, content: bytes) -> None:
        """Send a blob unless it is there. A broken upload starts anew, with a new session."""
        blob_url = self.url(self.container(name).get_blob_url(str(digest)))
        for attempt in range(self.patience.attempts):
            if self.exists(blob_url):
                return
            try:
                response = self._upload_once(name, digest, content)
            except Broken:
                if attempt + 1 == self.patience.attempts:
                    raise
            else:
                # a session that has got lost answers 404, one that has got half of it 416
                if response.status_code not in TRANSIENT | {404, 416}:
                    self.expect(response, HTTPStatus.CREATED)
                    return
            time.sleep(self.patience.pause(attempt, None))
        self.expect(response, HTTPStatus.CREATED)

    def _upload_once(self, name: str, digest: Digest, content: bytes) -> requests.Response:
        start = self.url(self.container(name).upload_blob_url())
        response = self.do_request(start, "POST")
        self.expect(response, HTTPStatus.ACCEPTED, HTTPStatus.CREATED)
        location = response.headers.get("Location")
        if response.status_code == HTTPStatus.CREATED or not location:
            self.expect(response, HTTPStatus.CREATED)
            return response
        # Not parsed and written again: it may be signed as it is.
        session = joined(response.url, location)
        session += f"{'&' if '?' in session else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        return self.do_request(session, "PUT", content, headers, repeatable=False)

    # --- URLs ---

    def container(self, name: str) -> Container:
        """A repository; not parsed by `oras`, which takes a folder with a dot for a host."""
        container = Container(name, registry=self._api_host)
        if self.host == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        container.namespace, _, container.repository = name.rpartition("/")
        container.registry = self._api_host
        return container

    def url(self, address: str) -> str:
        return f"{self.prefix}://{address}"

    # --- pages ---

    def _do_paginated_request(
        self,
        url: str,
        callable: Callable[[requests.Response], bool],  # noqa: A002  the overridden name
    ) -> None:
        seen: set[str] = set()
        while url not in seen and len(seen) < MAX_TAG_PAGES:
            seen.add(url)
            response = self.do_request(url, limit=MAX_TAG_PAGE_BYTES)
            if self.is_missing(response):
                return
            self.expect(response, HTTPStatus.OK)
            if not _is_tag_list(response):
                raise CouldNotCheck(
                    f"{self.host} answers with something that is no tag list",
                    hint="is it a registry?",
                )
            want_more = callable(response)
            link = response.links.get("next", {}).get("url")
            if not want_more or not link:
                return
            url = joined(url, link)
            if origin_of(url) != origin_of(self.origin):
                raise CouldNotCheck(f"{self.host} continues its tag list on another host")
        raise CouldNotCheck(f"{self.host} has a tag list without an end")

    # --- answers ---

    def is_missing(self, response: requests.Response) -> bool:
        """Whether a registry says, in an answer with a body, that there is no such thing.

        Any web server answers 404, to a mistyped host's every question; a registry does so in the
        words of the API, and has to be heard so once.
        """
        if response.status_code != HTTPStatus.NOT_FOUND:
            return False
        if not self.speaks_registry and not _errors(response):
            raise CouldNotCheck(
                f"{self.host} answers 404, but not as a registry does",
                hint="check the registry's host and port",
            )
        self.speaks_registry = True
        return True

    def expect(self, response: requests.Response, *statuses: int) -> None:
        """Raise CouldNotCheck for any other status, saying who refuses what and why."""
        if response.status_code not in statuses:
            raise self._refusal(response)

    def _refusal(self, response: requests.Response) -> BundlerError:
        status = response.status_code
        request = response.request
        scope = scope_of(request.method or "", request.url or "")
        what = scope.partition(":")[2].rpartition(":")[0]
        place = f"{self.host}/{what}" if what else self.host
        # Codes only: a message could repeat what was sent.
        said = " ".join([f"HTTP {status}", *_error_codes(response)])
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            hint = self.auth.hint(self.auth.credential(scope))
            return CouldNotCheck(f"{place}: the registry refuses access ({said})", hint=hint)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return CouldNotCheck(
                f"{place}: the registry is asked too often ({said})",
                hint="try again later, or log in for a higher limit",
            )
        return CouldNotCheck(f"{place}: the registry does not do what is asked ({said})")


def _parsed(response: requests.Response) -> object:
    try:
        return read_json(response.content)
    except ValueError:
        return None


def _is_tag_list(response: requests.Response) -> bool:
    answer = _parsed(response)
    tags = answer.get("tags", []) if isinstance(answer, dict) else ""
    return tags is None or (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags))


def _errors(response: requests.Response) -> list[dict[str, Any]]:
    """The errors of an answer in the API's form; empty for anything else."""
    answer = _parsed(response)
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list):
        return []
    return [error for error in errors if isinstance(error, dict)]


def _error_codes(response: requests.Response) -> list[str]:
    codes = [error.get("code") for error in _errors(response)]
    return [code for code in codes if isinstance(code, str) and _ERROR_CODE.fullmatch(code)][:3]


def sent_digest(response: requests.Response) -> Digest | None:
    """The Docker-Content-Digest of an answer; None where it is absent or not sha256."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except ValueError:
        return None


def verified(place: str, digest: Digest, content: bytes) -> bytes:
    """The content, if it has the digest. Raises VerificationFailed."""
    actual = Digest.of(content)
    if actual != digest:
        raise VerificationFailed(f"{place}@{digest} came with other content ({actual})")
    return content
