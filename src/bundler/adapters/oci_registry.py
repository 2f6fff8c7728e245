"""Registries on the network (`oci://`), by the OCI distribution-spec 1.1, as an ArtifactRegistry.

Bytes are kept as they come, and nothing is believed: every manifest and blob is checked against
the digest that it was asked for by. A version is made visible last, and the registry is asked
again afterwards: the API has no "only if absent", so of two that publish other content at the
same moment, the loser is told so wherever the registry itself does not keep tags immutable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.registry_api import RegistryApi, read_answer, sent_digest, verified
from bundler.adapters.registry_http import RegistryHttp
from bundler.adapters.registry_patience import CONNECTIONS, Patience
from bundler.errors import CouldNotCheck, NotFound, UsageError, VerificationFailed, VersionExists
from bundler.model.artifact import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    MAX_LAYER_BYTES,
    MAX_MANIFEST_BYTES,
    Artifact,
    Descriptor,
)
from bundler.model.reference import Digest, InvalidReference, Repository, is_tag
from bundler.parallel import threads

if TYPE_CHECKING:
    from bundler.adapters.registry_client import RegistryClient

ACCEPT = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_INDEX}"
UPLOADS = 4
"""Blobs of one artifact that are sent at the same time."""


class OciRegistry:
    """Implements `bundler.ports.ArtifactRegistry` for all `oci://` hosts; thread-safe."""

    def __init__(
        self,
        plain_http: bool = False,
        credentials: DockerCredentials | None = None,
        patience: Patience | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        """`plain_http` speaks http to every host; without it only this machine's own.

        At most `connections` requests are under way to one host.
        """
        self._plain_http = plain_http
        self._credentials = credentials or DockerCredentials.from_environment()
        self._http = RegistryHttp(patience, connections)
        self._apis: dict[str, RegistryApi] = {}
        self._clients: dict[str, RegistryClient] = {}
        self._lock = threading.Lock()

    # --- reading ---

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        api = self._api(repository)
        url = api.manifest_url(repository.name, _checked(reference))
        response = api.ask(url, "HEAD", headers={"Accept": ACCEPT})
        if response.status == HTTPStatus.OK and (digest := sent_digest(response)):
            return _expected(repository, reference, digest)
        if response.status == HTTPStatus.NOT_FOUND and api.speaks_registry:
            return None
        api.expect(response, HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        return _resolved_by_content(api, url, repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._client(repository).tags(repository.name)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        api = self._api(repository)
        url = api.manifest_url(repository.name, str(digest))
        return _twice(lambda: _get(api, url, repository, digest, MAX_MANIFEST_BYTES))

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        place = f"{repository}@{descriptor.digest}"
        if descriptor.size > MAX_LAYER_BYTES:
            raise VerificationFailed(f"{place} is said to have {descriptor.size} bytes: too large")
        api = self._api(repository)
        url = api.blob_url(repository.name, descriptor.digest)
        content = _twice(lambda: _get(api, url, repository, descriptor.digest, descriptor.size))
        if len(content) != descriptor.size:
            raise VerificationFailed(
                f"{place} has {len(content)} bytes where {descriptor.size} are expected"
            )
        return content

    # --- writing ---

    def push(self, repository: Repository, artifact: Artifact) -> None:
        client = self._client(repository)
        with threads(UPLOADS) as pool:
            uploads = [
                pool.submit(client.upload, repository.name, blob.descriptor.digest, blob.content)
                for blob in artifact.blobs
            ]
        for upload in uploads:
            upload.result()
        digest = str(artifact.digest)
        api = self._api(repository)
        if not api.exists(api.manifest_url(repository.name, digest), ACCEPT):
            refusal = _put(api, repository, artifact, digest)
            if refusal:
                raise refusal

    def tag(self, repository: Repository, artifact: Artifact, tag: str) -> None:
        present = self.resolve(repository, tag)
        refusal = None
        if present is None:
            refusal = _put(self._api(repository), repository, artifact, tag)
            # Another may have been as quick, and a registry with immutable tags says no.
            present = self.resolve(repository, tag)
        if present == artifact.digest:
            return
        if present is not None:
            raise VersionExists(f"{repository}:{tag} is published with other content ({present})")
        raise refusal or CouldNotCheck(f"{repository}:{tag} was taken, but cannot be found")

    # --- hosts ---

    def _api(self, repository: Repository) -> RegistryApi:
        _check_repository(repository)
        with self._lock:
            if repository.host not in self._apis:
                self._apis[repository.host] = RegistryApi(
                    repository.host, self._credentials, self._http, self._plain_http
                )
            return self._apis[repository.host]

    def _client(self, repository: Repository) -> RegistryClient:
        from bundler.adapters.registry_client import RegistryClient

        api = self._api(repository)
        with self._lock:
            if repository.host not in self._clients:
                self._clients[repository.host] = RegistryClient(api)
            return self._clients[repository.host]


def _check_repository(repository: Repository) -> None:
    if repository.scheme != "oci":
        raise UsageError(f"{repository} is not a registry (oci://HOST/NAME)")
    try:
        Repository.parse(str(repository))
    except InvalidReference as error:
        raise UsageError(str(error)) from error


def _checked(reference: str | Digest) -> str:
    if isinstance(reference, str) and not is_tag(reference):
        raise UsageError(f"{reference!r} is not a tag of an OCI image")
    return str(reference)


def _expected(repository: Repository, reference: str | Digest, answered: Digest) -> Digest:
    """The answered digest. Raises VerificationFailed where another one was asked for."""
    if isinstance(reference, Digest) and answered != reference:
        raise VerificationFailed(f"{repository}@{reference} is answered with another ({answered})")
    return answered


def _resolved_by_content(
    api: RegistryApi, url: str, repository: Repository, reference: str | Digest
) -> Digest | None:
    """The digest of what a GET brings, where HEAD does not say enough."""
    response = api.ask(url, headers={"Accept": ACCEPT})
    if api.is_missing(response):
        return None
    api.expect(response, HTTPStatus.OK)
    place = f"{repository}{'@' if isinstance(reference, Digest) else ':'}{reference}"
    manifest = read_answer(response)
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 2:
        raise CouldNotCheck(
            f"{place}: {api.host} answers with something that is no manifest",
            hint="is it a registry?",
        )
    digest = sent_digest(response) or Digest.of(response.content)
    verified(place, digest, response.content)
    return _expected(repository, reference, digest)


def _get(api: RegistryApi, url: str, repository: Repository, digest: Digest, limit: int) -> bytes:
    try:
        response = api.ask(url, headers={"Accept": f"{ACCEPT}, */*"}, limit=limit)
    except VerificationFailed as error:
        raise VerificationFailed(f"{repository}@{digest}: {error.message}") from error
    if api.is_missing(response):
        raise NotFound(f"{repository}@{digest} is not there")
    api.expect(response, HTTPStatus.OK)
    return verified(str(repository), digest, response.content)


def _twice(download: Callable[[], bytes]) -> bytes:
    """What came damaged may have been damaged on its way."""
    try:
        return download()
    except VerificationFailed:
        return download()


def _put(
    api: RegistryApi, repository: Repository, artifact: Artifact, reference: str
) -> CouldNotCheck | None:
    """Send the manifest; the refusal of a registry that does not take it."""
    manifest = artifact.manifest
    url = api.manifest_url(repository.name, reference)
    headers = {"Content-Type": manifest.descriptor.media_type}
    response = api.ask(url, "PUT", manifest.content, headers)
    try:
        api.expect(response, HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED)
    except CouldNotCheck as refusal:
        return refusal
    stored = sent_digest(response)
    if stored is not None and stored != artifact.digest:
        raise VerificationFailed(f"{repository}: the registry stored other content ({stored})")
    return None
