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

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.registry_client import RegistryClient, sent_digest, verified
from bundler.adapters.registry_http import Patience
from bundler.errors import CouldNotCheck, NotFound, UsageError, VerificationFailed, VersionExists
from bundler.manifests import read_json
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
    ) -> None:
        """`plain_http` speaks http to every host; without it only this machine's own."""
        self._plain_http = plain_http
        self._credentials = credentials or DockerCredentials.from_environment()
        self._patience = patience or Patience()
        self._clients: dict[str, RegistryClient] = {}
        self._lock = threading.Lock()

    # --- reading ---

    def resolve(self, repository: Repository, tag: str) -> Digest | None:
        client = self._client(repository)
        url = _manifest_url(client, repository, _checked(tag))
        response = client.do_request(url, "HEAD", headers={"Accept": ACCEPT})
        if response.status_code == HTTPStatus.OK and (digest := sent_digest(response)):
            return digest
        if response.status_code == HTTPStatus.NOT_FOUND and client.speaks_registry:
            return None
        client.expect(response, HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        return _resolved_by_content(client, url, f"{repository}:{tag}")

    def tags(self, repository: Repository) -> tuple[str, ...]:
        client = self._client(repository)
        return tuple(dict.fromkeys(client.get_tags(client.container(repository.name))))

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        client = self._client(repository)
        url = _manifest_url(client, repository, str(digest))
        return _twice(lambda: _get(client, url, repository, digest, MAX_MANIFEST_BYTES))

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        place = f"{repository}@{descriptor.digest}"
        if descriptor.size > MAX_LAYER_BYTES:
            raise VerificationFailed(f"{place} is said to have {descriptor.size} bytes: too large")
        client = self._client(repository)
        container = client.container(repository.name)
        url = client.url(container.get_blob_url(str(descriptor.digest)))
        content = _twice(lambda: _get(client, url, repository, descriptor.digest, descriptor.size))
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
        if not client.exists(_manifest_url(client, repository, digest), ACCEPT):
            refusal = _put(client, repository, artifact, digest)
            if refusal:
                raise refusal

    def tag(self, repository: Repository, artifact: Artifact, tag: str) -> None:
        present = self.resolve(repository, tag)
        refusal = None
        if present is None:
            client = self._client(repository)
            refusal = _put(client, repository, artifact, tag)
            # Another may have been as quick, and a registry with immutable tags says no.
            present = self.resolve(repository, tag)
        if present == artifact.digest:
            return
        if present is not None:
            raise VersionExists(f"{repository}:{tag} is published with other content ({present})")
        raise refusal or CouldNotCheck(f"{repository}:{tag} was taken, but cannot be found")

    def _client(self, repository: Repository) -> RegistryClient:
        if repository.scheme != "oci":
            raise UsageError(f"{repository} is not a registry (oci://HOST/NAME)")
        try:
            Repository.parse(str(repository))
        except InvalidReference as error:
            raise UsageError(str(error)) from error
        with self._lock:
            if repository.host not in self._clients:
                self._clients[repository.host] = RegistryClient(
                    repository.host, self._credentials, self._patience, self._plain_http
                )
            return self._clients[repository.host]


def _checked(tag: str) -> str:
    if not is_tag(tag):
        raise UsageError(f"{tag!r} is not a tag of an OCI image")
    return tag


def _manifest_url(client: RegistryClient, repository: Repository, reference: str) -> str:
    return client.url(client.container(repository.name).manifest_url(reference))


def _resolved_by_content(client: RegistryClient, url: str, place: str) -> Digest | None:
    """The digest of what a tag's GET brings, where its HEAD does not say enough."""
    response = client.do_request(url, headers={"Accept": ACCEPT})
    if client.is_missing(response):
        return None
    client.expect(response, HTTPStatus.OK)
    try:
        manifest = read_json(response.content)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 2:
        raise CouldNotCheck(
            f"{place}: {client.host} answers with something that is no manifest",
            hint="is it a registry?",
        )
    digest = sent_digest(response) or Digest.of(response.content)
    verified(place, digest, response.content)
    return digest


def _get(
    client: RegistryClient, url: str, repository: Repository, digest: Digest, limit: int
) -> bytes:
    try:
        response = client.do_request(url, headers={"Accept": f"{ACCEPT}, */*"}, limit=limit)
    except VerificationFailed as error:
        raise VerificationFailed(f"{repository}@{digest}: {error.message}") from error
    if client.is_missing(response):
        raise NotFound(f"{repository}@{digest} is not there")
    client.expect(response, HTTPStatus.OK)
    return verified(str(repository), digest, response.content)


def _twice(download: Callable[[], bytes]) -> bytes:
    """What came damaged may have been damaged on its way."""
    try:
        return download()
    except VerificationFailed:
        return download()


def _put(
    client: RegistryClient, repository: Repository, artifact: Artifact, reference: str
) -> CouldNotCheck | None:
    """Send the manifest; the refusal of a registry that does not take it."""
    manifest = artifact.manifest
    url = _manifest_url(client, repository, reference)
    headers = {"Content-Type": manifest.descriptor.media_type}
    response = client.do_request(url, "PUT", manifest.content, headers)
    try:
        client.expect(response, HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED)
    except CouldNotCheck as refusal:
        return refusal
    stored = sent_digest(response)
    if stored is not None and stored != artifact.digest:
        raise VerificationFailed(f"{repository}: the registry stored other content ({stored})")
    return None
