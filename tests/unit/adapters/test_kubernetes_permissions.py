"""What an account may do, asked of a server in as few questions as there can be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster.connection import connect
from bundler.adapters.cluster.discovery import Discovery
from bundler.adapters.cluster.permissions import KubernetesPermissions
from bundler.ports import Need
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

ALL = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
GET = Need("get", "", "ConfigMap", "shop")
PATCH = Need("patch", "", "ConfigMap", "shop")
ELSEWHERE = Need("get", "", "ConfigMap", "other")
NAMESPACE = Need("patch", "", "Namespace", "", "shop")
KINDS = {
    "resources": [
        {"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["get"]},
        {"name": "namespaces", "kind": "Namespace", "namespaced": False, "verbs": ["get"]},
    ]
}


class Authorizer:
    """Answers reviews; `rules` are those of every namespace."""

    def __init__(self) -> None:
        self.rules: list[Mapping[str, Any]] = []
        self.incomplete = False
        self.allowed: list[Mapping[str, str]] = []
        self.questions: list[str] = []

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            known = {"/api": {"versions": ["v1"]}, "/apis": {"groups": []}, "/api/v1": KINDS}
            return Answer(200, json.dumps(known[asked.path]).encode())
        review = json.loads(asked.body)
        self.questions.append(review["kind"])
        spec = review["spec"]
        if review["kind"] == "SelfSubjectRulesReview":
            status = {"resourceRules": self.rules, "incomplete": self.incomplete}
        else:
            status = {"allowed": spec["resourceAttributes"] in self.allowed}
        return Answer(201, json.dumps({"status": status}).encode())


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer()


@pytest.fixture
def permissions(authorizer: Authorizer, tmp_path: Path) -> Iterator[KubernetesPermissions]:
    with ScriptedServer(authorizer) as server:
        document = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": server.url}}],
            "users": [{"name": "test", "user": {}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(document))
        with connect(kubeconfig=path) as connection:
            yield KubernetesPermissions(connection, Discovery(connection))


def rule(*verbs: str, **rest: Any) -> Mapping[str, Any]:
    return {"verbs": list(verbs), "apiGroups": [""], "resources": ["configmaps"], **rest}


def test_one_question_answers_for_a_namespace(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    authorizer.rules = [rule("get")]
    assert permissions.missing([PATCH, GET, GET]) == (PATCH,)
    authorizer.rules = [ALL]
    assert permissions.missing([PATCH, GET]) == ()
    assert authorizer.questions == ["SelfSubjectRulesReview"] * 2


def test_a_rule_for_some_objects_is_none_for_all(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    authorizer.rules = [rule("get", resourceNames=["settings"]), rule("patch")]
    assert permissions.missing([PATCH, GET]) == (GET,)


def test_an_authorizer_that_cannot_list_is_asked_for_what_is_not_listed(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    authorizer.rules, authorizer.incomplete = [rule("get")], True
    authorizer.allowed = [
        {"verb": "patch", "group": "", "resource": "configmaps", "namespace": "shop"}
    ]
    assert permissions.missing([PATCH, GET]) == ()
    assert authorizer.questions == ["SelfSubjectRulesReview", "SelfSubjectAccessReview"]
    authorizer.allowed = []
    assert permissions.missing([PATCH, GET]) == (PATCH,)


def test_who_may_do_everything_is_asked_once_for_the_whole_cluster(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    authorizer.rules = [ALL]
    authorizer.allowed = [{"verb": "*", "group": "*", "resource": "*"}]
    other = NAMESPACE._replace(verb="get")
    assert permissions.missing([PATCH, ELSEWHERE, NAMESPACE, other]) == ()
    assert sorted(authorizer.questions) == [
        "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SelfSubjectRulesReview",
    ]  # fmt: skip


def test_objects_of_the_whole_cluster_are_asked_for_by_name(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    authorizer.rules = [ALL]
    authorizer.allowed = [{"verb": "patch", "group": "", "resource": "namespaces", "name": "shop"}]
    other = NAMESPACE._replace(name="other")
    assert permissions.missing([NAMESPACE, other]) == (other,)


def test_kinds_that_are_not_served_yet_are_left_out(
    permissions: KubernetesPermissions, authorizer: Authorizer
) -> None:
    assert permissions.missing([Need("get", "example.com", "Zone", "shop")]) == ()
    assert authorizer.questions == []
