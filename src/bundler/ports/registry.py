"""What is asked of registries, for images and for releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from bundler.model.artifact import Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository


class ManifestResolver(Protocol):
    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        """The digest behind a tag, or the given digest itself if there is a manifest of it.

        None where the registry says that there is none. Raises Unreachable, AccessRefused (its
        credentials do not suffice), CouldNotCheck (it makes no sense), VerificationFailed (a
        digest is answered with another): never None for those.
        """
        ...


class TagLister(Protocol):
    def tags(self, repository: Repository) -> tuple[str, ...]:
        """All tags; empty for an unknown repository. Raises as `resolve` does."""
        ...


class ArtifactReader(ManifestResolver, TagLister, Protocol):
    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """A manifest's exact bytes, checked. Raises NotFound, VerificationFailed, as `resolve`."""
        ...

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        """The manifest behind a tag, checked, in one question. None, and raises, as `resolve`."""
        ...

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """A blob's bytes, size and digest checked. Raises as `manifest` does."""
        ...


class ArtifactWriter(Protocol):
    def push(self, repository: Repository, artifact: Artifact) -> None:
        """Blobs, then the manifest by digest; what is there is not sent again. Sets no tag.

        One with a subject is a referrer of it from then on.
        """
        ...

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        """Make a pushed artifact visible under a version that nothing has, or only `replaces`.

        The same digest there already is success. Raises VersionExists for another digest, also
        where the registry lets no tag change; Refused where `replaces` is gone.
        """
        ...


class ArtifactRegistry(ArtifactReader, ArtifactWriter, Protocol):
    """Both directions."""


class ContentReader(ArtifactReader, Protocol):
    """Reads artifacts of any kind with all that belongs to them: what copying needs of a source."""

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        """Media type, digest and size of a manifest; None as `resolve`. Raises as `resolve`."""
        ...

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob of any size, in pieces of at most 1 MiB, never whole in memory.

        The last piece comes only after size and digest were found right. Raises as `blob`.
        """
        ...

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """Manifests whose subject is this one, by the API and by the fallback tag, each once.

        Junk in the answers is left out; at most 1,000. Raises as `resolve`.
        """
        ...


class ContentWriter(Protocol):
    """Writes artifacts of any kind: what copying needs of a destination. Thread-safe."""

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        """Whether this manifest or blob is there already, by its digest."""
        ...

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Store a blob unless it is there. `pieces` begins anew whenever it is called.

        Where `has` just said that it `is_absent`, it need not be asked for again.

        `near` is a repository of the same registry that has it: it is mounted from there where
        the registry can. Raises VerificationFailed where the pieces are not what is described,
        and nothing of them is kept; else as `resolve`.
        """
        ...

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        """Store a manifest whose parts are there, and make it visible under a tag.

        Of a manifest with a subject, the fallback tag is kept where the registry has no referrers
        API. The same digest under the tag already is success. Raises VersionExists, as `tag`.
        """
        ...


class ContentRegistry(ContentReader, ContentWriter, Protocol):
    """Both directions."""


class DeployRegistry(ArtifactRegistry, ContentRegistry, Protocol):
    """Where versions are published, with what refers to them."""
