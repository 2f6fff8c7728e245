"""The smallest release that can be published: a service, its image, an environment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.git_history import git
from tools.sample_shop import File, ImageLayout, image_labels

VERSION = "v1.0.0"
KUSTOMIZATION = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["cart.yaml"],
}


def build(
    folder: Path,
    deploy_registry: str,
    lookup: str = "ocidir://../images",
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """A repository in `folder/repo` and its images in `folder/images`.

    `elsewhere` is the source of one more service, `search`: the URL and the commit.
    """
    services: dict[str, object] = {"cart": {"paths": ["services/cart"]}}
    if elsewhere:
        services["search"] = {"repository": elsewhere["url"], "ref": elsewhere["commit"]}
    project = {
        "apiVersion": "bundler/v1",
        "kind": "Project",
        "name": "shop",
        "deployRegistry": deploy_registry,
        "images": {"registry": "registry.example.com/shop", "lookup": lookup},
        "services": services,
        "environments": {"stage": {"kustomize": "overlays/stage", "namespace": "shop"}},
    }
    files = {
        "bundler.yaml": project,
        "services/cart/main": "0",
        "overlays/stage/kustomization.yaml": KUSTOMIZATION,
        "overlays/stage/cart.yaml": _deployment(services),
    }
    repo = folder / "repo"
    for name, value in files.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))  # JSON is YAML
    git(repo, "init", "--quiet", "--initial-branch=main")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "Start")
    git(repo, "tag", VERSION)
    commit = git(repo, "rev-parse", "HEAD")
    _build_image(folder, "cart", commit)
    if elsewhere:
        _build_image(folder, "search", elsewhere["commit"])


def image_index(folder: Path) -> list[dict[str, str]]:
    """The manifests of the image of `cart`."""
    index = json.loads((folder / "images" / "cart" / "index.json").read_bytes())
    manifests: list[dict[str, str]] = index["manifests"]
    return manifests


def _deployment(services: Iterable[str]) -> dict[str, object]:
    labels = {"app": "cart"}
    containers = [{"name": name, "image": f"registry.example.com/shop/{name}"} for name in services]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cart"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def _build_image(folder: Path, name: str, commit: str) -> None:
    layout = ImageLayout(folder / "images" / name)
    labels = image_labels(commit, "main")
    layout.add({"main": File(b"0")}, [commit], labels, datetime(2025, 1, 1, tzinfo=UTC))
    layout.close()
