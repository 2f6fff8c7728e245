"""What counts as the same release: source, lock and content; not what else was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.errors import VersionExists
from bundler.model.artifact import MANIFEST, RELEASE_CONFIG, RELEASE_DOCUMENT, Artifact, Blob
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.reference import Repository
from bundler.publish import published
from bundler.publish.pack import compact_json, pack
from tests.fakes import shop
from tests.fakes.registry import InMemoryRegistry

REGISTRY = Repository.parse("oci://registry.example.com/deploy/shop")
PROJECT = shop.project()
LOCK = shop.lock(PROJECT)
[STAGE] = PROJECT.environments.values()


def bundle(content: bytes = b"---\n", kustomize: str = "v5.8.2") -> ValidatedBundle:
    target = RenderedTarget(STAGE, STAGE.targets[0], ())
    rendered = RenderedBundle(LOCK, (target,), {"kustomize": kustomize})
    path = "stage/default/30-workloads.yaml"
    return ValidatedBundle(rendered, {path: content}, {"stage": "1.34"})


def rewritten(artifact: Artifact, change: Callable[[Any], None]) -> Artifact:
    """The artifact with another release document."""
    document = json.loads(artifact.config.content)
    change(document)
    content = compact_json(document)
    config = Blob.of(RELEASE_CONFIG, content)
    layers = (artifact.layers[0], Blob.of(RELEASE_DOCUMENT, content, title="release.json"))
    manifest = json.loads(artifact.manifest.content)
    manifest["config"] = config.descriptor.as_dict()
    manifest["layers"] = [layer.descriptor.as_dict() for layer in layers]
    return Artifact(Blob.of(MANIFEST, compact_json(manifest)), config, layers)


def compare(there: Artifact, made: ValidatedBundle) -> None:
    registry = InMemoryRegistry()
    registry.push(REGISTRY, there)
    registry.tag(REGISTRY, there, "v1.0.0")
    existing = published.find(registry, REGISTRY, "v1.0.0", DocumentSchemas())
    assert existing is not None
    published.refuse_other_source(existing, PROJECT, LOCK.revision)
    published.refuse_other_content(existing, made, pack(PROJECT, made))


@pytest.mark.requirement("B-81")
def test_the_same_content_is_unchanged_whatever_made_it() -> None:
    compare(pack(PROJECT, bundle(kustomize="v5.0.0")), bundle())


@pytest.mark.requirement("B-81")
def test_what_a_newer_version_recorded_besides_is_no_difference() -> None:
    def change(document: Any) -> None:
        document["services"]["cart"]["platform"] = "amd64"
        document["future"] = {"a": 1}

    compare(rewritten(pack(PROJECT, bundle()), change), bundle())


@pytest.mark.requirement("B-82")
def test_a_different_render_names_both_renderers() -> None:
    with pytest.raises(VersionExists) as raised:
        compare(pack(PROJECT, bundle(b"--- 1\n", kustomize="v5.0.0")), bundle())
    files, renderers = raised.value.findings
    assert files.file == "stage/default/30-workloads.yaml"
    assert (renderers.pointer, renderers.message) == (
        "/renderers/kustomize",
        "published with v5.0.0, now v5.8.2",
    )


@pytest.mark.requirement("B-82")
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda d: d.update(commit="b" * 40), "/commit"),
        (lambda d: d.update(project="other"), "/project"),
        (lambda d: d["services"].pop("cart"), "/services/cart"),
        (lambda d: d["services"].update(new=d["services"]["cart"]), "/services/new"),
        (lambda d: d["services"]["cart"].update(commit="b" * 40), "/services/cart/commit"),
        (
            lambda d: d["external"].update({"a/b:1": {"digest": f"sha256:{'0' * 64}"}}),
            "/external/a~1b:1",
        ),
    ],
)
def test_every_other_difference_is_refused_with_its_place(
    change: Callable[[Any], None], pointer: str
) -> None:
    with pytest.raises(VersionExists) as raised:
        compare(rewritten(pack(PROJECT, bundle()), change), bundle())
    assert [finding.pointer for finding in raised.value.findings] == [pointer]
