"""The ways of a release and its images: registry to registry, registry to file, file to registry.

What goes is small and has one of everything: a bundle with a signature, and an image with an
index.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundler.adapters.layout.oci_tar import OciTar, OciTarWriter
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.model.artifact import Artifact, Blob
from bundler.model.reference import Digest, Repository
from bundler.ports import ContentReader, ContentWriter
from bundler.relocate.copy import Root, copy
from tests.fakes.registry import image, index, referrer
from tests.faults.scenarios import PATIENCE, VERSION, Outcome, Place, artifact_of

BLOBS = 4
"""Of the bundle and its signature."""


@dataclass(frozen=True)
class Goods:
    """Everything that belongs to a release."""

    bundle: Artifact
    platform: Artifact
    image: Blob
    signature: Artifact
    """Of the bundle."""

    @classmethod
    def around(cls, bundle: Artifact) -> Goods:
        platform = image()
        both = index([platform.manifest.descriptor])
        signature = referrer(bundle.manifest.descriptor, b"signed")
        return cls(bundle, platform, both, signature)

    def put(self, registry: OciRegistry, repository: Repository) -> None:
        registry.push(repository, self.bundle)
        registry.push(repository, self.platform)
        registry.put_manifest(repository, self.image)
        registry.push(repository, self.signature)

    def check_all(self, reader: ContentReader, bundles: Repository, images: Repository) -> None:
        """Everything is there, each byte."""
        assert artifact_of(reader, bundles, self.bundle.digest) == self.bundle
        assert reader.manifest(images, self.image.descriptor.digest) == self.image.content
        artifact_of(reader, images, self.platform.digest)
        found = [each.digest for each in reader.referrers(bundles, self.bundle.digest)]
        assert found == [self.signature.digest]
        assert artifact_of(reader, bundles, self.signature.digest) == self.signature


class Route(Protocol):
    goods: Goods

    def run(self, patience: Patience = PATIENCE) -> None:
        """To a new place."""

    def check(self, outcome: Outcome) -> None:
        """All is there or, after an error, no version; then doing it again completes it."""


def send(
    reader: ContentReader,
    writer: ContentWriter,
    goods: Goods,
    source: tuple[Repository, Repository],
    to: tuple[Repository, Repository],
) -> None:
    """Images first, the version last; both are (bundles, images)."""
    image_root = Root(source[1], goods.image.descriptor.digest, to[1])
    copy(reader, writer, [image_root], referrers=True)
    copy(reader, writer, [Root(source[0], goods.bundle.digest, to[0], VERSION)], referrers=True)


class ToRegistry:
    """From a registry, or from a file."""

    def __init__(
        self,
        place: Place,
        goods: Goods,
        source: tuple[Repository, Repository],
        file_folder: Path | None = None,
    ) -> None:
        self.goods = goods
        self._place = place
        self._source = source
        self._file_folder = file_folder
        self._to = place.fresh()

    def run(self, patience: Patience = PATIENCE) -> None:
        self._to = self._place.fresh()
        self._send(patience)

    def _send(self, patience: Patience) -> None:
        registry = self._place.registry(patience)
        reader = OciTar(self._file_folder) if self._file_folder else registry
        send(reader, registry, self.goods, self._source, (self._to, self._to.child("images")))

    def check(self, outcome: Outcome) -> None:
        registry, direct = self._place.behind(self._to)
        images = direct.child("images")
        for attempt in ("disturbed", "undisturbed"):
            digest = registry.resolve(direct, VERSION)
            tags = registry.tags(direct) if attempt == "disturbed" else ()
            assert {tag for tag in tags if not tag.startswith("sha256-")} <= {VERSION}
            if digest:
                assert digest == self.goods.bundle.digest, str(outcome)
                self.goods.check_all(registry, direct, images)
            elif outcome.error and attempt == "disturbed":
                self._send(PATIENCE)
            else:
                raise AssertionError(f"{attempt}, no version: {outcome}")


class ToFile:
    """A file that is whole or not there, with the same bytes each time."""

    def __init__(
        self, place: Place, goods: Goods, source: tuple[Repository, Repository], folder: Path
    ) -> None:
        self.goods = goods
        self._place = place
        self._source = source
        self._folder = folder
        self._contents: set[Digest] = set()

    def run(self, patience: Patience = PATIENCE) -> None:
        for left in self._folder.iterdir():
            left.unlink()
        self._send(patience)

    def _send(self, patience: Patience) -> None:
        to = Repository("ocitar", "shop.tar")
        with OciTarWriter(self._folder / "shop.tar") as writer:
            send(self._place.registry(patience), writer, self.goods, self._source, (to, to))

    def check(self, outcome: Outcome) -> None:
        if outcome.error:
            assert not list(self._folder.iterdir()), str(outcome)
            self._send(PATIENCE)
        file = self._folder / "shop.tar"
        assert list(self._folder.iterdir()) == [file]
        to = Repository("ocitar", "shop.tar")
        self.goods.check_all(OciTar(self._folder), to, to)
        self._contents.add(Digest.of(file.read_bytes()))
        assert len(self._contents) == 1
