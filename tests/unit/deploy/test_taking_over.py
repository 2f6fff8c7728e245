"""What is taken over from others or made anew, as the policy says; all else is refused."""

from __future__ import annotations

import pytest

from bundler.deploy.policy import Policy
from bundler.errors import OwnershipRefused, Refused
from bundler.model.changeset import Change, Plan
from bundler.model.objects import OWNER, ObjectRef
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    Object,
    apply,
    config_map,
    deployment,
    job,
    made,
    namespace,
    release,
)

SETTINGS = ObjectRef("", "ConfigMap", "shop", "settings")
WEB = ObjectRef("apps", "Deployment", "shop", "web")
MIGRATE = ObjectRef("batch", "Job", "shop", "migrate")


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.prepare()
    return cluster


def nobodys(obj: Object, **annotations: str) -> Object:
    metadata = {"name": obj["metadata"]["name"], "namespace": "shop"}
    return {**obj, "metadata": metadata | ({"annotations": annotations} if annotations else {})}


def planned(cluster: FakeCluster, *objects: Object, **policy: object) -> dict[ObjectRef, Change]:
    """The changes of a plan, by object."""
    shown: list[Plan] = []

    def look(plan: Plan) -> bool:
        shown.append(plan)
        return False

    result = apply(cluster, release("v2", objects), on_plan=look, policy=Policy(**policy))  # type: ignore[arg-type]
    assert result.error is None, result.error
    return {change.ref: change for change in shown[0].changes}


# --- conflicts ----------------------------------------------------------------------------------


def test_all_conflicts_are_told_with_managers_fields_and_the_flags_that_take_over(
    cluster: FakeCluster,
) -> None:
    apply(cluster, release("v1", [config_map("settings", a="1", b="1"), config_map("more", c="1")]))
    cluster.update(SETTINGS, "kubectl-edit", lambda o: o["data"].update(a="2"))
    cluster.update(SETTINGS, "my editor", lambda o: o["data"].update(b="2"))
    more = SETTINGS._replace(name="more")
    cluster.update(more, "kubectl-edit", lambda o: o["data"].update(c="2"))
    wanted = release("v2", [config_map("settings", a="3", b="3"), config_map("more", c="3")])
    result = apply(cluster, wanted, policy=Policy(take_over=frozenset({"my editor"})))
    assert isinstance(result.error, OwnershipRefused)
    assert [(each.object, each.message, each.hint) for each in result.error.findings] == [
        (
            "ConfigMap/shop/more",
            "kubectl-edit manages .data.c",
            "leave these fields out of the manifests, or take them over: --take-over kubectl-edit",
        ),
        (
            "ConfigMap/shop/settings",
            "kubectl-edit manages .data.a; my editor manages .data.b",
            "leave these fields out of the manifests, or take them over: --take-over kubectl-edit",
        ),
    ]
    assert cluster.objects[SETTINGS]["data"] == {"a": "2", "b": "2"}


def test_what_is_taken_from_whom_stands_in_the_plan_and_is_taken(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [config_map("settings", a="1", b="1")]))
    cluster.update(SETTINGS, "kubectl-edit", lambda o: o["data"].update(a="2", theirs="yes"))
    wanted = config_map("settings", a="3", b="1")
    policy = Policy(take_over=frozenset({"kubectl-edit", "helm"}))
    change = planned(cluster, wanted, take_over=policy.take_over)[SETTINGS]
    assert change.reason == "takes .data.a from kubectl-edit"
    assert [(each.path, each.before, each.after) for each in change.fields] == [
        ("data.a", "2", "3")
    ]
    assert apply(cluster, release("v2", [wanted]), policy=policy).status == "succeeded"
    assert cluster.objects[SETTINGS]["data"] == {"a": "3", "b": "1", "theirs": "yes"}


# --- adoption -----------------------------------------------------------------------------------


def test_an_adopted_object_loses_what_its_former_manager_set_and_the_release_has_not(
    cluster: FakeCluster,
) -> None:
    cluster.create(nobodys(config_map("settings", a="1", old="yes")), "kubectl-client-side-apply")
    wanted = config_map("settings", a="1")
    named = frozenset({"kubectl-client-side-apply"})
    change = planned(cluster, wanted, take_over=named)[SETTINGS]
    assert change.reason == (
        "adopted: it was not ours; what kubectl-client-side-apply set and the release has not goes"
    )
    assert ("data.old", "yes") in [(each.path, each.before) for each in change.fields]
    apply(cluster, release("v2", [wanted]), policy=Policy(take_over=named))
    assert cluster.objects[SETTINGS]["data"] == {"a": "1"}


def test_without_the_flag_an_adopted_object_keeps_what_others_set(cluster: FakeCluster) -> None:
    cluster.create(nobodys(config_map("settings", a="1", old="yes")), "kubectl-client-side-apply")
    wanted = config_map("settings", a="1")
    assert planned(cluster, wanted)[SETTINGS].reason == "adopted: it was not ours"
    apply(cluster, release("v2", [wanted]))
    assert cluster.objects[SETTINGS]["data"] == {"a": "1", "old": "yes"}


def test_who_adopts_from_helm_is_told_that_helm_does_not_know(cluster: FakeCluster) -> None:
    theirs = nobodys(config_map("settings"), **{
        "meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "helm-ns",
    })  # fmt: skip
    cluster.create(theirs, "helm")
    reason = planned(cluster, config_map("settings"), take_over=frozenset({"helm"}))[
        SETTINGS
    ].reason
    assert "helm uninstall web would still delete it" in reason
    assert "kubectl delete secret -n helm-ns -l owner=helm,name=web" in reason


def test_an_object_of_another_owner_is_never_adopted(cluster: FakeCluster) -> None:
    theirs = nobodys(config_map("settings", a="1"), **{OWNER: "bank/stage/default"})
    cluster.create(theirs, "helm")
    policy = Policy(take_over=frozenset({"helm", "bundler"}))
    result = apply(cluster, release("v1", [config_map("settings", a="2")]), policy=policy)
    assert isinstance(result.error, OwnershipRefused)
    assert cluster.objects[SETTINGS]["data"] == {"a": "1"}


# --- immutable fields ---------------------------------------------------------------------------


def test_what_cannot_be_changed_in_place_is_refused_with_its_field_and_the_way_out(
    cluster: FakeCluster,
) -> None:
    apply(cluster, release("v1", [deployment("web")]))
    other = deployment("web", selector={"matchLabels": {"app": "other"}})
    result = apply(cluster, release("v2", [other]))
    assert isinstance(result.error, Refused)
    [finding] = result.error.findings
    assert finding.rule == "immutable-field"
    assert "spec.selector" in finding.message
    assert finding.hint is not None
    assert "--recreate Deployment/web" in finding.hint


@pytest.mark.parametrize("name", ["Deployment/web", "Deployment/shop/web"])
def test_what_is_named_is_made_anew_and_the_plan_tells_of_the_outage(
    cluster: FakeCluster, name: str
) -> None:
    apply(cluster, release("v1", [deployment("web")]))
    uid = cluster.objects[WEB]["metadata"]["uid"]
    other = deployment("web", selector={"matchLabels": {"app": "other"}})
    change = planned(cluster, other, recreate=frozenset({name}))[WEB]
    assert change.recreate
    assert change.reason == (
        "spec.selector.matchLabels.app cannot be changed in place; "
        "an outage: none of its pods runs meanwhile"
    )
    policy = Policy(recreate=frozenset({name}))
    assert apply(cluster, release("v2", [other]), policy=policy).status == "succeeded"
    assert cluster.objects[WEB]["metadata"]["uid"] != uid


def test_a_named_object_that_can_be_changed_in_place_is(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [deployment("web")]))
    named = frozenset({"Deployment/web"})
    change = planned(cluster, deployment("web", image="shop/web:2"), recreate=named)[WEB]
    assert (change.action, change.recreate) == ("configured", False)


def test_a_changed_job_is_refused_where_the_environment_says_so(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [job("migrate")]))
    changed = release("v2", [job("migrate", image="shop/migrate:2")])
    result = apply(cluster, changed, policy=Policy(changed_jobs="refuse"))
    assert isinstance(result.error, Refused)
    assert result.error.hint is not None
    assert "--recreate Job/migrate" in result.error.hint
    named = Policy(changed_jobs="refuse", recreate=frozenset({"Job/migrate"}))
    assert apply(cluster, changed, policy=named).status == "succeeded"


def test_a_job_of_nobodys_is_not_deleted_without_being_named(cluster: FakeCluster) -> None:
    cluster.create(nobodys(job("migrate")), "kubectl")
    uid = cluster.objects[MIGRATE]["metadata"]["uid"]
    result = apply(cluster, release("v1", [job("migrate", image="shop/migrate:2")]))
    assert isinstance(result.error, Refused)
    assert cluster.objects[MIGRATE]["metadata"]["uid"] == uid


def test_who_may_make_anew_needs_the_permission_to_delete(cluster: FakeCluster) -> None:
    cluster.denied = {("delete", "Deployment")}
    assert apply(cluster, release("v1", [namespace(), deployment("web")])).status == "succeeded"
    policy = Policy(recreate=frozenset({"Deployment/web"}))
    changed = release("v2", [namespace(), deployment("web", replicas=5)])
    result = apply(cluster, changed, policy=policy)
    assert result.error is not None
    assert "delete Deployment.apps in namespace shop" in result.error.message


# --- replicas -----------------------------------------------------------------------------------


def autoscaler(name: str = "web") -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec = {"scaleTargetRef": target, "maxReplicas": 9}
    return made("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=spec)


def scaled(cluster: FakeCluster, replicas: int) -> None:
    cluster.update(WEB, "kube-controller-manager", lambda o: o["spec"].update(replicas=replicas))


def replicas(cluster: FakeCluster) -> object:
    return cluster.objects[WEB]["spec"].get("replicas")


@pytest.mark.requirement("D-19")
@pytest.mark.parametrize("own", [True, False], ids=["of the release", "another one"])
def test_an_autoscaler_s_number_of_replicas_stays(cluster: FakeCluster, own: bool) -> None:
    hpas = [autoscaler()] if own else []
    if not own:
        cluster.create(nobodys(autoscaler()), "kubectl")
    apply(cluster, release("v1", [deployment("web", replicas=2), *hpas]))
    scaled(cluster, 5)
    changed = deployment("web", image="shop/web:2", replicas=3)
    result = apply(cluster, release("v2", [changed, *hpas]))
    assert (result.status, replicas(cluster)) == ("succeeded", 5)
    assert apply(cluster, release("v3", [changed, *hpas])).changes.counts()["configured"] == 0


@pytest.mark.requirement("D-19")
def test_replicas_that_only_we_manage_are_left_as_they_are_when_an_autoscaler_comes(
    cluster: FakeCluster,
) -> None:
    apply(cluster, release("v1", [deployment("web", replicas=3)]))
    bundle = release("v2", [deployment("web"), autoscaler()])
    assert apply(cluster, bundle).status == "succeeded"
    assert replicas(cluster) == 3
    cluster.calls.clear()
    assert apply(cluster, bundle).status == "unchanged"
    assert not cluster.sent("dry-run")
    changed = release("v3", [deployment("web", image="shop/web:2"), autoscaler()])
    assert apply(cluster, changed).status == "succeeded"
    assert replicas(cluster) == 3


@pytest.mark.requirement("D-19")
def test_without_an_autoscaler_the_release_says_how_many(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [deployment("web", replicas=2), autoscaler("other")]))
    apply(cluster, release("v2", [deployment("web", replicas=4), autoscaler("other")]))
    assert replicas(cluster) == 4


def test_an_autoscaler_that_goes_with_this_release_has_no_say(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [deployment("web", replicas=2), autoscaler()]))
    result = apply(cluster, release("v2", [deployment("web", replicas=4)]))
    assert (result.status, replicas(cluster)) == ("succeeded", 4)


def test_autoscalers_are_looked_for_only_where_replicas_would_change(cluster: FakeCluster) -> None:
    bundle = release("v1", [deployment("web", replicas=2)])
    apply(cluster, bundle)
    apply(cluster, release("v2", [deployment("web", image="shop/web:2", replicas=2)]))
    assert ("autoscalers", "") not in cluster.calls


@pytest.mark.requirement("D-19")
def test_what_is_made_anew_keeps_what_its_autoscaler_set(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [deployment("web", replicas=2), autoscaler()]))
    scaled(cluster, 5)
    other = deployment("web", selector={"matchLabels": {"app": "other"}}, replicas=2)
    policy = Policy(recreate=frozenset({"Deployment/web"}))
    apply(cluster, release("v2", [other, autoscaler()]), policy=policy)
    assert replicas(cluster) == 5
