"""All places that artifacts are in, behind one port: by scheme, a registry, a folder or a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.errors import UsageError
from bundler.model.artifact import Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactRegistry, ContentReader, ContentRegistry

if TYPE_CHECKING:
    from bundler.adapters.layout.oci_tar import OciTar
    from bundler.adapters.registry.oci_registry import OciRegistry


class _Place(ArtifactRegistry, ContentRegistry, Protocol):
    """Where everything can be read and written."""


class Registries:
    """Implements the ports ArtifactRegistry and ContentRegistry for all schemes.

    Only read are files (`ocitar://`): one is written as a whole, by another way.
    """

    def __init__(
        self, base: Path, plain_http: bool = False, connections: int | None = None
    ) -> None:
        """`base` is where relative paths start; `plain_http` speaks http to every host.

        At most `connections` requests are under way to one host; 16 where nothing is said.
        """
        self._base = base
        self._layout = OciLayout(base)
        self._plain_http = plain_http
        self._connections = connections
        self._network: OciRegistry | None = None
        self._tar: OciTar | None = None
        self._lock = threading.Lock()

    # --- reading ---

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        return self._source(repository).resolve(repository, reference)

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        return self._source(repository).descriptor(repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._source(repository).tags(repository)

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        return self._source(repository).referrers(repository, digest)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        return self._source(repository).manifest(repository, digest)

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        return self._source(repository).tagged(repository, tag)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        return self._source(repository).blob(repository, descriptor)

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        return self._source(repository).blob_pieces(repository, descriptor)

    # --- writing ---

    def push(self, repository: Repository, artifact: Artifact) -> None:
        self._place(repository).push(repository, artifact)

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        self._place(repository).tag(repository, artifact, tag, replaces)

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        return self._place(repository).has(repository, descriptor)

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        self._place(repository).put_blob(repository, descriptor, pieces, near, is_absent=is_absent)

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        self._place(repository).put_manifest(repository, manifest, tag)

    # --- by scheme ---

    def _source(self, repository: Repository) -> ContentReader:
        if repository.scheme != "ocitar":
            return self._place(repository)
        with self._lock:
            if self._tar is None:
                from bundler.adapters.layout.oci_tar import OciTar

                self._tar = OciTar(self._base)
            return self._tar

    def _place(self, repository: Repository) -> _Place:
        if repository.scheme == "ocidir":
            return self._layout
        if repository.scheme == "ocitar":
            raise UsageError(
                f"{repository} is a file: nothing can be added to it",
                hint="`bundler save` writes a new one",
            )
        with self._lock:
            if self._network is None:
                # Its libraries take time to import: only who needs them waits.
                from bundler.adapters.registry.oci_registry import OciRegistry
                from bundler.adapters.registry.patience import CONNECTIONS

                self._network = OciRegistry(
                    self._plain_http, connections=self._connections or CONNECTIONS
                )
            return self._network
