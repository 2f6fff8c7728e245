"""Images and bundles on real registries and folders, in any combination."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.adapters.registry.registries import Registries
from bundler.model.reference import Digest, Repository
from tests.e2e.conftest import Bundler
from tests.fakes.registry import referrer
from tests.memory import MEBIBYTE, measured
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


@pytest.mark.requirement("B-87", "B-89")
@pytest.mark.parametrize("to", ["distribution", "referrers"])
def test_referrers_of_referrers_are_copied_to_a_registry_and_are_no_versions(
    tmp_path: Path, bundler: Bundler, hosts: dict[str, str], to: str
) -> None:
    """A signature of a report about a bundle, found step by step where it was copied to."""
    build_shop(tmp_path)
    source = Repository("ocidir", "deploy/shop")
    published = bundler(
        "publish", "v1.1.0", "--repo", "shop", "--deploy-registry", str(source), "-o", "json"
    )
    bundle = Digest.parse(published.value["digest"])
    registries = Registries(tmp_path)
    steps = [bundle]
    for content in (b"report", b"signature of the report", b"countersignature"):
        described = registries.descriptor(source, steps[-1])
        assert described is not None
        about = referrer(described, content)
        registries.push(source, about)
        steps.append(about.digest)
    place = f"oci://{hosts[to]}/copied/{secrets.token_hex(4)}"
    copied = bundler("copy", f"{source}:v1.1.0", place, "--referrers", "-o", "json")
    assert copied.exit_code == 0, copied.stderr
    there = Repository.parse(place)
    for subject, expected in zip(steps, [*steps[1:], None], strict=True):
        found = [each.digest for each in registries.referrers(there, subject)]
        assert found == ([expected] if expected else [])
    listed = bundler("list", "--deploy-registry", place, "-o", "json").value
    assert [each["version"] for each in listed] == ["v1.1.0"]
    again = bundler("copy", f"{source}:v1.1.0", place, "--referrers", "-o", "json").value
    assert again["status"] == "unchanged"


@pytest.mark.requirement("B-90", "B-92")
def test_ten_thousand_versions_are_listed_soon_and_with_little_memory(
    tmp_path: Path, bundler: Bundler, distribution: Distribution
) -> None:
    build_shop(tmp_path)
    name = f"deploy/{secrets.token_hex(6)}"
    place = f"oci://{distribution.host}/{name}"
    published = bundler("publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place)
    assert published.exit_code == 0, published.stderr
    stored = distribution.directory / "storage/docker/registry/v2/repositories" / name
    tags = stored / "_manifests/tags"
    for number in range(10_000):
        (tags / f"v2.{number // 100}.{number % 100}").symlink_to("v1.1.0")
    started = time.monotonic()
    command = ["list", "--deploy-registry", place, "--limit", "200", "-o", "json"]
    done, peak = measured([sys.executable, "-m", "bundler", *command], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert time.monotonic() - started < 20
    assert peak < 200 * MEBIBYTE
    listed = json.loads(done.stdout)
    assert len(listed) == 200
    assert [each["version"] for each in listed[:2]] == ["v2.99.99", "v2.99.98"]
    assert bundler("inspect", f"{place}:v2.50.7", "-o", "json").exit_code == 0
