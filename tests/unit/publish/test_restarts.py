"""Who restarts when an encrypted Secret changes."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.publish.restarts import with_digests
from tests.fakes.releases import Object, config_map, deployment, job, made, stateful_set

CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
OTHER = CIPHER.replace("b2s=", "bm8=")


def secret(name: str = "db", recipient: str = "age1a", **values: str) -> Object:
    added = {"mac": CIPHER, "lastmodified": "2026", "age": [{"recipient": recipient}]}
    return made("v1", "Secret", name, stringData=values, sops=added)


def using(kind: str, obj: Object | None = None) -> Object:
    """A workload that uses the Secret `db` in some way."""
    obj = obj or deployment("cart")
    spec = (obj["spec"].get("jobTemplate", obj)["spec"])["template"]["spec"]
    container = spec["containers"][0]
    reference: dict[str, Any] = {"name": "db", "key": "user"}
    match kind:
        case "variable":
            container["env"] = [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]
        case "initial":
            spec["initContainers"] = [{"name": "i", "envFrom": [{"secretRef": {"name": "db"}}]}]
        case "all variables":
            container["envFrom"] = [{"secretRef": {"name": "db"}}]
        case "volume":
            spec["volumes"] = [{"name": "v", "secret": {"secretName": "db"}}]
        case "projected":
            sources = [{"secret": {"name": "db", "items": [{"key": "user", "path": "u"}]}}]
            spec["volumes"] = [{"name": "v", "projected": {"sources": sources}}]
        case "pull":
            spec["imagePullSecrets"] = [{"name": "db"}]
        case "config":
            container["envFrom"] = [{"configMapRef": {"name": "db"}}]
    return obj


def digest(workload: Object, *secrets: Object) -> str | None:
    [found] = [obj for obj in with_digests([workload, *secrets]) if obj["kind"] == workload["kind"]]
    annotations = found["spec"]["template"]["metadata"].get("annotations") or {}
    value = annotations.get("release-bundler/secrets")
    return str(value) if value else None


@pytest.mark.requirement("C-23")
@pytest.mark.parametrize("kind", ["variable", "initial", "all variables", "volume", "projected"])
def test_pods_that_use_a_value_restart_when_it_changes(kind: str) -> None:
    before = digest(using(kind), secret(user=CIPHER))
    assert before
    assert before == digest(using(kind), secret(user=CIPHER))
    assert before != digest(using(kind), secret(user=OTHER))


@pytest.mark.requirement("C-23")
@pytest.mark.parametrize("kind", ["variable", "projected"])
def test_pods_that_use_one_key_do_not_restart_for_another(kind: str) -> None:
    one = digest(using(kind), secret(user=CIPHER, password=CIPHER))
    assert one == digest(using(kind), secret(user=CIPHER, password=OTHER))


@pytest.mark.parametrize("kind", ["none", "pull", "config"])
def test_pods_that_use_no_encrypted_value_stay_as_they_are(kind: str) -> None:
    assert digest(using(kind), secret(user=CIPHER)) is None


def test_another_recipient_restarts_nothing() -> None:
    before = digest(using("variable"), secret(user=CIPHER))
    assert before == digest(using("variable"), secret(recipient="age1b", user=CIPHER))


def test_a_secret_of_another_namespace_or_in_clear_does_not_count() -> None:
    elsewhere = secret(user=CIPHER)
    elsewhere["metadata"]["namespace"] = "elsewhere"
    assert digest(using("variable"), elsewhere) is None
    assert digest(using("variable"), made("v1", "Secret", "db", stringData={"user": "x"})) is None


def test_what_runs_once_is_not_run_again_for_another_secret() -> None:
    assert digest(using("variable", job("migrate")), secret(user=CIPHER)) is None
    assert digest(using("variable", stateful_set("db")), secret(user=CIPHER))


def test_what_the_pods_have_stays() -> None:
    workload = using("variable")
    workload["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
    [found, *_] = with_digests([workload, secret(user=CIPHER), config_map("c")])
    annotations = found["spec"]["template"]["metadata"]["annotations"]
    assert annotations.keys() == {"a", "release-bundler/secrets"}
    assert workload["spec"]["template"]["metadata"]["annotations"] == {"a": "b"}
