"""Workloads that never get ready: named, in time, while what ran before goes on running."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.live_objects import APPS, CORE, Namespace, Status, until
from tests.e2e.machine import Machine
from tests.e2e.releases import NEVER, Object, Releases, deployment, job, made, pod_template
from tools.control_plane import LOG, ApiError, ControlPlane

pytest_plugins = ["tests.e2e.cluster"]

QUICK = ("--patience", "image=2s,crash=2s,refused=1s", "--timeout", "1m")
FOUR: Object = {
    "replicas": 4,
    "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
}
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def workload(kind: str, name: str, image: str, **spec: Any) -> Object:
    template = pod_template(name, image, {})
    selector = {"matchLabels": {"app": name}}
    return made("apps/v1", kind, name, spec={"selector": selector, "template": template, **spec})


def stateful_set(name: str, image: str, **spec: Any) -> Object:
    return workload("StatefulSet", name, image, serviceName=name, **spec)


def with_pods(obj: Object, **spec: Any) -> Object:
    """A workload whose pods have more than images."""
    template = obj["spec"]["template"]
    changed = {**template, "spec": {**template["spec"], **spec}}
    return {**obj, "spec": {**obj["spec"], "template": changed}}


def failure(machine: Machine, reference: str, *options: str) -> tuple[list[str], float]:
    """What is said of each failing object of an apply that ends with 5, and its seconds."""
    applied = machine.apply(reference, *(options or QUICK), exit_code=5)
    [target] = applied["targets"]
    assert target["error"]["code"] == "not-ready"
    return [each["message"] for each in target["error"]["findings"]], target["durationSeconds"]


# --- admission ----------------------------------------------------------------------------------


def add(place: Namespace, plural: str, kind: str, **content: Any) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "ours"}, **content}
    place.control_plane.request("POST", place.path(CORE, plural), body)


def exceed_quota(place: Namespace) -> None:
    add(place, "resourcequotas", "ResourceQuota", spec={"hard": {"pods": "4"}})
    used = "the quota"
    until(lambda: place.get(CORE, "resourcequotas", "ours").get("status", {}).get("used"), used)


def restrict(place: Namespace) -> None:
    place.control_plane.request(
        "PATCH",
        f"/api/v1/namespaces/{place.name}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        content_type="application/merge-patch+json",
    )


def limit(place: Namespace) -> None:
    most = {"type": "Container", "max": {"memory": "1Mi"}, "default": {"memory": "1Mi"}}
    add(place, "limitranges", "LimitRange", spec={"limits": [most]})


@pytest.mark.requirement("A-08", "A-12")
@pytest.mark.parametrize(
    ("forbid", "told"),
    [
        (exceed_quota, "exceeded quota: ours"),
        (restrict, 'violates PodSecurity "restricted'),
        (limit, "maximum memory usage per Container is 1Mi"),
    ],
    ids=["quota", "pod security", "limit range"],
)
def test_pods_that_are_refused_end_the_apply_and_the_former_ones_serve(
    releases: Releases,
    machine: Machine,
    place: Namespace,
    status: Status,
    forbid: Callable[[Namespace], None],
    told: str,
) -> None:
    # One more than there may be, before any of the former is given up.
    rollout = {**FOUR, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
    big = {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    after = deployment("cart", "cart:2", **rollout)
    after["spec"]["template"]["spec"]["containers"][0]["resources"] = big
    releases.publish("v1.0.0", deployment("cart", "cart:1", **rollout))
    releases.publish("v1.1.0", after)
    machine.apply(releases("v1.0.0"))
    forbid(place)
    with watched_ready(place, "cart") as ready:
        [message], seconds = failure(machine, releases("v1.1.0"))
    assert min(ready) >= 4
    assert f"ReplicaSet/{place.name}/cart-" in message
    assert "FailedCreate" in message and told in message
    assert seconds < 10
    assert status() == ("v1.0.0", "v1.1.0", "failed")


@contextmanager
def watched_ready(place: Namespace, name: str) -> Iterator[list[int]]:
    """How many replicas of a Deployment's present ReplicaSet are ready, at every change."""
    [former] = [
        each["metadata"]
        for each in place.listed(APPS, "replicasets")
        if each["metadata"]["ownerReferences"][0]["name"] == name
    ]
    path = (APPS, "replicasets", former["name"])
    ready = [place.get(*path)["status"].get("readyReplicas", 0)]
    with place.watched(APPS, "replicasets") as seen:
        yield ready
        ready.append(place.get(*path)["status"].get("readyReplicas", 0))
    ready += [
        each["status"].get("readyReplicas", 0)
        for each in seen
        if each["metadata"]["uid"] == former["uid"]
    ]


@pytest.fixture
def denying(control_plane: ControlPlane, namespace: str) -> Iterator[None]:
    """A policy of the cluster that denies the namespace's pods."""
    policies = f"{ADMISSION}/validatingadmissionpolicies"
    bindings = f"{ADMISSION}/validatingadmissionpolicybindings"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy: Object = {
        "matchConstraints": {"resourceRules": [{**rule, "resources": ["pods"]}]},
        "validations": [{"expression": "false", "message": "no pods on Fridays"}],
    }
    binding = {
        "policyName": namespace,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": here},
    }
    metadata = {"name": namespace}
    control_plane.request("POST", policies, {"metadata": metadata, "spec": policy})
    control_plane.request("POST", bindings, {"metadata": metadata, "spec": binding})
    pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    pod = {"metadata": metadata, "spec": pod_template("x", "x:1", {})["spec"]}

    def is_denied() -> bool:
        try:
            control_plane.request("POST", pods, pod)
        except ApiError:
            return True
        return False

    until(is_denied, "the policy")
    yield
    control_plane.request("DELETE", f"{bindings}/{namespace}")
    control_plane.request("DELETE", f"{policies}/{namespace}")


@pytest.mark.requirement("A-12")
@pytest.mark.usefixtures("denying")
@pytest.mark.parametrize(
    "obj",
    [
        stateful_set("cart", "cart:1"),
        job("cart", "cart:1"),
    ],
    ids=lambda obj: obj["kind"],
)
def test_what_a_policy_denies_is_told_of_every_kind(
    releases: Releases, machine: Machine, place: Namespace, obj: Object
) -> None:
    releases.publish("v1.0.0", obj)
    [message], seconds = failure(machine, releases("v1.0.0"))
    assert f"{obj['kind']}/{place.name}/cart: event FailedCreate: " in message
    assert "no pods on Fridays" in message
    assert seconds < 12


# --- images, crashes, probes, places ------------------------------------------------------------


@pytest.mark.requirement("A-12")
@pytest.mark.parametrize(
    ("obj", "told"),
    [
        (workload("DaemonSet", "cart", "broken:1"), "container main: image not found: "),
        (stateful_set("cart", "crashing:1"), "container main: restarted "),
        (job("cart", "crashing:1", backoffLimit=0), "container main; exit code 1"),
        (
            with_pods(deployment("cart", "cart:1"), nodeSelector={"disk": "none"}),
            "Unschedulable: 0/3 nodes are available",
        ),
    ],
    ids=["image", "crash", "job", "nowhere to run"],
)
def test_each_kind_s_failure_is_named_with_its_pod(
    releases: Releases, machine: Machine, place: Namespace, obj: Object, told: str
) -> None:
    releases.publish("v1.0.0", obj)
    options = ("--timeout", "5s", *QUICK[:2]) if "nodeSelector" in str(obj) else QUICK
    [message], seconds = failure(machine, releases("v1.0.0"), *options)
    assert f"{place.name}/cart" in message
    assert told in message
    assert seconds < 12


@pytest.mark.requirement("A-12", "E-09")
def test_the_last_lines_of_a_crash_are_shown_and_recorded_nowhere(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("cart", "crashing:1"))
    running = machine.started(releases("v1.0.0"), "-o", "json", *QUICK)
    result = running.end()
    assert result.exit_code == 5
    shown = [line for line in result.stderr.splitlines() if " log: main: " in line]
    assert len(shown) == len(LOG)
    assert shown[-1].endswith("it fails: no settings \N{REPLACEMENT CHARACTER}[31mhere")
    kept = str(place.listed(CORE, "configmaps", "release-bundler/state"))
    assert "it fails: no settings" not in result.stdout + kept


def test_nothing_that_moves_ends_the_wait_before_its_time(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1", NEVER))
    [message], seconds = failure(machine, releases("v1.0.0"), "--stall-timeout", "2s")
    assert "0 of 1 replicas are available" in message
    assert seconds < 10
    assert place.revisions()[-1]["outcome"].startswith(
        "1 object is not ready, and nothing has moved for 2 s"
    )


# --- what was failing before --------------------------------------------------------------------


@pytest.mark.requirement("A-16")
def test_a_new_version_that_crashes_as_the_former_did_fails_by_its_own_crashes(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", deployment("cart", "crashing:1"))
    releases.publish("v1.1.0", deployment("cart", "crashing:2"))
    failure(machine, releases("v1.0.0"))
    [former] = [pod["metadata"]["name"] for pod in place.listed(CORE, "pods")]
    [message], seconds = failure(machine, releases("v1.1.0"))
    assert former not in message
    assert f"Pod/{place.name}/cart-" in message
    assert "it was not ready before this apply: " in message
    assert seconds < 12
    assert status() == (None, "v1.1.0", "failed")


@pytest.mark.requirement("A-16")
def test_what_was_failing_before_and_is_not_changed_is_told_so(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("bad", "unready:1"))
    releases.publish("v1.1.0", deployment("bad", "unready:1"), deployment("cart", "cart:1"))
    failure(machine, releases("v1.0.0"), "--timeout", "2s")
    [message], _ = failure(machine, releases("v1.1.0"), "--timeout", "3s")
    assert f"Pod/{place.name}/bad-" in message
    assert "it was not ready before this apply: 0 of 1 replicas are available" in message


@pytest.mark.requirement("A-16")
def test_a_stateful_set_whose_broken_pod_blocks_its_update_is_told_so(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", stateful_set("db", "crashing:1", replicas=2))
    releases.publish("v1.1.0", stateful_set("db", "db:2", replicas=2))
    failure(machine, releases("v1.0.0"))
    [message], seconds = failure(machine, releases("v1.1.0"))
    assert "its update waits for a pod of the former revision: " in message
    assert f"Pod/{place.name}/db-0, container main: restarted " in message
    assert "kubectl delete pod db-0" in message
    assert seconds < 12
    place.control_plane.request("DELETE", place.path(CORE, "pods", "db-0"))
    machine.apply(releases("v1.1.0"))


# --- success ------------------------------------------------------------------------------------


@pytest.mark.requirement("A-07", "A-08", "A-11")
def test_when_it_is_over_all_pods_run_the_new_image_and_some_always_served(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1", **FOUR))
    releases.publish("v1.1.0", deployment("cart", "cart:2", **FOUR))
    machine.apply(releases("v1.0.0"))
    with place.watched(APPS, "deployments") as seen:
        machine.apply(releases("v1.1.0"))
    images = [
        pod["spec"]["containers"][0]["image"]
        for pod in place.listed(CORE, "pods")
        if not pod["metadata"].get("deletionTimestamp")
    ]
    assert images == ["registry.example.com/cart:2"] * 4
    assert min(each["status"].get("availableReplicas", 0) for each in seen) >= 3
    assert status() == ("v1.1.0", "v1.1.0", "succeeded")


@pytest.mark.requirement("A-10")
def test_the_workload_s_own_delay_and_deadline_decide(releases: Releases, machine: Machine) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1", minReadySeconds=3))
    releases.publish("v1.1.0", deployment("cart", "unready:1", progressDeadlineSeconds=3))
    [target] = machine.apply(releases("v1.0.0"))["targets"]
    assert target["durationSeconds"] >= 2  # the server counts whole seconds
    [message], seconds = failure(machine, releases("v1.1.0"))
    assert "ProgressDeadlineExceeded" in message
    assert 3 <= seconds < 12


# --- who looks on -------------------------------------------------------------------------------


@pytest.mark.requirement("E-09")
def test_a_terminal_shows_what_is_waited_for_and_the_result_stays_apart(
    releases: Releases, machine: Machine
) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1", minReadySeconds=2))
    ours, theirs = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                written.append(part)
        except OSError:
            return  # nobody has the other end any more

    reader = threading.Thread(target=read)
    reader.start()
    try:
        result = machine.with_variables(TERM="xterm", COLUMNS="120").start(
            "apply", releases("v1.0.0"), "--env", "stage", "--yes", stderr=theirs
        )
        os.close(theirs)
        ended = result.end()
    finally:
        reader.join(60)
        os.close(ours)
    shown = b"".join(written).decode()
    assert ended.exit_code == 0, shown
    assert "0 ready, 1 waited for" in shown
    assert "0 of 1 replicas are available" in shown
    assert ended.stdout.startswith("stage/default: v1.0.0 succeeded and ready, revision 1: ")
