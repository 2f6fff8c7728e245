"""What an API server refuses, or what happens to objects meanwhile: told, and nothing half done."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bundler.adapters.cluster.connection import connect
from bundler.deploy.result import TargetResult
from bundler.errors import NotReady, PermissionRefused, Refused
from bundler.model.project import Allowed
from tests.e2e.live_objects import APPS, CORE, Object, until
from tests.e2e.releases import config_map, deployment, made
from tests.fakes.scripted_server import Answer, Asked
from tests.faults.admission import denying_policy, review, webhook
from tests.faults.api_faults import status
from tests.faults.api_proxy import ApiProxy, is_write
from tests.faults.applies import V1, V2, Shop, Trial
from tests.faults.fault_proxy import Exchange, Fault, Request
from tools.control_plane import ControlPlane

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FORMER = (config_map("settings", colour="red"), config_map("old"))


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(control_plane, tmp_path_factory.mktemp("admission"))


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as running:
        yield running


def applied_through(
    proxy: ApiProxy, trial: Trial, tag: str, fault: Fault, timeout: float = 60
) -> TargetResult:
    """An apply of which one request, the first that the fault meets, is spoilt."""
    with connect(kubeconfig=proxy.kubeconfig(trial.folder)) as through:
        injection = proxy.inject(fault, 0)
        result = trial.apply(tag, through, timeout=timeout)
        proxy.clear()
    assert injection.spoilt
    return result


def check_untouched(trial: Trial, before: Mapping[str, Any]) -> None:
    assert trial.place.owned() == before
    assert [each["tag"] for each in trial.place.revisions()] == [V1]


def writes_to(plural: str) -> Callable[[Request], bool]:
    return lambda request: is_write(request) and f"/{plural}/" in request.target


# --- webhooks and policies ----------------------------------------------------------------------


@pytest.mark.requirement("B-109")
def test_what_a_policy_denies_is_told_all_of_it_before_anything_changes(
    shop: Shop, control_plane: ControlPlane
) -> None:
    after = (
        config_map("settings", colour="blue"),
        config_map("denied-one", n="1"),
        config_map("denied-two"),
    )
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        before = trial.place.owned()
        with denying_policy(control_plane, trial):
            result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        told = [finding.message for finding in result.error.findings]
        assert [name in "".join(told) for name in ("denied-one", "denied-two")] == [True, True]
        check_untouched(trial, before)
        trial.applied(V2)


@pytest.mark.requirement("B-110", "B-111")
def test_a_webhook_that_denies_half_way_ends_the_apply_without_pruning(shop: Shop) -> None:
    """It lets dry runs pass, and denies what is meant."""
    after = (config_map("settings", colour="blue"), config_map("features"))

    def answer(asked: Asked) -> Answer:
        request = json.loads(asked.body)["request"]
        is_ours = request["name"] in ("settings", "features") and not request["dryRun"]
        return review(asked, is_allowed=not is_ours)

    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        with webhook(trial, answer):
            result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        assert "names.example.com" in result.error.message
        assert len(result.error.findings) == 2, "all of a wave are told"
        assert trial.place.has(CORE, "configmaps", "old")
        assert trial.place.revisions()[-1]["status"] == "failed"
        trial.check_inventory()
        trial.applied(V2)
        assert not trial.place.has(CORE, "configmaps", "old")


def test_a_webhook_that_does_not_answer_is_named_before_anything_changes(shop: Shop) -> None:
    def answer(asked: Asked) -> Answer:
        time.sleep(1.5)
        return review(asked, is_allowed=True)

    after = (config_map("settings", colour="blue"),)
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        before = trial.place.owned()
        with webhook(trial, answer):
            result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        assert "names.example.com" in result.error.message
        check_untouched(trial, before)


# --- kinds, namespaces, permissions -------------------------------------------------------------


@pytest.mark.requirement("B-101")
def test_an_object_comes_with_the_definition_of_its_kind_which_is_served_late(
    shop: Shop, proxy: ApiProxy, control_plane: ControlPlane
) -> None:
    with shop.trial(**{V2: FORMER}) as trial:
        group = f"{trial.place.name}.example.com"
        properties = {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
        definition = made(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"colours.{group}",
            spec={
                "group": group,
                "names": {"kind": "Colour", "plural": "colours"},
                "scope": "Namespaced",
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        )  # fmt: skip
        allowed = Allowed(cluster_scoped=frozenset({"CustomResourceDefinition"}))
        colour = made(f"{group}/v1", "Colour", "red", spec={"rgb": "f00"})
        replace(trial.releases, allowed=allowed).publish(V1, definition, colour)

        not_there = status(404, "NotFound", "the server could not find the requested resource")
        late = Fault(
            "late",
            lambda exchange: exchange.send(not_there),
            lambda request: is_write(request) and f"/apis/{group}/" in request.target,
        )
        try:
            result = applied_through(proxy, trial, V1, late)
            assert result.error is None, result.error
            found = trial.place.get(f"/apis/{group}/v1", "colours", "red")
            assert found["spec"] == {"rgb": "f00"}
        finally:
            control_plane.request("DELETE", f"{DEFINITIONS}/colours.{group}")


def test_a_namespace_that_is_being_deleted_takes_nothing(shop: Shop) -> None:
    with shop.trial(**{V1: FORMER}) as trial:
        trial.applied(V1)
        trial.place.patch(CORE, "configmaps", "old", metadata={"finalizers": ["example.com/held"]})
        trial.place.control_plane.request("DELETE", f"/api/v1/namespaces/{trial.place.name}")
        at_once = trial.apply(V1)
        until(lambda: not trial.place.has(CORE, "configmaps", "settings"), "its end")
        later = trial.apply(V1)
        trial.place.patch(CORE, "configmaps", "old", metadata={"finalizers": None})
        for result in (at_once, later):
            assert isinstance(result.error, Refused)
            assert "is being deleted" in result.error.message
            assert (result.error.exit_code, result.revision) == (4, None)


@pytest.mark.requirement("B-110", "B-111")
def test_a_permission_that_is_taken_away_half_way_is_told_and_nothing_is_pruned(
    shop: Shop, proxy: ApiProxy
) -> None:
    words = 'deployments.apps "cart" is forbidden: User "ci" cannot patch resource "deployments"'
    fault = Fault(
        "403",
        lambda exchange: exchange.send(status(403, "Forbidden", words)),
        writes_to("deployments"),
    )
    after = (config_map("settings", colour="blue"), deployment("cart", "cart:1", replicas=0))
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        result = applied_through(proxy, trial, V2, fault)
        assert isinstance(result.error, PermissionRefused)
        assert [str(each.ref) for each in result.changes.changes] == [
            f"ConfigMap/{trial.place.name}/settings"
        ]
        assert result.failed == (f"Deployment/{trial.place.name}/cart",)
        assert [str(each.ref) for each in result.not_started] == [
            f"ConfigMap/{trial.place.name}/old"
        ]
        assert trial.place.has(CORE, "configmaps", "old")
        trial.check_inventory()
        trial.applied(V2)
        assert not trial.place.has(CORE, "configmaps", "old")


# --- objects ------------------------------------------------------------------------------------


def test_an_immutable_field_is_named_before_anything_changes(shop: Shop) -> None:
    changed = deployment("cart", "cart:1", {"tier": "web"}, replicas=0)
    changed["spec"]["selector"]["matchLabels"]["tier"] = "web"
    former = (*FORMER, deployment("cart", "cart:1", replicas=0))
    with shop.trial(**{V1: former, V2: (config_map("settings", colour="blue"), changed)}) as trial:
        trial.applied(V1)
        before = trial.place.owned()
        result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        assert "spec.selector" in result.error.message
        assert f"Deployment/{trial.place.name}/cart" in result.error.message
        check_untouched(trial, before)


LARGE = "x" * (1400 * 1024)


def test_an_object_that_is_too_large_is_refused_before_anything_changes(shop: Shop) -> None:
    after = (config_map("settings", colour="blue"), config_map("large", content=LARGE))
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        before = trial.place.owned()
        result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        assert f"ConfigMap/{trial.place.name}/large" in result.error.message
        assert len(result.error.message) < 500
        check_untouched(trial, before)


@pytest.mark.requirement("B-110")
def test_an_object_that_is_too_large_for_etcd_is_named_and_nothing_is_pruned(shop: Shop) -> None:
    """No dry run tells it: the server asks etcd when it is meant."""
    large = deployment("large", "cart:1", replicas=0)
    [container] = large["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": f"E{n}", "value": "x" * 100_000} for n in range(17)]
    after = (config_map("settings", colour="blue"), large)
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        assert f"Deployment/{trial.place.name}/large" in result.error.message
        assert "too large" in result.error.message
        assert trial.place.has(CORE, "configmaps", "old")
        trial.check_inventory()


@pytest.mark.requirement("B-111")
def test_an_object_that_is_deleted_after_the_plan_is_made_anew(shop: Shop, proxy: ApiProxy) -> None:
    after = (config_map("settings", colour="blue"),)
    with shop.trial(**{V1: FORMER, V2: after}) as trial:
        trial.applied(V1)
        fault = Fault("deleted", deleting(trial, CORE, "configmaps", "settings"), is_write)
        result = applied_through(proxy, trial, V2, fault)
        assert result.error is None
        assert trial.place.get(CORE, "configmaps", "settings")["data"] == {"colour": "blue"}


def test_a_workload_that_is_deleted_while_it_is_waited_for_is_named(
    shop: Shop, proxy: ApiProxy
) -> None:
    with shop.trial(**{V1: (deployment("cart", "unready:1"),)}) as trial:
        fault = Fault(
            "deleted",
            deleting(trial, APPS, "deployments", "cart"),
            lambda request: "/deployments?" in request.target and "watch=true" in request.target,
        )
        result = applied_through(proxy, trial, V1, fault, timeout=2)
        assert isinstance(result.error, NotReady)
        assert f"Deployment/{trial.place.name}/cart: is not there" in result.error.message
        assert trial.place.revisions()[-1]["status"] == "failed"
        assert trial.apply(V1, timeout=1).changes.counts()["created"] == 1


def deleting(trial: Trial, prefix: str, plural: str, name: str) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        plane = trial.place.control_plane
        plane.request("DELETE", trial.place.path(prefix, plural, name))
        exchange.proxy.pass_on(exchange)

    return act


# --- what was verified --------------------------------------------------------------------------


@pytest.mark.requirement("B-101")
def test_what_was_verified_is_applied_whatever_becomes_of_the_registry(
    shop: Shop, proxy: ApiProxy
) -> None:
    """The version leads to other content, and the old content is gone, before the plan is made."""
    with shop.trial(**{V1: FORMER}) as trial:
        digest = str(trial.bundle(V1).digest)

        def replace_release(exchange: Exchange) -> None:
            shutil.rmtree(trial.releases.folder)
            trial.releases.publish(V1, config_map("settings", colour="of somebody else"))
            exchange.proxy.pass_on(exchange)

        proxy.inject(Fault("replaced", replace_release), 0)
        result = trial.start(V1, proxy).end()
        proxy.clear()
        assert result.exit_code == 0, result.stdout
        assert json.loads(result.stdout)["digest"] == digest
        assert str(trial.bundle(V1).digest) != digest
        assert trial.place.get(CORE, "configmaps", "settings")["data"] == {"colour": "red"}


@pytest.mark.requirement("B-110")
def test_a_release_without_objects_deletes_nothing(shop: Shop) -> None:
    nothing: tuple[Object, ...] = ()
    with shop.trial(**{V1: FORMER, V2: nothing}) as trial:
        trial.applied(V1)
        before = trial.place.owned()
        result = trial.apply(V2)
        assert isinstance(result.error, Refused)
        check_untouched(trial, before)
