"""The rules in detail, where a pair of fixtures does not show all."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.model.bundle import RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.project import Allowed, Environment, Policy, Target
from bundler.publish import rules
from tests.fakes.shop import deployment, environment, lock, obj, pinned, project

Object = dict[str, Any]


def prod(*, allow: tuple[str, ...] = (), **policies: Policy) -> Environment:
    given = {name.replace("_", "-"): policy for name, policy in policies.items()}
    target = Target("default", "shop", "overlays/prod")
    return Environment("prod", (target,), allowed=Allowed(secrets=frozenset(allow)), rules=given)


def found(
    *objects: Object, env: Environment | None = None, former: tuple[Object, ...] = ()
) -> tuple[Finding, ...]:
    env = env or prod()
    placed = tuple(map(in_shop, objects))
    bundle = RenderedBundle(lock(project(env)), (RenderedTarget(env, env.targets[0], placed),), {})
    return rules.check(bundle, {"prod/default": tuple(map(in_shop, former))})


def in_shop(of: Object) -> Object:
    return {**of, "metadata": {"namespace": "shop", **of["metadata"]}}


def told(rule: str, *objects: Object, **more: Any) -> list[tuple[str | None, str | None]]:
    """(object, pointer) of each finding of a rule."""
    return [(f.object, f.pointer) for f in found(*objects, **more) if f.rule == rule]


def workload(kind: str = "Deployment", **spec: Any) -> Object:
    """One with a label, a port and a probe; keys of its container stand under `container`."""
    container = {
        "name": "cart",
        "image": pinned("cart"),
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        **spec.pop("container", {}),
    }
    pod = {"containers": [container], **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app": "cart"}}, "spec": pod}
    selector = {"matchLabels": {"app": "cart"}}
    return obj("apps/v1", kind, "cart", spec={"selector": selector, "template": template, **spec})


def service(**spec: Any) -> Object:
    given = {"selector": {"app": "cart"}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return obj("v1", "Service", "cart", spec=given)


def config(**data: Any) -> Object:
    return obj("v1", "ConfigMap", "settings", data=data)


def test_a_finding_has_file_pointer_object_service_environment_and_hint() -> None:
    (finding,) = found(workload(container={"resources": {}}))
    assert finding.rule == "missing-requests"
    assert finding.message == "container cart requests no cpu and no memory"
    assert finding.file == "prod/default/30-workloads.yaml"
    assert finding.pointer == "/spec/template/spec/containers/0/resources"
    assert finding.object == "Deployment/shop/cart"
    assert finding.service == "cart"
    assert finding.environment == "prod/default"
    assert finding.hint


# --- policy -------------------------------------------------------------------------------------


@pytest.mark.requirement("A-09")
@pytest.mark.parametrize("policy", ["error", "warning"])
def test_the_policy_decides_how_grave_a_finding_is(policy: Policy) -> None:
    env = prod(downtime=policy)
    judged = rules.by_policy(found(workload(strategy={"type": "Recreate"}), env=env), {"prod": env})
    assert [(f.rule, f.severity) for f in judged] == [("downtime", policy)]


def test_what_is_ignored_is_left_out_and_not_looked_for() -> None:
    env = prod(downtime="ignore")
    findings = found(workload(strategy={"type": "Recreate"}), env=env)
    assert findings == ()
    late = Finding("downtime", "…", environment="prod/default")
    assert rules.by_policy([late], {"prod": env}) == ()


def test_fixed_rules_and_findings_of_no_environment_stay_as_they_are() -> None:
    env = Environment("prod", (), rules={"schema": "ignore", "plain-secret": "ignore"})
    findings = (
        Finding("schema", "…", environment="prod/default"),
        Finding("plain-secret", "…"),
        Finding("plain-secret", "…", environment="elsewhere/default"),
        Finding("unreachable", "…", environment="prod"),
    )
    assert rules.by_policy(findings, {"prod": env}) == findings


def test_each_environment_has_its_own_policy() -> None:
    strict, lax = prod(), Environment("dev", (), protected=False)
    findings = [Finding("plain-secret", "…", environment=f"{e}/eu") for e in ("prod", "dev")]
    findings += [Finding("secret-in-clear", "…", environment=f"{e}/eu") for e in ("prod", "dev")]
    judged = rules.by_policy(findings, {"prod": strict, "dev": lax})
    assert [f.severity for f in judged] == ["error", "error", "error", "warning"]


# --- readiness ----------------------------------------------------------------------------------

NO_PROBE = {"readinessProbe": None}
FIRST = ("Deployment/shop/cart", "/spec/template/spec/containers/0")


@pytest.mark.requirement("A-09")
@pytest.mark.parametrize(
    "ports",
    [
        [{"port": 80, "targetPort": "http"}],
        [{"port": 80, "targetPort": 8080}],
        [{"port": 8080}],
        [{"port": 80, "targetPort": 9999}],
    ],
    ids=["by name", "by number", "the same port", "one that no container declares"],
)
def test_a_services_container_needs_a_readiness_probe(ports: list[Object]) -> None:
    assert told("no-readiness-probe", workload(container=NO_PROBE), service(ports=ports)) == [FIRST]


def test_only_the_container_that_serves_needs_one() -> None:
    sidecar = {"name": "log", "image": "x:1", "ports": [{"containerPort": 9090}]}
    of = workload()
    of["spec"]["template"]["spec"]["containers"].append(sidecar)
    assert told("no-readiness-probe", of, service()) == []
    ports = [{"port": 80, "targetPort": "http"}, {"port": 9090}]
    assert told("no-readiness-probe", of, service(ports=ports)) == [
        ("Deployment/shop/cart", "/spec/template/spec/containers/1")
    ]


def test_two_services_of_one_container_tell_it_once() -> None:
    second = {**service(), "metadata": {"name": "second"}}
    objects = (workload(container=NO_PROBE), service(), second)
    assert told("no-readiness-probe", *objects) == [FIRST]


@pytest.mark.parametrize(
    "of",
    [
        service(publishNotReadyAddresses=True),
        service(type="ExternalName", externalName="x"),
        service(selector={"app": "other"}),
        service(selector=None),
        {**service(), "metadata": {"name": "cart", "namespace": "other"}},
    ],
    ids=["not only ready ones", "external", "others", "none", "another namespace"],
)
def test_a_service_that_sends_it_nothing_needs_no_probe(of: Object) -> None:
    assert told("no-readiness-probe", workload(container=NO_PROBE), of) == []


# --- downtime -----------------------------------------------------------------------------------


def rolling(replicas: int | None, unavailable: Any = None, surge: Any = None) -> Object:
    given = {"maxUnavailable": unavailable, "maxSurge": surge}
    limits = {key: value for key, value in given.items() if value is not None}
    spec: Object = {} if replicas is None else {"replicas": replicas}
    return workload(**spec, strategy={"rollingUpdate": limits})


@pytest.mark.requirement("A-09")
@pytest.mark.parametrize(
    ("replicas", "unavailable", "surge", "is_told"),
    [
        (2, 2, None, True),
        (2, "100%", None, True),
        (3, "99%", None, False),  # 2.97, rounded down
        (4, "25%", None, False),
        (1, None, None, False),  # 25 % of one, rounded down, is none
        (None, None, None, False),
        (1, 1, None, True),
        (1, "100%", 1, True),
        (1, "50%", 0, True),  # both come to none: one may be missing
        (2, "25%", "0%", False),
        (2, 0, 1, False),
        (0, 1, None, False),
        (2, "many", None, False),
    ],
)
def test_max_unavailable_is_rounded_as_kubernetes_does(
    replicas: int | None, unavailable: Any, surge: Any, is_told: bool
) -> None:
    assert bool(told("downtime", rolling(replicas, unavailable, surge), service())) is is_told


def test_a_single_pod_that_nothing_sends_requests_to_may_be_missing() -> None:
    assert told("downtime", rolling(1, 1)) == []
    assert told("downtime", rolling(2, 2)) != []


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_what_is_replaced_by_hand_does_not_roll(kind: str) -> None:
    of = workload(kind, replicas=2, updateStrategy={"type": "OnDelete"})
    assert told("downtime", of) == [(f"{kind}/shop/cart", "/spec/updateStrategy/type")]


def test_a_stateful_set_of_one_pod_stops_it_before_it_starts_the_next() -> None:
    assert told("downtime", workload("StatefulSet", replicas=1), service()) == [
        ("StatefulSet/shop/cart", "/spec/replicas")
    ]
    assert told("downtime", workload("StatefulSet", replicas=2), service()) == []
    assert told("downtime", workload("StatefulSet", replicas=1)) == []


def test_an_autoscaler_decides_how_many_pods_there_are() -> None:
    target = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"}}
    many = obj(
        "autoscaling/v2", "HorizontalPodAutoscaler", "cart", spec=target | {"minReplicas": 3}
    )
    assert told("downtime", rolling(None, 1), service()) != []
    assert told("downtime", rolling(None, 1), service(), many) == []


def budget(**spec: Any) -> Object:
    given = {"selector": {"matchLabels": {"app": "cart"}}, **spec}
    return obj("policy/v1", "PodDisruptionBudget", "cart", spec=given)


@pytest.mark.parametrize(
    ("replicas", "spec", "is_told"),
    [
        (2, {"maxUnavailable": 0}, True),
        (2, {"maxUnavailable": "0%"}, True),
        (2, {"maxUnavailable": "10%"}, False),  # rounded up: one
        (1, {"minAvailable": 1}, True),
        (2, {"minAvailable": 1}, False),
        (1, {"minAvailable": "50%"}, True),  # rounded up: one
        (2, {"minAvailable": "100%"}, True),
        (2, {"minAvailable": 2, "selector": {}}, True),
        (2, {"minAvailable": 2, "selector": {"matchLabels": {"app": "other"}}}, False),
        (
            2,
            {
                "minAvailable": 2,
                "selector": {
                    "matchExpressions": [{"key": "app", "operator": "In", "values": ["cart"]}]
                },
            },
            True,
        ),
        (0, {"minAvailable": 1}, False),
    ],
)
def test_a_budget_that_lets_no_pod_go_is_told(replicas: int, spec: Object, is_told: bool) -> None:
    objects = (workload(replicas=replicas), budget(**spec))
    assert bool(told("downtime", *objects)) is is_told


# --- requests, selectors, replicas --------------------------------------------------------------


def test_init_containers_request_too() -> None:
    of = workload(pod={"initContainers": [{"name": "wait", "image": "x:1"}]})
    assert told("missing-requests", of) == [
        ("Deployment/shop/cart", "/spec/template/spec/initContainers/0/resources")
    ]


def test_jobs_and_cron_jobs_request_too() -> None:
    pod = {"template": {"spec": {"containers": [{"name": "c", "image": "x:1"}]}}}
    job = obj("batch/v1", "Job", "once", spec=pod)
    cron = obj("batch/v1", "CronJob", "often", spec={"jobTemplate": {"spec": pod}})
    assert [each for each, _ in told("missing-requests", job, cron)] == [
        "Job/shop/once",
        "CronJob/shop/often",
    ]


def test_the_pod_or_a_limit_range_may_request_for_its_containers() -> None:
    bare = {"resources": {"requests": {"cpu": "1m"}}}
    assert told("missing-requests", workload(container=bare)) != []
    pod = {"resources": {"requests": {"memory": "1Mi"}}}
    assert told("missing-requests", workload(container=bare, pod=pod)) == []
    limits = [{"type": "Container", "default": {"memory": "1Mi"}}]
    limit_range = obj("v1", "LimitRange", "all", spec={"limits": limits})
    assert told("missing-requests", workload(container=bare), limit_range) == []


@pytest.mark.requirement("D-10")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_a_selector_that_was_another_one_is_told_with_both(kind: str) -> None:
    before = workload(kind, selector={"matchLabels": {"app": "cart", "tier": "web"}})
    (finding,) = [
        f for f in found(workload(kind), former=(before,)) if f.rule == "selector-changed"
    ]
    assert "is app=cart, and was app=cart, tier=web" in finding.message
    assert finding.pointer == "/spec/selector"
    assert told("selector-changed", workload(kind), former=(workload(kind),)) == []


def test_a_selector_without_expressions_is_one_with_an_empty_list_of_them() -> None:
    before = workload(selector={"matchLabels": {"app": "cart"}, "matchExpressions": []})
    assert told("selector-changed", workload(), former=(before,)) == []


def test_a_new_object_has_no_former_selector() -> None:
    assert told("selector-changed", workload(), former=(workload("StatefulSet"),)) == []


@pytest.mark.requirement("D-19")
@pytest.mark.parametrize(
    ("api", "kind", "scaled", "is_told"),
    [
        ("autoscaling/v1", "HorizontalPodAutoscaler", {"kind": "Deployment"}, True),
        ("autoscaling/v2", "HorizontalPodAutoscaler", {"kind": "StatefulSet"}, False),
        ("keda.sh/v1alpha1", "ScaledObject", {}, True),
        ("keda.sh/v1alpha1", "ScaledObject", {"kind": "StatefulSet"}, False),
    ],
)
def test_replicas_are_left_to_whatever_scales(
    api: str, kind: str, scaled: Object, is_told: bool
) -> None:
    scaler = obj(api, kind, "cart", spec={"scaleTargetRef": {"name": "cart", **scaled}})
    assert bool(told("replicas-under-hpa", workload(replicas=2), scaler)) is is_told
    assert told("replicas-under-hpa", workload(), scaler) == []


def test_what_is_not_of_kubernetes_form_is_left_to_the_schemas() -> None:
    broken = [
        obj("apps/v1", "Deployment", "a", spec={"template": {"spec": {"containers": "none"}}}),
        obj("apps/v1", "Deployment", "b", spec=None),
        obj("v1", "Service", "c", spec={"selector": ["app"], "ports": 80}),
        obj("v1", "Service", "d", spec={"selector": {"app": ["cart"]}, "ports": [80]}),
        obj("v1", "Secret", "e", data=["x"]),
        obj("v1", "ConfigMap", "f", data={"password": ["x"]}),
        obj("policy/v1", "PodDisruptionBudget", "g", spec={"selector": "x", "minAvailable": {}}),
        obj("autoscaling/v2", "HorizontalPodAutoscaler", "h", spec={"scaleTargetRef": "cart"}),
        workload(strategy="Recreate", replicas="two"),
        workload(container={"env": "x", "args": {"a": 1}, "resources": [], "ports": {}}),
    ]
    assert {f.rule for f in found(*broken)} <= {"missing-requests", "no-readiness-probe"}


# --- secrets ------------------------------------------------------------------------------------


CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
SOPS = {"mac": CIPHER, "lastmodified": "2026-01-01T00:00:00Z"}


@pytest.mark.requirement("B-76")
@pytest.mark.parametrize(
    "body",
    [
        {"data": {"password": "czNjcmV0", "user": CIPHER}, "sops": SOPS},
        {"data": {"password": "czNjcmV0"}},
        {"stringData": {"password": "s3cret"}},
        {"data": {"password": "czNjcmV0"}, "sops": {}},
        {"data": {"password": "czNjcmV0"}, "sops": {"mac": "ENC[…]"}},
    ],
    ids=["in part", "data", "stringData", "an empty sops", "sops that has encrypted nothing"],
)
def test_a_secret_in_clear_is_refused_without_its_value(body: Object) -> None:
    (finding,) = found(obj("v1", "Secret", "database", **body))
    assert finding.rule == "plain-secret"
    assert finding.severity == "error"
    assert finding.object == "Secret/shop/database"
    assert "s3cret" not in str(finding.as_dict())
    assert "czNjcmV0" not in str(finding.as_dict())
    assert finding.pointer == f"/{'data' if 'data' in body else 'stringData'}/password"


@pytest.mark.requirement("B-76")
@pytest.mark.parametrize(
    "secret",
    [
        obj("v1", "Secret", "a"),
        obj("v1", "Secret", "a", data={}, stringData=None),
        obj("v1", "Secret", "a", data={"filled-later": ""}),
        obj("v1", "Secret", "a", data={"p": CIPHER}, sops=SOPS),
        obj("bitnami.com/v1alpha1", "SealedSecret", "a", spec={"encryptedData": {"p": "AgBy"}}),
        obj("external-secrets.io/v1", "ExternalSecret", "a", spec={"data": []}),
    ],
    ids=["none", "empty", "empty value", "sops", "sealed", "external"],
)
def test_what_holds_no_clear_value_passes(secret: Object) -> None:
    assert found(secret) == ()


@pytest.mark.requirement("B-76")
@pytest.mark.parametrize(
    ("name", "allow", "passes"),
    [
        ("demo", "demo", True),
        ("demo", "Secret/demo", True),
        ("demo-6b9k2t7h5f", "demo", True),
        ("demo-6b9k2t7h5f", "demo-6b9k2t7h5f", True),
        ("demo-database", "demo", False),
        ("demo", "ConfigMap/demo", False),
    ],
)
def test_a_secret_is_allowed_by_name_also_with_the_hash_of_a_generator(
    name: str, allow: str, passes: bool
) -> None:
    secret = obj("v1", "Secret", name, stringData={"password": "s3cret"})
    assert (found(secret, env=prod(allow=(allow,))) == ()) is passes


def test_another_object_is_allowed_by_kind_and_name() -> None:
    of = config(DATABASE_PASSWORD="hunter22")
    assert [f.rule for f in found(of)] == ["secret-in-clear"]
    assert found(of, env=prod(allow=("settings",))) != ()
    assert found(of, env=prod(allow=("ConfigMap/settings",))) == ()


def test_variables_and_arguments_are_looked_at_in_every_container() -> None:
    secret = "Tr0ub4dor&3"
    env = [{"name": "A", "value": "b"}, {"name": "DB_PASSWORD", "value": secret}]
    init = {
        "name": "init",
        "image": pinned("orders"),
        "args": ["--user", "x", "--password", secret],
    }
    findings = [
        f
        for f in found(workload(container={"env": env}, pod={"initContainers": [init]}))
        if f.rule == "secret-in-clear"
    ]
    assert [(f.pointer, f.service) for f in findings] == [
        ("/spec/template/spec/initContainers/0/args/3", "orders"),
        ("/spec/template/spec/containers/0/env/1/value", "cart"),
    ]
    assert secret not in str([f.as_dict() for f in findings])


def test_the_line_of_a_file_in_a_config_map_is_told_and_each_kind_once() -> None:
    text = "a=1\ndb.password=Tr0ub4dor\nother.password=Tr0ub4dor2\n"
    (finding,) = found(config(**{"app.properties": text}))
    assert finding.message == "app.properties, line 2 holds a password in clear"
    assert finding.pointer == "/data/app.properties"


def test_workloads_of_argo_are_looked_at_too() -> None:
    rollout = {**workload(container={"env": [{"name": "DB_PASSWORD", "value": "hunter22"}]})}
    rollout |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    assert [f.rule for f in found(rollout)] == ["secret-in-clear"]


def test_nothing_is_told_of_a_plain_deployment() -> None:
    assert found(deployment("cart", pinned("cart"))) == ()


def test_an_environment_that_is_not_protected_hears_no_advice() -> None:
    env = environment("prod", protected=False)
    assert found(deployment("cart", pinned("cart")), env=env) == ()
