"""The real parts do what the other tests count on."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tools.control_plane import ApiError, ControlPlane
from tools.registries import Distribution, ReferrersRegistry, Registry

Json = dict[str, Any]


def pod_spec(image: str = "registry.example/shop/api:1", **more: Any) -> Json:
    return {"containers": [{"name": "api", "image": image}], **more}


def template(name: str, spec: Json, **labels: str) -> Json:
    return {"metadata": {"labels": {"app": name, **labels}}, "spec": spec}


def deployment(name: str, spec: Json, **labels: str) -> Json:
    selector = {"matchLabels": {"app": name}}
    body = {"replicas": 2, "selector": selector, "template": template(name, spec, **labels)}
    return {"metadata": {"name": name}, "spec": body}


def job(name: str, spec: Json) -> Json:
    body = {"backoffLimit": 0, "template": template(name, {"restartPolicy": "Never", **spec})}
    return {"metadata": {"name": name}, "spec": body}


class Objects:
    """The objects of one kind in one namespace."""

    def __init__(self, control_plane: ControlPlane, namespace: str, kind: str) -> None:
        group = "api" if "/" not in kind else "apis"
        version, _, plural = kind.rpartition("/")
        self._path = f"/{group}/{version or 'v1'}/namespaces/{namespace}/{plural}"
        self._control_plane = control_plane

    def create(self, body: Json) -> None:
        self._control_plane.request("POST", self._path, body)

    def wait(self, name: str, is_met: Callable[[Json], Any], seconds: float = 20) -> Json:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self._control_plane.request("GET", f"{self._path}/{name}")
            if is_met(found.get("status", {})):
                return found
            time.sleep(0.05)
        raise AssertionError(f"{name}: waited {seconds} s, it is {found}")

    def all(self) -> list[Json]:
        items: list[Json] = self._control_plane.request("GET", self._path)["items"]
        return items

    def wait_for_each(self, is_met: Callable[[Json], Any], seconds: float = 20) -> list[Json]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            items = self.all()
            if items and all(is_met(item.get("status", {})) for item in items):
                return items
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s, there are {items}")


def condition(name: str) -> Callable[[Json], bool]:
    def is_true(status: Json) -> bool:
        return any(
            found["type"] == name and found["status"] == "True"
            for found in status.get("conditions", [])
        )

    return is_true


def waiting(reason: str) -> Callable[[Json], bool]:
    def is_waiting(status: Json) -> bool:
        containers = status.get("containerStatuses", [])
        return any(c["state"].get("waiting", {}).get("reason") == reason for c in containers)

    return is_waiting


def test_deployment_becomes_available(control_plane: ControlPlane, namespace: str) -> None:
    deployments = Objects(control_plane, namespace, "apps/v1/deployments")
    deployments.create(deployment("api", pod_spec()))
    ready = deployments.wait("api", condition("Available"))
    ready = deployments.wait("api", lambda status: status.get("readyReplicas") == 2)
    assert ready["status"]["updatedReplicas"] == 2


def test_job_completes(control_plane: ControlPlane, namespace: str) -> None:
    jobs = Objects(control_plane, namespace, "batch/v1/jobs")
    jobs.create(job("migrate", pod_spec()))
    assert jobs.wait("migrate", condition("Complete"))["status"]["succeeded"] == 1


def test_job_whose_container_crashes_fails(control_plane: ControlPlane, namespace: str) -> None:
    jobs = Objects(control_plane, namespace, "batch/v1/jobs")
    jobs.create(job("migrate", pod_spec("registry.example/shop/crashing:1")))
    assert jobs.wait("migrate", condition("Failed"))["status"]["failed"] == 1


def test_stateful_set_gets_its_volumes(control_plane: ControlPlane, namespace: str) -> None:
    sets = Objects(control_plane, namespace, "apps/v1/statefulsets")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = deployment("db", pod_spec())
    body["spec"]["serviceName"] = "db"
    body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    sets.create(body)
    sets.wait("db", lambda status: status.get("readyReplicas") == 2)
    claims = Objects(control_plane, namespace, "persistentvolumeclaims").all()
    assert [claim["status"]["phase"] for claim in claims] == ["Bound", "Bound"]


@pytest.mark.parametrize(
    ("image", "labels"),
    [("shop/broken:1", {}), ("shop/api:1", {"kwok.x-k8s.io/fail": "image-pull"})],
    ids=["by image", "by label"],
)
def test_broken_image_is_not_pulled(
    control_plane: ControlPlane, namespace: str, image: str, labels: dict[str, str]
) -> None:
    deployments = Objects(control_plane, namespace, "apps/v1/deployments")
    deployments.create(deployment("api", pod_spec(image), **labels))
    pods = Objects(control_plane, namespace, "pods")
    found = pods.wait_for_each(waiting("ImagePullBackOff"))
    assert [pod["status"]["phase"] for pod in found] == ["Pending", "Pending"]
    time.sleep(1.5)  # and it stays so, though nothing but the weight keeps pod-ready away
    for pod in pods.all():
        assert waiting("ImagePullBackOff")(pod["status"])
        assert not condition("Ready")(pod["status"])
    events = Objects(control_plane, namespace, "events").all()
    assert "Failed to pull image" in {event["message"] for event in events}


def test_crashing_container_is_restarted(control_plane: ControlPlane, namespace: str) -> None:
    deployments = Objects(control_plane, namespace, "apps/v1/deployments")
    deployments.create(deployment("api", pod_spec("shop/crashing:1")))
    pods = Objects(control_plane, namespace, "pods")
    first = pods.wait_for_each(waiting("CrashLoopBackOff"))
    pods.wait_for_each(
        lambda status: (
            waiting("CrashLoopBackOff")(status)
            and status["containerStatuses"][0]["restartCount"] > 2
        )
    )
    assert not any(condition("Ready")(pod["status"]) for pod in first)


def test_unready_pod_runs_but_is_not_ready(control_plane: ControlPlane, namespace: str) -> None:
    pods = Objects(control_plane, namespace, "pods")
    pods.create({"metadata": {"name": "api"}, "spec": pod_spec("shop/unready:1")})
    pod = pods.wait("api", lambda status: status.get("phase") == "Running")
    assert not condition("Ready")(pod["status"])


def test_slow_pod_takes_its_time(control_plane: ControlPlane, namespace: str) -> None:
    pods = Objects(control_plane, namespace, "pods")
    labels = {"kwok.x-k8s.io/ready-after": "1s"}
    started = time.monotonic()
    pods.create({"metadata": {"name": "api", "labels": labels}, "spec": pod_spec()})
    pods.wait("api", condition("Ready"))
    assert 1 <= time.monotonic() - started < 5


def test_limited_user_may_do_what_a_role_allows(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with pytest.raises(ApiError) as refused:
        control_plane.request("GET", path, token=control_plane.limited_token)
    assert refused.value.status == 403
    rbac = "rbac.authorization.k8s.io"
    bindings = Objects(control_plane, namespace, f"{rbac}/v1/rolebindings")
    user = {"apiGroup": rbac, "kind": "User", "name": "limited"}
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"}
    bindings.create({"metadata": {"name": "limited"}, "roleRef": role, "subjects": [user]})
    for _ in range(100):  # the authorizer hears of it by a watch
        try:
            control_plane.request("GET", path, token=control_plane.limited_token)
            break
        except ApiError:
            time.sleep(0.02)
    else:
        pytest.fail("the binding has no effect")


def test_service_account_has_a_token(control_plane: ControlPlane, namespace: str) -> None:
    token = control_plane.service_account_token(namespace, "default", 600)
    review = {"spec": {"token": token}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    user = control_plane.request("POST", path, review)["status"]["user"]["username"]
    assert user == f"system:serviceaccount:{namespace}:default"


def test_client_certificate_names_user_and_groups(control_plane: ControlPlane) -> None:
    certificate, key = control_plane.client_certificate("release/bot", ["deployers", "ci+cd"])
    tls = ssl.create_default_context(cafile=control_plane.ca)
    tls.load_cert_chain(certificate, key)
    host = control_plane.server.removeprefix("https://")
    connection = http.client.HTTPSConnection(host, context=tls, timeout=10)
    review = '{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    connection.request("POST", path, review, {"Content-Type": "application/json"})
    answer = connection.getresponse().read().decode()
    connection.close()
    assert '"username":"release/bot"' in answer
    assert '"deployers"' in answer
    assert '"ci+cd"' in answer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    content: bytes


def send(
    registry: Registry, method: str, path: str, content: bytes | None = None, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/v2/{path}", content, names)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_registries_answer(
    distribution: Distribution, referrers_registry: ReferrersRegistry
) -> None:
    assert send(distribution, "GET", "").status == 200
    assert send(referrers_registry, "GET", "").status == 200


def test_referrers_registry_lists_referrers(referrers_registry: ReferrersRegistry) -> None:
    media_type = "application/vnd.oci.image.manifest.v1+json"
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest_of(b"{}"),
        "size": 2,
    }
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": empty, "layers": []}
    image = json.dumps(manifest).encode()
    subject = {"mediaType": media_type, "digest": digest_of(image), "size": len(image)}
    signature = json.dumps({**manifest, "artifactType": "text/sig", "subject": subject}).encode()

    for content, announced in ((image, None), (signature, digest_of(image))):
        path = f"real-parts/manifests/{digest_of(content)}"
        pushed = send(referrers_registry, "PUT", path, content, Content_Type=media_type)
        assert (pushed.status, pushed.headers["OCI-Subject"]) == (201, announced)

    path = f"real-parts/referrers/{digest_of(image)}"
    index = json.loads(send(referrers_registry, "GET", path).content)
    found = [(each["digest"], each["artifactType"]) for each in index["manifests"]]
    assert found == [(digest_of(signature), "text/sig")]


def test_distribution_has_no_referrers_api(distribution: Distribution) -> None:
    answer = send(distribution, "GET", f"real-parts/referrers/{digest_of(b'')}")
    assert (answer.status, answer.content) == (404, b"404 page not found\n")


def test_registry_asks_for_the_password() -> None:
    with Distribution(htpasswd=("releaser", "secret")) as registry:
        assert send(registry, "GET", "").status == 401
        for password, status in (("secret", 200), ("wrong", 401)):
            credentials = b64encode(f"releaser:{password}".encode()).decode()
            answer = send(registry, "GET", "", Authorization=f"Basic {credentials}")
            assert answer.status == status


def test_kustomize_runs(kustomize_path: Path) -> None:
    run = subprocess.run([kustomize_path, "version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "v5.8.2"
