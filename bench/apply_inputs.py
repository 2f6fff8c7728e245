"""What bench/apply.py applies, in the form that each program reads: a release, files, a chart."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.adapters.registry.registries import Registries
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.pull import pull
from bundler.deploy.verify import verify
from bundler.manifests import write_documents
from bundler.model.reference import ArtifactReference
from tests.e2e.releases import Releases, config_map, made

Object = dict[str, Any]
PORT = 8080
CHART = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"


def quiet_services(count: int) -> Iterator[Object]:
    """Five objects each, of the usual kinds and sizes, none of which has to be waited for.

    A suspended CronJob stands for the workload: it holds a pod's template as a Deployment does,
    but no controller acts on it, so what is measured is the applying alone.
    """
    for number in range(count):
        name = f"s{number:04}"
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": _pod(name, f"{name}:1")}
        template["spec"]["restartPolicy"] = "Never"
        policy = {
            "podSelector": {"matchLabels": labels},
            "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
        }
        job = {"spec": {"template": template}}
        schedule = {"schedule": "0 4 * * *", "suspend": True, "jobTemplate": job}
        yield made("v1", "ServiceAccount", name)
        yield config_map(f"{name}-config", NAME=name, LEVEL="info")
        yield _service(name)
        yield made("networking.k8s.io/v1", "NetworkPolicy", name, spec=policy)
        yield made("batch/v1", "CronJob", name, spec=schedule)


def config_maps(count: int) -> Iterator[Object]:
    for number in range(count):
        yield config_map(f"c{number:05}", NAME=f"c{number:05}", LEVEL="info", TEXT="x" * 200)


def running_services(count: int, tags: Mapping[int, str], default: str) -> Iterator[Object]:
    """A Deployment of two pods, a Service and a ConfigMap each; `tags` are those of some images."""
    for number in range(count):
        name = f"s{number:04}"
        labels = {"app": name}
        pod = _pod(name, f"{name}:{tags.get(number, default)}")
        spec = {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        yield config_map(f"{name}-config", NAME=name, LEVEL="info")
        yield _service(name)
        yield made("apps/v1", "Deployment", name, spec=spec)


def _pod(name: str, image: str) -> Object:
    container = {
        "name": "main",
        "image": f"registry.example.com/{image}",
        "ports": [{"name": "http", "containerPort": PORT}],
        "envFrom": [{"configMapRef": {"name": f"{name}-config"}}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
    return {"containers": [container]}


def _service(name: str) -> Object:
    port = {"name": "http", "port": 80, "targetPort": "http"}
    return made("v1", "Service", name, spec={"selector": {"app": name}, "ports": [port]})


@dataclass(frozen=True)
class Input:
    """The same objects for every program."""

    namespace: str
    reference: str
    """The release."""
    requests: Path
    """What bundler sends, for bench/bare_apply.py."""
    files: Path
    """A folder with one file, the Namespace first."""
    chart: Path
    """All but the Namespace, which helm makes."""


def make_input(
    folder: Path,
    namespace: str,
    objects: Sequence[Object],
    tag: str = "v1.0.0",
    deployments: Collection[str] | None = None,
) -> Input:
    """A release with its namespace; `deployments` are all that is to be sent in bare requests."""
    releases = Releases(folder / "registry", {"default": namespace}, project=namespace)
    releases.publish(tag, made("v1", "Namespace", namespace), *objects)
    sent = published(releases(tag))
    place = folder / namespace / tag
    (place / "files").mkdir(parents=True)
    (place / "chart/templates").mkdir(parents=True)
    requests = place / "requests.json"
    bare = [
        each
        for each in sent
        if deployments is None
        or (each["kind"] == "Deployment" and each["metadata"]["name"] in deployments)
    ]
    requests.write_text(json.dumps(bare))
    ordered = sorted(sent, key=lambda obj: obj["kind"] != "Namespace")
    (place / "files/all.yaml").write_bytes(write_documents(ordered))
    (place / "chart/Chart.yaml").write_text(CHART)
    (place / "chart/templates/all.yaml").write_bytes(write_documents(ordered[1:]))
    return Input(namespace, releases(tag), requests, place / "files", place / "chart")


def published(reference: str) -> list[Object]:
    """The objects of a release's one target."""
    found = ArtifactReference.parse(reference)
    registries = Registries(Path.cwd())
    bundle = verify(pull(registries, found, DocumentSchemas()))
    return [dict(obj) for objects in bundle.objects.values() for obj in objects]
