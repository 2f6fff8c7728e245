"""The generated roles: each grants what is needed somewhere, and nothing is needed besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bundler.deploy.permissions import helpful_needs, later_needs, required_needs
from bundler.deploy.plan import Wanted
from bundler.deploy.role import Grant, grant, subject, usual_plural, wanted_in
from bundler.model.sops import EncryptedDocument
from bundler.ports import Need
from tests.fakes.releases import (
    config_map,
    definition,
    deployment,
    job,
    made,
    namespace,
    release,
    secret,
)

RBAC = "rbac.authorization.k8s.io"
READS = {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "watch"]}
OBJECTS = [
    namespace(),
    definition("Zone", "example.com"),
    config_map("settings", colour="red"),
    secret("token", value="aGVsbG8="),
    deployment("cart"),
    job("migrate"),
    made("example.com/v1", "Zone", "north"),
    made("v1", "ConfigMap", "shared", namespace="other", data={}),
    made(f"{RBAC}/v1", "Role", "reader", rules=[READS]),
    made(
        f"{RBAC}/v1", "RoleBinding", "reader",
        roleRef={"apiGroup": RBAC, "kind": "Role", "name": "reader"}, subjects=[],
    ),
]  # fmt: skip


def unknown(_group: str, _kind: str) -> str | None:
    return None


def wanted(objects: Any = OBJECTS) -> Wanted:
    return wanted_in(release("v1.0.0", objects), "stage", "default", None)


def rules(found: Grant, namespace: str) -> list[Mapping[str, Any]]:
    return [
        rule
        for obj in found.objects
        if obj["kind"] in ("Role", "ClusterRole")
        and obj["metadata"].get("namespace", "") == namespace
        for rule in obj["rules"]
    ]


def grants(found: Grant, need: Need, plural: str) -> bool:
    return any(
        need.verb in rule["verbs"]
        and need.group in rule["apiGroups"]
        and plural in rule["resources"]
        and (not rule.get("resourceNames") or need.name in rule["resourceNames"])
        for rule in rules(found, need.namespace)
    )


def given(found: Grant) -> Iterator[Need]:
    """All that is granted, in words of needs; kinds are plurals."""
    for obj in found.objects:
        for rule in obj.get("rules", ()):
            for group in rule["apiGroups"]:
                for plural in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", [""]):
                            where = obj["metadata"].get("namespace", "")
                            yield Need(verb, group, plural, where, name)


def test_the_roles_grant_all_that_is_needed_now_and_later() -> None:
    found = grant(wanted(), "deployer", unknown)
    needs = {*required_needs(wanted(), ()), *helpful_needs(wanted()), *later_needs(wanted())}
    assert [need for need in needs if not grants(found, need, usual_plural(need.kind))] == []


def test_the_roles_grant_nothing_that_is_not_needed() -> None:
    needs = {*required_needs(wanted(), ()), *helpful_needs(wanted()), *later_needs(wanted())}
    known = {each._replace(kind=usual_plural(each.kind)) for each in needs}
    assert {str(each) for each in set(given(grant(wanted(), "deployer", unknown))) - known} == {
        "get pods/log in namespace shop",
        "get namespaces kube-system",
        "list horizontalpodautoscalers.autoscaling in namespace shop",
        "bind roles.rbac.authorization.k8s.io reader in namespace shop",
        "get endpoints in namespace shop",
        "watch endpoints in namespace shop",
    }


def test_what_is_of_the_whole_cluster_is_named_object_by_object() -> None:
    found = rules(grant(wanted(), "deployer", unknown), "")
    assert {
        (plural, name)
        for rule in found
        for plural in rule["resources"]
        for name in rule.get("resourceNames", ["all"])
        if {"get", "patch", "delete"} & set(rule["verbs"])
    } == {
        ("namespaces", "kube-system"), ("namespaces", "shop"),
        ("customresourcedefinitions", "zones.example.com"),
    }  # fmt: skip


def test_nothing_is_deleted_that_never_is() -> None:
    deleted = {each.kind for each in given(grant(wanted(), "d", unknown)) if each.verb == "delete"}
    assert not deleted & {"namespaces", "customresourcedefinitions"}


def test_the_names_of_custom_kinds_come_from_definitions_then_a_cluster_then_a_guess() -> None:
    other = made("example.com/v1", "Policy", "one")
    defined = grant(wanted(), "deployer", unknown)
    assert defined.remarks == ()
    asked = grant(wanted([other]), "deployer", lambda _group, _kind: "policydocuments")
    assert "policydocuments" in {each.kind for each in given(asked)}
    assert asked.remarks == ()
    guessed = grant(wanted([other]), "deployer", unknown)
    assert "policies" in {each.kind for each in given(guessed)}
    assert "policies.example.com" in guessed.remarks[0]


def test_an_encrypted_secret_counts_as_the_secret_that_it_will_be() -> None:
    bundle = release("v1.0.0", [])
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}}
    sealed = EncryptedDocument("stage/default/token.yaml", b"", document)
    bundle.encrypted["stage", "default"] = (sealed,)  # type: ignore[index]
    found = grant(wanted_in(bundle, "stage", "default", None), "deployer", unknown)
    assert Need("patch", "", "secrets", "shop") in set(given(found))


def test_declared_pull_secrets_may_be_looked_for_by_name() -> None:
    account = made("v1", "ServiceAccount", "runner", imagePullSecrets=[{"name": "pull"}])
    assert Need("get", "", "secrets", "shop", "pull") in set(
        given(grant(wanted([account]), "deployer", unknown))
    )


def test_the_state_may_lie_elsewhere() -> None:
    place = wanted_in(release("v1.0.0", [config_map("a")]), "stage", "default", "bundler")
    found = grant(place, "deployer", unknown)
    assert {obj["metadata"].get("namespace") for obj in found.objects} == {None, "bundler", "shop"}
    assert "leases" not in {p for rule in rules(found, "shop") for p in rule["resources"]}


def test_roles_are_bound_where_there_are_subjects() -> None:
    found = grant(wanted(), "deployer", unknown, [subject("serviceaccount:ci/cd")])
    bindings = [obj for obj in found.objects if obj["kind"].endswith("Binding")]
    assert [(each["kind"], each["metadata"].get("namespace")) for each in bindings] == [
        ("ClusterRoleBinding", None), ("RoleBinding", "other"), ("RoleBinding", "shop"),
    ]  # fmt: skip
    assert bindings[1]["roleRef"] == {"apiGroup": RBAC, "kind": "Role", "name": "deployer"}
    assert bindings[1]["subjects"] == [{"kind": "ServiceAccount", "namespace": "ci", "name": "cd"}]


@pytest.mark.parametrize(
    ("text", "kind"), [("user:ci@example.com", "User"), ("group:system:cd", "Group")]
)
def test_subjects_are_users_and_groups_too(text: str, kind: str) -> None:
    assert subject(text) == {"apiGroup": RBAC, "kind": kind, "name": text.partition(":")[2]}


@pytest.mark.parametrize("text", ["", "ci", "user:", "serviceaccount:ci", "role:x"])
def test_anything_else_is_no_subject(text: str) -> None:
    with pytest.raises(ValueError, match="no subject"):
        subject(text)


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("NetworkPolicy", "networkpolicies"), ("Ingress", "ingresses"), ("Gateway", "gateways"),
        ("Endpoints", "endpoints"), ("StorageClass", "storageclasses"), ("Deployment",
        "deployments"), ("Patch", "patches"), ("Box", "boxes"),
    ],
)  # fmt: skip
def test_plurals_are_made_as_kubernetes_makes_them(kind: str, plural: str) -> None:
    assert usual_plural(kind) == plural
