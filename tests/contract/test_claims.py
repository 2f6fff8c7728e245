"""Fields that others manage: what a claim takes over, gives up and never touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.discovery import Discovery
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.adapters.cluster.objects import KubernetesObjects
from bundler.deploy.deletions import deletions
from bundler.deploy.policy import Policy
from bundler.errors import FieldConflict, ImmutableField, OwnershipRefused, Refused
from bundler.model.claim import Claim
from bundler.model.inventory import Inventory
from bundler.model.objects import OWNER, ObjectRef
from bundler.ports import DeployTarget
from tests.e2e.live_objects import until
from tests.fakes import releases
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import Object
from tools.control_plane import ControlPlane

PATHS = {
    "ConfigMap": "api/v1",
    "Deployment": "apis/apps/v1",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2",
}
POLICIES = "/apis/admissionregistration.k8s.io/v1"


@dataclass(frozen=True)
class Server:
    target: DeployTarget
    namespace: str
    create: Callable[[Object, str], object]
    """Somebody else makes an object, as this field manager."""
    edit: Callable[[Object, str], object]
    """Somebody else sets these values of a ConfigMap."""

    def config_map(self, **content: str) -> Object:
        return releases.made("v1", "ConfigMap", "settings", namespace=self.namespace, data=content)

    def nobodys(self, **content: str) -> Object:
        made = self.config_map(**content)
        return {**made, "metadata": {"name": "settings", "namespace": self.namespace}}

    def deployment(self, **spec: Any) -> Object:
        spec = releases.deployment("web", "shop/web:1", **spec)["spec"]
        return releases.made("apps/v1", "Deployment", "web", namespace=self.namespace, spec=spec)

    def live(self, obj: Object) -> Any:
        return self.target.live({ObjectRef.of(obj): obj["apiVersion"]})[ObjectRef.of(obj)]


@pytest.fixture
def connection(control_plane: ControlPlane) -> Iterator[KubernetesConnection]:
    with connect(kubeconfig=control_plane.kubeconfig) as connection:
        yield connection


@pytest.fixture
def real(control_plane: ControlPlane, connection: KubernetesConnection, namespace: str) -> Server:
    target = KubernetesCluster(
        connection, project="shop", environment="stage", target="default", namespace=namespace
    )

    def create(obj: Object, manager: str) -> None:
        prefix = "apis" if "/" in obj["apiVersion"] else "api"
        plural = f"{obj['kind'].lower()}s"
        path = f"/{prefix}/{obj['apiVersion']}/namespaces/{namespace}/{plural}"
        control_plane.request("POST", f"{path}?fieldManager={manager}", obj)

    def edit(obj: Object, manager: str) -> None:
        control_plane.request(
            "PATCH",
            f"/api/v1/namespaces/{namespace}/configmaps/settings?fieldManager={manager}",
            {"data": obj["data"]},
            content_type="application/merge-patch+json",
        )

    return Server(target, namespace, create, edit)


@pytest.fixture
def fake() -> Server:
    cluster = FakeCluster()
    cluster.prepare()

    def edit(obj: Object, manager: str) -> None:
        cluster.update(ObjectRef.of(obj), manager, lambda there: there["data"].update(obj["data"]))

    return Server(cluster, "shop", cluster.create, edit)


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Server:
    made: Server = request.getfixturevalue(request.param)
    return made


# --- taking over --------------------------------------------------------------------------------


def test_a_conflict_names_who_manages_which_fields(server: Server) -> None:
    server.create(server.nobodys(colour="red", size="9", same="yes"), "kubectl-edit")
    with pytest.raises(FieldConflict) as error:
        server.target.apply(server.config_map(colour="blue", size="8", same="yes"))
    assert error.value.managers == {"kubectl-edit": (".data.colour", ".data.size")}


@pytest.mark.parametrize("dry_run", [True, False], ids=["tried", "applied"])
def test_fields_are_taken_from_the_managers_that_are_named(server: Server, dry_run: bool) -> None:
    server.create(server.nobodys(colour="red", theirs="yes"), "kubectl-edit")
    claim = Claim(frozenset({"kubectl-edit"}))
    wanted = server.config_map(colour="blue")
    result = server.target.apply(wanted, dry_run=dry_run, claim=claim)
    assert result["data"] == {"colour": "blue", "theirs": "yes"}
    assert (server.live(wanted)["data"]["colour"] == "blue") is not dry_run


@pytest.mark.parametrize("dry_run", [True, False], ids=["tried", "applied"])
def test_nothing_is_taken_where_somebody_is_in_conflict_who_is_not_named(
    server: Server, dry_run: bool
) -> None:
    server.create(server.nobodys(colour="red"), "helm")
    server.edit(server.nobodys(size="9"), "kubectl-edit")
    wanted = server.config_map(colour="blue", size="8")
    with pytest.raises(FieldConflict) as error:
        server.target.apply(wanted, dry_run=dry_run, claim=Claim(frozenset({"helm"})))
    assert error.value.managers == {"helm": (".data.colour",), "kubectl-edit": (".data.size",)}
    assert server.live(wanted)["data"] == {"colour": "red", "size": "9"}
    both = Claim(frozenset({"helm", "kubectl-edit"}))
    result = server.target.apply(wanted, dry_run=dry_run, claim=both)
    assert result["data"] == {"colour": "blue", "size": "8"}


def test_whoever_writes_between_asking_and_taking_over_is_asked_for_again(
    real: Server, connection: KubernetesConnection
) -> None:
    """The force is for the object as it was when only those who are named stood against it."""
    real.create(real.nobodys(colour="red"), "helm")
    writes: list[str] = []

    def somebody_writes_before_the_force() -> None:
        writes.append("write")
        if len(writes) == 3:
            real.edit(real.nobodys(colour="green"), "kubectl-edit")

    objects = KubernetesObjects(
        connection, Discovery(connection), namespace=real.namespace,
        before_write=somebody_writes_before_the_force,
    )  # fmt: skip
    with pytest.raises(FieldConflict) as error:
        objects.apply(real.config_map(colour="blue"), claim=Claim(frozenset({"helm"})))
    assert error.value.managers == {"kubectl-edit": (".data.colour",)}
    assert real.live(real.config_map())["data"] == {"colour": "green"}


# --- adopting -----------------------------------------------------------------------------------


def test_of_what_is_adopted_goes_what_the_former_manager_set_and_we_do_not(server: Server) -> None:
    theirs = server.nobodys(colour="red", old="yes")
    theirs["metadata"]["annotations"] = {"example.com/applied": "{}"}
    server.create(theirs, "kubectl-client-side-apply")
    claim = Claim(frozenset({"kubectl-client-side-apply"}), adopts=True)
    wanted = server.config_map(colour="blue")
    tried = server.target.apply(wanted, dry_run=True, claim=claim)
    assert server.live(wanted)["data"] == {"colour": "red", "old": "yes"}
    applied = server.target.apply(wanted, claim=claim)
    for result in (tried, applied):
        assert result["data"] == {"colour": "blue"}
        assert "example.com/applied" not in result["metadata"]["annotations"]
    managers = {entry["manager"] for entry in applied["metadata"]["managedFields"]}
    assert managers == {"bundler"}


def test_an_adoption_is_tried_as_it_is_done_with_defaults_of_what_goes(real: Server) -> None:
    theirs = real.deployment(replicas=3, minReadySeconds=7)
    theirs["metadata"] = {"name": "web", "namespace": real.namespace}
    pod = theirs["spec"]["template"]["spec"]
    pod["containers"] += [{"name": "old", "image": "shop/old:1", "args": ["--old"]}]
    pod["containers"][0]["env"] = [{"name": "OLD", "value": "yes"}]
    pod["terminationGracePeriodSeconds"] = 5
    real.create(theirs, "helm")
    claim = Claim(frozenset({"helm"}), adopts=True)
    wanted = real.deployment()
    tried = real.target.apply(wanted, dry_run=True, claim=claim)
    applied = real.target.apply(wanted, claim=claim)
    assert tried["spec"] == applied["spec"]
    assert (applied["spec"]["replicas"], applied["spec"].get("minReadySeconds")) == (1, None)
    assert [each["name"] for each in applied["spec"]["template"]["spec"]["containers"]] == ["main"]
    assert "env" not in applied["spec"]["template"]["spec"]["containers"][0]


def test_what_got_another_owner_meanwhile_is_not_adopted(server: Server) -> None:
    theirs = server.config_map(colour="red")
    theirs["metadata"]["annotations"] = {OWNER: "bank/stage/default"}
    server.create(theirs, "helm")
    claim = Claim(frozenset({"helm"}), adopts=True)
    with pytest.raises(OwnershipRefused, match="bank/stage/default"):
        server.target.apply(server.config_map(colour="blue"), claim=claim)
    assert server.live(theirs)["data"] == {"colour": "red"}


def test_finalizers_and_owners_stay_with_whoever_set_them(real: Server) -> None:
    theirs = real.nobodys(colour="red")
    theirs["metadata"]["finalizers"] = ["example.com/held"]
    real.create(theirs, "helm")
    claim = Claim(frozenset({"helm"}), adopts=True)
    wanted = real.config_map(colour="blue")
    for dry_run in (True, False):
        result = real.target.apply(wanted, dry_run=dry_run, claim=claim)
        assert result["metadata"]["finalizers"] == ["example.com/held"]
    wanted["metadata"]["finalizers"] = []
    real.target.apply(wanted, claim=Claim(frozenset({"helm"})))


# --- replicas -----------------------------------------------------------------------------------


@pytest.mark.requirement("D-19")
def test_replicas_that_are_given_up_keep_their_value(server: Server) -> None:
    server.target.apply(server.deployment(replicas=3))
    without = server.deployment()
    left = server.target.apply(without, claim=Claim(leaves_replicas=True))
    assert left["spec"]["replicas"] == 3
    assert server.target.apply(without)["spec"]["replicas"] == 3


def test_autoscalers_are_found_with_what_they_scale(server: Server) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 9}
    hpa = releases.made(
        "autoscaling/v2", "HorizontalPodAutoscaler", "web", namespace=server.namespace, spec=spec
    )
    server.create(hpa, "kubectl")
    scaled = ObjectRef("apps", "Deployment", server.namespace, "web")
    assert server.target.autoscalers({server.namespace}) == {ObjectRef.of(hpa): scaled}
    assert server.target.autoscalers({"elsewhere"}) == {}


# --- immutable fields ---------------------------------------------------------------------------


@pytest.mark.requirement("D-10")
def test_what_cannot_be_changed_in_place_is_told_with_its_field(server: Server) -> None:
    server.target.apply(server.deployment())
    labels = {"app": "other"}
    other = server.deployment(selector={"matchLabels": labels})
    other["spec"]["template"]["metadata"]["labels"] = labels
    with pytest.raises(ImmutableField) as error:
        server.target.apply(other, dry_run=True)
    assert error.value.fields == ("spec.selector",)


def test_a_port_that_the_object_itself_has_does_not_hide_that_it_could_be_made_anew(
    real: Server,
) -> None:
    def service(address: str, port: int) -> Object:
        spec = {"type": "NodePort", "clusterIP": address, "ports": [{"port": 80, "nodePort": port}]}
        return releases.made("v1", "Service", "web", namespace=real.namespace, spec=spec)

    ports = {"type": "NodePort", "ports": [{"port": 80}]}
    made = releases.made("v1", "Service", "web", namespace=real.namespace, spec=ports)
    given = real.target.apply(made)["spec"]
    first, second, *_ = given["clusterIP"].rsplit(".", 1)
    free = f"{first}.{(int(second) + 1) % 250 + 1}"
    with pytest.raises(ImmutableField) as error:
        real.target.apply(service(free, given["ports"][0]["nodePort"]), dry_run=True)
    assert error.value.fields == ("spec.clusterIPs[0]",)


def test_an_object_that_is_wrong_in_itself_is_not_called_immutable(real: Server) -> None:
    real.target.apply(real.deployment())
    other = real.deployment(replicas=-1, selector={"matchLabels": {"app": "other"}})
    with pytest.raises(Refused) as error:
        real.target.apply(other, dry_run=True)
    assert type(error.value) is Refused
    assert "spec.replicas" in error.value.message


@pytest.fixture
def admission(control_plane: ControlPlane, namespace: str) -> Iterator[Callable[[str, str], None]]:
    """Deny ConfigMaps in the namespace unless an expression holds, with these words."""
    there = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
    }  # fmt: skip

    def deny(expression: str, words: str) -> None:
        spec = {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": there},
            "validations": [{"expression": expression, "message": words}],
        }
        policy = {"metadata": {"name": namespace}, "spec": spec}
        control_plane.request("POST", f"{POLICIES}/validatingadmissionpolicies", policy)
        binding = {"policyName": namespace, "validationActions": ["Deny"]}
        control_plane.request(
            "POST",
            f"{POLICIES}/validatingadmissionpolicybindings",
            {"metadata": {"name": namespace}, "spec": binding},
        )

    yield deny
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        control_plane.request("DELETE", f"{POLICIES}/{kind}/{namespace}")


@pytest.mark.parametrize(
    ("expression", "words", "expected"),
    [
        ("!has(object.data.colour) || object.data.colour == 'red'", "is immutable", Refused),
        (
            "oldObject == null || oldObject.data.colour == object.data.colour",
            "let it be",
            ImmutableField,
        ),
    ],
    ids=["always", "a change only"],
)
def test_not_the_words_but_what_it_denies_tells_what_an_admission_means(
    real: Server, admission: Callable[[str, str], None], expression: str, words: str, expected: type
) -> None:
    real.target.apply(real.config_map(colour="red"))
    admission(expression, words)
    errors: list[Refused] = []

    def is_denied() -> bool:
        try:
            real.target.apply(real.config_map(colour="blue"), dry_run=True)
        except Refused as error:
            errors.append(error)
        return bool(errors)

    until(is_denied, "the policy to be in force")
    assert type(errors[0]) is expected
    assert words in errors[0].message


# --- deleting -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-110")
def test_what_belongs_to_somebody_else_by_now_is_not_deleted(server: Server) -> None:
    settings = server.config_map()
    ref = ObjectRef.of(settings)
    uid = server.target.apply(settings)["metadata"]["uid"]
    with pytest.raises(OwnershipRefused):
        server.target.delete(ref, uid, "bank/stage/default")
    server.target.delete(ref, uid, "shop/stage/default")
    assert server.target.live({ref: "v1"}) == {}
    server.target.delete(ref, uid, "shop/stage/default")


@pytest.mark.requirement("B-110")
def test_an_object_that_moved_to_another_api_group_is_not_to_be_deleted(real: Server) -> None:
    """Events are the one kind that a server of today still has in two groups."""
    about = {"kind": "Pod", "name": "web", "namespace": real.namespace}
    rest = {"reason": "Test", "type": "Normal", "action": "Testing"}
    old = releases.made(
        "v1", "Event", "noted", namespace=real.namespace, involvedObject=about, **rest
    )
    new = releases.made(
        "events.k8s.io/v1", "Event", "noted", namespace=real.namespace, regarding=about, **rest
    )
    uid = real.target.apply(old)["metadata"]["uid"]
    gone = releases.made("v1", "ConfigMap", "gone", namespace=real.namespace)
    recorded = Inventory(
        {ObjectRef.of(old): uid, ObjectRef.of(gone): real.target.apply(gone)["metadata"]["uid"]}
    )
    stale = deletions(
        recorded.objects,
        real.target.live(dict.fromkeys([*recorded.objects, ObjectRef.of(new)], "")),
        {ObjectRef.of(new): new},
        recorded,
        releases.OWNED_BY,
        Policy(),
    )
    assert [(each.ref, each.action) for each in stale] == [(ObjectRef.of(gone), "deleted")]
