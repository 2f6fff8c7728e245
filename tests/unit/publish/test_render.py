from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import CouldNotCheck, ImagesMissing, NotFound, RenderFailed
from bundler.manifests import read_documents
from bundler.model.bundle import RenderedBundle
from bundler.model.objects import WEIGHT, ObjectRef, Step
from bundler.model.project import Allowed, Environment, Target
from bundler.model.reference import Digest, ImageReference
from bundler.publish.images import images_of
from bundler.publish.render import files, render
from tests.fakes.renderer import FolderRenderer, folder_renderers, write_overlay
from tests.fakes.shop import (
    REDIS,
    REDIS_DIGEST,
    commit_of,
    deployment,
    environment,
    lock,
    obj,
    pinned,
    project,
    resolve_external,
)

NEWEST = "1.36"
CART = deployment("cart", "cart", REDIS)
ORDERS = deployment("orders", "registry.example.com/shop/orders")


def rendered(
    tree: Path, *objects: dict[str, Any], env: Environment | None = None
) -> RenderedBundle:
    """Objects in one environment's overlay, beside two well-formed workloads."""
    env = env or environment()
    write_overlay(tree, f"overlays/{env.name}", CART, ORDERS, *objects)
    shop = project(env)
    return render(shop, lock(shop), tree, folder_renderers(), resolve_external, NEWEST)


def only(bundle: RenderedBundle, kind: str, name: str) -> Any:
    return next(
        obj
        for obj in bundle.targets[0].objects
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name)
    )


@pytest.mark.requirement("B-60", "B-65")
def test_services_and_external_images_end_in_digests(tmp_path: Path) -> None:
    bundle = rendered(tmp_path)
    images = [use.image for use in images_of(only(bundle, "Deployment", "cart"))]
    assert images == [pinned("cart"), f"{REDIS}@{REDIS_DIGEST}"]
    assert bundle.lock.external == {REDIS: REDIS_DIGEST}
    assert bundle.findings == ()
    assert bundle.renderers == {"folders": "v1.0.0"}


@pytest.mark.requirement("B-67")
def test_the_overlay_is_not_modified(tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/stage", CART, ORDERS)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    rendered(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.requirement("D-09", "D-10")
def test_objects_carry_labels_and_owner_on_their_own_metadata_only(tmp_path: Path) -> None:
    cart = only(rendered(tmp_path), "Deployment", "cart")
    assert cart["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "bundler",
        "release-bundler/environment": "stage",
        "release-bundler/commit": commit_of("cart"),
    }
    assert cart["metadata"]["annotations"] == {"release-bundler/owner": "shop/stage/default"}
    assert cart["spec"]["selector"] == CART["spec"]["selector"]
    assert cart["spec"]["template"]["metadata"] == CART["spec"]["template"]["metadata"]


@pytest.mark.requirement("D-09")
def test_no_label_or_annotation_names_the_release(tmp_path: Path) -> None:
    for obj_ in rendered(tmp_path, obj("v1", "ConfigMap", "c")).targets[0].objects:
        metadata = str({k: v for k, v in obj_["metadata"].items() if k != "name"})
        assert "v1.0.0" not in metadata
        assert "sha256" not in metadata


def test_an_object_without_a_namespace_gets_the_targets(tmp_path: Path) -> None:
    bundle = rendered(tmp_path, obj("v1", "ConfigMap", "c"), obj("v1", "Namespace", "shop"))
    assert only(bundle, "ConfigMap", "c")["metadata"]["namespace"] == "shop"
    assert "namespace" not in only(bundle, "Namespace", "shop")["metadata"]
    assert bundle.findings == ()


def test_what_kubectl_remembers_of_its_last_apply_is_dropped(tmp_path: Path) -> None:
    last = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}
    config = only(
        rendered(tmp_path, obj("v1", "ConfigMap", "c", metadata={"annotations": last})),
        "ConfigMap",
        "c",
    )
    assert set(config["metadata"]["annotations"]) == {"a", "release-bundler/owner"}


@pytest.mark.parametrize(
    ("allowed", "rules"),
    [
        (Allowed(), ["cluster-scoped", "namespace-escape"]),
        (Allowed(frozenset({"other"}), frozenset({"ClusterRole"})), []),
    ],
)
def test_what_leaves_the_namespace_must_be_allowed(
    tmp_path: Path, allowed: Allowed, rules: list[str]
) -> None:
    bundle = rendered(
        tmp_path,
        obj("v1", "ConfigMap", "c", metadata={"namespace": "other"}),
        obj("rbac.authorization.k8s.io/v1", "ClusterRole", "r"),
        env=environment(allowed=allowed),
    )
    assert sorted(finding.rule for finding in bundle.findings) == rules
    assert all(finding.severity == "error" and finding.file for finding in bundle.findings)


def test_another_namespace_object_must_be_allowed(tmp_path: Path) -> None:
    (finding,) = rendered(tmp_path, obj("v1", "Namespace", "other")).findings
    assert (finding.rule, finding.object) == ("cluster-scoped", "Namespace/other")


def test_a_kind_that_the_bundle_defines_as_cluster_scoped_has_no_namespace(tmp_path: Path) -> None:
    spec = {"group": "example.com", "scope": "Cluster", "names": {"kind": "Zone"}}
    name = "CustomResourceDefinition"
    bundle = rendered(
        tmp_path,
        obj("apiextensions.k8s.io/v1", name, "zones.example.com", spec=spec),
        obj("example.com/v1", "Zone", "z"),
        env=environment(allowed=Allowed(frozenset(), frozenset({name, "Zone"}))),
    )
    assert "namespace" not in only(bundle, "Zone", "z")["metadata"]
    assert bundle.findings == ()


def test_a_cluster_scoped_object_loses_the_namespace_that_kustomize_gave_it(
    tmp_path: Path,
) -> None:
    bundle = rendered(
        tmp_path,
        obj("rbac.authorization.k8s.io/v1", "ClusterRole", "r", metadata={"namespace": "shop"}),
        obj("cert-manager.io/v1", "ClusterIssuer", "i", metadata={"namespace": "elsewhere"}),
        env=environment(allowed=Allowed(frozenset(), frozenset({"ClusterRole", "ClusterIssuer"}))),
    )
    assert "namespace" not in only(bundle, "ClusterRole", "r")["metadata"]
    assert "namespace" not in only(bundle, "ClusterIssuer", "i")["metadata"]
    assert bundle.findings == ()


def test_an_object_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    (finding,) = rendered(
        tmp_path,
        obj("v1", "ConfigMap", "c"),
        obj("v1", "ConfigMap", "c", metadata={"namespace": "shop"}),
    ).findings
    assert (finding.rule, finding.object) == ("duplicate-object", "ConfigMap/shop/c")


@pytest.mark.parametrize(
    ("document", "rule", "message"),
    [
        ({"kind": "ConfigMap", "metadata": {"name": "c"}}, "no-object", "apiVersion is missing"),
        ({"apiVersion": "v1", "metadata": {"name": "c"}}, "no-object", "kind is missing"),
        ({"apiVersion": "v1", "kind": "A", "metadata": {"x": 1}}, "no-object", "no metadata.name"),
        ({"apiVersion": "v1", "kind": "A", "metadata": [1]}, "no-object", "not a mapping"),
        (
            {"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "labels": [1]}},
            "no-object",
            "labels is not a mapping",
        ),
        (
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "x-"}},
            "generate-name",
            "each apply would make another",
        ),
    ],
)
def test_a_document_that_cannot_be_applied_is_an_error(
    tmp_path: Path, document: dict[str, Any], rule: str, message: str
) -> None:
    (finding,) = rendered(tmp_path, document).findings
    assert (finding.rule, finding.environment) == (rule, "stage/default")
    assert message in finding.message


def test_an_overlay_without_objects_is_an_error(tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/stage")
    shop = project(services=())
    bundle = render(shop, lock(shop), tmp_path, folder_renderers(), resolve_external, NEWEST)
    assert [finding.rule for finding in bundle.findings] == ["empty-render"]


def test_lists_are_taken_apart(tmp_path: Path) -> None:
    items = [obj("v1", "ConfigMap", "a"), obj("v1", "ConfigMap", "b")]
    bundle = rendered(tmp_path, {"apiVersion": "v1", "kind": "List", "items": items})
    assert only(bundle, "ConfigMap", "b")["metadata"]["namespace"] == "shop"
    assert bundle.findings == ()


@pytest.mark.requirement("B-71")
def test_overlays_that_do_not_build_are_told_together(tmp_path: Path) -> None:
    shop = project(environment("dev"), environment("stage"), environment("prod"))
    write_overlay(tmp_path, "overlays/stage", CART, ORDERS)
    with pytest.raises(RenderFailed) as caught:
        render(shop, lock(shop), tmp_path, folder_renderers(), resolve_external, NEWEST)
    assert [finding.environment for finding in caught.value.findings] == [
        "dev/default",
        "prod/default",
    ]
    assert "2 of 3 overlays" in caught.value.message


def test_targets_that_differ_in_namespace_only_share_a_render(tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/prod", CART, ORDERS)
    targets = [Target(name, f"shop-{name}", "overlays/prod") for name in ("eu", "us")]
    shop = project(environment("prod", *targets))
    renderer = FolderRenderer()
    bundle = render(
        shop, lock(shop), tmp_path, folder_renderers(renderer), resolve_external, NEWEST
    )
    assert renderer.overlays == ["overlays/prod"]
    assert [target.place for target in bundle.targets] == ["prod/eu", "prod/us"]
    for target in bundle.targets:
        namespaces = {ObjectRef.of(obj).namespace for obj in target.objects}
        assert namespaces == {target.target.namespace}


def test_an_external_image_is_asked_for_once(tmp_path: Path) -> None:
    asked = []
    lock_ = threading.Lock()

    def resolve(image: ImageReference) -> Digest:
        with lock_:
            asked.append(str(image))
        return REDIS_DIGEST

    for name in ("dev", "stage", "prod"):
        write_overlay(tmp_path, f"overlays/{name}", CART, ORDERS)
    shop = project(environment("dev", protected=False), environment(), environment("prod"))
    bundle = render(shop, lock(shop), tmp_path, folder_renderers(), resolve, NEWEST)
    assert asked == [REDIS]
    assert [(f.rule, f.environment) for f in bundle.findings] == [("mutable-tag", "dev/default")]


def test_a_digest_that_the_lock_has_is_taken_over(tmp_path: Path) -> None:
    def refuse(image: ImageReference) -> Digest:
        raise AssertionError(image)

    write_overlay(tmp_path, "overlays/stage", CART, ORDERS)
    shop = project()
    known = Digest.of(b"known")
    bundle = render(shop, lock(shop, {REDIS: known}), tmp_path, folder_renderers(), refuse, NEWEST)
    assert bundle.lock.external == {REDIS: known}


def test_external_images_that_do_not_exist_are_told_together(tmp_path: Path) -> None:
    def missing(image: ImageReference) -> Digest:
        raise NotFound(f"{image} is not there")

    other = "docker.io/library/redis:7.4.2"
    write_overlay(tmp_path, "overlays/stage", CART, deployment("orders", "orders", other))
    shop = project()
    with pytest.raises(ImagesMissing) as caught:
        render(shop, lock(shop), tmp_path, folder_renderers(), missing, NEWEST)
    assert [f.message for f in caught.value.findings] == [
        f"{REDIS} is not there",
        f"{other} is not there",
    ]


def test_a_registry_that_does_not_answer_is_not_a_missing_image(tmp_path: Path) -> None:
    def refuse(image: ImageReference) -> Digest:
        raise CouldNotCheck("403")

    write_overlay(tmp_path, "overlays/stage", CART, ORDERS)
    shop = project()
    with pytest.raises(CouldNotCheck):
        render(shop, lock(shop), tmp_path, folder_renderers(), refuse, NEWEST)


def test_files_follow_the_stages_and_hold_sorted_objects(tmp_path: Path) -> None:
    bundle = rendered(
        tmp_path,
        obj("v1", "Namespace", "shop"),
        obj("v1", "Service", "b"),
        obj("v1", "ConfigMap", "z"),
        obj("batch/v1", "Job", "migrate"),
    )
    content = files(bundle)
    names = {
        path: [document["metadata"]["name"] for document in read_documents(text)]
        for path, text in content.items()
    }
    assert names == {
        "stage/default/00-namespaces.yaml": ["shop"],
        "stage/default/10-configuration.yaml": ["z", "b"],
        "stage/default/20-jobs.yaml": ["migrate"],
        "stage/default/30-workloads.yaml": ["cart", "orders"],
    }


def test_the_workloads_of_later_services_wait_for_those_of_the_former(tmp_path: Path) -> None:
    own = obj("batch/v1", "Job", "own", spec=ORDERS["spec"])
    bundle = rendered(tmp_path, own, env=replace(environment(), order={"cart": 0, "orders": 2}))
    turns = {
        name: only(bundle, kind, name)["metadata"]["annotations"].get(WEIGHT)
        for kind, name in (("Deployment", "cart"), ("Deployment", "orders"), ("Job", "own"))
    }
    assert turns == {"cart": None, "orders": "2", "own": None}
    assert Step.of(only(bundle, "Deployment", "cart")) < Step.of(
        only(bundle, "Deployment", "orders")
    )


def test_a_weight_of_a_workloads_own_goes_before_its_services(tmp_path: Path) -> None:
    metadata = {**ORDERS["metadata"], "name": "early", "annotations": {WEIGHT: "-1"}}
    own = {**ORDERS, "metadata": metadata}
    bundle = rendered(tmp_path, own, env=replace(environment(), order={"orders": 2}))
    assert only(bundle, "Deployment", "early")["metadata"]["annotations"][WEIGHT] == "-1"


def test_the_order_of_an_overlays_resources_does_not_matter(tmp_path: Path) -> None:
    more = [obj("v1", "ConfigMap", name) for name in ("a", "b")]
    one = files(rendered(tmp_path / "1", *more))
    assert one == files(rendered(tmp_path / "2", *reversed(more)))
