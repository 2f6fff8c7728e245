"""Registries on the network (`oci://`), by the OCI distribution-spec 1.1.

Bytes are kept as they come, and nothing is believed: every manifest and blob is checked against
the digest that it was asked for by. A version is made visible last; see `registry_tags` for what
happens where several publish it at the same moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bundler.adapters.registry import manifests
from bundler.adapters.registry.api import RegistryApi
from bundler.adapters.registry.certificates import Certificates
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.downloads import BlobDownload
from bundler.adapters.registry.http import RegistryHttp
from bundler.adapters.registry.patience import CONNECTIONS, Patience
from bundler.adapters.registry.referrers import Referrers, subject_of
from bundler.adapters.registry.tags import publish
from bundler.adapters.registry.uploads import CHUNK_BYTES, BlobUploads
from bundler.errors import UsageError, VerificationFailed
from bundler.model.artifact import (
    MAX_LAYER_BYTES,
    MAX_MANIFEST_BYTES,
    Artifact,
    Blob,
    Descriptor,
)
from bundler.model.reference import Digest, InvalidReference, Repository
from bundler.parallel import threads

if TYPE_CHECKING:
    from bundler.adapters.registry.client import RegistryClient

_T = TypeVar("_T")
UPLOADS = 4
"""Blobs of one artifact that are sent at the same time."""


class _Host(NamedTuple):
    """One registry host, and what is done there."""

    api: RegistryApi
    uploads: BlobUploads
    referrers: Referrers


class OciRegistry:
    """Implements the ports ArtifactRegistry, ContentReader and ContentWriter for `oci://` hosts.

    Thread-safe.
    """

    def __init__(
        self,
        plain_http: bool = False,
        credentials: DockerCredentials | None = None,
        patience: Patience | None = None,
        connections: int = CONNECTIONS,
        certificates: Certificates | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """`plain_http` speaks http to every host; without it only this machine's own.

        At most `connections` requests are under way to one host.
        """
        self._plain_http = plain_http
        self._credentials = credentials or DockerCredentials.from_environment()
        self._http = RegistryHttp(patience, connections, certificates)
        self._chunk_bytes = chunk_bytes
        self._hosts: dict[str, _Host] = {}
        self._clients: dict[str, RegistryClient] = {}
        self._lock = threading.Lock()

    # --- reading ---

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        return manifests.resolved(self._host(repository).api, repository, reference)

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        return manifests.described(self._host(repository).api, repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._client(repository).tags(repository.name)

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        return self._host(repository).referrers.of(repository, digest)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        api = self._host(repository).api
        url = api.manifest_url(repository.name, str(digest))
        return _twice(lambda: manifests.content(api, url, repository, digest, MAX_MANIFEST_BYTES))

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        api = self._host(repository).api
        return _twice(lambda: manifests.tagged(api, repository, tag))

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        digest, size = descriptor.digest, descriptor.size
        place = f"{repository}@{digest}"
        if size > MAX_LAYER_BYTES:
            raise VerificationFailed(f"{place} is said to have {size} bytes: too large")
        api = self._host(repository).api
        url = api.blob_url(repository.name, digest)
        content = _twice(lambda: manifests.content(api, url, repository, digest, size))
        if len(content) != size:
            raise VerificationFailed(f"{place} has {len(content)} bytes where {size} are expected")
        return content

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        return BlobDownload(self._host(repository).api, repository, descriptor).pieces()

    # --- writing ---

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        api = self._host(repository).api
        digest = descriptor.digest
        if descriptor.media_type in manifests.MANIFEST_TYPES:
            return api.exists(api.manifest_url(repository.name, str(digest)), manifests.ACCEPT)
        return api.exists(api.blob_url(repository.name, digest))

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        is_near = near is not None and (near.scheme, near.host) == ("oci", repository.host)
        name = near.name if near and is_near and near != repository else None
        uploads = self._host(repository).uploads
        uploads.put(repository.name, descriptor, pieces, name, is_absent=is_absent)

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        digest = Digest.of(manifest.content)
        if digest != manifest.descriptor.digest:
            raise VerificationFailed(
                f"{repository}@{manifest.descriptor.digest}: other content came ({digest})"
            )
        host = self._host(repository)
        if tag is None:
            manifests.put_by_digest(host.api, repository, manifest)
        else:
            publish(host.api, repository, manifest, tag)
        _keep_referrer(host, repository, manifest)

    def push(self, repository: Repository, artifact: Artifact) -> None:
        host = self._host(repository)
        with threads(UPLOADS) as pool:
            uploads = [
                pool.submit(host.uploads.put, repository.name, blob.descriptor, _pieces(blob))
                for blob in artifact.blobs
            ]
        for upload in uploads:
            upload.result()
        manifests.put_by_digest(host.api, repository, artifact.manifest)
        _keep_referrer(host, repository, artifact.manifest)

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        publish(self._host(repository).api, repository, artifact.manifest, tag, replaces)

    # --- hosts ---

    def _host(self, repository: Repository) -> _Host:
        _check_repository(repository)
        with self._lock:
            if repository.host not in self._hosts:
                api = RegistryApi(repository.host, self._credentials, self._http, self._plain_http)
                self._hosts[repository.host] = _Host(
                    api, BlobUploads(api, self._chunk_bytes), Referrers(api)
                )
            return self._hosts[repository.host]

    def _client(self, repository: Repository) -> RegistryClient:
        from bundler.adapters.registry.client import RegistryClient

        api = self._host(repository).api
        with self._lock:
            if repository.host not in self._clients:
                self._clients[repository.host] = RegistryClient(api)
            return self._clients[repository.host]


def _keep_referrer(host: _Host, repository: Repository, manifest: Blob) -> None:
    """What refers to another manifest can be found by it."""
    if subject := subject_of(manifest):
        host.referrers.keep(repository, manifest, subject)


def _check_repository(repository: Repository) -> None:
    if repository.scheme != "oci":
        raise UsageError(f"{repository} is not a registry (oci://HOST/NAME)")
    try:
        Repository.parse(str(repository))
    except InvalidReference as error:
        raise UsageError(str(error)) from error


def _pieces(blob: Blob) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([blob.content])


def _twice(download: Callable[[], _T]) -> _T:
    """What came damaged may have been damaged on its way."""
    try:
        return download()
    except VerificationFailed:
        return download()
