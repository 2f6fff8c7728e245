"""What leaves a target's namespace is looked at again when a bundle is applied."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.pull import PulledBundle, pull
from bundler.deploy.verify import verify
from bundler.errors import VerificationFailed
from bundler.manifests import write_documents
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.lock import ImageLock
from bundler.model.objects import OWNER
from bundler.model.project import Allowed, Environment, Lookup, Project, Target
from bundler.model.reference import ArtifactReference, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.pack import pack
from tests.fakes.registry import InMemoryRegistry

PLACE = Repository("oci", "deploy.example.com/shop")
TARGET = Target("default", "shop", "overlays/stage")
ALLOWED = Allowed(frozenset({"monitoring"}), frozenset({"ClusterRole"}))
FILE = "stage/default/30-workloads.yaml"

Object = dict[str, Any]


def made(kind: str, namespace: str | None = "shop", **rest: Any) -> Object:
    where = {"namespace": namespace} if namespace else {}
    metadata = {"name": "x", **where, "annotations": {OWNER: "shop/stage/default"}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}


OWN_NAMESPACE = made("Namespace", None)
OWN_NAMESPACE["metadata"]["name"] = "shop"


def pulled(*objects: Object) -> PulledBundle:
    """A release with these objects, by whoever has written it."""
    revision = SourceRevision(ReleaseTag("v1.0.0"), "c" * 40, 1_700_000_000)
    stage = Environment("stage", (TARGET,), allowed=ALLOWED)
    project = Project("shop", {}, {}, {"stage": stage}, PLACE, Lookup({}))
    rendered = RenderedBundle(ImageLock(revision, {}, {}), (RenderedTarget(stage, TARGET, ()),), {})
    files = {FILE: write_documents(objects)}
    artifact = pack(project, ValidatedBundle(rendered, files, {"stage": "1.36"}))
    registry = InMemoryRegistry()
    registry.push(PLACE, artifact)
    registry.tag(PLACE, artifact, "v1.0.0")
    return pull(registry, ArtifactReference(PLACE, "v1.0.0"), DocumentSchemas())


@pytest.mark.requirement("C-31")
def test_what_the_release_allows_is_taken() -> None:
    allowed = (
        made("ConfigMap"),
        made("ConfigMap", "monitoring"),
        made("ClusterRole", None),
        OWN_NAMESPACE,
    )
    assert verify(pulled(*allowed)).objects["stage", "default"] == allowed


@pytest.mark.requirement("C-31")
@pytest.mark.parametrize(
    ("obj", "rule"),
    [
        (made("ConfigMap", "kube-system"), "namespace-escape"),
        (made("ConfigMap", None), "cluster-scoped"),
        (made("ClusterRoleBinding", None), "cluster-scoped"),
        (made("Namespace", None), "cluster-scoped"),
        (made("ConfigMapList", items=[made("ConfigMap", "kube-system")]), "not-an-object"),
        (made("List", items=[made("ConfigMap", "kube-system")]), "not-an-object"),
    ],
)
def test_what_it_does_not_allow_is_refused(obj: Object, rule: str) -> None:
    with pytest.raises(VerificationFailed) as caught:
        verify(pulled(made("ConfigMap"), obj))
    assert [finding.rule for finding in caught.value.findings] == [rule]


def test_a_release_from_before_it_said_what_is_allowed_is_taken_as_it_is() -> None:
    bundle = pulled(made("ConfigMap", "monitoring"), made("ClusterRole", None))
    environment: dict[str, Any] = bundle.release.value["environments"]["stage"]  # type: ignore[index]
    del environment["allow"]
    assert len(verify(bundle).objects["stage", "default"]) == 2
