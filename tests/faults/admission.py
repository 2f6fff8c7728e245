"""Policies and webhooks of an API server that are for one trial's ConfigMaps alone."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.live_objects import CORE, until
from tests.e2e.releases import config_map, made
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.faults.applies import Trial
from tools.control_plane import ApiError, ControlPlane

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def denying_policy(control_plane: ControlPlane, trial: Trial) -> Iterator[None]:
    """No ConfigMap of the trial's namespace has a name that starts with `denied`."""
    name = trial.place.name
    where = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE", "UPDATE"],
    }  # fmt: skip
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": where},
            "validations": [
                {
                    "expression": "!object.metadata.name.startsWith('denied')",
                    "message": "names are reserved",
                }
            ],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    made_ = {"validatingadmissionpolicies": policy, "validatingadmissionpolicybindings": binding}
    for plural, each in made_.items():
        control_plane.request("POST", f"{ADMISSION}/{plural}", each)
    try:
        until(lambda: is_denied(trial), "the policy")
        yield
    finally:
        for plural in made_:
            control_plane.request("DELETE", f"{ADMISSION}/{plural}/{name}")
        until(lambda: not is_denied(trial), "the end of the policy")


def is_denied(trial: Trial) -> bool:
    path = trial.place.path(CORE, "configmaps") + "?dryRun=All"
    try:
        trial.place.control_plane.request("POST", path, config_map("denied-at-all"))
    except ApiError:
        return True
    return False


@contextmanager
def webhook(trial: Trial, answer: Callable[[Asked], Answer]) -> Iterator[None]:
    """A validating webhook for the ConfigMaps of the trial's namespace."""
    plane, name = trial.place.control_plane, trial.place.name
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(plane.directory / "server.crt", plane.directory / "server.key")
    with ScriptedServer(answer, tls) as server:
        hook = {
            "name": "names.example.com",
            "clientConfig": {
                "url": f"https://127.0.0.1:{server.port}/",
                "caBundle": base64.b64encode(plane.ca.read_bytes()).decode(),
            },
            "rules": [
                {
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": ["CREATE", "UPDATE"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "objectSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "bundler"}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        }  # fmt: skip
        path = f"{ADMISSION}/validatingwebhookconfigurations"
        plane.request("POST", path, {"metadata": {"name": name}, "webhooks": [hook]})
        probe = made("v1", "ConfigMap", "probe")
        probe["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "bundler"}

        def is_asked() -> bool:
            try:
                plane.request("POST", trial.place.path(CORE, "configmaps") + "?dryRun=All", probe)
            except ApiError:
                return True
            return bool(server.asked)

        try:
            until(is_asked, "the webhook")
            yield
        finally:
            plane.request("DELETE", f"{path}/{name}")


def review(asked: Asked, *, is_allowed: bool) -> Answer:
    uid = json.loads(asked.body)["request"]["uid"]
    verdict = {"uid": uid, "allowed": is_allowed, "status": {"message": "not at this time"}}
    value = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict}
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
