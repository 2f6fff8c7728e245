"""All places that artifacts are in, behind one port: by scheme, a registry or a folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.adapters.oci_layout import OciLayout
from bundler.model.artifact import Artifact, Descriptor
from bundler.model.reference import Digest, Repository

if TYPE_CHECKING:
    from bundler.ports import ArtifactRegistry


class Registries:
    """Implements `bundler.ports.ArtifactRegistry` for `oci://` and `ocidir://` repositories."""

    def __init__(
        self, base: Path, plain_http: bool = False, connections: int | None = None
    ) -> None:
        """`base` is where relative folders start; `plain_http` speaks http to every host.

        At most `connections` requests are under way to one host; 16 where nothing is said.
        """
        self._layout = OciLayout(base)
        self._plain_http = plain_http
        self._connections = connections
        self._network: ArtifactRegistry | None = None
        self._lock = threading.Lock()

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        return self._of(repository).resolve(repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._of(repository).tags(repository)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        return self._of(repository).manifest(repository, digest)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        return self._of(repository).blob(repository, descriptor)

    def push(self, repository: Repository, artifact: Artifact) -> None:
        self._of(repository).push(repository, artifact)

    def tag(self, repository: Repository, artifact: Artifact, tag: str) -> None:
        self._of(repository).tag(repository, artifact, tag)

    def _of(self, repository: Repository) -> ArtifactRegistry:
        if repository.scheme == "ocidir":
            return self._layout
        with self._lock:
            if self._network is None:
                # Its libraries take time to import: only who needs them waits.
                from bundler.adapters.oci_registry import OciRegistry
                from bundler.adapters.registry_patience import CONNECTIONS

                self._network = OciRegistry(
                    self._plain_http, connections=self._connections or CONNECTIONS
                )
            return self._network
