"""Files of a bundle that SOPS encrypted: kept as they are, or refused for what they are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.pull import pull
from bundler.deploy.verify import verify
from bundler.errors import VerificationFailed
from bundler.manifests import write_documents
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle, VerifiedBundle
from bundler.model.lock import ImageLock
from bundler.model.objects import OWNER, ObjectRef
from bundler.model.project import Environment, Lookup, Project, Target
from bundler.model.reference import ArtifactReference, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.pack import pack
from tests.fakes.registry import InMemoryRegistry

PLACE = Repository("oci", "deploy.example.com/shop")
TARGET = Target("default", "shop", "overlays/stage")
STAGE = Environment("stage", (TARGET,))
PROJECT = Project("shop", {}, {}, {"stage": STAGE}, PLACE, Lookup({}))
CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
FILE = "stage/default/10-configuration.sops/shop.db.yaml"

Object = dict[str, Any]


def secret(**changed: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db"},
        "stringData": {"user": CIPHER},
        "sops": {"mac": CIPHER, "lastmodified": "2026-01-01T00:00:00Z"},
    } | changed


def verified(files: Mapping[str, bytes]) -> VerifiedBundle:
    revision = SourceRevision(ReleaseTag("v1.0.0"), "c" * 40, 1_700_000_000)
    texts = {ObjectRef("", "Secret", "shop", "db"): files.get(FILE, b"")}
    rendered = RenderedBundle(
        ImageLock(revision, {}, {}), (RenderedTarget(STAGE, TARGET, (), texts),), {}
    )
    artifact = pack(PROJECT, ValidatedBundle(rendered, files, {"stage": "1.36"}))
    registry = InMemoryRegistry()
    registry.push(PLACE, artifact)
    registry.tag(PLACE, artifact, "v1.0.0")
    return verify(pull(registry, ArtifactReference(PLACE, "v1.0.0"), DocumentSchemas()))


@pytest.mark.requirement("C-24")
def test_an_encrypted_document_is_kept_byte_for_byte() -> None:
    content = b"# ours\n" + write_documents([secret()])
    bundle = verified({FILE: content})
    [document] = bundle.encrypted["stage", "default"]
    assert (document.file, document.content) == (FILE, content)
    assert document.document == secret()
    assert bundle.objects == {("stage", "default"): ()}
    assert bundle.release.value["requires"] == ["sops"]


@pytest.mark.parametrize(
    ("documents", "rule"),
    [
        ([secret(kind="ConfigMap")], "not-an-object"),
        ([secret(kind="List", items=[])], "not-an-object"),
        ([secret(apiVersion="example.com/v1")], "not-an-object"),
        ([secret(metadata=None)], "not-an-object"),
        ([secret(metadata=["name"])], "not-an-object"),
        ([secret(metadata={})], "not-an-object"),
        ([secret(metadata={"name": {"a": "b"}})], "not-an-object"),
        ([secret(metadata={"name": "db", "namespace": ["shop"]})], "not-an-object"),
        ([secret(metadata={"name": "db", "annotations": ["a"]})], "not-an-object"),
        ([secret(metadata={"name": "db", "labels": "a"})], "not-an-object"),
        ([secret(), secret(metadata={"name": "other"})], "wrong-owner"),
        ([secret(sops={"mac": CIPHER})], "wrong-owner"),
        ([], None),
    ],
)
def test_what_is_no_encrypted_secret_of_its_own_is_refused(
    documents: list[Object], rule: str | None
) -> None:
    if rule is None:
        assert not verified({FILE: write_documents(documents)}).encrypted["stage", "default"]
        return
    with pytest.raises(VerificationFailed) as caught:
        verified({FILE: write_documents(documents)})
    assert {finding.rule for finding in caught.value.findings} == {rule}


def test_beside_it_other_files_are_objects() -> None:
    annotations = {OWNER: "shop/stage/default"}
    metadata = {"name": "c", "namespace": "shop", "annotations": annotations}
    config = secret(kind="ConfigMap", metadata=metadata)
    del config["sops"], config["stringData"]
    files = {"stage/default/10-configuration.yaml": write_documents([config])}
    bundle = verified({FILE: write_documents([secret()]), **files})
    assert bundle.objects["stage", "default"] == (config,)
    assert len(bundle.encrypted["stage", "default"]) == 1
