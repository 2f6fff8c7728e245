"""One registry host, asked by the OCI distribution API: URLs, authentication, what answers mean.

Reading and writing need no more than this, which is quick to import; tag lists add `oras`, in
`registry_client`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from bundler.adapters.registry.auth import RegistryAuth, scope_of
from bundler.adapters.registry.connections import Body
from bundler.adapters.registry.docker_credentials import (
    DOCKER_HUB,
    DOCKER_HUB_HOSTS,
    DockerCredentials,
)
from bundler.adapters.registry.http import RegistryHttp, Request, Response
from bundler.adapters.registry.urls import is_loopback, origin_of
from bundler.errors import AccessRefused, BundlerError, CouldNotCheck, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import MAX_MANIFEST_BYTES
from bundler.model.reference import Digest

_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_DOCKER_HUB_API = "registry-1.docker.io"

CHALLENGES = 2
"""How many are answered: the first, and one for a token that has just been withdrawn."""


class RegistryApi:
    """Thread-safe; answers any status but those that `expect` refuses."""

    def __init__(
        self, host: str, credentials: DockerCredentials, http: RegistryHttp, plain_http: bool
    ) -> None:
        is_docker_hub = host in DOCKER_HUB_HOSTS
        self.host = DOCKER_HUB if is_docker_hub else host
        self.api_host = _DOCKER_HUB_API if is_docker_hub else host
        self.insecure = plain_http or is_loopback(host)
        self.origin = f"{'http' if self.insecure else 'https'}://{self.api_host}"
        self.http = http
        self.auth = RegistryAuth(self.host, self.origin, http, credentials)
        self.speaks_registry = False
        """Whether a 404 of this host can be believed; see `is_missing`."""

    # --- requests ---

    def ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | Body | None = None,
        headers: dict[str, str] | None = None,
        *,
        limit: int = MAX_MANIFEST_BYTES,
        repeatable: bool = True,
        streamed: bool = False,
    ) -> Response:
        """The answer after authentication, redirects and retries, whatever its status is.

        Raises Unreachable, CouldNotCheck, VerificationFailed.
        """
        headers = {**(headers or {}), **self.auth.headers(method, url)}
        request = Request(
            method, url, headers, body, limit, repeatable=repeatable, streamed=streamed
        )
        response = self.http.send(request)
        for _ in range(CHALLENGES):
            if response.status != HTTPStatus.UNAUTHORIZED:
                break
            headers, changed = self.auth.answer(response, headers)
            if not changed:
                break
            response = self.http.send(replace(request, headers=headers))
        return response

    def exists(self, url: str, accept: str = "*/*") -> bool:
        """Whether a HEAD finds something; False too where a registry has no HEAD."""
        response = self.ask(url, "HEAD", headers={"Accept": accept})
        if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return False
        self.expect(response, HTTPStatus.OK)
        return True

    # --- URLs ---

    def repository_name(self, name: str) -> str:
        return f"library/{name}" if self.host == DOCKER_HUB and "/" not in name else name

    def manifest_url(self, name: str, reference: str) -> str:
        return f"{self.origin}/v2/{self.repository_name(name)}/manifests/{reference}"

    def blob_url(self, name: str, digest: Digest) -> str:
        return f"{self.origin}/v2/{self.repository_name(name)}/blobs/{digest}"

    def uploads_url(self, name: str) -> str:
        return f"{self.origin}/v2/{self.repository_name(name)}/blobs/uploads/"

    def mount_url(self, name: str, digest: Digest, near: str) -> str:
        """Where to ask for a blob of another repository of this host."""
        query = urlencode({"mount": str(digest), "from": self.repository_name(near)})
        return f"{self.uploads_url(name)}?{query}"

    def referrers_url(self, name: str, digest: Digest) -> str:
        return f"{self.origin}/v2/{self.repository_name(name)}/referrers/{digest}"

    # --- answers ---

    def is_missing(self, response: Response) -> bool:
        """Whether a registry says, in an answer with a body, that there is no such thing.

        Any web server answers 404, to a mistyped host's every question; a registry does so in the
        words of the API, and has to be heard so once.
        """
        if response.status != HTTPStatus.NOT_FOUND:
            return False
        if not self.speaks_registry and not _errors(response):
            raise CouldNotCheck(
                f"{self.host} answers 404, but not as a registry does",
                hint="check the registry's host and port",
            )
        self.speaks_registry = True
        return True

    def expect(self, response: Response, *statuses: int) -> None:
        """Raise CouldNotCheck for any other status, saying who refuses what and why."""
        if response.status not in statuses:
            raise self.refusal(response)

    def refusal(self, response: Response) -> BundlerError:
        status, request = response.status, response.request
        scope = scope_of(request.method, request.url)
        what = scope.partition(":")[2].rpartition(":")[0]
        place = f"{self.host}/{what}" if what else self.host
        # Codes only: a message could repeat what was sent.
        said = " ".join([f"HTTP {status}", *error_codes(response)])
        is_ours = origin_of(request.url) == origin_of(self.origin)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and is_ours:
            hint = self.auth.hint(self.auth.credential(scope))
            return AccessRefused(f"{place}: the registry refuses access ({said})", hint=hint)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return CouldNotCheck(
                f"{place}: the registry is asked too often ({said})",
                hint="try again later, or log in for a higher limit",
            )
        return CouldNotCheck(f"{place}: the registry does not do what is asked ({said})")


def read_answer(response: Response) -> object:
    """The JSON of an answer; None where it is none."""
    try:
        return read_json(response.content)
    except ValueError:
        return None


def _errors(response: Response) -> list[dict[str, Any]]:
    """The errors of an answer in the API's form; empty for anything else."""
    answer = read_answer(response)
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list):
        return []
    return [error for error in errors if isinstance(error, dict)]


def error_codes(response: Response) -> list[str]:
    """The first codes of the API's errors; empty for anything else."""
    codes = [error.get("code") for error in _errors(response)]
    return [code for code in codes if isinstance(code, str) and _ERROR_CODE.fullmatch(code)][:3]


def sent_digest(response: Response) -> Digest | None:
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
