"""The flow on a cluster in memory: what is applied, pruned, waited for and recorded."""

from __future__ import annotations

import pytest

from bundler.deploy.events import Event
from bundler.deploy.flow import apply_to_target
from bundler.deploy.policy import Policy
from bundler.errors import (
    Locked,
    NotReady,
    OwnershipRefused,
    PermissionRefused,
    Refused,
    Unreachable,
    UsageError,
)
from bundler.model.changeset import Plan
from bundler.model.objects import OWNER, ObjectRef, images_in
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    OWNED_BY,
    apply,
    config_map,
    definition,
    deployment,
    job,
    made,
    namespace,
    release,
    runner,
    secret,
    stateful_set,
)

OBJECTS_1 = [
    namespace(),
    config_map("settings", colour="red"),
    secret("token", value="aGVsbG8="),
    job("migrate"),
    deployment("cart"),
    deployment("old-search", image="shop/search:1"),
]
V1 = release("v1.0.0", OBJECTS_1)
V2 = release(
    "v1.1.0",
    [
        namespace(),
        config_map("settings", colour="blue"),
        config_map("features", fast="yes"),
        secret("token", value="aGVsbG8="),
        job("migrate", image="shop/migrate:2"),
        deployment("cart", image="shop/cart:2"),
        deployment("search", image="shop/search:2"),
    ],
)


def place(kind: str, name: str, group: str = "", namespace: str = "shop") -> ObjectRef:
    return ObjectRef(group, kind, namespace, name)


CART = place("Deployment", "cart", "apps")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def test_a_first_apply_creates_everything_and_is_recorded(cluster: FakeCluster) -> None:
    result = apply(cluster, V1)
    assert result.error is None
    assert (result.status, result.revision, result.outcome) == ("succeeded", 1, "ready")
    assert result.changes.counts()["created"] == 6
    assert set(cluster.owned(OWNED_BY)) == {ObjectRef.of(o) for o in V1.objects["stage", "default"]}


@pytest.mark.requirement("B-115")
def test_who_when_what_where_and_how_it_ended_are_recorded(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    revision = cluster.revisions[1]
    assert revision.who.authenticated == "system:serviceaccount:cd:runner"
    assert (revision.who.claimed, revision.who.job) == (
        "ci/cd on runner-1",
        "https://ci.example.com/7",
    )
    assert (revision.tag, revision.digest) == ("v1.0.0", str(V1.digest))
    assert (revision.project, revision.environment, revision.target) == ("shop", "stage", "default")
    assert (revision.status, revision.outcome) == ("succeeded", "ready")
    assert revision.started and revision.finished and revision.duration_seconds is not None
    assert revision.changes["created"] == 6


def test_waves_come_in_order_and_each_is_ready_before_the_next(cluster: FakeCluster) -> None:
    apply(cluster, release("v1", [*OBJECTS_1, definition("Color", "x.io")]))
    steps = [subject for method, subject in cluster.calls if method in ("apply", "watch")]
    kinds = [step.partition("/")[0] for step in steps]
    assert kinds.index("Deployment") > kinds.index("Job") > kinds.index("ConfigMap")
    assert kinds.index("ConfigMap") > kinds.index("CustomResourceDefinition")
    assert kinds[kinds.index("Job") + 1] == ""


@pytest.mark.requirement("D-09", "A-17")
def test_a_release_without_a_change_configures_nothing_and_restarts_nothing(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    restarted = list(cluster.restarted)
    result = apply(cluster, release("v1.0.1", OBJECTS_1))
    assert result.changes.counts() == {
        "created": 0, "configured": 0, "unchanged": 6, "deleted": 0, "skipped": 0,
    }  # fmt: skip
    assert cluster.restarted == restarted
    assert (result.status, result.revision) == ("succeeded", 2)


def test_unchanged_objects_cost_no_request(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    cluster.calls.clear()
    apply(cluster, V1)
    assert not cluster.sent("apply")
    assert not cluster.sent("dry-run")


def test_the_same_release_again_makes_no_revision_but_says_when_it_was_checked(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    cluster.seconds += 100
    result = apply(cluster, V1)
    assert (result.status, result.revision) == ("unchanged", 1)
    assert list(cluster.revisions) == [1]
    assert cluster.revisions[1].last_checked == cluster.clock()


@pytest.mark.requirement("B-110")
def test_what_the_new_release_lacks_is_removed_and_only_what_is_ours(cluster: FakeCluster) -> None:
    foreign = made("v1", "ConfigMap", "theirs")
    foreign["metadata"]["annotations"] = {}
    apply(cluster, V1)
    cluster.create(foreign, "kubectl")
    result = apply(cluster, V2)
    assert result.changes.counts()["deleted"] == 1
    assert place("Deployment", "old-search", "apps") not in cluster.objects
    assert place("ConfigMap", "theirs") in cluster.objects
    assert cluster.sent("delete")[-1] == "Deployment/shop/old-search"


def test_back_and_forth_ends_in_the_first_state(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    first = cluster.owned(OWNED_BY)
    apply(cluster, V2)
    assert cluster.owned(OWNED_BY) != first
    result = apply(cluster, V1)
    assert result.status == "succeeded"
    assert cluster.owned(OWNED_BY) == first
    assert [r.tag for r in cluster.revisions.values()] == ["v1.0.0", "v1.1.0", "v1.0.0"]


@pytest.mark.requirement("A-12")
def test_an_image_that_cannot_be_pulled_is_told_with_its_pod_and_event(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    before = cluster.seconds
    result = apply(cluster, release("v1.1.0", [deployment("cart", image="shop/broken:2")]))
    assert isinstance(result.error, NotReady)
    assert result.error.exit_code == 5
    words = result.error.message
    assert words.startswith("Deployment/shop/cart: Pod/shop/cart-1-x, container main")
    assert "ImagePullBackOff" in words
    assert "event Failed: Failed to pull image" in words
    assert 30 <= cluster.seconds - before <= 35


@pytest.mark.requirement("A-14")
def test_a_failed_release_is_never_current(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    result = apply(cluster, release("v1.1.0", [deployment("cart", image="shop/broken:2")]))
    assert result.status == "failed"
    current, latest = cluster.read().current, cluster.read().latest
    assert current is not None and current.tag == "v1.0.0"
    assert latest is not None and (latest.tag, latest.status) == ("v1.1.0", "failed")
    assert "ImagePullBackOff" in latest.outcome
    assert place("Deployment", "old-search", "apps") in cluster.objects, "nothing is pruned"


@pytest.mark.requirement("A-13")
def test_a_failed_wave_leaves_the_later_ones_untouched(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    broken = release(
        "v1.1.0", [job("migrate", image="shop/crashing:2"), deployment("cart", image="shop/cart:2")]
    )
    result = apply(cluster, broken)
    assert isinstance(result.error, NotReady)
    assert "BackoffLimitExceeded" in result.error.message
    assert [use.image for use in images_in(cluster.objects[CART])] == ["shop/cart:1"]
    assert [str(c.ref) for c in result.changes.changes] == ["Job/shop/migrate"]
    assert "Deployment/shop/cart" in [str(c.ref) for c in result.not_started]


def test_nothing_of_a_failed_release_remains_after_the_next_success(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    broken = deployment("cart", image="shop/broken:2")
    middle = [config_map("only-here"), broken, stateful_set("db")]
    assert apply(cluster, release("v1.1.0", middle)).status == "failed"
    assert place("ConfigMap", "only-here") in cluster.objects
    assert apply(cluster, V2).status == "succeeded"
    assert set(cluster.owned(OWNED_BY)) == {ObjectRef.of(o) for o in V2.objects["stage", "default"]}
    assert set(cluster.inventory.objects) == set(cluster.owned(OWNED_BY)) - {namespace_ref()}


def namespace_ref() -> ObjectRef:
    return ObjectRef("", "Namespace", "", "shop")


def test_the_former_release_again_after_a_failure_is_a_revision_of_its_own(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    apply(cluster, release("v1.1.0", [deployment("cart", image="shop/broken:2")]))
    result = apply(cluster, V1)
    assert (result.status, result.revision) == ("succeeded", 3)


@pytest.mark.parametrize(
    ("image", "words", "seconds"),
    [
        ("shop/crashing:2", "restarted 4 times; exit code 3; CrashLoopBackOff", 60),
        ("shop/refused:2", "exceeded quota", 10),
        ("shop/unready:2", "Readiness probe failed", 600),
    ],
)
@pytest.mark.parametrize("make", [deployment, stateful_set])
def test_each_way_to_fail_is_told_in_its_time(
    cluster: FakeCluster, make: type, image: str, words: str, seconds: float
) -> None:
    result = apply(cluster, release("v1", [namespace(), make("cart", image=image)]))
    assert isinstance(result.error, NotReady)
    assert words in result.error.message
    assert seconds <= cluster.seconds <= seconds + 5


def test_a_foreign_object_is_refused_before_anything_changes(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    for name in ("features", "other"):
        foreign = config_map(name)
        foreign["metadata"]["annotations"] = {OWNER: "bank/stage/default"}
        cluster.create(foreign, "bundler")
    before = dict(cluster.objects)
    result = apply(cluster, release("v2", [config_map("features"), config_map("other")]))
    assert isinstance(result.error, OwnershipRefused)
    assert [f.object for f in result.error.findings] == [
        "ConfigMap/shop/features", "ConfigMap/shop/other",
    ]  # fmt: skip
    assert "bank/stage/default" in result.error.message
    assert (result.revision, cluster.objects, len(cluster.revisions)) == (None, before, 1)


def test_a_field_that_somebody_else_changed_is_a_conflict_that_names_him(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    cluster.update(
        place("ConfigMap", "settings"), "kubectl-edit", lambda o: o["data"].update(colour="green")
    )
    result = apply(cluster, V2)
    assert isinstance(result.error, OwnershipRefused)
    assert "kubectl-edit" in result.error.message


def test_an_object_without_owner_is_adopted_where_nothing_conflicts(cluster: FakeCluster) -> None:
    cluster.prepare()
    account = made("v1", "ServiceAccount", "default")
    unowned = {**account, "metadata": {"name": "default", "namespace": "shop"}}
    cluster.create(unowned, "kube-controller-manager")
    result = apply(cluster, release("v1", [namespace(), account]))
    assert result.error is None
    assert result.changes.counts()["configured"] == 2


def test_missing_permissions_are_told_all_at_once_before_anything_changes(
    cluster: FakeCluster,
) -> None:
    cluster.denied = {("patch", "Secret"), ("create", "Deployment")}
    result = apply(cluster, V1)
    assert isinstance(result.error, PermissionRefused)
    assert "patch Secret in namespace shop" in result.error.message
    assert "create Deployment.apps in namespace shop" in result.error.message
    assert not cluster.objects
    assert not cluster.revisions


def test_what_the_server_refuses_is_told_before_anything_changes(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    cluster.refused[CART] = Refused("Deployment/shop/cart: denied by policy")
    result = apply(cluster, V2)
    assert isinstance(result.error, Refused)
    assert "denied by policy" in result.error.message
    assert len(cluster.revisions) == 1
    assert cluster.sent("apply").count("ConfigMap/shop/features") == 0


def test_an_immutable_field_of_anything_but_a_job_is_refused(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    other = deployment("cart", selector={"matchLabels": {"app": "other"}})
    result = apply(cluster, release("v2", [other]))
    assert isinstance(result.error, Refused)
    assert "immutable" in result.error.message


def test_a_job_whose_template_changed_is_made_anew(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    uid = cluster.objects[place("Job", "migrate", "batch")]["metadata"]["uid"]
    apply(cluster, V2)
    assert cluster.objects[place("Job", "migrate", "batch")]["metadata"]["uid"] != uid


def test_a_job_that_completed_is_not_run_again_when_its_time_to_live_removed_it(
    cluster: FakeCluster,
) -> None:
    apply(cluster, V1)
    ran = cluster.restarted.count("Job/shop/migrate")
    del cluster.objects[place("Job", "migrate", "batch")]
    assert apply(cluster, V1).status == "unchanged"
    again = release("v1.0.1", [*OBJECTS_1, config_map("more")])
    assert apply(cluster, again).status == "succeeded"
    assert apply(cluster, V1).status == "succeeded"
    assert cluster.restarted.count("Job/shop/migrate") == ran


def test_a_job_that_failed_is_made_anew_by_the_next_run(cluster: FakeCluster) -> None:
    ref = place("Job", "migrate", "batch")
    bundle = release("v1", [namespace(), job("migrate")])
    cluster.prepare()
    cluster.create(job("migrate"), "test")
    cluster.objects[ref]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    assert apply(cluster, bundle).status == "succeeded"
    assert cluster.sent("delete") == ["Job/shop/migrate"]


@pytest.mark.requirement("E-15")
def test_an_object_deleted_by_hand_is_created_again(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    del cluster.objects[CART]
    result = apply(cluster, V1)
    assert result.changes.counts()["created"] == 1
    assert CART in cluster.objects


def test_a_custom_resource_comes_with_its_definition(cluster: FakeCluster) -> None:
    colour = made("x.io/v1", "Color", "red", spec={"rgb": "f00"})
    result = apply(cluster, release("v1", [namespace(), definition("Color", "x.io"), colour]))
    assert result.error is None
    unknown = made("y.io/v1", "Sound", "loud", spec={})
    refused = apply(cluster, release("v2", [namespace(), unknown]))
    assert isinstance(refused.error, Refused)
    assert "does not know Sound" in refused.error.message


def test_namespaces_definitions_and_claims_are_never_deleted(cluster: FakeCluster) -> None:
    other = made("v1", "Namespace", "shop-extra", namespace="")
    claim = made("v1", "PersistentVolumeClaim", "data", spec={})
    apply(cluster, release("v1", [namespace(), other, claim, definition("Color", "x.io")]))
    result = apply(cluster, release("v2", [namespace(), config_map("settings")]))
    assert result.changes.counts()["skipped"] == 3
    assert {"shop-extra", "data", "colors.x.io"} <= {ref.name for ref in cluster.inventory.objects}


def test_what_somebody_made_anew_is_left_alone(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    ref = place("Deployment", "old-search", "apps")
    cluster.objects[ref]["metadata"]["uid"] = "another"
    result = apply(cluster, V2)
    skipped = [change for change in result.changes.changes if change.action == "skipped"]
    assert [(change.ref, change.reason) for change in skipped] == [
        (ref, "was made anew by somebody else")
    ]
    assert ref in cluster.objects


@pytest.mark.requirement("B-109")
def test_a_dry_run_shows_the_plan_and_changes_nothing(cluster: FakeCluster) -> None:
    shown: list[Plan] = []

    def show(plan: Plan) -> bool:
        shown.append(plan)
        return True

    by = runner(cluster.clock, cluster.monotonic, on_plan=show)
    result = apply_to_target(V1, "stage", "default", cluster, by, dry_run=True)
    assert (result.status, result.revision) == ("planned", None)
    assert result.changes.counts()["created"] == 6
    assert [wave.name for wave in shown[0].waves] == [
        "namespaces", "configuration", "jobs", "workloads",
    ]  # fmt: skip
    assert not cluster.objects
    assert not cluster.revisions
    assert "aGVsbG8=" not in repr(shown) + repr(result)


def test_a_plan_that_is_not_agreed_to_changes_nothing(cluster: FakeCluster) -> None:
    result = apply(cluster, V1, on_plan=lambda _: False)
    assert result.status == "skipped"
    assert not cluster.objects


def test_a_target_that_somebody_holds_is_told_with_his_name(cluster: FakeCluster) -> None:
    with cluster.held("runner-2"):
        result = apply(cluster, V1)
    assert isinstance(result.error, Locked)
    assert "runner-2" in result.error.message
    assert not cluster.revisions


def test_a_plan_that_somebody_overtook_is_made_again_and_shown_again(cluster: FakeCluster) -> None:
    shown: list[Plan] = []

    def agree(plan: Plan) -> bool:
        if not shown:
            apply(cluster, V2)
        shown.append(plan)
        return True

    result = apply(cluster, V1, on_plan=agree, policy=Policy(allow_downgrade=True))
    assert result.status == "succeeded"
    assert [len(plan.waves) for plan in shown] == [4, 5]


def test_a_release_that_is_in_place_but_not_ready_is_no_success(cluster: FakeCluster) -> None:
    bundle = release("v1", [namespace(), deployment("cart", image="shop/unready:1")])
    assert isinstance(apply(cluster, bundle).error, NotReady)
    again = apply(cluster, bundle)
    assert isinstance(again.error, NotReady)
    assert (again.status, again.changes.counts()["unchanged"]) == ("failed", 2)


def test_what_was_in_place_and_is_no_longer_ready_is_told_as_a_failure(
    cluster: FakeCluster,
) -> None:
    assert apply(cluster, V1).error is None
    cluster.objects[CART]["status"] = {"observedGeneration": 1}

    def fail(method: str, _: str) -> None:
        if method == "watch":
            raise Unreachable("the cluster does not answer")

    cluster.on_call = fail
    events: list[Event] = []
    assert apply(cluster, V1, on_event=events.append).status == "failed"
    assert [(each.kind, each.message) for each in events] == [
        ("failure", "the cluster does not answer")
    ]


def test_an_unknown_target_is_a_usage_error_that_names_what_there_is(cluster: FakeCluster) -> None:
    with pytest.raises(UsageError) as caught:
        apply_to_target(V1, "stage", "eu", cluster, runner())
    assert "stage/default" in str(caught.value.hint)


def test_twenty_revisions_are_kept_and_the_last_two_successes(cluster: FakeCluster) -> None:
    apply(cluster, V1)
    apply(cluster, V2)
    for number in range(25):
        bad = [namespace(), deployment("cart", image=f"shop/broken:{number}")]
        apply(cluster, release(f"v2.0.{number}", bad))
    assert len(cluster.revisions) == 22
    assert {1, 2} <= set(cluster.revisions)


def test_results_are_values_for_machines(cluster: FakeCluster) -> None:
    value = apply(cluster, release("v1", [namespace(), deployment("c", image="shop/broken:1")]))
    result = value.as_dict()
    assert result["error"]["code"] == "not-ready"
    assert result["error"]["findings"][0]["object"] == "Deployment/shop/c"
    assert {"ref": "Deployment/shop/c", "action": "created"} in result["objects"]
