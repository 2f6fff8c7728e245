"""A reviewed plan is applied as long as it is still so, and refused with every difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bundler.deploy.policy import Policy
from bundler.deploy.preview import Preview, preview
from bundler.deploy.result import TargetResult
from bundler.deploy.reviewed import Place, Previewed, ReviewedPlan, freeze
from bundler.errors import PermissionRefused, PlanChanged
from bundler.model.bundle import VerifiedBundle
from bundler.model.differences import FieldChange
from bundler.model.frozen_plan import FrozenPlan
from bundler.model.objects import ObjectRef
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    Object,
    apply,
    config_map,
    definition,
    deployment,
    job,
    made,
    namespace,
    release,
    secret,
)

V1 = release(
    "v1.0.0",
    [
        namespace(), config_map("settings", colour="red"), config_map("old"),
        secret("token", value="aGVsbG8="), job("migrate"), deployment("cart"),
        deployment("search"),
    ],
)  # fmt: skip
V2 = release(
    "v1.1.0",
    [
        namespace(), config_map("settings", colour="blue"), config_map("new"),
        secret("token", value="c2Vjb25k"), job("migrate", image="shop/migrate:2"),
        deployment("cart", image="shop/cart:2"), deployment("search"),
    ],
)  # fmt: skip
CART = ObjectRef("apps", "Deployment", "shop", "cart")
SEARCH = CART._replace(name="search")
SETTINGS = ObjectRef("", "ConfigMap", "shop", "settings")
GOOD_UNTIL = "2026-01-01T01:00:00Z"


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def upgraded(cluster: FakeCluster) -> FakeCluster:
    assert apply(cluster, V1).error is None
    return cluster


def looked_at(cluster: FakeCluster, bundle: VerifiedBundle) -> Preview:
    return preview(bundle, "stage", "default", cluster)


def frozen(cluster: FakeCluster, bundle: VerifiedBundle) -> FrozenPlan:
    """A plan that went through its file."""
    found = [Previewed(looked_at(cluster, bundle), cluster.identity())]
    plan = freeze(bundle, "stage", found, made_at=cluster.clock(), good_until=GOOD_UNTIL)
    return FrozenPlan.from_dict(json.loads(json.dumps(plan.as_dict())))


def reviewed(cluster: FakeCluster, bundle: VerifiedBundle) -> ReviewedPlan:
    return ReviewedPlan(frozen(cluster, bundle), cluster.clock)


def apply_reviewed(
    cluster: FakeCluster, bundle: VerifiedBundle, plan: ReviewedPlan, **changed: Any
) -> TargetResult:
    return apply(cluster, bundle, check=plan.check, **changed)


def told(error: Exception | None) -> set[tuple[str, str | None]]:
    assert isinstance(error, PlanChanged)
    assert error.exit_code == 4
    assert all(finding.hint for finding in error.findings)
    return {(finding.rule, finding.object) for finding in error.findings}


# --- looking ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-109")
def test_a_first_installation_is_planned_without_namespace_and_definitions(
    cluster: FakeCluster,
) -> None:
    sums = made("x.io/v1", "Sum", "sums")
    bundle = release("v1", [namespace(), definition("Sum", "x.io"), sums, deployment("cart")])
    found = looked_at(cluster, bundle)
    assert found.error is None
    assert found.as_dict()["changes"]["created"] == 4
    assert {each["reason"] for each in found.as_dict()["objects"]} == {"it is not there yet"}


@pytest.mark.requirement("B-109")
def test_looking_takes_no_lock_and_writes_nothing(upgraded: FakeCluster) -> None:
    upgraded.calls.clear()
    with upgraded.held("runner-2"):
        assert looked_at(upgraded, V2).has_changes
    written = {"apply", "delete", "prepare", "write_inventory", "write_revision", "drop_revision"}
    assert not written & {method for method, _ in upgraded.calls}


@pytest.mark.requirement("B-109")
def test_each_change_is_shown_with_its_fields_and_its_reason(upgraded: FakeCluster) -> None:
    found = {each["ref"]: each for each in looked_at(upgraded, V2).as_dict()["objects"]}
    assert found["ConfigMap/shop/settings"]["fields"] == [
        {"path": "data.colour", "before": "red", "after": "blue"}
    ]
    assert found["Secret/shop/token"]["fields"] == [
        {"path": "data.value", "before": "(secret)", "after": "(secret)"}
    ]
    assert found["Job/shop/migrate"]["recreate"]
    assert found["Job/shop/migrate"]["reason"] == "its template changed"
    assert [each["path"] for each in found["Job/shop/migrate"]["fields"]] == [
        "spec.template.spec.containers[main].image"
    ]
    assert found["ConfigMap/shop/old"]["reason"] == "the release does not have it any more"
    assert found["Deployment/shop/search"]["action"] == "unchanged"


def test_what_cannot_be_planned_is_part_of_the_result(cluster: FakeCluster) -> None:
    cluster.denied.add(("patch", "Deployment"))
    found = looked_at(cluster, V1)
    assert isinstance(found.error, PermissionRefused)
    assert found.as_dict()["status"] == "failed"


# --- freezing and applying ----------------------------------------------------------------------


@pytest.mark.requirement("B-109")
def test_no_value_of_a_secret_is_in_a_frozen_plan(upgraded: FakeCluster) -> None:
    text = json.dumps(frozen(upgraded, V2).as_dict())
    assert "aGVsbG8=" not in text
    assert "c2Vjb25k" not in text


def test_a_frozen_plan_says_how_everything_that_it_touches_stands(upgraded: FakeCluster) -> None:
    [target] = frozen(upgraded, V2).targets
    objects = {each.ref: each for each in target.objects}
    cart = upgraded.objects[CART]["metadata"]
    assert (objects[CART].uid, objects[CART].resource_version) == (
        cart["uid"], cart["resourceVersion"],
    )  # fmt: skip
    assert objects[CART].state
    assert objects[SETTINGS].fields == (FieldChange("data.colour", "red", "blue"),)
    assert objects[SETTINGS._replace(name="new")].uid is None
    assert (objects[SEARCH].action, objects[SEARCH].state) == ("unchanged", None)


@pytest.mark.requirement("B-109")
@pytest.mark.parametrize("bundle", [V1, V2], ids=["a first one", "an upgrade"])
def test_what_was_reviewed_is_applied(cluster: FakeCluster, bundle: VerifiedBundle) -> None:
    if bundle is V2:
        apply(cluster, V1)
    plan = reviewed(cluster, bundle)
    plan.check_bundle(bundle, "stage", ["default"])
    plan.check_places([Place("default", cluster.identity(), "shop")])
    plan.check_targets([looked_at(cluster, bundle)])
    assert apply_reviewed(cluster, bundle, plan).status == "succeeded"


def test_a_status_that_goes_on_is_no_change(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)
    cart = upgraded.objects[CART]
    metadata = {**cart["metadata"], "resourceVersion": "999"}
    upgraded.objects[CART] = {**cart, "metadata": metadata, "status": {"readyReplicas": 0}}
    assert apply_reviewed(upgraded, V2, plan).error is None


def recreate(cluster: FakeCluster) -> None:
    cart = cluster.objects[CART]
    cluster.objects[CART] = {**cart, "metadata": {**cart["metadata"], "uid": "another"}}


def edit(ref: ObjectRef, change: Callable[[Object], Any]) -> Callable[[FakeCluster], None]:
    return lambda cluster: cluster.update(ref, "kubectl", change)


CHANGES: dict[str, tuple[Callable[[FakeCluster], Any], set[tuple[str, str]]]] = {
    "an edited object": (
        edit(CART, lambda o: o["spec"].update(paused=True)),
        {("plan-object", "Deployment/shop/cart")},
    ),
    "an edited object that goes away": (
        edit(SETTINGS._replace(name="old"), lambda o: o["metadata"]["labels"].update(team="x")),
        {("plan-object", "ConfigMap/shop/old")},
    ),
    "a secret": (
        edit(ObjectRef("", "Secret", "shop", "token"), lambda o: o.update(type="Opaque")),
        {("plan-object", "Secret/shop/token")},
    ),
    "an object made anew": (recreate, {("plan-object", "Deployment/shop/cart")}),
    "objects that are gone": (
        lambda cluster: [cluster.objects.pop(ref) for ref in (CART, SEARCH)],
        {("plan-action", "Deployment/shop/cart"), ("plan-action", "Deployment/shop/search")},
    ),
    "an object that was made meanwhile": (
        lambda cluster: cluster.create(config_map("new"), "kubectl"),
        {("plan-action", "ConfigMap/shop/new")},
    ),
}  # fmt: skip


@pytest.mark.requirement("B-109")
@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_what_changed_since_is_refused_with_every_difference(
    upgraded: FakeCluster,
    change: Callable[[FakeCluster], Any],
    expected: set[tuple[str, str]],
) -> None:
    plan = reviewed(upgraded, V2)
    change(upgraded)
    before = dict(upgraded.objects)
    assert told(apply_reviewed(upgraded, V2, plan).error) == expected
    assert upgraded.objects == before
    assert list(upgraded.revisions) == [1]


def test_a_change_while_the_lock_is_waited_for_is_refused(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)

    def overtake(method: str, _: str) -> None:
        if method == "held":
            upgraded.on_call = lambda _, __: None
            edited = config_map("settings", colour="green")
            apply(upgraded, release("v1.0.1", [namespace(), edited, deployment("cart")]))

    upgraded.on_call = overtake
    result = apply_reviewed(upgraded, V2, plan)
    assert ("plan-object", "ConfigMap/shop/settings") in told(result.error)
    assert upgraded.revisions[2].tag == "v1.0.1"
    assert list(upgraded.revisions) == [1, 2]


def test_an_object_that_is_edited_while_the_lock_is_waited_for_is_refused(
    upgraded: FakeCluster,
) -> None:
    plan = reviewed(upgraded, V2)

    def edit_settings(method: str, _: str) -> None:
        if method == "held":
            upgraded.update(SETTINGS, "kubectl", lambda o: o["data"].update(size="large"))

    upgraded.on_call = edit_settings
    error = apply_reviewed(upgraded, V2, plan).error
    assert told(error) == {("plan-object", "ConfigMap/shop/settings")}
    assert list(upgraded.revisions) == [1]


def test_flags_that_the_plan_was_made_with_are_named(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)
    error = apply_reviewed(upgraded, V2, plan, policy=Policy(prune=False)).error
    assert isinstance(error, PlanChanged)
    [finding] = [each for each in error.findings if each.object == "ConfigMap/shop/old"]
    assert finding.hint is not None
    assert "--no-prune" in finding.hint


def test_a_plan_that_was_applied_leaves_nothing_to_do(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)
    apply_reviewed(upgraded, V2, plan)
    assert apply_reviewed(upgraded, V2, plan).status == "unchanged"
    assert list(upgraded.revisions) == [1, 2]


def test_a_plan_that_was_applied_does_not_bring_back_what_was_changed_since(
    upgraded: FakeCluster,
) -> None:
    plan = reviewed(upgraded, V2)
    apply_reviewed(upgraded, V2, plan)
    assert apply(upgraded, V1).error is None
    assert isinstance(apply_reviewed(upgraded, V2, plan).error, PlanChanged)


def test_a_plan_whose_time_is_over_is_refused(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)
    upgraded.seconds = 3601
    assert told(apply_reviewed(upgraded, V2, plan).error) == {("plan-outdated", None)}


def test_another_bundle_environment_target_and_registry_are_told_together(
    upgraded: FakeCluster,
) -> None:
    plan = reviewed(upgraded, V2)
    upgraded.seconds = 3601
    other = replace(V1, image_registry="registry.prod.example.com/shop")
    with pytest.raises(PlanChanged) as caught:
        plan.check_bundle(other, "prod", ["eu"])
    assert [finding.rule for finding in caught.value.findings] == [
        "plan-outdated", "plan-bundle", "plan-environment", "plan-image-registry",
        "plan-targets", "plan-targets",
    ]  # fmt: skip


def test_another_cluster_is_refused(upgraded: FakeCluster) -> None:
    plan = reviewed(upgraded, V2)
    upgraded.uid = "of another cluster"
    with pytest.raises(PlanChanged) as caught:
        plan.check_places([Place("default", upgraded.identity(), "elsewhere")])
    assert told(caught.value) == {("plan-place", None), ("plan-state-namespace", None)}
