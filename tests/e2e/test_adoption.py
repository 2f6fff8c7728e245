"""Objects of kubectl and Helm, and fields of others: on a real control plane."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.model.objects import LAST_APPLIED
from tests.e2e.live_objects import APPS, CORE, Namespace, until
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, made
from tools.build import binary_path

pytest_plugins = ["tests.e2e.cluster"]

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "templates/settings.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app.kubernetes.io/managed-by: Helm}}
data: {colour: red, old: 'yes'}
""",
    "templates/web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app.kubernetes.io/managed-by: Helm}}
spec:
  replicas: 2
  minReadySeconds: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: 'registry.example.com/web:1', env: [{name: OLD, value: 'yes'}]}
""",
}


def objects(machine: Machine, reference: str, *flags: str) -> dict[str, Any]:
    [target] = machine.plan(reference, *flags)["targets"]
    return {each["ref"].split("/")[0]: each for each in target["objects"]}


def managers(obj: Any) -> set[str]:
    entries = obj["metadata"]["managedFields"]
    return {entry["manager"] for entry in entries if not entry.get("subresource")}


# --- helm ---------------------------------------------------------------------------------------


@pytest.fixture(params=["helm", "helm4"])
def installed(request: pytest.FixtureRequest, place: Namespace, tmp_path: Path) -> None:
    """A release `web` that helm itself made."""
    for name, text in CHART.items():
        file = tmp_path / "chart" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command: list[str | Path] = [
        binary_path(str(request.param)), "install", "web", tmp_path / "chart",
        "--namespace", place.name, "--kubeconfig", place.control_plane.kubeconfig,
    ]  # fmt: skip
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


def test_what_helm_installed_is_adopted_where_it_is_named_and_loses_what_the_release_has_not(
    installed: None, releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", config_map("settings", colour="blue"), deployment("web", "web:1"))
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "ownership-refused"
    assert len(error["findings"]) == 2
    assert all("helm manages" in each["message"] for each in error["findings"])
    assert all("--take-over helm" in each["hint"] for each in error["findings"])
    assert place.revisions() == []

    planned = objects(machine, releases("v1.0.0"), "--take-over", "helm")
    fields = {each["path"]: each for each in planned["ConfigMap"]["fields"]}
    assert fields["data.old"] == {"path": "data.old", "before": "yes"}
    assert (fields["data.colour"]["before"], fields["data.colour"]["after"]) == ("red", "blue")
    assert "takes .data.colour, " in planned["ConfigMap"]["reason"]
    assert (
        f"helm uninstall web would still delete it, until helm forgets the release: "
        f"kubectl delete secret -n {place.name} -l owner=helm,name=web"
    ) in planned["Deployment"]["reason"]
    assert {
        each["path"]: (each.get("before"), each.get("after"))
        for each in planned["Deployment"]["fields"]
        if each["path"].startswith("spec")
    } == {
        "spec.replicas": (2, 1),
        "spec.minReadySeconds": (1, None),
        "spec.template.spec.containers[main].env": ([{"name": "OLD", "value": "yes"}], None),
    }  # fmt: skip

    uid = place.get(APPS, "deployments", "web")["metadata"]["uid"]
    machine.apply(releases("v1.0.0"), "--take-over", "helm")
    web = place.get(APPS, "deployments", "web")
    assert (web["metadata"]["uid"], web["spec"]["replicas"]) == (uid, 1)
    assert "env" not in web["spec"]["template"]["spec"]["containers"][0]
    assert "meta.helm.sh/release-name" not in web["metadata"]["annotations"]
    settings = place.get(CORE, "configmaps", "settings")
    assert (settings["data"], managers(settings)) == ({"colour": "blue"}, {"bundler"})
    assert machine.apply(releases("v1.0.0"))["targets"][0]["status"] == "unchanged"


# --- kubectl ------------------------------------------------------------------------------------


def test_what_kubectl_applied_is_adopted_and_conflicts_with_others_are_not_forced(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    theirs = config_map("settings", colour="red", old="yes", size="1")
    text = json.dumps(theirs)
    theirs["metadata"]["annotations"] = {LAST_APPLIED: text}
    path = place.path(CORE, "configmaps")
    place.control_plane.request("POST", f"{path}?fieldManager=kubectl-client-side-apply", theirs)
    place.control_plane.request(
        "PATCH", f"{path}/settings?fieldManager=kubectl-edit", {"data": {"size": "2"}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    releases.publish("v1.0.0", config_map("settings", colour="red", size="3"))
    adopting = ("--take-over", "kubectl-client-side-apply")
    error = machine.refused(releases("v1.0.0"), *adopting, exit_code=4)
    [finding] = error["findings"]
    assert finding["message"].endswith("kubectl-edit manages .data.size")
    assert finding["hint"].endswith("take them over: --take-over kubectl-edit")
    machine.apply(releases("v1.0.0"), *adopting, "--take-over", "kubectl-edit")
    settings = place.get(CORE, "configmaps", "settings")
    assert settings["data"] == {"colour": "red", "size": "3"}
    assert (
        "kubectl.kubernetes.io/last-applied-configuration"
        not in settings["metadata"]["annotations"]
    )
    assert managers(settings) == {"bundler"}


def test_a_reviewed_plan_holds_with_the_flags_that_it_was_made_with(
    releases: Releases, machine: Machine, place: Namespace, tmp_path: Path
) -> None:
    theirs = config_map("settings", colour="red", old="yes")
    path = f"{place.path(CORE, 'configmaps')}?fieldManager=kubectl-client-side-apply"
    place.control_plane.request("POST", path, theirs)
    releases.publish("v1.0.0", config_map("settings", colour="blue"))
    adopting = ("--take-over", "kubectl-client-side-apply")
    machine.plan(releases("v1.0.0"), "--out", tmp_path / "plan.json", *adopting)
    frozen = ("apply", releases("v1.0.0"), "--env", "stage", "--plan", tmp_path / "plan.json")
    assert machine(*frozen).exit_code == 4
    result = machine(*frozen, *adopting)
    assert result.exit_code == 0, result.stderr
    assert place.get(CORE, "configmaps", "settings")["data"] == {"colour": "blue"}


# --- fields of others ---------------------------------------------------------------------------


@pytest.mark.requirement("A-06", "C-15")
def test_a_new_image_changes_that_image_and_restarts_those_pods_only(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    sidecar = {"name": "proxy", "image": "registry.example.com/proxy:1"}
    cart = deployment("cart", "cart:1", replicas=2)
    cart["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    releases.publish("v1.0.0", cart, deployment("web", "web:1"))
    machine.apply(releases("v1.0.0"))
    # As an injector and a person with kubectl do.
    containers = {"containers": [sidecar, {"name": "main", "env": [{"name": "B", "value": "2"}]}]}
    place.control_plane.request(
        "PATCH",
        f"{place.path(APPS, 'deployments', 'cart')}?fieldManager=injector",
        {"spec": {"paused": False, "template": {"spec": containers}}},
        content_type="application/strategic-merge-patch+json",
    )
    machine.apply(releases("v1.0.0"))
    before = place.get(APPS, "deployments", "cart")["spec"]
    pods = {name: each for name, each in place.identities().items() if name.startswith("pods/web")}
    assert len(pods) == 1
    cart["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example.com/cart:2"
    releases.publish("v1.1.0", cart, deployment("web", "web:1"))
    machine.apply(releases("v1.1.0"))
    after = place.get(APPS, "deployments", "cart")["spec"]
    main = next(each for each in before["template"]["spec"]["containers"] if each["name"] == "main")
    assert {each["name"] for each in main["env"]} == {"A", "B"}
    main["image"] = "registry.example.com/cart:2"
    assert after == before
    assert pods.items() <= place.identities().items()


def autoscaler(**spec: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return made(
        "autoscaling/v2", "HorizontalPodAutoscaler", "web",
        spec={"scaleTargetRef": target, "maxReplicas": 9, **spec},
    )  # fmt: skip


def replicas(place: Namespace) -> Any:
    return place.get(APPS, "deployments", "web")["spec"]["replicas"]


@pytest.mark.requirement("D-19")
def test_what_an_autoscaler_set_stays_through_releases(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    """The controller itself raises the number to its minimum; that takes no metrics."""
    releases.publish("v1.0.0", deployment("web", "web:1", replicas=2), autoscaler(minReplicas=4))
    machine.apply(releases("v1.0.0"))
    until(lambda: replicas(place) == 4, "the autoscaler to scale")
    with place.watched(APPS, "deployments") as seen:
        releases.publish(
            "v1.1.0", deployment("web", "web:2", replicas=2), autoscaler(minReplicas=4)
        )
        [target] = machine.apply(releases("v1.1.0"))["targets"]
        assert target["changes"]["configured"] == 1
        until(lambda: "registry.example.com/web:2" in map(_image, seen), "the last release")
    assert {each["spec"]["replicas"] for each in seen} == {4}


@pytest.mark.requirement("D-19")
def test_replicas_are_handed_over_to_an_autoscaler_that_comes_with_a_release(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("web", "web:1", replicas=3))
    machine.apply(releases("v1.0.0"))
    with place.watched(APPS, "deployments") as seen:
        releases.publish("v1.1.0", deployment("web", "web:2"), autoscaler(minReplicas=2))
        machine.apply(releases("v1.1.0"))
        releases.publish("v1.2.0", deployment("web", "web:3"), autoscaler(minReplicas=2))
        machine.apply(releases("v1.2.0"))
        until(lambda: "registry.example.com/web:3" in map(_image, seen), "the last release")
    assert {each["spec"]["replicas"] for each in seen} == {3}


@pytest.mark.requirement("D-19")
def test_an_autoscaler_that_is_not_of_the_release_is_respected_too(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("web", "web:1", replicas=2))
    machine.apply(releases("v1.0.0"))
    path = place.path("/apis/autoscaling/v2", "horizontalpodautoscalers")
    place.control_plane.request("POST", path, autoscaler(minReplicas=4))
    until(lambda: replicas(place) == 4, "the autoscaler to scale")
    releases.publish("v1.1.0", deployment("web", "web:2", replicas=3))
    [applied] = machine.apply(releases("v1.1.0"))["targets"][0]["objects"]
    assert applied["reason"] == "its replicas are left to its autoscaler"
    assert replicas(place) == 4


def _image(obj: Any) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])
