"""What an apply refuses before anything changes, and whom it tells, on a real control plane."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.registry.registries import Registries
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.model.artifact import MANIFEST, Blob
from bundler.model.reference import Digest, Repository
from tests.e2e.live_objects import APPS, CORE, Namespace, Untouched
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, made
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, ScriptedServer
from tools.control_plane import ControlPlane
from tools.registries import Distribution

pytest_plugins = ["tests.e2e.cluster"]

CANARY = "T0CANARY"


def uid(control_plane: ControlPlane) -> str:
    found = control_plane.request("GET", "/api/v1/namespaces/kube-system")
    return str(found["metadata"]["uid"])


def recorded_elsewhere(place: Namespace) -> None:
    """As after a backup of another cluster was restored here."""
    for each in place.listed(CORE, "configmaps", "release-bundler/state=revision"):
        revision = json.loads(each["data"]["revision"]) | {"cluster": "another-cluster"}
        content = {"revision": json.dumps(revision)}
        place.patch(CORE, "configmaps", each["metadata"]["name"], data=content)


@pytest.mark.requirement("B-113")
def test_the_cluster_is_recorded_and_another_one_is_refused(
    releases: Releases, machine: Machine, place: Namespace, control_plane: ControlPlane
) -> None:
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    releases.publish("v1.1.0", config_map("settings", colour="blue"))
    here = uid(control_plane)
    machine.apply(releases("v1.0.0"), "--cluster", here)
    assert place.revisions()[0]["cluster"] == here

    other = machine.with_variables(BUNDLER_CLUSTER="the-one-of-prod")
    error = other.refused(releases("v1.1.0"), exit_code=4)
    assert here in error["message"]
    assert "the-one-of-prod" in error["message"]

    recorded_elsewhere(place)
    error = machine.refused(releases("v1.1.0"), exit_code=4)
    assert [each["rule"] for each in error["findings"]] == ["other-cluster"]
    assert here in error["message"]
    assert "another-cluster" in error["message"]
    assert place.get(CORE, "configmaps", "settings")["data"] == {"colour": "red"}

    machine.apply(releases("v1.1.0"), "--cluster", here)
    assert place.revisions()[-1]["cluster"] == here


@pytest.mark.requirement("B-114")
def test_a_moving_tag_is_refused_where_it_matters_and_else_shown_with_its_digest(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    protected = replace(releases, is_protected=True)
    digest = Digest.parse(protected.publish("v1.0.0", config_map("settings")))
    registries, repository = Registries(Path.cwd()), Repository.parse(releases.registry)
    manifest = Blob.of(MANIFEST, registries.manifest(repository, digest))
    registries.put_manifest(repository, manifest, "stable")

    error = machine.refused(releases("stable"), exit_code=4)
    assert [each["rule"] for each in error["findings"]] == ["moving-reference"]
    assert str(digest) in error["message"]
    assert untouched()
    planned = machine("plan", releases("stable"), "--env", "stage")
    assert planned.exit_code == 0
    assert f"stable is no version; it is v1.0.0 ({digest})" in planned.stderr

    machine.apply(f"{releases.registry}:stable@{digest}")
    named = machine("apply", releases("v1.0.0"), "--env", "stage", "--yes")
    assert f"{releases('v1.0.0')}@{digest}" in named.stderr, "the digest is shown"


@pytest.mark.requirement("B-114")
def test_a_moving_tag_is_followed_where_nothing_is_protected(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    digest = Digest.parse(releases.publish("v1.0.0", config_map("settings")))
    registries, repository = Registries(Path.cwd()), Repository.parse(releases.registry)
    manifest = Blob.of(MANIFEST, registries.manifest(repository, digest))
    registries.put_manifest(repository, manifest, "latest")
    result = machine("apply", releases("latest"), "--env", "stage", "--yes")
    assert result.exit_code == 0, result.stderr
    assert str(digest) in result.stderr
    assert place.revisions()[0]["digest"] == str(digest)


def test_going_back_is_asked_for_where_an_environment_is_protected(
    releases: Releases, machine: Machine
) -> None:
    protected = replace(releases, is_protected=True)
    for tag in ("v1.0.0", "v1.1.0"):
        protected.publish(tag, config_map("settings", tag=tag))
    machine.apply(releases("v1.1.0"))
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert [each["rule"] for each in error["findings"]] == ["downgrade"]
    assert "--allow-downgrade" in error["hint"]
    [planned] = machine.plan(releases("v1.0.0"))["targets"]
    assert [each["rule"] for each in planned["warnings"]] == ["downgrade"]
    machine.apply(releases("v1.0.0"), "--allow-downgrade")


@pytest.mark.requirement("A-18")
def test_the_newer_of_two_pushes_stays_also_when_the_older_one_is_late(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    """CD runners of an unprotected environment say once that they never go back."""
    runner = machine.with_variables(BUNDLER_ALLOW_DOWNGRADE="0")
    for tag in ("v1.0.0", "v1.1.0"):
        releases.publish(tag, config_map("settings", tag=tag))
    runner.apply(releases("v1.1.0"))
    runner.refused(releases("v1.0.0"), exit_code=4)
    assert place.get(CORE, "configmaps", "settings")["data"] == {"tag": "v1.1.0"}


# --- images -------------------------------------------------------------------------------------


def workload(name: str, reference: str) -> Any:
    found = deployment(name, "any")
    found["spec"]["template"]["spec"]["containers"][0]["image"] = reference
    return found


@pytest.mark.requirement("B-104")
def test_images_are_asked_for_before_anything_changes(
    releases: Releases, machine: Machine, distribution: Distribution, namespace: str,
    untouched: Untouched, place: Namespace,
) -> None:  # fmt: skip
    asking = machine.with_variables(BUNDLER_NO_IMAGE_CHECK="")
    repository = Repository("oci", f"{distribution.host}/{namespace}/cart")
    built = image("cart")
    Registries(Path.cwd()).push(repository, built)
    there = f"{repository.path}@{built.digest}"
    gone = f"{repository.path}@{Digest.of(b'gone')}"
    releases.publish("v1.0.0", workload("cart", there), workload("search", gone))
    error = asking.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "images-refused"
    [finding] = error["findings"]
    assert (finding["rule"], finding["object"]) == (
        "image-not-there", f"Deployment/{namespace}/search"
    )  # fmt: skip
    assert untouched()

    releases.publish("v1.1.0", workload("cart", there))
    asking.apply(releases("v1.1.0"))
    releases.publish("v1.2.0", workload("cart", f"127.0.0.1:9/shop/cart@{built.digest}"))
    error = asking.refused(releases("v1.2.0"), exit_code=6)
    assert "--no-image-check" in error["hint"]
    assert place.get(APPS, "deployments", "cart")["metadata"]["generation"] == 1


@pytest.mark.requirement("B-104")
def test_a_pull_secret_has_to_be_there_or_to_come_along(
    releases: Releases, machine: Machine, untouched: Untouched, place: Namespace
) -> None:
    cart = deployment("cart", "cart:1")
    cart["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "pull"}]
    releases.publish("v1.0.0", cart)
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert [each["rule"] for each in error["findings"]] == ["missing-pull-secret"]
    assert untouched()
    secret = made("v1", "Secret", "pull", stringData={"a": "b"})
    place.control_plane.request("POST", place.path(CORE, "secrets"), secret)
    machine.apply(releases("v1.0.0"))


# --- who is told --------------------------------------------------------------------------------


@pytest.mark.requirement("E-09")
def test_events_go_to_a_file_and_to_webhooks_whose_addresses_stay_secret(
    releases: Releases, machine: Machine, tmp_path: Path
) -> None:
    releases.publish("v1.0.0", config_map("settings"), deployment("cart", "cart:1"))
    events, hooks = tmp_path / "events.jsonl", tmp_path / "webhooks.yaml"
    hooks.write_text(
        "- {urlFrom: {env: HOOK}, headersFrom: {Authorization: {env: TOKEN}}}\n"
        "- {url: 'http://127.0.0.1:9/none', events: [success]}\n"
    )
    with ScriptedServer(lambda _: Answer(200)) as server:
        told = machine.with_variables(
            HOOK=f"{server.url}/services/{CANARY}", TOKEN=f"Bearer {CANARY}",
            BUNDLER_WEBHOOK=f"{server.url}/one/{CANARY}",
        )  # fmt: skip
        options = ("--events", events, "--webhooks", hooks, "--metrics", tmp_path / "metrics")
        result = told.started(releases("v1.0.0"), *options).end()
        assert result.exit_code == 0, result.stderr
        again = told.started(releases("v1.0.0"), *options).end()
    assert 'outcome="unchanged"' in (tmp_path / "metrics").read_text()
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [each["event"] for each in lines] == ["start", "wave", "wave", "success", "unchanged"]
    assert [each["wave"] for each in lines[1:3]] == ["configuration", "workloads"]
    assert [each for line in lines for each in DocumentSchemas().check("event", line)] == []
    assert lines[3]["changes"]["created"] == 2
    posted = [(asked.path.split("/")[1], json.loads(asked.body)) for asked in server.asked]
    for hook in ("services", "one"):
        assert [body for path, body in posted if path == hook] == lines[:4]
    assert "webhook 127.0.0.1:9: 1 event was not delivered: no connection" in result.stderr
    for said in (result.stdout, result.stderr, again.stderr, events.read_text()):
        assert CANARY not in said


def test_who_cannot_be_told_is_known_before_anything_is_done(
    releases: Releases, machine: Machine, untouched: Untouched, tmp_path: Path
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    hooks = tmp_path / "webhooks.yaml"
    hooks.write_text("- {urlFrom: {env: NOT_SET}}")
    for options in (("--events", "-"), ("--events", "none/x"), ("--webhooks", hooks)):
        machine.refused(releases("v1.0.0"), *options, exit_code=2)
    assert untouched()
