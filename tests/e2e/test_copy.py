"""Releases and their images from place to place, on real registries and folders."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.adapters.registry.registries import Registries
from bundler.model.artifact import INDEX, Blob, Descriptor
from bundler.model.objects import images_in
from bundler.model.reference import ArtifactReference, Digest, ImageReference, Repository
from tests.e2e.conftest import Bundler, Result
from tests.e2e.releases import Releases, deployment
from tests.fakes.registry import image, referrer
from tools.registries import Distribution, ReferrersRegistry
from tools.sample_shop import SampleShop, build_shop, push_images
from tools.server_process import wait_until

Checked = Callable[[str, Result], Any]
VERSION = "v1.1.0"


@dataclass(frozen=True)
class Published:
    """The sample shop, published; the flags say where its images are."""

    shop: SampleShop
    place: str
    digest: str
    flags: tuple[str, ...]


def lookup_flags(images: str) -> tuple[str, ...]:
    prefixes = {"registry.example.com/shop": images, "docker.io": images}
    pairs = (f"{prefix}={place}" for prefix, place in prefixes.items())
    return tuple(flag for pair in pairs for flag in ("--images-lookup", pair))


@pytest.fixture
def published(tmp_path: Path, bundler: Bundler, distribution: Distribution) -> Published:
    """On a registry, with its images on the same."""
    name = f"shop-{secrets.token_hex(4)}"
    lookup = f"oci://{distribution.host}/{name}"
    shop = build_shop(tmp_path, lookup=lookup)
    push_images(shop.images, distribution.host, prefix=name)
    place = f"oci://{distribution.host}/deploy/{name}"
    result = bundler("publish", VERSION, "--repo", "shop", "--deploy-registry", place, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return Published(shop, place, result.value["digest"], lookup_flags(lookup))


@pytest.fixture
def elsewhere(referrers_registry: ReferrersRegistry) -> str:
    return f"oci://{referrers_registry.host}/copied-{secrets.token_hex(4)}"


def content(place: str, digest: str) -> Mapping[Digest, bytes]:
    """Everything below a manifest, read through the registry itself."""
    registries = Registries(Path.cwd())
    repository = Repository.parse(place)

    def below(one: Digest) -> Iterator[tuple[Digest, bytes]]:
        manifest = registries.manifest(repository, one)
        yield one, manifest
        document = json.loads(manifest)
        for child in document.get("manifests", ()):
            yield from below(Digest.parse(child["digest"]))
        for part in [document.get("config"), *document.get("layers", ())]:
            if part:
                described = Descriptor(
                    part["mediaType"], Digest.parse(part["digest"]), part["size"]
                )
                yield described.digest, registries.blob(repository, described)

    return dict(below(Digest.parse(digest)))


def all_content(result: Any) -> dict[Digest, bytes]:
    """What a copy says that it brought, read where it says."""
    place = str(ArtifactReference.parse(result["reference"]).repository)
    found = dict(content(place, result["digest"]))
    for each in result["images"]:
        found.update(content(each["to"], each["digest"]))
    return found


@pytest.mark.requirement("C-50")
def test_from_place_to_place_and_back_every_digest_stays(
    published: Published, bundler: Bundler, checked: Checked, elsewhere: str, tmp_path: Path
) -> None:
    back = f"{published.place}-back"
    hops = [
        (published.place, elsewhere, ("--images", *published.flags)),
        (elsewhere, f"ocidir://{tmp_path / 'copy'}", ("--images",)),
        (f"ocidir://{tmp_path / 'copy'}", back, ("--images",)),
    ]
    found: list[dict[Digest, bytes]] = []
    for start, end, flags in hops:
        hop = ("copy", f"{start}:{VERSION}", end, *flags, "-o", "json")
        result = checked("result-copy", bundler(*hop))
        assert (result["status"], result["digest"]) == ("copied", published.digest)
        assert {each["digest"] for each in result["images"]} >= {
            expected.digest for expected in published.shop.expected[VERSION].values()
        }
        found.append(all_content(result))
    file = tmp_path / "shop.tar"
    saved = bundler("save", f"{back}:{VERSION}", file, "--images", "-o", "json")
    found.append(all_content(checked("result-copy", saved)))
    loaded = bundler("load", file, f"{back}-again", "-o", "json")
    found.append(all_content(checked("result-copy", loaded)))
    assert loaded.value["digest"] == published.digest
    assert all(each == found[0] for each in found)


def test_again_nothing_is_sent(
    published: Published, bundler: Bundler, checked: Checked, elsewhere: str
) -> None:
    command = ("copy", f"{published.place}:{VERSION}", elsewhere, "--images", *published.flags)
    planned = checked("result-copy", bundler(*command, "--dry-run", "-o", "json"))
    assert bundler("list", "--deploy-registry", elsewhere, "-o", "json").value == []
    first = checked("result-copy", bundler(*command, "-o", "json"))
    assert first["copied"] == planned["copied"]
    again = checked("result-copy", bundler(*command, "-o", "json"))
    assert again["status"] == "unchanged"
    assert again["copied"] == {"blobs": 0, "manifests": 0, "bytes": 0}
    assert "apply it with --image-registry" in bundler(*command).stdout


def test_a_version_with_other_content_is_refused(
    published: Published, bundler: Bundler, elsewhere: str
) -> None:
    repo = ("--repo", "shop", "--deploy-registry", published.place)
    assert bundler("publish", "v1.2.0", *repo).exit_code == 0
    assert bundler("copy", f"{published.place}:v1.2.0", f"{elsewhere}:{VERSION}").exit_code == 0
    refused = bundler("copy", f"{published.place}:{VERSION}", elsewhere, "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (4, "version-exists")


def test_four_at_once_all_succeed(published: Published, bundler: Bundler, elsewhere: str) -> None:
    command = ("copy", f"{published.place}:{VERSION}", elsewhere, "--images", *published.flags)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: bundler(*command, "-o", "json"), range(4)))
    assert [result.exit_code for result in results] == [0] * 4, results
    assert all_content(results[0].value)


def test_only_bundles_are_copied(published: Published, bundler: Bundler, elsewhere: str) -> None:
    cart = published.shop.expected[VERSION]["cart"]
    place = published.flags[1].partition("=")[2]
    result = bundler("copy", f"{place}/cart@{cart.digest}", elsewhere, "-o", "json")
    assert (result.exit_code, result.error["code"]) == (4, "verification-failed")


def test_an_environment_brings_the_images_that_it_uses(
    published: Published, bundler: Bundler, checked: Checked, tmp_path: Path
) -> None:
    command = ("copy", f"{published.place}:{VERSION}", f"ocidir://{tmp_path / 'dev'}")
    result = checked(
        "result-copy", bundler(*command, "--env", "dev", *published.flags, "-o", "json")
    )
    everything = bundler(
        *command[:2], f"ocidir://{tmp_path / 'all'}", "--images", *published.flags, "-o", "json"
    )
    names = {each["image"] for each in result["images"]}
    assert names
    assert names <= {each["image"] for each in everything.value["images"]}
    assert bundler(*command, "--env", "nowhere").exit_code == 2


@pytest.mark.requirement("B-105")
def test_what_is_applied_from_a_copy_can_be_pulled_from_there(
    published: Published, bundler: Bundler, checked: Checked, elsewhere: str, tmp_path: Path
) -> None:
    place = f"{elsewhere}/mirror"
    copied = ("copy", f"{published.place}:{VERSION}", elsewhere, "--images", "--images-to", place)
    assert bundler(*copied, *published.flags).exit_code == 0
    target = ("--env", "prod", "--directory", "prod", "--target", "eu", "--yes")
    mapped = ("apply", f"{elsewhere}:{VERSION}", *target, "--image-registry", place)
    result = checked("result-apply", bundler(*mapped, "-o", "json"))
    assert result["digest"] == published.digest
    assert result["imageRegistry"] == place.removeprefix("oci://")
    registries = Registries(tmp_path)
    images = {use.image for obj in objects_in(tmp_path / "prod") for use in images_in(obj)}
    assert images
    for text in images:
        reference = ImageReference.parse(text)
        assert reference.name.startswith(result["imageRegistry"])
        assert reference.digest
        assert registries.resolve(Repository("oci", reference.name), reference.digest)
    history = checked("result-history", bundler("history", "--directory", "prod", "-o", "json"))
    [revision] = history["targets"][0]["revisions"]
    assert revision["imageRegistry"] == result["imageRegistry"]
    assert revision["images"] == result["images"]
    assert "images from" in bundler("status", "--directory", "prod").stdout
    assert bundler(*mapped, "-o", "json").value["targets"][0]["status"] == "unchanged"
    plain = bundler("apply", f"{elsewhere}:{VERSION}", *target, "-o", "json").value["targets"][0]
    assert plain["changes"]["configured"] > 0
    assert plain["changes"]["created"] == plain["changes"]["deleted"] == 0


def objects_in(folder: Path) -> list[Any]:
    files = [path for path in folder.rglob("*.yaml") if ".bundler" not in path.parts]
    return [obj for path in files for obj in yaml.safe_load_all(path.read_text()) if obj]


def test_a_place_that_is_none_is_a_usage_error(bundler: Bundler, tmp_path: Path) -> None:
    place = f"ocidir://{tmp_path}"
    for arguments in (
        ("copy", f"{place}:v1", "registry.prod/shop"),
        ("copy", f"{place}:v1", f"{place}@{Digest.of(b'')}"),
        ("copy", f"{place}:v1", "ocitar://shop.tar"),
        ("copy", place, place),
        ("copy", f"{place}:v1", place, "--images-lookup", "nothing"),
        ("copy", f"{place}:v1", place, "--images-lookup", "a=ocidir://b", "--images-from", place),
        ("load", f"{place}:v1", place),
        ("save", f"{place}:v1", "shop.zip"),
        ("save", f"{place}:v1", "no/such/folder/shop.tar"),
    ):
        result = bundler(*arguments)
        assert result.exit_code in (1, 2), arguments
        assert "hint" in result.stderr


# --- images of any size, platforms and referrers ------------------------------------------------


@dataclass(frozen=True)
class Large:
    """A release with one external image of two platforms and large layers, signed."""

    releases: Releases
    image: Digest
    signature: Digest
    flags: tuple[str, ...]

    @property
    def reference(self) -> str:
        return self.releases(VERSION)


LAYER = 48 * 1024 * 1024
TELLS_MEMORY = """
import sys
from pathlib import Path
from bundler.cli import run
code = run(sys.argv[1:])
print(Path("/proc/self/status").read_text(), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def large(tmp_path: Path) -> Large:
    registries = Registries(tmp_path)
    repository = Repository("ocidir", "sources/library/large")
    entries = []
    for name in ("amd64", "arm64"):
        one = image(name, layers=(os.urandom(1024) + bytes(LAYER), name.encode()))
        registries.push(repository, one)
        platform = {"os": "linux", "architecture": name}
        entries.append(one.manifest.descriptor.as_dict() | {"platform": platform})
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    both = Blob.of(INDEX, json.dumps(document).encode())
    registries.put_manifest(repository, both, "1")
    about = referrer(both.descriptor, b"signed")
    registries.push(repository, about)
    registries.put_manifest(repository, about.manifest)
    releases = Releases(tmp_path / "deploy", {"default": "shop"})
    digest = both.descriptor.digest
    releases.publish(VERSION, deployment("web", "web"), external={"large:1": digest})
    flags = ("--images-lookup", f"docker.io={'ocidir://' + str(tmp_path / 'sources')}")
    return Large(releases, digest, about.digest, flags)


def test_all_platforms_and_referrers_arrive_with_little_memory(
    large: Large, checked: Checked, elsewhere: str, tmp_path: Path
) -> None:
    command = ("copy", large.reference, elsewhere, "--images", "--referrers", *large.flags)
    completed = subprocess.run(
        [sys.executable, "-c", TELLS_MEMORY, *command, "-o", "json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = Result(completed.returncode, completed.stdout, completed.stderr)
    result = checked("result-copy", told)
    [copied] = result["images"]
    assert copied["platforms"] == ["linux/amd64", "linux/arm64"]
    there = Repository.parse(copied["to"])
    registries = Registries(tmp_path)
    assert registries.resolve(there, large.signature) == large.signature
    assert [each.digest for each in registries.referrers(there, large.image)] == [large.signature]
    [peak] = [line.split()[1] for line in told.stderr.splitlines() if line.startswith("VmHWM:")]
    assert int(peak) < 100 * 1024  # KiB


@pytest.mark.parametrize("blobs", [1, 3, 5])
def test_killed_in_the_middle_and_run_again_it_completes(
    large: Large, bundler: Bundler, checked: Checked, tmp_path: Path, blobs: int
) -> None:
    copy = tmp_path / "copy"
    command = ("copy", large.reference, f"ocidir://{copy}", "--images", *large.flags, "-o", "json")
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", *command], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    wait_until(
        lambda: len([*copy.rglob("sha256/*")]) >= blobs or process.poll() is not None,
        "the first blobs",
        [],
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    listed = bundler("list", "--deploy-registry", f"ocidir://{copy}", "-o", "json").value
    for each in listed:
        assert content(f"ocidir://{copy}", each["digest"])
    result = checked("result-copy", bundler(*command))
    assert all_content(result)
    assert bundler("copy", *command[1:]).value["status"] == "unchanged"


def test_a_layer_that_was_tampered_with_is_refused(
    large: Large, bundler: Bundler, tmp_path: Path
) -> None:
    blobs = [*(tmp_path / "sources").rglob("sha256/*")]
    largest = max(blobs, key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(LAYER)
        file.write(b"tampered")
    command = ("copy", large.reference, f"ocidir://{tmp_path / 'copy'}", "--images", *large.flags)
    result = bundler(*command, "-o", "json")
    assert (result.exit_code, result.error["code"]) == (4, "verification-failed")
    listed = bundler("list", "--deploy-registry", f"ocidir://{tmp_path / 'copy'}", "-o", "json")
    assert listed.value == []
