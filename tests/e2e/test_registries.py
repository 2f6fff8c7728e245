"""Images and bundles on real registries and folders, in any combination."""

from __future__ import annotations

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import Bundler
from tools.registries import Distribution, ReferrersRegistry
from tools.sample_shop import build_shop, push_images


@pytest.fixture
def hosts(distribution: Distribution, referrers_registry: ReferrersRegistry) -> dict[str, str]:
    return {"distribution": distribution.host, "referrers": referrers_registry.host}


@pytest.mark.requirement("B-80", "B-85")
@pytest.mark.parametrize("images", ["distribution", "referrers", "folder"])
@pytest.mark.parametrize("deploy", ["distribution", "referrers", "folder"])
def test_images_and_bundles_can_lie_anywhere(
    tmp_path: Path, bundler: Bundler, hosts: dict[str, str], images: str, deploy: str
) -> None:
    prefix = f"shop-{secrets.token_hex(4)}"
    lookup = "" if images == "folder" else f"oci://{hosts[images]}/{prefix}"
    shop = build_shop(tmp_path, lookup=lookup)
    if lookup:
        push_images(shop.images, hosts[images], prefix=prefix)
    place = (
        f"ocidir://{shop.registry}/shop"
        if deploy == "folder"
        else f"oci://{hosts[deploy]}/deploy/{prefix}"
    )
    published = bundler(
        "publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place, "-o", "json"
    )
    assert published.exit_code == 0, published.stderr
    again = bundler("publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place, "-o", "json")
    assert (again.value["status"], again.value["digest"]) == (
        "unchanged",
        published.value["digest"],
    )
    listed = bundler("list", "--deploy-registry", place, "-o", "json").value
    assert [(v["version"], v["digest"]) for v in listed] == [("v1.1.0", again.value["digest"])]
    pulled = bundler("pull", f"{place}:v1.1.0", "-d", "out", "-o", "json")
    assert pulled.value["digest"] == published.value["digest"]
    target = ("--env", "stage", "--directory", "stage", "--yes")
    applied = bundler("apply", f"{place}:v1.1.0", *target, "-o", "json")
    assert applied.value["digest"] == published.value["digest"]
    assert applied.value["targets"][0]["status"] == "succeeded"
    inspected = bundler("inspect", f"{place}@{published.value['digest']}", "-o", "json")
    assert inspected.value["release"]["services"].keys() == shop.expected["v1.1.0"].keys()


@pytest.mark.requirement("B-80")
def test_the_digest_does_not_depend_on_the_registry(
    tmp_path: Path, bundler: Bundler, hosts: dict[str, str]
) -> None:
    build_shop(tmp_path)
    name = f"deploy/shop-{secrets.token_hex(4)}"
    places = [*(f"oci://{host}/{name}" for host in hosts.values()), "ocidir://elsewhere/shop"]
    digests = {
        bundler(
            "publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place, "-o", "json"
        ).value["digest"]
        for place in places
    }
    assert len(digests) == 1


@pytest.mark.requirement("B-92")
def test_two_jobs_at_once_publish_one_artifact(
    tmp_path: Path, bundler: Bundler, hosts: dict[str, str]
) -> None:
    build_shop(tmp_path)
    for place in (
        f"oci://{hosts['distribution']}/race/{secrets.token_hex(4)}",
        "ocidir://race/shop",
    ):
        command = ("publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place, "-o", "json")
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(bundler, *command) for _ in range(4)]
        results = [future.result() for future in running]
        assert [result.exit_code for result in results] == [0, 0, 0, 0]
        assert len({result.value["digest"] for result in results}) == 1


@pytest.mark.requirement("B-85")
def test_each_registry_gets_its_own_credentials(tmp_path: Path, bundler: Bundler) -> None:
    canary = "canary-" + secrets.token_hex(8)
    with (
        Distribution(htpasswd=("images", canary)) as images,
        Distribution(htpasswd=("deploy", "other-" + canary)) as deploy,
    ):
        config = {
            "auths": {
                images.host: {"auth": base64.b64encode(f"images:{canary}".encode()).decode()},
                deploy.host: {"auth": base64.b64encode(f"deploy:other-{canary}".encode()).decode()},
            }
        }
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
        (tmp_path / "docker" / "config.json").chmod(0o600)
        place = f"oci://{deploy.host}/deploy/shop"
        build_shop(tmp_path, deploy_registry=place)
        login = {"DOCKER_CONFIG": str(tmp_path / "docker")}
        refused = bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json")
        assert (refused.exit_code, refused.error["code"]) == (6, "access-refused")
        assert "docker login" in json.dumps(refused.error)
        accepted = bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json", **login)
        assert accepted.exit_code == 0, accepted.stdout
        for result in (refused, accepted):
            assert canary not in result.stdout + result.stderr
