"""Releases as files: saved, loaded, and applied where nothing else can be reached."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.adapters.registry.registries import Registries
from bundler.model.reference import Digest, Repository
from bundler.relocate.copy import Root, copy
from tests.e2e.conftest import Bundler, Result
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map
from tools.sample_shop import SampleShop
from tools.server_process import wait_until

Checked = Callable[[str, Result], Any]
LOOKUP = (
    "--images-lookup", "registry.example.com/shop=ocidir://images",
    "--images-lookup", "docker.io=ocidir://images",
)  # fmt: skip
APPLY = ("--directory", "target", "--yes", "-o", "json")


@pytest.fixture
def saved(shop: SampleShop, bundler: Bundler, tmp_path: Path) -> Path:
    """The sample shop with its images, in a file, its registries gone."""
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    result = bundler("save", reference, "shop.tar", "--images", *LOOKUP)
    assert result.exit_code == 0, result.stderr
    for gone in (shop.registry, shop.images, shop.repository):
        gone.rename(gone.with_name(f"{gone.name}-gone"))
    return tmp_path / "shop.tar"


@pytest.mark.requirement("C-47", "C-50")
def test_a_machine_with_nothing_but_the_file_inspects_pulls_and_applies(
    saved: Path, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    inspected = machine("inspect", saved, "-o", "json").value
    assert inspected["release"]["tag"] == "v1.1.0"
    pulled = machine("pull", f"{saved}:v1.1.0", "-d", "out", "-o", "json").value
    assert pulled["digest"] == inspected["digest"]
    there = machine.with_connection("--directory", tmp_path / "target")
    applied = there.apply(str(saved), "--reason", "the forge is down", environment="prod")
    assert applied["digest"] == inspected["digest"]
    history = there("history", "-o", "json").value
    revision = history["targets"][0]["revisions"][0]
    assert revision["reason"] == "the forge is down"
    assert revision["who"]["claimed"]
    assert "reason: the forge is down" in there("status").stdout
    assert "reason: the forge is down" in there("history").stdout


def test_a_protected_environment_wants_a_reason_and_others_do_not(
    saved: Path, bundler: Bundler
) -> None:
    refused = bundler("apply", saved, "--env", "prod", *APPLY)
    assert (refused.exit_code, refused.error["code"]) == (2, "confirmation-needed")
    assert "--reason" in refused.error["hint"]
    for reason in ("", " \n", "x" * 2000):
        assert bundler("apply", saved, "--env", "prod", "--reason", reason, *APPLY).exit_code == 2
    assert bundler("apply", saved, "--env", "prod", "--dry-run", *APPLY).exit_code == 0
    assert bundler("apply", saved, "--env", "dev", *APPLY).exit_code == 0


def test_a_reason_is_asked_for_on_a_terminal(saved: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", "apply", saved, "--env", "prod", "--directory", "target",
         "--target", "eu", "--yes"],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(ours, b"registry is\x1b[31m away\n")
    stdout, stderr = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, stderr
    assert "Why is it applied from a file?" in stderr
    assert "succeeded" in stdout
    [revision] = (tmp_path / "target").rglob("*v1.json")
    assert "registry is" in json.loads(revision.read_text())["reason"]


def test_what_was_saved_is_loaded_with_its_images(
    saved: Path, bundler: Bundler, checked: Checked, shop: SampleShop, tmp_path: Path
) -> None:
    loaded = checked("result-copy", bundler("load", saved, "ocidir://loaded", "-o", "json"))
    expected = {image.digest for image in shop.expected["v1.1.0"].values()}
    assert {each["digest"] for each in loaded["images"]} >= expected
    registries = Registries(tmp_path)
    for each in loaded["images"]:
        assert registries.resolve(Repository.parse(each["to"]), Digest.parse(each["digest"]))
    again = checked("result-copy", bundler("load", saved, "ocidir://loaded", "-o", "json"))
    assert again["status"] == "unchanged"


def test_other_tools_find_an_image_layout(saved: Path) -> None:
    with tarfile.open(saved) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        layout = json.load(archive.extractfile("oci-layout"))  # type: ignore[arg-type]
        names = set(archive.getnames())
    assert layout["imageLayoutVersion"] == "1.0.0"
    tags = [
        entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]
    ]
    assert "v1.1.0" in tags
    assert len(tags) == len(set(tags)) == 10
    assert {
        f"blobs/sha256/{e['digest'].removeprefix('sha256:')}" for e in index["manifests"]
    } < names


def test_the_same_release_is_the_same_file(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    for name in ("one.tar", "two.tar"):
        assert bundler("save", reference, name, "--images", *LOOKUP).exit_code == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_file_that_exists_is_replaced_only_by_force(saved: Path, bundler: Bundler) -> None:
    before = saved.read_bytes()
    refused = bundler("save", saved, saved, "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (2, "usage")
    assert saved.read_bytes() == before
    assert bundler("save", saved, saved, "--force").exit_code == 0
    assert len(saved.read_bytes()) < len(before)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "forged": lambda content: content.replace(b'"project":"shop"', b'"project":"shoq"'),
    "something else": lambda content: content[512:],
    "empty": lambda content: content[:0],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_was_tampered_with_is_refused(
    saved: Path, bundler: Bundler, damage: str
) -> None:
    content = saved.read_bytes()
    saved.write_bytes(DAMAGE[damage](content))
    assert saved.read_bytes() != content
    for command in (
        ("inspect", saved, "-o", "json"),
        ("load", saved, "ocidir://loaded", "-o", "json"),
        ("apply", saved, "--env", "dev", *APPLY),
    ):
        result = bundler(*command)
        assert result.exit_code == 4, result.stdout
        assert result.error["code"] == "verification-failed"


def test_a_file_that_is_not_there_is_a_usage_error(bundler: Bundler) -> None:
    result = bundler("inspect", "absent.tar", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "usage")


def test_several_releases_in_a_file_are_told_apart_by_version(
    bundler: Bundler, tmp_path: Path
) -> None:
    releases = Releases(tmp_path / "deploy", {"default": "shop"})
    digests = {
        tag: releases.publish(tag, config_map("settings", version=tag))
        for tag in ("v1.0.0", "v1.1.0")
    }
    file = Repository("ocitar", "both.tar")
    source = Repository.parse(releases.registry)
    with OciTarWriter(tmp_path / "both.tar") as writer:
        roots = [Root(source, Digest.parse(digest), file, tag) for tag, digest in digests.items()]
        copy(Registries(tmp_path), writer, roots)
    for tag, digest in digests.items():
        assert bundler("inspect", f"both.tar:{tag}", "-o", "json").value["digest"] == digest
        assert bundler("inspect", f"both.tar@{digest}", "-o", "json").value["digest"] == digest
    refused = bundler("inspect", "both.tar", "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (2, "usage")
    assert "both.tar:v1.1.0" in refused.error["hint"]
    assert bundler("inspect", "both.tar:v9.9.9").exit_code == 1


def test_saving_that_is_killed_leaves_no_file_and_again_it_is_whole(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    folder = tmp_path / "saved"
    folder.mkdir()
    command = ("save", reference, folder / "shop.tar", "--images", *LOOKUP)
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", *command], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: any(folder.iterdir()) or process.poll() is not None, "its first file", [])
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (folder / "shop.tar").exists():  # it was quicker than we
        assert bundler("inspect", folder / "shop.tar").exit_code == 0
    assert bundler(*command, "--force").exit_code == 0
    assert bundler("inspect", folder / "shop.tar").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["shop.tar"]
