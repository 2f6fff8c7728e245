"""What changes in an object, field by field, and what counts as somebody's change of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from bundler.deploy.field_changes import field_changes, state_of, wanted_changes
from bundler.model.differences import ABSENT, HIDDEN, FieldChange
from bundler.model.objects import LAST_APPLIED
from tests.fakes.releases import Object, config_map, deployment, secret

SCALED = {
    "manager": "autoscaler",
    "operation": "Update",
    "subresource": "scale",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}
ROLLED_OUT = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "subresource": "status",
    "fieldsV1": {
        "f:metadata": {"f:annotations": {".": {}, "f:deployment.kubernetes.io/revision": {}}},
        "f:status": {"f:replicas": {}},
    },
}


def live(obj: Object, *entries: Object) -> Object:
    found = deepcopy(obj)
    found["metadata"] |= {"uid": "1", "resourceVersion": "5", "managedFields": list(entries)}
    return found


CART = live(deployment("cart", replicas=2))
TOKEN = live(secret("token", value="aGVsbG8="))


def after(change: Callable[[Object], Any], obj: Object) -> Object:
    other = deepcopy(obj)
    change(other)
    return other


def test_every_field_has_its_path_and_both_values() -> None:
    def change(obj: Object) -> None:
        obj["spec"]["replicas"] = 3
        obj["spec"]["paused"] = True
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "shop/cart:2"
        del obj["metadata"]["labels"]["app.kubernetes.io/part-of"]
        obj["metadata"] |= {"resourceVersion": "6", "generation": 2, "managedFields": []}
        obj["status"] = {"replicas": 3}

    assert field_changes(CART, after(change, CART)) == (
        FieldChange('metadata.labels["app.kubernetes.io/part-of"]', "shop", ABSENT),
        FieldChange("spec.paused", ABSENT, True),
        FieldChange("spec.replicas", 2, 3),
        FieldChange("spec.template.spec.containers[main].image", "shop/cart:1", "shop/cart:2"),
    )


def test_where_the_server_was_not_asked_its_defaults_are_no_changes() -> None:
    def default(obj: Object) -> None:
        obj["spec"] |= {"progressDeadlineSeconds": 600, "replicas": 1}

    assert wanted_changes(after(default, CART), deployment("cart", replicas=2)) == (
        FieldChange("spec.replicas", 1, 2),
    )


def test_no_value_of_a_secret_comes_out() -> None:
    def change(obj: Object) -> None:
        obj["data"] = {"value": "c2Vjb25k", "more": "bW9yZQ=="}
        obj["stringData"] = {"clear": "in clear"}
        obj["metadata"]["annotations"] = {LAST_APPLIED: '{"data":{"value":"c2Vjb25k"}}'}

    found = field_changes(TOKEN, after(change, TOKEN))
    assert [(each.path, each.before, each.after) for each in found[:2]] == [
        ("data.more", ABSENT, HIDDEN), ("data.value", HIDDEN, HIDDEN),
    ]  # fmt: skip
    told = repr([each.as_dict() for each in found])
    assert not any(text in told for text in ("aGVs", "c2Vj", "bW9y", "clear"))


UNCOUNTED: dict[str, Callable[[Object], Any]] = {
    "status": lambda o: o.update(status={"readyReplicas": 1}),
    "resource version": lambda o: o["metadata"].update(resourceVersion="9", generation=7),
    "a controller's revision": lambda o: o["metadata"].update(
        annotations={**o["metadata"]["annotations"], "deployment.kubernetes.io/revision": "2"},
        managedFields=[ROLLED_OUT],
    ),
}
COUNTED: dict[str, Callable[[Object], Any]] = {
    "a field that is ours": lambda o: o["spec"].update(replicas=7),
    "a field that is not": lambda o: o["spec"].update(paused=True),
    "a label": lambda o: o["metadata"]["labels"].update(team="checkout"),
    "being deleted": lambda o: o["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("change", UNCOUNTED.values(), ids=UNCOUNTED.keys())
def test_what_runs_by_itself_is_nobodys_change(change: Callable[[Object], Any]) -> None:
    assert state_of(after(change, CART)) == state_of(CART)


@pytest.mark.parametrize("change", COUNTED.values(), ids=COUNTED.keys())
def test_any_other_field_counts(change: Callable[[Object], Any]) -> None:
    assert state_of(after(change, CART)) != state_of(CART)


def test_replicas_that_an_autoscaler_sets_are_no_change() -> None:
    scaled = live(deployment("cart", replicas=2), SCALED)
    assert state_of(after(lambda o: o["spec"].update(replicas=9), scaled)) == state_of(scaled)


def test_a_secrets_state_follows_its_version_and_tells_nothing_of_its_values() -> None:
    other = after(lambda o: o.update(data={"value": "Z3Vlc3M="}), TOKEN)
    assert state_of(other) == state_of(TOKEN)
    written = after(lambda o: o["metadata"].update(resourceVersion="6"), TOKEN)
    assert state_of(written) != state_of(TOKEN)


def test_an_object_without_versions_has_a_state_too() -> None:
    assert state_of(config_map("a", x="1")) != state_of(config_map("a", x="2"))
