"""Others read what we write, and we read what they write: oras, crane, and skopeo if it is here."""

from __future__ import annotations

import io
import json
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.registry.registries import Registries
from bundler.model.artifact import CONTENT_LAYER, IMAGE_CONFIG, INDEX, Artifact, Blob
from bundler.model.reference import Digest, Repository
from bundler.publish.pack import gzip
from tests.e2e.conftest import Bundler, Result
from tests.e2e.releases import Releases, config_map, deployment
from tests.fakes.registry import artifact, referrer
from tools.build import binary_path
from tools.registries import Distribution, DockerRegistry, ReferrersRegistry

Checked = Callable[[str, Result], Any]
VERSION = "v1.1.0"
SKOPEO = [path] if (path := shutil.which("skopeo")) else []


def run(program: str | Path, *arguments: object, cwd: Path) -> bytes:
    """What a program says, without anybody's configuration."""
    completed = subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        env={"HOME": str(cwd), "PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(cwd)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr.decode()
    return completed.stdout


@dataclass(frozen=True)
class Programs:
    """The other programs, all of whose registries speak http; they run in the test's folder."""

    folder: Path

    def oras(self, *arguments: object) -> bytes:
        return run(binary_path("oras"), *arguments, cwd=self.folder)

    def crane(self, *arguments: object) -> bytes:
        return run(binary_path("crane"), "--insecure", *arguments, cwd=self.folder)

    def skopeo(self, *arguments: object) -> bytes:
        return run(SKOPEO[0], "--insecure-policy", *arguments, cwd=self.folder)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


# --- what is written and read ---


def runnable(architecture: str) -> Artifact:
    """An image that is right in all its parts: its layer is a tar, its configuration says so."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("etc/architecture")
        entry.size = len(architecture)
        tar.addfile(entry, io.BytesIO(architecture.encode()))
    layer = Blob.of(CONTENT_LAYER, gzip(buffer.getvalue()))
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(buffer.getvalue()))]},
    }
    return artifact(Blob.of(IMAGE_CONFIG, json.dumps(config).encode()), (layer,))


@dataclass(frozen=True)
class Published:
    """A signed release in a folder, with a signed image of two platforms."""

    releases: Releases
    digest: str
    signature: Digest
    image: Digest
    image_signature: Digest
    flags: tuple[str, ...]

    @property
    def reference(self) -> str:
        return self.releases(VERSION)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    registries = Registries(tmp_path)
    images = Repository("ocidir", "sources/library/web")
    entries = []
    for name in ("amd64", "arm64"):
        one = runnable(name)
        registries.push(images, one)
        platform = {"os": "linux", "architecture": name}
        entries.append(one.manifest.descriptor.as_dict() | {"platform": platform})
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    both = Blob.of(INDEX, json.dumps(document).encode())
    registries.put_manifest(images, both, "1")
    about_image = referrer(both.descriptor, b"signed")
    registries.push(images, about_image)

    releases = Releases(tmp_path / "deploy", {"default": "shop"})
    digest = releases.publish(
        VERSION,
        config_map("settings", a="b"),
        deployment("web", "web"),
        external={"web:1": both.descriptor.digest},
    )
    bundles = Repository.parse(releases.registry)
    found = registries.descriptor(bundles, VERSION)
    assert found
    about = referrer(found, b"signed too")
    registries.push(bundles, about)
    flags = ("--images-lookup", f"docker.io=ocidir://{tmp_path / 'sources'}")
    return Published(
        releases, digest, about.digest, both.descriptor.digest, about_image.digest, flags
    )


REGISTRIES = ("distribution", "docker_registry", "referrers_registry")


@pytest.fixture(params=REGISTRIES)
def host(request: pytest.FixtureRequest) -> str:
    registry: Distribution | DockerRegistry | ReferrersRegistry
    registry = request.getfixturevalue(request.param)
    return registry.host


@dataclass(frozen=True)
class Pushed:
    """What we brought to a registry."""

    reference: str
    """As the other programs write it."""
    image: str


@pytest.fixture
def pushed(published: Published, bundler: Bundler, checked: Checked, host: str) -> Pushed:
    name = f"{host}/shop-{secrets.token_hex(4)}"
    copied = bundler(
        "copy", published.reference, f"oci://{name}", "--images", "--referrers",
        *published.flags, "-o", "json",
    )  # fmt: skip
    [image] = checked("result-copy", copied)["images"]
    return Pushed(f"{name}:{VERSION}", f"{image['to'].removeprefix('oci://')}@{image['digest']}")


def blob_of(published: Published, digest: str) -> bytes:
    folder = Path(published.releases.registry.removeprefix("ocidir://"))
    return (folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()


# --- others read what we write ---


@pytest.mark.requirement("B-89")
def test_others_read_a_bundle_byte_for_byte(
    published: Published, pushed: Pushed, programs: Programs, tmp_path: Path
) -> None:
    manifest = blob_of(published, published.digest)
    assert programs.crane("manifest", pushed.reference).rstrip(b"\n") == manifest
    assert programs.oras("manifest", "fetch", "--plain-http", pushed.reference) == manifest
    assert programs.crane("digest", pushed.reference).decode().strip() == published.digest
    programs.oras("pull", "--plain-http", pushed.reference, "-o", "pulled")
    layers = json.loads(manifest)["layers"]
    expected = {
        layer["annotations"]["org.opencontainers.image.title"]: blob_of(published, layer["digest"])
        for layer in layers
    }
    assert "release.json" in expected
    found = {path.name: path.read_bytes() for path in (tmp_path / "pulled").iterdir()}
    assert found == expected


@pytest.mark.requirement("B-89")
def test_others_find_what_refers_to_a_bundle_and_to_an_image(
    published: Published, pushed: Pushed, programs: Programs
) -> None:
    for reference, signature in (
        (pushed.reference, published.signature),
        (pushed.image, published.image_signature),
    ):
        told = programs.oras("discover", "--plain-http", "--format", "json", reference)
        assert [each["digest"] for each in json.loads(told)["manifests"]] == [str(signature)]


@pytest.mark.requirement("B-89")
def test_others_find_a_copied_image_whole_and_can_unpack_it(
    pushed: Pushed, programs: Programs
) -> None:
    programs.crane("validate", "--remote", pushed.image)
    for architecture in ("amd64", "arm64"):
        unpacked = programs.crane(
            "export", "--platform", f"linux/{architecture}", pushed.image, "-"
        )
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            member = tar.extractfile("etc/architecture")
            assert member
            assert member.read().decode() == architecture


@pytest.mark.requirement("B-89")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_others_take_a_bundle_out_of_our_folders_and_files(
    published: Published, bundler: Bundler, programs: Programs, host: str, kind: str, tmp_path: Path
) -> None:
    layout = published.releases.registry.removeprefix("ocidir://")
    if kind == "file":
        saved = bundler("save", published.reference, "shop.tar", "--images", *published.flags)
        assert saved.exit_code == 0, saved.stderr
        layout = "shop.tar"
    there = f"{host}/taken-{secrets.token_hex(4)}:{VERSION}"
    programs.oras("cp", "--from-oci-layout", f"{layout}:{VERSION}", "--to-plain-http", there)
    assert programs.crane("digest", there).decode().strip() == published.digest
    pulled = bundler("pull", f"oci://{there}", "-d", "pulled", "-o", "json")
    assert pulled.value["digest"] == published.digest


@pytest.mark.parametrize("program", ["oras", "crane"])
def test_others_take_an_image_out_of_a_saved_file(
    published: Published, bundler: Bundler, programs: Programs, host: str, program: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    saved = bundler("save", published.reference, "shop.tar", "--images", *published.flags)
    assert saved.exit_code == 0, saved.stderr
    tag = f"sha256-{published.image.hex}.image"
    there = f"{host}/image-{secrets.token_hex(4)}:1"
    if program == "oras":
        programs.oras("cp", "--from-oci-layout", f"shop.tar:{tag}", "--to-plain-http", there)
    else:
        # It takes what an index names alone, out of a folder.
        with tarfile.open(tmp_path / "shop.tar") as tar:
            tar.extractall(tmp_path / "layout", filter="data")
        path = tmp_path / "layout/index.json"
        index = json.loads(path.read_text())
        index["manifests"] = [
            each for each in index["manifests"] if each["digest"] == str(published.image)
        ]
        path.write_text(json.dumps(index))
        programs.crane("push", "layout", there)
    assert programs.crane("digest", there).decode().strip() == str(published.image)
    programs.crane("validate", "--remote", there)


# --- we read what others write ---


def with_oras(programs: Programs, pushed: Pushed, there: str) -> str:
    programs.oras("cp", "-r", "--from-plain-http", "--to-plain-http", pushed.reference, there)
    return f"oci://{there}"


def with_crane(programs: Programs, pushed: Pushed, there: str) -> str:
    programs.crane("copy", pushed.reference, there)
    return f"oci://{there}"


def into_a_folder_with_oras(programs: Programs, pushed: Pushed, _: str) -> str:
    layout = f"{programs.folder}/layout:{VERSION}"
    programs.oras("cp", "-r", "--from-plain-http", "--to-oci-layout", pushed.reference, layout)
    return f"ocidir://{layout}"


def into_a_folder_with_crane(programs: Programs, pushed: Pushed, _: str) -> str:
    programs.crane("pull", "--format", "oci", "--annotate-ref", pushed.reference, "layout")
    return f"ocidir://{programs.folder}/layout:{VERSION}"


def with_skopeo(programs: Programs, pushed: Pushed, there: str) -> str:
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    programs.skopeo("copy", *flags, f"docker://{pushed.reference}", f"docker://{there}")
    return f"oci://{there}"


def into_a_folder_with_skopeo(programs: Programs, pushed: Pushed, _: str) -> str:
    layout = f"{programs.folder}/layout:{VERSION}"
    flags = ("--src-tls-verify=false", "--preserve-digests")
    programs.skopeo("copy", *flags, f"docker://{pushed.reference}", f"oci:{layout}")
    return f"ocidir://{layout}"


WAYS = [with_oras, with_crane, into_a_folder_with_oras, into_a_folder_with_crane]
WAYS += [with_skopeo, into_a_folder_with_skopeo] if SKOPEO else []


@pytest.mark.requirement("B-89")
@pytest.mark.parametrize("way", WAYS)
def test_a_bundle_that_others_copied_is_the_same_to_us(
    published: Published,
    pushed: Pushed,
    bundler: Bundler,
    checked: Checked,
    programs: Programs,
    referrers_registry: ReferrersRegistry,
    way: Callable[[Programs, Pushed, str], str],
) -> None:
    reference = way(
        programs, pushed, f"{referrers_registry.host}/theirs-{secrets.token_hex(4)}:{VERSION}"
    )
    inspected = bundler("inspect", reference, "-o", "json")
    assert inspected.value["digest"] == published.digest, inspected.stderr
    pulled = bundler("pull", reference, "-d", "pulled", "-o", "json")
    assert checked("result-pull", pulled)["digest"] == published.digest
    target = ("--env", "stage", "--directory", "target", "--yes")
    applied = bundler("apply", reference, *target, "-o", "json")
    assert applied.exit_code == 0, applied.stderr
    assert applied.value["targets"][0]["status"] == "succeeded"
    ours = f"oci://{referrers_registry.host}/ours-{secrets.token_hex(4)}"
    copied = bundler("copy", reference, ours, "-o", "json")
    assert checked("result-copy", copied)["digest"] == published.digest


@pytest.mark.requirement("B-89")
def test_a_file_made_of_a_folder_that_another_program_wrote_is_loaded(
    published: Published,
    pushed: Pushed,
    bundler: Bundler,
    checked: Checked,
    programs: Programs,
    tmp_path: Path,
    host: str,
) -> None:
    into_a_folder_with_oras(programs, pushed, "")
    with tarfile.open(tmp_path / "theirs.tar", "w") as tar:
        for path in sorted((tmp_path / "layout").iterdir()):
            tar.add(path, path.name)
    loaded = bundler("load", "theirs.tar", f"oci://{host}/l-{secrets.token_hex(4)}", "-o", "json")
    assert checked("result-copy", loaded)["digest"] == published.digest
