"""Unchanged without asking the server: only where owned fields and values are exactly as wanted."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from bundler.deploy.fields import is_same_outcome, is_unchanged
from tests.fakes.releases import config_map, deployment
from tests.fakes.ssa import fields_of

Object = dict[str, Any]


def applied(obj: Object) -> Object:
    """The object as a server keeps it after we applied it."""
    live = deepcopy(obj)
    live["metadata"] |= {"uid": "1", "resourceVersion": "5", "generation": 1}
    live["metadata"]["managedFields"] = [
        {
            "manager": "bundler",
            "operation": "Apply",
            "apiVersion": obj["apiVersion"],
            "fieldsV1": fields_of(obj),
        }
    ]
    return live


CONTAINER: Object = {
    "name": "main",
    "image": "shop/cart:1",
    "command": ["run", "--fast"],
    "ports": [
        {"containerPort": 53, "protocol": "TCP"},
        {"containerPort": 53, "protocol": "UDP", "name": "dns"},
    ],
    "env": [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}],
    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
}
CART = deployment("cart", replicas=2)
CART["spec"]["template"]["spec"]["containers"] = [CONTAINER]


def container(obj: Object) -> Object:
    found: Object = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def changed(change: Callable[[Object], Any], obj: Object = CART) -> Object:
    other = deepcopy(obj)
    change(other)
    return other


def test_what_was_applied_is_unchanged() -> None:
    assert is_unchanged(CART, applied(CART))


def test_what_the_server_and_others_add_does_not_matter() -> None:
    def add(live: Object) -> None:
        live["spec"]["progressDeadlineSeconds"] = 600
        live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
        container(live)["imagePullPolicy"] = "IfNotPresent"
        live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "mesh"})
        live["status"] = {"replicas": 2}
        live["metadata"]["managedFields"].append(
            {"manager": "kcm", "operation": "Update", "fieldsV1": {"f:status": {}}}
        )

    assert is_unchanged(CART, changed(add, applied(CART)))


CHANGES: dict[str, Callable[[Object], Any]] = {
    "another value": lambda o: o["spec"].update(replicas=3),
    "another type": lambda o: o["spec"].update(replicas="2"),
    "a field more": lambda o: o["spec"].update(paused=True),
    "a field less": lambda o: o["spec"].pop("replicas"),
    "a label more": lambda o: o["metadata"]["labels"].update(tier="front"),
    "a label less": lambda o: o["metadata"]["labels"].pop("release-bundler/environment"),
    "another owner": lambda o: o["metadata"]["annotations"].update({"release-bundler/owner": "x"}),
    "another image": lambda o: container(o).update(image="shop/cart:2"),
    "another command": lambda o: container(o).update(command=["run"]),
    "another order": lambda o: container(o)["env"].reverse(),
    "a variable less": lambda o: container(o)["env"].pop(),
    "a variable more": lambda o: container(o)["env"].append({"name": "C", "value": "3"}),
    "a port's name": lambda o: container(o)["ports"][0].update(name="tcp"),
    "another quantity": lambda o: container(o)["resources"]["requests"].update(cpu="501m"),
    "no quantity": lambda o: container(o)["resources"]["requests"].update(cpu="much"),
    "a container twice": lambda o: o["spec"]["template"]["spec"]["containers"].append(CONTAINER),
    "null": lambda o: o["spec"].update(replicas=None),
    "another version": lambda o: o.update(apiVersion="apps/v1beta1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_what_is_wanted_is_seen(change: str) -> None:
    assert not is_unchanged(changed(CHANGES[change]), applied(CART))


TAMPERED: dict[str, Callable[[Object], Any]] = {
    "another value": lambda o: o["spec"].update(replicas=3),
    "a field gone": lambda o: o["spec"].pop("replicas"),
    "a container gone": lambda o: o["spec"]["template"]["spec"]["containers"].clear(),
    "a field that is no longer ours": lambda o: o["metadata"]["managedFields"][0]["fieldsV1"][
        "f:spec"
    ].pop("f:replicas"),
    "nothing ours": lambda o: o["metadata"]["managedFields"].clear(),
    "ours by update only": lambda o: o["metadata"]["managedFields"][0].update(operation="Update"),
    "ours of the status only": lambda o: o["metadata"]["managedFields"][0].update(
        subresource="status"
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_every_change_of_what_stands_there_is_seen(change: str) -> None:
    assert not is_unchanged(CART, changed(TAMPERED[change], applied(CART)))


@pytest.mark.parametrize(
    ("wanted", "live"),
    [("0.5", "500m"), (1, "1"), (0.1, "100m"), ("1024Mi", "1Gi"), ("1e3", "1k"), ("2000m", "2")],
)
def test_a_quantity_is_the_same_however_it_is_written(wanted: Any, live: str) -> None:
    def write(value: Any) -> Callable[[Object], Any]:
        return lambda o: container(o)["resources"]["requests"].update(cpu=value)

    assert is_unchanged(changed(write(wanted)), changed(write(live), applied(CART)))


def test_text_that_looks_like_a_quantity_is_text() -> None:
    wanted = config_map("settings", limits="0.5")
    live = changed(lambda o: o["data"].update(limits="500m"), applied(wanted))
    assert not is_unchanged(wanted, live)


def test_a_port_without_protocol_is_the_one_with_the_default() -> None:
    wanted = changed(lambda o: container(o)["ports"][0].pop("protocol"))
    live = applied(CART)
    ports = live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]
    element = ports["f:containers"]['k:{"name":"main"}']["f:ports"]
    del element['k:{"containerPort":53,"protocol":"TCP"}']["f:protocol"]
    assert is_unchanged(wanted, live)


def test_a_set_is_the_same_when_its_items_are() -> None:
    wanted = config_map("settings")
    wanted["metadata"]["finalizers"] = ["x.io/a", "x.io/b"]
    live = applied(wanted)
    owned = live["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]
    owned["f:finalizers"] = {".": {}, 'v:"x.io/a"': {}, 'v:"x.io/b"': {}}
    assert is_unchanged(wanted, live)
    assert not is_unchanged(changed(lambda o: o["metadata"]["finalizers"].pop(), wanted), live)


def test_a_dry_run_that_changes_a_value_or_the_ownership_is_a_change() -> None:
    live = applied(CART)
    later = changed(lambda o: o["metadata"].update(resourceVersion="6", generation=2), live)
    assert is_same_outcome(later, live)
    assert not is_same_outcome(changed(lambda o: o["spec"].update(replicas=5), later), live)
    dropped = TAMPERED["a field that is no longer ours"]
    assert not is_same_outcome(changed(dropped, later), live)


POLICY: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "cart", "labels": {"app": "cart"}},
    "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}]},
}


def with_protocol(name: str) -> Callable[[Object], Any]:
    return lambda o: o["spec"]["ingress"][0]["ports"][0].update(protocol=name)


def test_a_default_within_a_list_that_is_owned_as_a_whole_is_no_change() -> None:
    assert is_unchanged(POLICY, changed(with_protocol("TCP"), applied(POLICY)))
    assert not is_unchanged(POLICY, changed(with_protocol("UDP"), applied(POLICY)))
    assert not is_unchanged(changed(with_protocol("TCP"), POLICY), applied(POLICY))


def test_what_is_a_default_of_custom_kinds_nobody_knows() -> None:
    custom = {**POLICY, "apiVersion": "cilium.io/v2"}
    assert not is_unchanged(custom, changed(with_protocol("TCP"), applied(custom)))
