"""`bundler resolve` on real git, real images and real registries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bundler, Result
from tests.git_history import NewCommit, git, make_history
from tools.sample_shop import File, ImageLayout, SampleShop, image_labels

Checked = Callable[[str, Result], Any]
PROJECT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: ocidir://../registry/shop
images: {registry: registry.example.com/shop, lookup: "ocidir://../images"%s}
services:
%s
"""


def add_image(
    folder: Path, name: str, tags: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A layout with an image for each tag (tag → content); tag → digest."""
    layout = ImageLayout(folder / "images" / name)
    made = {
        tag: layout.add(
            {"f": File(content.encode())},
            [tag],
            image_labels(tag, "main") if labels is None else labels,
            datetime.now(UTC),
        )
        for tag, content in tags.items()
    }
    layout.close()
    return made


def make_project(folder: Path, services: str, images: str = "", **files: str) -> str:
    """A repository `shop` with a project file and files, tagged v1.0.0; its commit."""
    tree = {"bundler.yaml": PROJECT % (images, services), **files}
    [commit] = make_history(folder / "shop", [NewCommit(tree)])
    git(folder / "shop", "tag", "v1.0.0")
    return commit


# --- evidence -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-40")
def test_each_service_is_shown_with_who_changed_it_last_and_when(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    value = checked("result-resolve", bundler("resolve", "v1.1.0", "--repo", "shop", "-o", "json"))
    for name, image in value["services"].items():
        shown = git(shop.repository, "show", "-s", "--format=%s%x00%an%x00%at", image["commit"])
        subject, author, written = shown.split("\0")
        date = datetime.fromtimestamp(int(written), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert (image["subject"], image["author"], image["date"]) == (subject, author, date), name
    text = bundler("resolve", "v1.1.0", "--repo", "shop").stdout
    assert value["services"]["cart"]["author"] in text
    assert value["warnings"] == []


@pytest.mark.requirement("B-44")
def test_one_service_is_explained_in_words_and_as_a_value(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    name, expected = next(
        (name, image)
        for name, image in shop.expected["v1.2.0"].items()
        if image.resolved_via != "first-parent"
    )
    asked = ("resolve", "v1.2.0", "--repo", "shop", "--explain", name)
    value = checked("result-explain", bundler(*asked, "-o", "json"))
    assert value["image"]["digest"] == expected.digest
    assert [attempt["outcome"] for attempt in value["tried"]][-1] == "found"
    words = bundler(*asked).stdout
    assert f"of commit {expected.commit}," in words
    assert "exactly these inputs" in words


def test_what_is_explained_may_be_missing_and_says_so_by_its_exit_code(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    shutil.rmtree(shop.images / "cart")
    told = bundler("resolve", "v1.1.0", "--repo", "shop", "--explain", "cart")
    assert told.exit_code == 1
    assert "No image is taken" in told.stdout
    assert "What to do: build the missing images" in told.stdout
    value = bundler("resolve", "v1.1.0", "--repo", "shop", "--explain", "cart", "-o", "json").value
    assert value["error"]["code"] == "images-missing"
    wrong = bundler("resolve", "v1.1.0", "--repo", "shop", "--explain", "crat")
    assert (wrong.exit_code, "did you mean cart?" in wrong.stderr) == (2, True)


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-47", "B-48")
def test_folders_submodules_and_other_repositories_resolve_into_one_lock(
    bundler: Bundler, checked: Checked, tmp_path: Path
) -> None:
    [sub] = make_history(tmp_path / "cart", [NewCommit({"f": "cart"})])
    pay = make_history(tmp_path / "pay", [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0])])
    git(tmp_path / "pay", "tag", "-a", "-m", "release", "v1.0.0", pay[0])
    services = (
        "  web: {path: web}\n  cart: {submodule: services/cart}\n"
        f"  pay: {{repository: 'file://{tmp_path}/pay'}}\n"
        f"  pay2: {{repository: 'file://{tmp_path}/pay', ref: {pay[1]}}}\n"
    )
    make_project(tmp_path, services, **{"web/f": "0"})
    repository = tmp_path / "shop"
    git(repository, "checkout", "--quiet", "main")
    allowed = ("-c", "protocol.file.allow=always", "-c", "user.name=a", "-c", "user.email=a@b")
    git(
        repository, *allowed, "submodule", "--quiet", "add", str(tmp_path / "cart"), "services/cart"
    )
    git(repository, *allowed, "commit", "--quiet", "-m", "Add cart")
    git(repository, "tag", "-f", "v1.0.0")
    web = git(repository, "rev-parse", "HEAD^")
    commits = {"web": web, "cart": sub, "pay": pay[0], "pay2": pay[1]}
    for name, commit in commits.items():
        add_image(tmp_path, name, {commit: name})
    here = bundler("resolve", "v1.0.0", "--repo", "shop", "-o", "json")
    value = checked("result-resolve", here)["services"]
    assert {name: (i["commit"], i["resolvedVia"], i["subject"]) for name, i in value.items()} == {
        "web": (web, "first-parent", "commit 0"),
        "cart": (sub, "submodule", "commit 0"),
        "pay": (pay[0], "repository", "commit 0"),
        "pay2": (pay[1], "repository", "commit 1"),
    }
    # Elsewhere the submodule is not initialised: the same lock, but nobody knows who made it.
    git(tmp_path, "clone", "--quiet", "shop", "clone")
    there = bundler("resolve", "v1.0.0", "--repo", "clone", "-o", "json")
    cloned = checked("result-resolve", there)["services"]
    assert "subject" not in cloned["cart"]
    assert {n: i["commit"] for n, i in cloned.items()} == commits


def test_a_tag_wins_over_a_branch_of_its_name(
    bundler: Bundler, checked: Checked, tmp_path: Path
) -> None:
    commit = make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    repository = tmp_path / "shop"
    tree = git(repository, "rev-parse", "main^{tree}")
    other = git(repository, "commit-tree", tree, "-m", "other")
    git(repository, "update-ref", "refs/heads/v1.0.0", other)
    add_image(tmp_path, "web", {commit: "0"})
    value = checked("result-resolve", bundler("resolve", "v1.0.0", "--repo", "shop", "-o", "json"))
    assert value["release"]["commit"] == commit


# --- checks -------------------------------------------------------------------------------------


@pytest.mark.requirement("B-53", "B-54")
def test_images_that_are_not_what_their_tags_say_are_refused_all_at_once(
    bundler: Bundler, tmp_path: Path
) -> None:
    services = (
        "  web: {path: web}\n  cart: {path: cart, platforms: [linux/arm64]}\n"
        "environments: {prod: {kustomize: overlay, namespace: shop}}"
    )
    files = {"web/f": "0", "cart/f": "0", "overlay/kustomization.yaml": "resources: []\n"}
    commit = make_project(tmp_path, services, **files)
    add_image(tmp_path, "web", {commit: "0"}, image_labels("d" * 40, "main"))
    add_image(tmp_path, "cart", {commit: "0"})
    refused = bundler("resolve", "v1.0.0", "--repo", "shop", "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (4, "images-refused")
    assert {(f["service"], f["rule"]) for f in refused.findings} == {
        ("web", "revision-mismatch"),
        ("cart", "platform-missing"),
    }
    published = bundler("publish", "v1.0.0", "--repo", "shop")
    assert published.exit_code == 4
    assert not (tmp_path / "registry").exists()


@pytest.mark.requirement("B-54")
def test_an_image_without_a_label_is_told_and_the_policy_can_refuse_or_ignore_it(
    bundler: Bundler, tmp_path: Path
) -> None:
    for policy, exit_code, told in (("warning", 0, True), ("error", 4, True), ("ignore", 0, False)):
        folder = tmp_path / policy
        label = f", revisionLabel: {{missing: {policy}}}"
        commit = make_project(folder, "  web: {path: web}", label, **{"web/f": "0"})
        add_image(folder, "web", {commit: "0"}, {})
        result = bundler("resolve", "v1.0.0", "--repo", "shop", cwd=folder)
        assert (result.exit_code, "revision-missing" in result.stderr) == (exit_code, told), policy


# --- waiting ------------------------------------------------------------------------------------


@contextmanager
def waiting(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `bundler` that has said that it waits."""
    command = [sys.executable, "-m", "bundler", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            assert any(line.startswith("waiting for 1 service (web)") for line in process.stderr)
            yield process
        finally:
            process.kill()


@pytest.mark.requirement("B-45")
def test_an_image_whose_build_ends_meanwhile_is_waited_for(tmp_path: Path) -> None:
    commit = make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    command = ("resolve", "v1.0.0", "--repo", "shop", "--wait-images", "2m", "-o", "json")
    with waiting(tmp_path, *command) as process:
        [digest] = add_image(tmp_path, "web", {commit: "0"}).values()
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(stdout)["services"]["web"]["digest"] == digest


def test_a_wait_can_be_interrupted(tmp_path: Path) -> None:
    make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    with waiting(tmp_path, "resolve", "v1.0.0", "--repo", "shop", "--wait-images", "5m") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", ["v1..2", "-v1.0.0", "--upload-pack=x", "v1;id", "v1.0.0$(id)", "vé1.0.0", "v1.0.0@{0}"]
)
def test_a_tag_name_that_git_could_misread_is_refused(
    bundler: Bundler, tmp_path: Path, tag: str
) -> None:
    make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    result = bundler("resolve", "--repo", "shop", "-o", "json", "--", tag)
    assert (result.exit_code, result.error["code"]) == (2, "usage")


def test_a_disabled_service_needs_no_image(
    bundler: Bundler, checked: Checked, tmp_path: Path
) -> None:
    services = "  web: {path: web}\n  next: {path: next, disabled: true}"
    commit = make_project(tmp_path, services, **{"web/f": "0", "next/f": "0"})
    add_image(tmp_path, "web", {commit: "0"})
    value = checked("result-resolve", bundler("resolve", "v1.0.0", "--repo", "shop", "-o", "json"))
    assert list(value["services"]) == ["web"]


def test_a_setting_of_the_environment_that_makes_no_sense_is_told(
    bundler: Bundler, tmp_path: Path
) -> None:
    make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    for setting in ({"BUNDLER_REGISTRY_CONNECTIONS": "0"}, {"BUNDLER_REGISTRY_TIMEOUT": "soon"}):
        result = bundler("resolve", "v1.0.0", "--repo", "shop", **setting)
        assert result.exit_code == 2, setting
        assert result.stderr.startswith("error: ")


# --- what a new user meets ----------------------------------------------------------------------

OVERLAY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}, {name: proxy, image: nginx}]}
"""
ENVIRONMENTS = "\nenvironments: {prod: {kustomize: overlays/prod, namespace: shop}}"


def make_deployed(folder: Path, images: str = "", services: str = "  web: {path: web}") -> str:
    return make_project(
        folder,
        services + ENVIRONMENTS,
        images,
        **{
            "web/f": "0",
            "overlays/prod/kustomization.yaml": "resources: [web.yaml]",
            "overlays/prod/web.yaml": OVERLAY,
        },
    )


@pytest.mark.requirement("B-52")
@pytest.mark.parametrize("declared", ["nginx", "nginx:latest", "docker.io/library/nginx:*"])
def test_a_third_party_image_without_a_tag_is_published_as_it_is_declared(
    bundler: Bundler, checked: Checked, tmp_path: Path, declared: str
) -> None:
    lookup = (
        '"docker.io/library": "ocidir://../hub", registry.example.com/shop: "ocidir://../images"'
    )
    commit = make_deployed(tmp_path, f', external: ["{declared}"]')
    text = (tmp_path / "shop/bundler.yaml").exists()
    assert not text  # only in git: what is published is the tag's tree
    project = git(tmp_path / "shop", "show", "v1.0.0:bundler.yaml")
    changed = project.replace('lookup: "ocidir://../images"', f"lookup: {{{lookup}}}")
    blob = git(tmp_path / "shop", "hash-object", "-w", "--stdin", stdin=changed.encode())
    git(tmp_path / "shop", "read-tree", "v1.0.0")
    git(tmp_path / "shop", "update-index", "--cacheinfo", f"100644,{blob},bundler.yaml")
    tree = git(tmp_path / "shop", "write-tree")
    new = git(tmp_path / "shop", "commit-tree", tree, "-p", commit, "-m", "lookup")
    git(tmp_path / "shop", "update-ref", "refs/heads/main", new)
    git(tmp_path / "shop", "tag", "-f", "v1.0.0", new)
    add_image(tmp_path, "web", {commit: "0"})
    [nginx] = add_image(tmp_path, "../hub/nginx", {"latest": "nginx"}).values()
    value = checked("result-publish", bundler("publish", "v1.0.0", "--repo", "shop", "-o", "json"))
    assert value["external"] == {"nginx": {"digest": nginx}}


def test_a_release_needs_an_environment(bundler: Bundler, tmp_path: Path) -> None:
    commit = make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    add_image(tmp_path, "web", {commit: "0"})
    assert bundler("resolve", "v1.0.0", "--repo", "shop").exit_code == 0
    refused = bundler("publish", "v1.0.0", "--repo", "shop", "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (2, "project-file-invalid")


def test_a_git_lfs_pointer_that_is_ignored_is_no_input(bundler: Bundler, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    services = '  web: {path: web, ignore: ["*.bin"]}'
    commit = make_project(tmp_path, services, **{"web/f": "0", "web/model.bin": pointer})
    add_image(tmp_path, "web", {commit: "0"})
    assert bundler("resolve", "v1.0.0", "--repo", "shop").exit_code == 0


def test_a_branch_is_told_apart_from_a_tag_that_is_not_there(
    bundler: Bundler, tmp_path: Path
) -> None:
    make_project(tmp_path, "  web: {path: web}", **{"web/f": "0"})
    result = bundler("resolve", "main", "--repo", "shop")
    assert "main is a branch; a release is a tag" in result.stderr


def test_each_service_that_could_not_be_asked_for_is_named_and_the_hint_stands_once(
    bundler: Bundler, tmp_path: Path
) -> None:
    closed = ', lookup: "oci://127.0.0.1:9/shop"'
    text = PROJECT.replace(', lookup: "ocidir://../images"', "")
    services = "  web: {path: web}\n  cart: {path: web}"
    files = {"bundler.yaml": text % (closed, services), "web/f": "0"}
    make_history(tmp_path / "shop", [NewCommit(files)])
    git(tmp_path / "shop", "tag", "v1.0.0")
    result = bundler("resolve", "v1.0.0", "--repo", "shop")
    assert result.exit_code == 6
    assert "2 of 2 services could not be asked for" in result.stderr
    assert all(
        f"✗ {name}: 127.0.0.1:9 does not answer" in result.stderr for name in ("cart", "web")
    )
