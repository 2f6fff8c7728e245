"""The content of a release at each stage; a skipped step does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.project import Environment, HelmRelease, Target
from bundler.model.reference import ArtifactReference, Digest, ImageReference
from bundler.model.sops import EncryptedDocument


@dataclass(frozen=True)
class Pin:
    """Replace image `name`, as manifests write it, by `image`."""

    name: str
    image: ImageReference
    service: str
    """The service whose image it is."""


@dataclass(frozen=True)
class PinnedTarget:
    """A target and the pins of the services that it has."""

    environment: Environment
    target: Target
    pins: tuple[Pin, ...]

    @property
    def services(self) -> Mapping[str, str]:
        """Pinned image string → service: with the tag, and without, as some charts write it."""
        spellings = {str(replace(pin.image, tag=None)): pin.service for pin in self.pins}
        return spellings | {str(pin.image): pin.service for pin in self.pins}

    @property
    def place(self) -> str:
        return f"{self.environment.name}/{self.target.name}"


@dataclass(frozen=True)
class PinnedOverlay:
    """The overlay of a target, and what is put on top of it before it is rendered."""

    pinned: PinnedTarget
    folder: str
    """In the tag's tree."""
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """ConfigMap → key → value: merged into those that the overlay generates, before their hash."""

    @property
    def place(self) -> str:
        return self.pinned.place


@dataclass(frozen=True)
class PinnedChart:
    """One chart of a target, with the values that pin the images of its services."""

    pinned: PinnedTarget
    release: HelmRelease
    kubernetes: str
    """Version such as `1.36` that its templates see."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Passed last, over the chart's own values and the files of values."""

    @property
    def place(self) -> str:
        return self.pinned.place


@dataclass(frozen=True)
class RenderedTarget:
    """One target's objects, sorted, with namespace, labels and owner."""

    environment: Environment
    target: Target
    objects: tuple[KubernetesObject, ...]
    encrypted: Mapping[ObjectRef, bytes] = field(default_factory=dict)
    """The text of each encrypted object, as it was committed."""

    @property
    def place(self) -> str:
        return f"{self.environment.name}/{self.target.name}"


@dataclass(frozen=True)
class RenderedBundle:
    lock: ImageLock
    targets: tuple[RenderedTarget, ...]
    renderers: Mapping[str, str]
    """Renderer name → version."""
    findings: tuple[Finding, ...] = ()
    """What rendering itself noticed, such as an image that no pin covers."""


@dataclass(frozen=True)
class ValidatedBundle:
    """A rendered bundle without errors, its files, and the warnings that remain."""

    rendered: RenderedBundle
    files: Mapping[str, bytes]
    """Path in the content layer → file."""
    kubernetes: Mapping[str, str]
    """Environment → version whose schemas held."""
    warnings: tuple[Finding, ...] = ()
    unvalidated: int = 0
    """Objects without a schema, in all environments."""


@dataclass(frozen=True)
class ReleaseDocument:
    """The release document: its exact bytes, and the parsed value (docs/release-document.md)."""

    content: bytes
    value: Mapping[str, object] = field(compare=False)


@dataclass(frozen=True)
class VerifiedBundle:
    """A pulled bundle whose every byte was checked against its digest and schema."""

    reference: ArtifactReference
    digest: Digest
    release: ReleaseDocument
    files: Mapping[str, bytes]
    objects: Mapping[tuple[str, str], tuple[KubernetesObject, ...]]
    """(environment, target) → objects, parsed once from the verified bytes."""
    encrypted: Mapping[tuple[str, str], tuple[EncryptedDocument, ...]] = field(default_factory=dict)
    """(environment, target) → what is not among its objects until it was decrypted."""
    image_registry: str | None = None
    """Where the images of these objects are pulled from instead; the signed bytes do not say so."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Names that are mapped so: as the bundle has them → as the objects have them."""
