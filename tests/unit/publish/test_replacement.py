"""Replacing a version: in which order, broken off anywhere, and what others write beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.errors import Refused, Unreachable, VersionExists
from bundler.model.artifact import Artifact, Blob, Descriptor, Profile
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.reference import Digest, Repository
from bundler.model.replacement import REPLACEMENT, Replacement
from bundler.model.revision import Who
from bundler.publish import published
from bundler.publish.pack import pack
from bundler.publish.published import PublishedRelease
from bundler.publish.push import push
from bundler.publish.replaced import MAX_RECORD_BYTES, replacements
from bundler.publish.replacement import Replacing, kept_as, replace
from tests.fakes import shop
from tests.fakes.registry import InMemoryRegistry, artifact, referrer

PLACE = Repository("oci", "registry.example.com/deploy/shop")
SCHEMAS = DocumentSchemas()
REPLACING = Replacing(
    "a wrong commit", Who(claimed="anna"), lambda: "2026-01-02T03:04:05Z", lambda *_: True
)


def bundle(content: str, profile: Profile = "oci") -> Artifact:
    project = shop.project()
    [environment] = project.environments.values()
    target = RenderedTarget(environment, environment.targets[0], ())
    rendered = RenderedBundle(shop.lock(project), (target,), {"kustomize": "v5.8.2"})
    files = {"stage/default/30-workloads.yaml": content.encode()}
    return pack(project, ValidatedBundle(rendered, files, {environment.name: "1.34"}), profile)


FORMER, LATTER = bundle("former"), bundle("latter")


def existing(registry: InMemoryRegistry, version: str = "v1.0.0") -> PublishedRelease:
    found = published.find(registry, PLACE, version, SCHEMAS)
    assert found is not None
    return found


def recorded(registry: InMemoryRegistry, digest: Digest = LATTER.digest) -> list[Replacement]:
    return list(replacements(registry, PLACE, digest, SCHEMAS))


class Breaking(InMemoryRegistry):
    """Breaks off at one write, before or after it was done; `wrote` names all that were done."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote: list[str] = []
        self.at: int | None = None
        self.is_done = False
        self._writes: Iterator[int] = count()

    def _write(self, name: str, write: Callable[[], None]) -> None:
        breaks = next(self._writes) == self.at
        if breaks and not self.is_done:
            raise Unreachable("registry.example.com does not answer")
        write()
        self.wrote.append(name)
        if breaks:
            raise Unreachable("registry.example.com does not answer")

    def push(self, repository: Repository, artifact: Artifact) -> None:
        kind = json.loads(artifact.manifest.content).get("artifactType")
        name = "record" if kind == REPLACEMENT else "bundle"
        self._write(name, lambda: super(Breaking, self).push(repository, artifact))

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        self._write("kept", lambda: super(Breaking, self).put_manifest(repository, manifest, tag))

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        self._write(
            "version", lambda: super(Breaking, self).tag(repository, artifact, tag, replaces)
        )


@pytest.fixture
def registry() -> Breaking:
    registry = Breaking()
    push(registry, PLACE, FORMER, "v1.0.0")
    registry.wrote.clear()
    registry._writes = count()
    return registry


@pytest.mark.requirement("B-82", "B-83")
def test_the_version_moves_last_when_all_else_is_there(registry: Breaking) -> None:
    reference = replace(registry, existing(registry), LATTER, REPLACING)
    assert str(reference) == f"{PLACE}:v1.0.0@{LATTER.digest}"
    assert registry.wrote == ["bundle", "kept", "record", "version"]
    assert registry.resolve(PLACE, "v1.0.0") == LATTER.digest
    assert registry.resolve(PLACE, kept_as(FORMER.digest)) == FORMER.digest
    assert recorded(registry) == [
        Replacement(
            "v1.0.0",
            FORMER.digest,
            "a" * 40,
            "a wrong commit",
            Who(claimed="anna"),
            "2026-01-02T03:04:05Z",
        )
    ]


@pytest.mark.requirement("B-82", "B-83")
@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("at", range(4))
def test_broken_off_anywhere_the_version_is_one_or_the_other_and_again_it_completes(
    registry: Breaking, at: int, is_done: bool
) -> None:
    registry.at, registry.is_done = at, is_done
    with pytest.raises(Unreachable):
        replace(registry, existing(registry), LATTER, REPLACING)
    has_moved = at == 3 and is_done
    now = LATTER.digest if has_moved else FORMER.digest
    assert registry.resolve(PLACE, "v1.0.0") == now
    if has_moved:
        assert recorded(registry)
    else:
        replace(registry, existing(registry), LATTER, REPLACING)
        assert registry.resolve(PLACE, "v1.0.0") == LATTER.digest
    assert {each.digest for each in recorded(registry)} == {FORMER.digest}


@pytest.mark.requirement("B-82")
def test_what_another_published_meanwhile_is_not_replaced(registry: Breaking) -> None:
    seen = existing(registry)
    registry.put(PLACE, bundle("another"), "v1.0.0")
    with pytest.raises(VersionExists):
        replace(registry, seen, LATTER, REPLACING)
    assert registry.resolve(PLACE, "v1.0.0") == bundle("another").digest


@pytest.mark.requirement("B-82")
def test_a_version_may_be_replaced_again_and_back(registry: Breaking) -> None:
    replace(registry, existing(registry), LATTER, REPLACING)
    replace(registry, existing(registry), FORMER, REPLACING)
    assert registry.resolve(PLACE, "v1.0.0") == FORMER.digest
    assert [each.digest for each in recorded(registry, FORMER.digest)] == [LATTER.digest]
    assert [each.digest for each in recorded(registry, LATTER.digest)] == [FORMER.digest]


@pytest.mark.requirement("B-82", "B-87")
def test_the_record_has_the_profile_of_the_bundle(registry: Breaking) -> None:
    compat = bundle("latter", "compat")
    replace(registry, existing(registry), compat, REPLACING)
    [found] = registry.referrers(PLACE, compat.digest)
    manifest = json.loads(registry.manifest(PLACE, found.digest))
    assert "artifactType" not in manifest
    assert ".image." in manifest["config"]["mediaType"]
    assert [each.digest for each in recorded(registry, compat.digest)] == [FORMER.digest]


def test_what_others_wrote_beside_it_is_left_out(registry: Breaking) -> None:
    replace(registry, existing(registry), LATTER, REPLACING)
    subject = LATTER.manifest.descriptor
    registry.put(PLACE, referrer(subject, b"signed"))
    registry.put(PLACE, record_like(subject, b"no JSON"))
    registry.put(PLACE, record_like(subject, b'{"kind":"Replacement"}'))
    registry.put(PLACE, record_like(subject, b"[" * 100_000))
    registry.put(PLACE, record_like(subject, b" " * (MAX_RECORD_BYTES + 1)))
    registry.put(PLACE, record_like(subject, b"{}", annotations={"x": "x" * MAX_RECORD_BYTES}))
    gone = record_like(subject, b'{"gone":1}')
    registry.put(PLACE, gone)
    del registry.blobs[PLACE, gone.config.descriptor.digest]
    assert len(recorded(registry)) == 1


def record_like(subject: Descriptor, content: bytes, **fields: object) -> Artifact:
    config = Blob.of(REPLACEMENT, content)
    return artifact(config, (), artifactType=REPLACEMENT, subject=subject.as_dict(), **fields)


def test_a_version_that_is_gone_is_not_set_again(registry: Breaking) -> None:
    seen = existing(registry)
    del registry._tags[PLACE]["v1.0.0"]
    with pytest.raises(Refused, match="not there any more"):
        replace(registry, seen, LATTER, REPLACING)
    assert registry.resolve(PLACE, "v1.0.0") is None
