"""Manifests of a registry: found, read and written, byte for byte, and nothing believed."""

from __future__ import annotations

import time
from http import HTTPStatus

from bundler.adapters.registry.api import (
    RegistryApi,
    error_codes,
    read_answer,
    sent_digest,
    verified,
)
from bundler.adapters.registry.http import Response
from bundler.errors import CouldNotCheck, NotFound, UsageError, VerificationFailed
from bundler.model.artifact import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Blob,
    Descriptor,
)
from bundler.model.reference import Digest, Repository, is_tag

MANIFEST_TYPES = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
ACCEPT = ", ".join(MANIFEST_TYPES)
PART_ATTEMPTS = 3
_UNKNOWN_PART = "MANIFEST_BLOB_UNKNOWN"
_API_VERSION = "Docker-Distribution-Api-Version"
"""A header that registries alone send, many of them with every answer."""


def resolved(api: RegistryApi, repository: Repository, reference: str | Digest) -> Digest | None:
    """What `bundler.ports.ManifestResolver.resolve` says."""
    response, url = _asked(api, repository, reference)
    if response.status == HTTPStatus.OK and (digest := sent_digest(response)):
        return _expected(repository, reference, digest)
    if _is_absent(api, response):
        return None
    found = _described_by_content(api, url, repository, reference)
    return found.digest if found else None


def described(
    api: RegistryApi, repository: Repository, reference: str | Digest
) -> Descriptor | None:
    """What `bundler.ports.ContentReader.descriptor` says."""
    response, url = _asked(api, repository, reference)
    media_type = _media_type(response)
    size = response.headers.get("Content-Length", "")
    digest = sent_digest(response)
    is_complete = media_type in MANIFEST_TYPES and size.isdecimal() and digest
    if response.status == HTTPStatus.OK and digest and is_complete:
        return Descriptor(media_type, _expected(repository, reference, digest), int(size[:18]))
    if _is_absent(api, response):
        return None
    return _described_by_content(api, url, repository, reference)


def tagged(api: RegistryApi, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
    """What `bundler.ports.ArtifactReader.tagged` says."""
    response = api.ask(_url(api, repository, tag), headers={"Accept": f"{ACCEPT}, */*"})
    if api.is_missing(response):
        return None
    api.expect(response, HTTPStatus.OK)
    if digest := sent_digest(response):
        verified(f"{repository}:{tag}", digest, response.content)
        _check_type(f"{repository}:{tag}", response)
        return digest, response.content
    return _read(api, repository, tag, response).digest, response.content


def content(
    api: RegistryApi, url: str, repository: Repository, digest: Digest, limit: int
) -> bytes:
    """The bytes of a manifest or blob, checked. Raises NotFound, VerificationFailed."""
    try:
        response = api.ask(url, headers={"Accept": f"{ACCEPT}, */*"}, limit=limit)
    except VerificationFailed as error:
        raise VerificationFailed(f"{repository}@{digest}: {error.message}") from error
    if api.is_missing(response):
        raise NotFound(f"{repository}@{digest} is not there")
    api.expect(response, HTTPStatus.OK)
    verified(str(repository), digest, response.content)
    _check_type(f"{repository}@{digest}", response)
    return response.content


def put(
    api: RegistryApi,
    repository: Repository,
    manifest: Blob,
    reference: str,
    *,
    repeatable: bool = True,
) -> Response:
    """The answer to a manifest that is sent as it is. Raises VerificationFailed, Unreachable."""
    url = api.manifest_url(repository.name, reference)
    headers = {"Content-Type": manifest.descriptor.media_type}
    response = api.ask(url, "PUT", manifest.content, headers, repeatable=repeatable)
    stored = sent_digest(response)
    if is_stored(response) and stored not in (None, manifest.descriptor.digest):
        raise VerificationFailed(f"{repository}: the registry stored other content ({stored})")
    return response


def is_stored(response: Response) -> bool:
    """Whether a registry has taken a manifest."""
    return response.status in (HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED)


def misses_parts(response: Response, attempt: int) -> bool:
    """Whether a registry does not find what a manifest names, and may do so in another attempt.

    Docker's registry 2.8 says so too of a blob that another client is just storing once more.
    """
    is_last = attempt + 1 >= PART_ATTEMPTS
    return not is_last and response.status >= 400 and _UNKNOWN_PART in error_codes(response)


def put_by_digest(api: RegistryApi, repository: Repository, manifest: Blob) -> None:
    """Send a manifest unless it is there."""
    digest = str(manifest.descriptor.digest)
    patience = api.http.patience
    for attempt in range(patience.attempts):
        if api.exists(api.manifest_url(repository.name, digest), ACCEPT):
            return
        response = put(api, repository, manifest, digest)
        if not misses_parts(response, attempt):
            break
        time.sleep(patience.pause(attempt, None))
    if not is_stored(response):
        raise api.refusal(response)


# --- questions ---


def _asked(
    api: RegistryApi, repository: Repository, reference: str | Digest
) -> tuple[Response, str]:
    url = _url(api, repository, reference)
    return api.ask(url, "HEAD", headers={"Accept": ACCEPT}), url


def _url(api: RegistryApi, repository: Repository, reference: str | Digest) -> str:
    if isinstance(reference, str) and not is_tag(reference):
        raise UsageError(f"{reference!r} is not a tag of an OCI image")
    return api.manifest_url(repository.name, str(reference))


def _is_absent(api: RegistryApi, response: Response) -> bool:
    """Whether it is known to be absent; False where only the content can tell more."""
    is_registry = api.speaks_registry or _API_VERSION in response.headers
    if response.status == HTTPStatus.NOT_FOUND and is_registry:
        return True
    api.expect(response, HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    return False


def _expected(repository: Repository, reference: str | Digest, answered: Digest) -> Digest:
    """The answered digest. Raises VerificationFailed where another one was asked for."""
    if isinstance(reference, Digest) and answered != reference:
        raise VerificationFailed(f"{repository}@{reference} is answered with another ({answered})")
    return answered


def _described_by_content(
    api: RegistryApi, url: str, repository: Repository, reference: str | Digest
) -> Descriptor | None:
    """What a GET brings, where HEAD does not say enough."""
    response = api.ask(url, headers={"Accept": ACCEPT})
    if api.is_missing(response):
        return None
    api.expect(response, HTTPStatus.OK)
    return _read(api, repository, reference, response)


def _read(
    api: RegistryApi, repository: Repository, reference: str | Digest, response: Response
) -> Descriptor:
    """What an answer's content says, and whether that is a manifest at all."""
    place = f"{repository}{'@' if isinstance(reference, Digest) else ':'}{reference}"
    manifest = read_answer(response)
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 2:
        raise CouldNotCheck(
            f"{place}: {api.host} answers with something that is no manifest",
            hint="is it a registry?",
        )
    digest = sent_digest(response) or Digest.of(response.content)
    verified(place, digest, response.content)
    media_type = _agreed_type(place, _media_type(response), manifest.get("mediaType"))
    digest = _expected(repository, reference, digest)
    return Descriptor(media_type, digest, len(response.content))


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


def _check_type(place: str, response: Response) -> None:
    """Raises VerificationFailed for a manifest that is sent as another kind than it says."""
    if _media_type(response) in MANIFEST_TYPES:
        document = read_answer(response)
        named = document.get("mediaType") if isinstance(document, dict) else None
        _agreed_type(place, _media_type(response), named)


def _agreed_type(place: str, sent: str, named: object) -> str:
    """The one media type of a manifest: read as another kind, its bytes could mean other things."""
    if isinstance(named, str) and sent in MANIFEST_TYPES and named != sent:
        raise VerificationFailed(f"{place} is sent as {sent}, but says that it is {named}")
    return named if isinstance(named, str) else sent
