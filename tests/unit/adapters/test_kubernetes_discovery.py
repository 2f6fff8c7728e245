"""Discovery of servers that do not aggregate."""

from __future__ import annotations

import json
from pathlib import Path

from bundler.adapters.cluster.connection import connect
from bundler.adapters.cluster.discovery import Discovery, Resource
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

LEGACY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "apps",
                "versions": [{"version": "v1beta1"}, {"version": "v1"}],
                "preferredVersion": {"version": "v1"},
            },
            {
                "name": "metrics.k8s.io",
                "versions": [{"version": "v1"}],
                "preferredVersion": {"version": "v1"},
            },
        ],
    },
    "/api/v1": {
        "resources": [
            {"name": "namespaces", "kind": "Namespace", "namespaced": False, "verbs": ["get"]},
            {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get", "list"]},
            {"name": "pods/status", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
            {"name": "bindings", "kind": "Binding", "namespaced": True, "verbs": ["create"]},
        ]
    },
    "/apis/apps/v1": {
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get"]}
        ]
    },
    "/apis/apps/v1beta1": {
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get"]}
        ]
    },
}


def answer(asked: Asked) -> Answer:
    document = LEGACY.get(asked.path)
    if document is None:
        return Answer(500, b"metrics are away")
    return Answer(200, json.dumps(document).encode())


def test_a_server_without_aggregated_discovery_is_asked_group_by_group(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        path = tmp_path / "kubeconfig"
        document = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": server.url}}],
        }
        path.write_text(json.dumps(document))
        with connect(kubeconfig=path) as connection:
            discovery = Discovery(connection)
            deployment = discovery.find("apps", "Deployment")
            assert deployment == Resource("apps", "v1", "Deployment", "deployments", True)
            assert discovery.versions("apps", "Deployment") == ("v1", "v1beta1")
            namespace = discovery.find("", "Namespace", "v1")
            assert namespace is not None
            assert namespace.path("ignored", "shop") == "/api/v1/namespaces/shop"
            assert deployment.path("shop", "a:b") == (
                "/apis/apps/v1/namespaces/shop/deployments/a%3Ab"
            )
            assert discovery.find("", "Binding") is None
            number = len(server.asked)
            assert discovery.find("example.com", "Wonder") is None
            assert len(server.asked) == number, "it was asked a moment ago"
