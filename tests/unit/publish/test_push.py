"""Pushing to registries that take everything, and to those that take images only."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bundler import bundles
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.errors import CouldNotCheck, VerificationFailed
from bundler.model.artifact import ARTIFACT_TYPE, IMAGE_CONFIG, Artifact, Profile
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.project import ApplySettings
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.publish.pack import pack, release_document
from bundler.publish.push import push
from tests.fakes import shop
from tests.fakes.registry import InMemoryRegistry

PLACE = Repository("oci", "registry.example.com/deploy/shop")


class ImagesOnly(InMemoryRegistry):
    """Takes the media types of images alone, as GitLab's registry does."""

    def push(self, repository: Repository, artifact: Artifact) -> None:
        manifest = json.loads(artifact.manifest.content)
        types = {manifest["config"]["mediaType"], *(x["mediaType"] for x in manifest["layers"])}
        known = all(".image." in media_type for media_type in types)
        if "artifactType" in manifest or not known:
            raise CouldNotCheck(
                "the registry does not do what is asked (HTTP 400 MANIFEST_INVALID)"
            )
        super().push(repository, artifact)


def bundle() -> ValidatedBundle:
    project = shop.project()
    environment = next(iter(project.environments.values()))
    target = RenderedTarget(environment, environment.targets[0], ())
    rendered = RenderedBundle(shop.lock(project), (target,), {"kustomize": "v5.8.2"})
    files = {"stage/default/30-workloads.yaml": b"kind: x\n"}
    return ValidatedBundle(rendered, files, {environment.name: "1.34"})


def packed(profile: Profile) -> Artifact:
    return pack(shop.project(), bundle(), profile)


@pytest.mark.requirement("B-87")
def test_a_registry_that_takes_images_only_is_answered_with_the_way_out() -> None:
    with pytest.raises(CouldNotCheck) as raised:
        push(ImagesOnly(), PLACE, packed("oci"), "v1.0.0")
    assert "--oci-profile compat" in str(raised.value.hint)


@pytest.mark.requirement("B-87")
def test_the_compat_profile_is_an_image_to_a_registry_and_a_bundle_to_us() -> None:
    registry = ImagesOnly()
    reference = push(registry, PLACE, packed("compat"), "v1.0.0")
    manifest = bundles.find(registry, reference)
    assert manifest.config.media_type == IMAGE_CONFIG
    document = bundles.release_document(registry, manifest, DocumentSchemas())
    usual = InMemoryRegistry()
    usual_manifest = bundles.find(usual, push(usual, PLACE, packed("oci"), "v1.0.0"))
    same = bundles.release_document(usual, usual_manifest, DocumentSchemas())
    image = document.value.keys() - same.value.keys()
    assert image == {"architecture", "os", "rootfs"}
    assert {key: document.value[key] for key in same.value} == same.value
    assert manifest.content == usual_manifest.content


def test_an_image_without_our_mark_is_no_bundle() -> None:
    manifest = json.loads(packed("compat").manifest.content)
    del manifest["annotations"][ARTIFACT_TYPE]
    with pytest.raises(VerificationFailed, match="not a release bundle"):
        bundles.parse_manifest(ArtifactReference(PLACE, "x"), json.dumps(manifest).encode())


def test_how_to_apply_is_recorded_only_where_the_project_says_it() -> None:
    silent = bundle()
    environment = silent.rendered.targets[0].environment
    said = replace(environment, applying=ApplySettings(90.0, "rollback"))
    documents = [
        release_document(shop.project(each), silent, Digest.of(b""))["environments"]
        for each in (environment, said)
    ]
    found = [each["stage"].get("apply") for each in documents]  # type: ignore[index]
    assert found == [None, {"timeout": 90.0, "onFailure": "rollback"}]
