"""What an image must prove: its platforms, and the commit in its label."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.errors import CouldNotCheck
from bundler.model.artifact import DOCKER_INDEX, INDEX, MANIFEST, REVISION, Artifact, Blob
from bundler.model.project import RevisionLabel
from bundler.model.reference import Digest, Repository
from bundler.publish import image_checks
from tests.fakes.registry import InMemoryRegistry, image

PLACE = Repository("oci", "registry.example.com/shop/cart")
COMMIT = "c" * 40
CHECKED = RevisionLabel()


@pytest.fixture
def images() -> InMemoryRegistry:
    return InMemoryRegistry()


def put(images: InMemoryRegistry, document: object) -> Digest:
    """Store a manifest of our own making."""
    blob = Blob.of(MANIFEST, json.dumps(document).encode())
    images.push(PLACE, Artifact(blob, blob, ()))
    return blob.descriptor.digest


def put_index(
    images: InMemoryRegistry,
    platforms: dict[str, dict[str, str]],
    media_type: str = INDEX,
    **rest: Any,
) -> Digest:
    """An index of small images: platform → labels."""
    entries: list[dict[str, Any]] = []
    for platform, labels in platforms.items():
        child = image(platform, labels)
        images.push(PLACE, child)
        steps = platform.split("/")
        named = dict(zip(("os", "architecture", "variant"), steps, strict=False))
        entries.append(child.manifest.descriptor.as_dict() | {"platform": named})
    attestation = {"vnd.docker.reference.type": "attestation-manifest"}
    unknown = {"os": "unknown", "architecture": "unknown"}
    entries.append(entries[0] | {"platform": unknown, "annotations": attestation})
    return put(images, {"schemaVersion": 2, "mediaType": media_type, "manifests": entries, **rest})


def findings(
    images: InMemoryRegistry,
    digest: Digest,
    *platforms: str,
    label: RevisionLabel | None = None,
) -> list[tuple[str, str]]:
    found = image_checks.read(PLACE, digest, images)
    checked = image_checks.check(found, images, platforms, label, COMMIT)
    return [(finding.rule, finding.severity) for finding in checked]


@pytest.mark.requirement("B-53")
@pytest.mark.parametrize("media_type", [INDEX, DOCKER_INDEX])
def test_an_index_must_have_every_required_platform(
    images: InMemoryRegistry, media_type: str
) -> None:
    digest = put_index(images, {"linux/amd64": {}, "linux/arm64/v8": {}}, media_type)
    assert findings(images, digest, "linux/amd64", "linux/arm64") == []
    assert findings(images, digest, "linux/arm64/v9") == [("platform-missing", "error")]
    assert findings(images, digest, "linux/arm") == [("platform-missing", "error")]


@pytest.mark.requirement("B-53")
def test_what_is_missing_is_named_beside_what_is_there(images: InMemoryRegistry) -> None:
    digest = put_index(images, {"linux/amd64": {}})
    found = image_checks.read(PLACE, digest, images)
    [finding] = image_checks.check(found, images, ["linux/s390x", "linux/amd64", "windows/amd64"])
    assert finding.message == (
        f"{PLACE}@{digest} is for linux/amd64, not for linux/s390x, windows/amd64"
    )


@pytest.mark.requirement("B-53")
def test_an_image_without_an_index_has_the_platform_of_its_configuration(
    images: InMemoryRegistry,
) -> None:
    digest = images.put_image(PLACE, "x")
    assert findings(images, digest, "linux/amd64") == []
    assert findings(images, digest, "linux/arm64") == [("platform-missing", "error")]


@pytest.mark.requirement("B-54")
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (COMMIT, []),
        (COMMIT[:12].upper(), []),
        (COMMIT[:6], [("revision-mismatch", "error")]),
        ("d" * 40, [("revision-mismatch", "error")]),
        ("", [("revision-missing", "warning")]),
    ],
)
def test_the_label_must_name_the_commit(
    images: InMemoryRegistry, label: str, expected: list[tuple[str, str]]
) -> None:
    digest = images.put_image(PLACE, "x", labels={REVISION: label})
    assert findings(images, digest, label=CHECKED) == expected


@pytest.mark.requirement("B-54")
def test_the_label_of_each_required_platform_counts(images: InMemoryRegistry) -> None:
    labels = {"linux/amd64": {REVISION: COMMIT}, "linux/arm64": {REVISION: "d" * 40}}
    digest = put_index(images, labels)
    assert findings(images, digest, label=CHECKED) == []
    both = findings(images, digest, "linux/amd64", "linux/arm64", label=CHECKED)
    assert both == [("revision-mismatch", "error")]


@pytest.mark.requirement("B-54")
def test_an_annotation_of_the_manifest_says_it_too(images: InMemoryRegistry) -> None:
    digest = put_index(images, {"linux/amd64": {}}, annotations={REVISION: "d" * 40})
    assert findings(images, digest, label=CHECKED) == [("revision-mismatch", "error")]


@pytest.mark.requirement("B-54")
def test_the_policy_decides_how_grave_it_is(images: InMemoryRegistry) -> None:
    other = images.put_image(PLACE, "x", labels={REVISION: "d" * 40})
    assert findings(images, other, label=RevisionLabel("warning", "error")) == [
        ("revision-mismatch", "warning")
    ]
    none = images.put_image(PLACE, "y")
    assert findings(images, none, label=RevisionLabel("ignore", "error")) == [
        ("revision-missing", "error")
    ]
    images.requests.clear()
    assert findings(images, none, label=RevisionLabel("ignore", "ignore")) == []
    assert images.requests["blob"] == 0


def test_a_registry_that_has_not_what_it_named_contradicts_itself(
    images: InMemoryRegistry,
) -> None:
    with pytest.raises(CouldNotCheck, match="but does not have it"):
        image_checks.read(PLACE, Digest.of(b"never pushed"), images)


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 1, "fsLayers": []},
        {"config": "x"},
        {"config": {"mediaType": "x", "digest": "sha256:../..", "size": 2}},
        {"config": {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": -1}},
        {"config": {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 2**40}},
        {"config": {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 2}},
        {"manifests": [{"digest": 3}]},
        {"manifests": [{"platform": "linux", "digest": f"sha256:{'0' * 64}"}]},
        {"manifests": "none"},
        ["a list"],
    ],
)
def test_a_manifest_that_makes_no_sense_could_not_be_checked(
    images: InMemoryRegistry, document: object
) -> None:
    digest = put(images, document)
    with pytest.raises(CouldNotCheck):
        findings(images, digest, "linux/amd64", label=CHECKED)


@pytest.mark.parametrize("config", [b"", b"[]", b'{"config": []}', b'{"config": {"Labels": 3}}'])
def test_a_configuration_without_labels_has_none(images: InMemoryRegistry, config: bytes) -> None:
    blob = Blob.of("application/json", config)
    manifest = Blob.of(MANIFEST, json.dumps({"config": blob.descriptor.as_dict()}).encode())
    images.push(PLACE, Artifact(manifest, blob, ()))
    digest = manifest.descriptor.digest
    if config.startswith(b"{"):
        assert findings(images, digest, label=CHECKED) == [("revision-missing", "warning")]
    else:
        with pytest.raises(CouldNotCheck):
            findings(images, digest, label=CHECKED)


def test_an_index_of_indexes_ends_there(images: InMemoryRegistry) -> None:
    inner = put_index(images, {"linux/amd64": {REVISION: COMMIT}})
    size = len(images.manifest(PLACE, inner))
    entry = {"mediaType": INDEX, "digest": str(inner), "size": size}
    outer = put(images, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    assert findings(images, outer, label=CHECKED) == [("revision-missing", "warning")]
