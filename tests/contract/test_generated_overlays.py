"""Whatever an overlay is made of, its images end as the lock has them."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.adapters.renderers.kustomize import Kustomize
from bundler.model.objects import KubernetesObject
from bundler.model.project import Project
from bundler.publish.images import images_of
from bundler.publish.render import render
from bundler.publish.rendering import Renderers
from tests.fakes.renderer import FolderCharts
from tests.fakes.shop import (
    REDIS,
    REDIS_DIGEST,
    REGISTRY,
    environment,
    lock,
    obj,
    pinned,
    project,
    resolve_external,
)

SERVICES = ("cart", "orders", "web")
EXTERNAL = f"{REDIS}@{REDIS_DIGEST}"
TAGS = st.sampled_from(["", ":v1", ":latest", ":1.0-rc.1", "@sha256:" + "0" * 64])
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Rollout")
API = {"Job": "batch/v1", "CronJob": "batch/v1", "Pod": "v1", "Rollout": "argoproj.io/v1alpha1"}
LISTS = ("containers", "initContainers")


@st.composite
def images(draw: st.DrawFn) -> tuple[str, str]:
    """An image as an author writes it, and what it must end as."""
    if draw(st.integers(0, 4)) == 0:
        return REDIS, EXTERNAL
    service = draw(st.sampled_from(SERVICES))
    name = draw(st.sampled_from([service, f"{REGISTRY}/{service}", f"alias-{service}"]))
    return name + draw(TAGS), pinned(service)


@st.composite
def workloads(draw: st.DrawFn, name: str) -> tuple[dict[str, Any], list[str]]:
    """An object, and the images that it must end with, in the order of its lists."""
    kind = draw(st.sampled_from(KINDS))
    spec: dict[str, Any] = {}
    wanted: dict[str, list[str]] = {key: [] for key in LISTS}
    for key in LISTS:
        for index, (image, end) in enumerate(
            draw(st.lists(images(), min_size=key == "containers", max_size=2))
        ):
            spec.setdefault(key, []).append({"name": f"{key.lower()}{index}", "image": image})
            wanted[key].append(end)
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body: dict[str, Any] = {"template": template}
    if kind == "Pod":
        body = spec
    elif kind == "CronJob":
        body = {"schedule": "0 0 * * *", "jobTemplate": {"spec": body}}
    elif kind not in ("Job", "Rollout"):
        body["selector"] = {"matchLabels": labels}
    found = obj(API.get(kind, "apps/v1"), kind, name, spec=body)
    return found, [*wanted["initContainers"], *wanted["containers"]]


@st.composite
def shops(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, list[str]], dict[str, Any]]:
    """Objects of a base, the images that each must end with, and an overlay on the base."""
    count = draw(st.integers(1, 4))
    made = [draw(workloads(f"w{number}")) for number in range(count)]
    # One that uses every service, as each pin must be used.
    every = [{"name": f"c{index}", "image": each} for index, each in enumerate(SERVICES)]
    everything = obj("v1", "Pod", "every", spec={"containers": every})
    overlay: dict[str, Any] = {"resources": ["../../base"]}
    if draw(st.booleans()):
        overlay["namePrefix"] = "x-"
    if draw(st.booleans()):
        overlay["images"] = [{"name": draw(st.sampled_from(SERVICES)), "newTag": "v9"}]
    prefix = overlay.get("namePrefix", "")
    wanted = {prefix + thing["metadata"]["name"]: ends for thing, ends in made}
    wanted[f"{prefix}every"] = [pinned(service) for service in SERVICES]
    return [everything, *(thing for thing, _ in made)], wanted, overlay


def shop_project() -> Project:
    made = project(environment(), services=SERVICES)
    named = {
        name: replace(service, names=frozenset({f"alias-{name}"}))
        for name, service in made.services.items()
    }
    return replace(made, services=named)


def write(folder: Path, objects: list[dict[str, Any]], overlay: dict[str, Any]) -> None:
    (folder / "base").mkdir()
    (folder / "overlays/stage").mkdir(parents=True)
    names = [f"{number}.yaml" for number, _ in enumerate(objects)]
    for name, thing in zip(names, objects, strict=True):
        (folder / "base" / name).write_text(json.dumps(thing))
    (folder / "base/kustomization.yaml").write_text(json.dumps({"resources": names}))
    (folder / "overlays/stage/kustomization.yaml").write_text(json.dumps(overlay))


def images_in_order(each: KubernetesObject) -> list[str]:
    uses = sorted(images_of(each), key=lambda use: ("/containers/" in use.pointer, use.pointer))
    return [use.image for use in uses]


@pytest.mark.requirement("B-60", "B-63", "B-66", "B-68")
@given(shops())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_overlay_renders_to_exactly_the_locked_digests(
    kustomize_path: Path,
    made: tuple[list[dict[str, Any]], dict[str, list[str]], dict[str, Any]],
) -> None:
    objects, wanted, overlay = made
    shop = shop_project()
    renderers = Renderers(Kustomize(str(kustomize_path)), FolderCharts())
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), objects, overlay)
        bundle = render(shop, lock(shop), Path(name), renderers, resolve_external, "1.36")
    assert bundle.findings == ()
    found = {each["metadata"]["name"]: images_in_order(each) for each in bundle.targets[0].objects}
    assert found == wanted
