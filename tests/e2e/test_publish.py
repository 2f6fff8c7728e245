"""From a tag of the sample shop's history to a version in a folder registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Bundler, Result, run_bundler
from tools.sample_shop import SampleShop, build_shop, git

Checked = Callable[[str, Result], Any]


def registry(shop: SampleShop) -> str:
    return f"ocidir://{shop.registry}/shop"


def clone(shop: SampleShop, folder: Path) -> Path:
    """A clone beside the images, so that the project file's relative places hold."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(folder.parent, "clone", "--quiet", str(shop.repository), str(folder))
    return folder


# --- resolve ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-24", "B-32", "B-40", "B-41", "B-42", "B-43", "B-44")
@pytest.mark.parametrize("tag", ["v1.0.0", "v1.1.0", "v1.2.0", "v1.2.1"])
def test_every_service_resolves_to_the_image_that_the_develop_flow_built(
    shop: SampleShop, bundler: Bundler, checked: Checked, tag: str
) -> None:
    value = checked("result-resolve", bundler("resolve", tag, "--repo", "shop", "-o", "json"))
    assert value["release"] == {"tag": tag, "commit": shop.tags[tag]}
    found = {
        name: (image["commit"], image["digest"], image["resolvedVia"])
        for name, image in value["services"].items()
    }
    expected = {
        name: (image.commit, image.digest, image.resolved_via)
        for name, image in shop.expected[tag].items()
    }
    assert found == expected


@pytest.mark.requirement("B-51")
def test_a_service_that_was_deleted_is_reported_against_the_previous_release(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    assert bundler("publish", "v1.0.0", "--repo", "shop").exit_code == 0
    value = checked("result-publish", bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json"))
    assert value["removed"] == ["coupons"]
    assert "coupons" not in value["services"]


# --- publish ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-80", "B-84")
def test_a_published_release_is_inspected_without_its_content(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    published = checked(
        "result-publish", bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json")
    )
    assert published["status"] == "published"
    for blob in (shop.registry / "shop" / "blobs" / "sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.unlink()  # the content layer
    inspected = checked(
        "result-inspect", bundler("inspect", f"{registry(shop)}:v1.1.0", "-o", "json")
    )
    release = inspected["release"]
    assert inspected["digest"] == published["digest"]
    assert (release["tag"], release["commit"]) == ("v1.1.0", shop.tags["v1.1.0"])
    assert release["source"] == "https://git.example.com/shop/shop"
    assert release["services"].keys() == shop.expected["v1.1.0"].keys()
    assert list(release["external"]) == ["docker.io/library/redis:7.4.1"]
    assert release["environments"]["prod"]["targets"].keys() == {"eu", "us"}


@pytest.mark.requirement("B-81")
def test_publishing_again_is_unchanged_whichever_images_came_later(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    first = checked("result-publish", bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json"))
    shutil.rmtree(shop.images)
    again = checked("result-publish", bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json"))
    assert again["status"] == "unchanged"
    assert (again["digest"], again["reference"]) == (first["digest"], first["reference"])


@pytest.mark.requirement("B-80", "B-81")
def test_two_clones_publish_the_same_digest(
    shop: SampleShop, tmp_path: Path, kustomize_path: Path
) -> None:
    digests = []
    surroundings = [
        {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "LC_ALL": "C"},
        {"TZ": "America/New_York", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8"},
    ]
    for number, environment in enumerate(surroundings):
        place = tmp_path / f"machine {number}" / ("deeper" * number)
        place.mkdir(parents=True)
        shutil.copytree(shop.images, place / "images")
        repository = clone(shop, place / "source")
        mask = os.umask(0o077 if number else 0o002)
        try:
            result = run_bundler(
                "publish", "v1.1.0", "-o", "json", cwd=repository,
                environment=environment | {
                    "BUNDLER_KUSTOMIZE": str(kustomize_path), "HOME": str(place),
                },
            )  # fmt: skip
        finally:
            os.umask(mask)
        assert result.exit_code == 0, result.stderr
        digests.append(result.value["digest"])
    assert digests[0] == digests[1]


@pytest.mark.requirement("B-35")
def test_two_tags_that_differ_in_one_service_differ_in_one_digest(
    shop: SampleShop, bundler: Bundler
) -> None:
    services = [
        bundler("publish", tag, "--repo", "shop", "-o", "json").value["services"]
        for tag in ("v1.1.0", "v1.2.0")
    ]
    differing = [n for n in services[0] if services[0][n]["digest"] != services[1][n]["digest"]]
    assert differing == ["checkout"]


@pytest.mark.requirement("B-37", "B-67")
def test_what_lies_in_the_work_tree_never_leaks(shop: SampleShop, bundler: Bundler) -> None:
    clean = bundler("publish", "v1.1.0", "--repo", "shop", "--dry-run", "-o", "json").value
    (shop.repository / "bundler.yaml").write_text("nonsense")
    (shop.repository / "overlays" / "stage" / "kustomization.yaml").unlink()
    (shop.repository / ".gitattributes").write_text("* text eol=crlf export-ignore\n")
    git(shop.repository, "config", "core.autocrlf", "true")
    before = git(shop.repository, "status", "--porcelain")
    dirty = bundler("publish", "v1.1.0", "--repo", "shop", "--dry-run", "-o", "json").value
    assert dirty["digest"] == clean["digest"]
    assert git(shop.repository, "status", "--porcelain") == before


@pytest.mark.requirement("D-13")
def test_migrations_are_shown_with_the_release_and_when_it_is_applied(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    bundler("publish", "v1.1.0", "--repo", "shop")
    reference = f"{registry(shop)}:v1.1.0"
    told = "orders migrates its data by Job orders-migrate, reversible"
    assert told in bundler("inspect", reference).stdout
    options = ("--env", "stage", "--directory", tmp_path / "stage", "--dry-run")
    assert told in bundler("apply", reference, *options).stderr


@pytest.mark.requirement("B-46", "B-75")
def test_a_dry_run_pushes_nothing_and_knows_the_digest(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    dry = checked(
        "result-publish", bundler("publish", "v1.1.0", "--repo", "shop", "--dry-run", "-o", "json")
    )
    assert "reference" not in dry
    assert not list(shop.registry.iterdir())
    assert (
        bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json").value["digest"]
        == dry["digest"]
    )


@pytest.mark.requirement("B-52", "B-60", "B-65", "B-106")
def test_every_image_of_protected_environments_ends_in_the_locks_digest(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    assert bundler("pull", f"{registry(shop)}:v1.1.0", "-d", "out").exit_code == 0
    expected = {
        f"registry.example.com/shop/{name}:{image.commit}@{image.digest}"
        for name, image in shop.expected["v1.1.0"].items()
    }
    expected |= {f"{name}@{digest}" for name, digest in shop.external.items()}
    images = {}
    for place in ("stage/default", "prod/eu", "prod/us"):
        text = "".join(p.read_text() for p in sorted((tmp_path / "out" / place).iterdir()))
        images[place] = set(_images(list(yaml.safe_load_all(text))))
    assert images == dict.fromkeys(images, expected)


def _images(value: object) -> list[str]:
    if isinstance(value, list):
        return [image for item in value for image in _images(item)]
    if isinstance(value, dict):
        own = [value["image"]] if isinstance(value.get("image"), str) else []
        return own + [image for item in value.values() for image in _images(item)]
    return []


@pytest.mark.requirement("D-09", "D-10")
def test_objects_carry_our_labels_and_no_version(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    assert bundler("pull", f"{registry(shop)}:v1.1.0", "-d", "out").exit_code == 0
    text = "".join(p.read_text() for p in sorted((tmp_path / "out/stage/default").iterdir()))
    objects = list(yaml.safe_load_all(text))
    for obj in objects:
        labels, annotations = obj["metadata"]["labels"], obj["metadata"]["annotations"]
        assert labels["app.kubernetes.io/part-of"] == "shop"
        assert labels["app.kubernetes.io/managed-by"] == "bundler"
        assert labels["release-bundler/environment"] == "stage"
        assert annotations["release-bundler/owner"] == "shop/stage/default"
        assert "v1.1.0" not in json.dumps(obj)
        template = obj.get("spec", {}).get("template", {})
        assert not [key for key in json.dumps(template).split('"') if "release-bundler/" in key]
    cart = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "cart")
    commit = shop.expected["v1.1.0"]["cart"].commit
    assert cart["metadata"]["labels"]["release-bundler/commit"] == commit


@pytest.mark.requirement("B-100")
def test_what_is_published_runs_nowhere_until_it_is_applied(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    def publish(tag: str) -> None:
        assert bundler("publish", tag, "--repo", "shop").exit_code == 0

    def deployed() -> dict[Path, bytes]:
        return {each: each.read_bytes() for each in (tmp_path / "to").rglob("*") if each.is_file()}

    publish("v1.0.0")
    to = ("--env", "stage", "--directory", "to", "--yes")
    assert bundler("apply", f"{registry(shop)}:v1.0.0", *to).exit_code == 0
    before = deployed()
    publish("v1.1.0")
    assert deployed() == before
    current = bundler("status", "--directory", "to", "-o", "json").value["targets"][0]["current"]
    assert current["tag"] == "v1.0.0"


@pytest.mark.requirement("B-90")
def test_versions_are_listed_newest_first(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    for tag in ("v1.1.0", "v1.0.0", "v1.2.0"):
        assert bundler("publish", tag, "--repo", "shop").exit_code == 0
    listed = checked("result-list", bundler("list", "-o", "json", cwd=shop.repository))
    assert [version["version"] for version in listed] == ["v1.2.0", "v1.1.0", "v1.0.0"]
    assert listed[1]["commit"] == shop.tags["v1.1.0"]


def test_a_version_is_enough_where_the_registry_is_known(
    shop: SampleShop, bundler: Bundler
) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    by_flag = bundler("inspect", "v1.1.0", "--deploy-registry", registry(shop), "-o", "json")
    by_variable = bundler("inspect", "v1.1.0", "-o", "json", BUNDLER_DEPLOY_REGISTRY=registry(shop))
    by_project = bundler("inspect", "v1.1.0", "-o", "json", cwd=shop.repository)
    unknown = bundler("inspect", "v1.1.0", "-o", "json")
    assert by_flag.value["digest"] == by_variable.value["digest"] == by_project.value["digest"]
    assert (unknown.exit_code, unknown.error["code"]) == (2, "usage")


@pytest.mark.requirement("B-34")
def test_a_tag_that_is_no_release_is_ignored(shop: SampleShop, bundler: Bundler) -> None:
    git(shop.repository, "tag", "nightly", "v1.1.0")
    result = bundler("publish", "nightly", "--repo", "shop", "-o", "json")
    assert (result.exit_code, result.value["status"]) == (0, "ignored")
    assert not list(shop.registry.iterdir())


def test_a_tag_that_no_registry_takes_is_ignored_where_it_is_no_release(
    shop: SampleShop, bundler: Bundler
) -> None:
    git(shop.repository, "tag", "docs/2024", "v1.1.0")
    result = bundler("publish", "--repo", "shop", "-o", "json", GITHUB_REF="refs/tags/docs/2024")
    assert (result.exit_code, result.value["status"]) == (0, "ignored")


def test_an_environment_without_an_enabled_target_is_left_out(
    shop: SampleShop, bundler: Bundler
) -> None:
    text = (shop.repository / "bundler.yaml").read_text()
    text = text.replace("shop-eu}", "shop-eu, disabled: true}")
    text = text.replace("namespace: shop-us,", "namespace: shop-us, disabled: true,")
    assert text.count("disabled: true") == 2
    (shop.repository / "bundler.yaml").write_text(text)
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    git(shop.repository, *identity, "commit", "--quiet", "--all", "-m", "no prod")
    git(shop.repository, "tag", "v3.0.0")
    assert bundler("publish", "v3.0.0", "--repo", "shop").exit_code == 0
    release = bundler("inspect", "v3.0.0", "-o", "json", cwd=shop.repository).value["release"]
    assert sorted(release["environments"]) == ["dev", "stage"]


@pytest.mark.parametrize(
    "variables",
    [{"GITHUB_REF": "refs/tags/v1.1.0"}, {"CI_COMMIT_TAG": "v1.1.0"}],
    ids=["github", "gitlab"],
)
def test_in_ci_the_tag_comes_from_the_pipeline(
    shop: SampleShop, bundler: Bundler, variables: dict[str, str]
) -> None:
    result = bundler("publish", "-o", "json", cwd=shop.repository, **variables)
    assert result.value["release"]["tag"] == "v1.1.0"


@pytest.mark.requirement("B-30")
def test_pushing_a_tag_publishes_through_a_post_receive_hook(
    tmp_path: Path, kustomize_path: Path
) -> None:
    shop = build_shop(tmp_path, remote=True)
    assert shop.remote is not None
    hook = shop.remote / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nwhile read -r old new ref; do\n"
        '  case "$ref" in refs/tags/*) bundler publish "$ref" --repo . ;; esac\ndone\n'
    )
    hook.chmod(0o755)
    work = clone(shop, tmp_path / "work")
    git(work, "remote", "set-url", "origin", str(shop.remote))
    git(work, "tag", "v1.3.0", "v1.2.1^{commit}")
    pushed = subprocess.run(
        ["git", "push", "--quiet", "origin", "v1.3.0"],
        cwd=work,
        env={
            **os.environ,
            "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}",  # type: ignore[attr-defined]
            "BUNDLER_KUSTOMIZE": str(kustomize_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert pushed.returncode == 0, pushed.stderr
    assert "published ocidir://" in pushed.stderr
    listed = run_bundler("list", "--deploy-registry", registry(shop), "-o", "json", cwd=tmp_path)
    assert [version["version"] for version in listed.value] == ["v1.3.0"]


@pytest.mark.requirement("B-87")
def test_a_bundle_in_the_compat_profile_is_listed_inspected_pulled_and_applied(
    shop: SampleShop, bundler: Bundler, checked: Checked, tmp_path: Path
) -> None:
    published = bundler("publish", "v1.1.0", "--repo", "shop", "--oci-profile", "compat")
    assert published.exit_code == 0, published.stderr
    reference = f"{registry(shop)}:v1.1.0"
    inspected = checked("result-inspect", bundler("inspect", reference, "-o", "json"))
    assert inspected["release"]["tag"] == "v1.1.0"
    assert bundler("pull", reference, "-d", "out").exit_code == 0
    applied = bundler("apply", reference, "--env", "stage", "--directory", "stage", "--yes")
    assert applied.exit_code == 0, applied.stderr
    again = bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json")  # in the usual profile
    assert (again.value["status"], again.value["digest"]) == ("unchanged", inspected["digest"])
