"""How two targets differ, and who refers to what, on rendered objects."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.model.bundle import RenderedBundle, RenderedTarget
from bundler.model.differences import ABSENT, HIDDEN
from bundler.model.project import Environment, Target
from bundler.model.references import references
from bundler.model.versions import KEEP_VERSIONS
from bundler.publish.examine.comparing import Comparison, compare
from bundler.publish.examine.references import uses
from bundler.publish.versions import with_versions
from tests.fakes.shop import deployment, environment, lock, obj, pinned, pod_spec, project


def target(name: str, *objects: Any) -> RenderedTarget:
    place = Target(name, f"shop-{name}", "overlays/prod")
    return RenderedTarget(Environment("prod", (place,)), place, objects)


def compared(one: Any, other: Any) -> Comparison:
    return compare(target("eu", *one), target("us", *other))


def changes(comparison: Comparison) -> dict[str, tuple[Any, Any]]:
    return {
        f"{each.object} {field.path}": (field.one.value, field.other.value)
        for each in comparison.changed
        for field in each.fields
    }


def in_place(name: str, made: Any) -> Any:
    labels = {"release-bundler/environment": name, "release-bundler/commit": name * 3}
    metadata = {**made["metadata"], "namespace": f"shop-{name}", "labels": labels}
    metadata["annotations"] = {"release-bundler/owner": f"shop/prod/{name}"}
    return {**made, "metadata": metadata}


def test_a_deployment_that_keeps_versions_is_one_in_both_with_what_differs() -> None:
    def cart(name: str, image: str) -> Any:
        selector = {"matchLabels": {"app": "cart"}}
        pods = {"metadata": {"labels": {"app": "cart"}}, "spec": {"serviceAccountName": image}}
        spec = {"selector": selector, "template": pods}
        made = in_place(name, obj("apps/v1", "Deployment", "cart", spec=spec))
        made["metadata"]["annotations"] = {KEEP_VERSIONS: "1"}
        return made

    def all_of(name: str, image: str) -> Any:
        service = in_place(name, obj("v1", "Service", "cart", spec={"selector": {"app": "cart"}}))
        return with_versions([cart(name, image), service])

    assert changes(compared(all_of("eu", "one"), all_of("us", "other"))) == {
        "Deployment/cart spec.template.spec.serviceAccountName": ("one", "other")
    }


@pytest.mark.requirement("D-16")
def test_what_two_targets_cannot_share_is_no_difference() -> None:
    def all_of(name: str, hash_: str) -> list[Any]:
        settings = obj("v1", "ConfigMap", f"settings-{hash_}", data={"A": "1"})
        used = [{"configMapRef": {"name": f"settings-{hash_}"}}]
        cart = obj("apps/v1", "Deployment", "cart", spec={"envFrom": used})
        subjects = [{"kind": "ServiceAccount", "name": "cart", "namespace": f"shop-{name}"}]
        binding = obj("rbac.authorization.k8s.io/v1", "RoleBinding", "b", subjects=subjects)
        own = obj("v1", "Namespace", f"shop-{name}")
        return [own, *(in_place(name, each) for each in (settings, cart, binding))]

    found = compared(all_of("eu", "gmb5m2m5k9"), all_of("us", "bcdfghkmt2"))
    assert (found.only_in_one, found.only_in_other, found.changed) == ((), (), ())


def test_fields_are_told_by_name_with_both_values_in_order() -> None:
    one = deployment("cart", "a", "b")
    other = deployment("cart", "a", "c")
    one["spec"]["replicas"], other["spec"]["paused"] = 1, True
    one["spec"]["args"], other["spec"]["args"] = ["x", "y"], ["x", "z"]
    found = changes(compared([one], [other]))
    assert found == {
        "Deployment/cart spec.args": (["x", "y"], ["x", "z"]),
        "Deployment/cart spec.paused": (ABSENT, True),
        "Deployment/cart spec.replicas": (1, ABSENT),
        "Deployment/cart spec.template.spec.containers[c1].image": ("b", "c"),
    }
    assert list(found) == sorted(found)


def test_objects_of_one_side_alone_are_listed() -> None:
    found = compared([deployment("a", "x")], [deployment("b", "x"), obj("v1", "ConfigMap", "c")])
    assert list(map(str, found.only_in_one)) == ["Deployment/a"]
    assert list(map(str, found.only_in_other)) == ["ConfigMap/c", "Deployment/b"]


@pytest.mark.requirement("C-24")
def test_the_values_of_secrets_are_never_shown() -> None:
    one = obj("v1", "Secret", "s", data={"a": "b25l", "b": "x"}, stringData={"c": "one"})
    other = obj("v1", "Secret", "s", data={"a": "dHdv", "b": "x"})
    found = changes(compared([one], [other]))
    assert found == {
        "Secret/s data.a": (HIDDEN, HIDDEN),
        "Secret/s stringData": (HIDDEN, ABSENT),
    }


# --- who uses it --------------------------------------------------------------------------------

SOURCES = [{"secret": {"name": "keys"}}, {"configMap": {"name": "maps"}}]
SPEC = pod_spec(
    pinned("cart"),
    imagePullSecrets=[{"name": "pull"}],
    volumes=[
        {"name": "a", "configMap": {"name": "maps", "items": [{"key": "k", "path": "p"}]}},
        {"name": "b", "secret": {"secretName": "keys"}},
        {"name": "c", "projected": {"sources": SOURCES}},
    ],
)
SPEC["containers"][0] |= {
    "env": [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "url"}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "maps", "key": "x"}}},
    ],
    "envFrom": [{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "maps-gmb5m2m5k9"}}],
}
CART = obj("apps/v1", "Deployment", "cart", spec={"template": {"spec": SPEC}})
POD = "spec.template.spec"


@pytest.mark.requirement("C-22")
def test_every_way_to_refer_to_a_secret_or_config_map_is_known() -> None:
    found = {(each.path, each.kind, each.name, each.keys) for each in references(CART)}
    container = f"{POD}.containers[c0]"
    assert found == {
        (f"{container}.env[A].valueFrom.secretKeyRef", "Secret", "keys", frozenset({"url"})),
        (f"{container}.env[B].valueFrom.configMapKeyRef", "ConfigMap", "maps", frozenset({"x"})),
        (f"{container}.envFrom[0].secretRef", "Secret", "keys", None),
        (f"{container}.envFrom[1].configMapRef", "ConfigMap", "maps-gmb5m2m5k9", None),
        (f"{POD}.imagePullSecrets[0]", "Secret", "pull", None),
        (f"{POD}.volumes[a].configMap", "ConfigMap", "maps", frozenset({"k"})),
        (f"{POD}.volumes[b].secret", "Secret", "keys", None),
        (f"{POD}.volumes[c].projected.sources[0].secret", "Secret", "keys", None),
        (f"{POD}.volumes[c].projected.sources[1].configMap", "ConfigMap", "maps", None),
    }


@pytest.mark.parametrize(
    ("made", "path", "name"),
    [
        (
            obj("networking.k8s.io/v1", "Ingress", "i", spec={"tls": [{"secretName": "cert"}]}),
            "spec.tls[0].secretName",
            "cert",
        ),
        (obj("v1", "ServiceAccount", "s", secrets=[{"name": "token"}]), "secrets[0]", "token"),
        (
            obj("v1", "ServiceAccount", "s", imagePullSecrets=[{"name": "pull"}]),
            "imagePullSecrets[0]",
            "pull",
        ),
        (
            obj("argoproj.io/v1alpha1", "Rollout", "r", spec={"template": {"spec": {
                "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "keys"}}]}]}}}),
            "spec.template.spec.containers[c].envFrom[0].secretRef",
            "keys",
        ),
    ],
)  # fmt: skip
def test_other_kinds_refer_to_secrets_too(made: Any, path: str, name: str) -> None:
    [found] = references(made)
    assert (found.path, found.kind, found.name) == (path, "Secret", name)


@pytest.mark.requirement("C-22")
def test_uses_of_a_key_are_those_that_may_read_it_with_their_service() -> None:
    shop = project(environment())
    bundle = RenderedBundle(lock(shop), (target("eu", CART), target("us", CART)), {})
    found = uses(bundle, "maps", "x")
    paths = [each.reference.path.removeprefix(f"{POD}.") for each in found]
    assert paths == 2 * [
        "containers[c0].env[B].valueFrom.configMapKeyRef",
        "containers[c0].envFrom[1].configMapRef",
        "volumes[c].projected.sources[1].configMap",
    ]
    assert {(each.place, each.service) for each in found} == {
        ("prod/eu", "cart"),
        ("prod/us", "cart"),
    }
    assert uses(bundle, "map") == ()
