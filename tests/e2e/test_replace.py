"""A published version is given other content: only on purpose, with a reason, and recorded."""

from __future__ import annotations

import json
import os
import pty
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.conftest import Bundler, Result
from tools.registries import Distribution, DockerRegistry, ReferrersRegistry
from tools.sample_shop import SampleShop, git

Checked = Callable[[str, Result], Any]
REASON = "the tag was set on the wrong commit"
REPLACE = ("--replace", "--reason", REASON, "--yes")


EVERYWHERE = ["folder", "distribution", "docker_registry", "referrers_registry"]


@pytest.fixture(params=["folder", "distribution"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "folder":
        return "ocidir://deploy/shop"
    registry: Distribution | DockerRegistry | ReferrersRegistry
    registry = request.getfixturevalue(request.param)
    return f"oci://{registry.host}/deploy/{secrets.token_hex(6)}"


@pytest.fixture
def moved(shop: SampleShop, bundler: Bundler, place: str) -> str:
    """The digest of v1.1.0 as it was published, before its git tag was moved."""
    first = publish(bundler, place)
    assert first.exit_code == 0, first.stdout + first.stderr
    git(shop.repository, "tag", "--force", "v1.1.0", "v1.2.0^{commit}")
    return str(first.value["digest"])


def publish(bundler: Bundler, place: str, *arguments: str, **environment: str) -> Result:
    command = ("publish", "v1.1.0", "--repo", "shop", "--deploy-registry", place, "-o", "json")
    return bundler(*command, *arguments, **environment)


def inspect(bundler: Bundler, reference: str) -> Any:
    return bundler("inspect", reference, "-o", "json").value


@pytest.mark.requirement("B-82", "B-84")
@pytest.mark.parametrize("place", EVERYWHERE, indirect=True)
def test_a_version_is_replaced_with_a_reason_that_is_recorded(
    shop: SampleShop, bundler: Bundler, checked: Checked, place: str, moved: str
) -> None:
    replaced = publish(bundler, place, *REPLACE, GITHUB_ACTOR="anna")
    value = checked("result-publish", replaced)
    assert (value["status"], value["digest"] != moved) == ("published", True)
    assert value["replaced"] == {"digest": moved, "reason": REASON}
    assert shop.tags["v1.1.0"] in replaced.stderr  # what differs
    inspected = checked("result-inspect", bundler("inspect", f"{place}:v1.1.0", "-o", "json"))
    assert inspected["digest"] == value["digest"]
    assert inspected["release"]["commit"] == shop.tags["v1.2.0"]
    [record] = inspected["replaced"]
    when = record.pop("when")
    assert when.endswith("Z")
    assert record == {
        "digest": moved,
        "commit": shop.tags["v1.1.0"],
        "reason": REASON,
        "who": {"claimed": "anna"},
    }
    text = bundler("inspect", f"{place}:v1.1.0").stdout
    assert "anna" in text
    assert REASON in text
    listed = bundler("list", "--deploy-registry", place, "-o", "json").value
    assert [(each["version"], each["digest"]) for each in listed] == [("v1.1.0", value["digest"])]


@pytest.mark.requirement("B-82")
def test_what_was_replaced_can_still_be_applied_by_its_digest(
    shop: SampleShop, bundler: Bundler, place: str, moved: str
) -> None:
    assert publish(bundler, place, *REPLACE).exit_code == 0
    former = inspect(bundler, f"{place}@{moved}")
    assert former["release"]["commit"] == shop.tags["v1.1.0"]
    assert former["replaced"] == []
    target = ("--env", "stage", "--directory", "stage", "--yes", "-o", "json")
    assert bundler("apply", f"{place}@{moved}", *target).exit_code == 0


@pytest.mark.requirement("B-81", "B-82")
def test_the_same_content_is_unchanged_and_replaces_nothing(
    bundler: Bundler, place: str, moved: str
) -> None:
    for _ in range(2):
        replaced = publish(bundler, place, *REPLACE)
    assert replaced.value["status"] == "unchanged"
    assert "replaced" not in replaced.value
    assert publish(bundler, place).value["status"] == "unchanged"
    [record] = inspect(bundler, f"{place}:v1.1.0")["replaced"]
    assert record["digest"] == moved


@pytest.mark.requirement("B-82", "B-92")
def test_several_who_replace_at_once_with_the_same_content_all_succeed(
    bundler: Bundler, place: str, moved: str
) -> None:
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(publish, bundler, place, *REPLACE) for _ in range(3)]
    results = [future.result() for future in running]
    assert [result.exit_code for result in results] == [0, 0, 0], results
    assert len({result.value["digest"] for result in results}) == 1
    assert moved not in {result.value["digest"] for result in results}


# --- without a registry, in a folder ---

FOLDER = "ocidir://deploy/shop"


@pytest.fixture
def former(shop: SampleShop, bundler: Bundler) -> str:
    assert publish(bundler, FOLDER).exit_code == 0
    git(shop.repository, "tag", "--force", "v1.1.0", "v1.2.0^{commit}")
    return str(inspect(bundler, f"{FOLDER}:v1.1.0")["digest"])


@pytest.mark.requirement("B-82")
def test_the_refusal_names_the_way_to_replace(bundler: Bundler, former: str) -> None:
    refused = publish(bundler, FOLDER)
    assert (refused.exit_code, refused.error["code"]) == (4, "version-exists")
    assert "--replace --reason" in refused.error["hint"]
    assert inspect(bundler, f"{FOLDER}:v1.1.0")["digest"] == former


@pytest.mark.requirement("B-82")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--replace", "--reason", REASON), "confirmation-needed"),
        (("--replace", "--yes"), "confirmation-needed"),
        (("--reason", REASON), "usage"),
        (("--replace", "--yes", "--reason", " \n "), "usage"),
        (("--replace", "--yes", "--reason", "x" * 1001), "usage"),
        (("--replace", "--yes", "--reason", "\udcff"), "usage"),
    ],
)
def test_a_reason_and_a_confirmation_are_needed(
    bundler: Bundler, former: str, arguments: tuple[str, ...], code: str
) -> None:
    refused = publish(bundler, FOLDER, *arguments)
    assert (refused.exit_code, refused.error["code"]) == (2, code)
    assert inspect(bundler, f"{FOLDER}:v1.1.0")["digest"] == former


@pytest.mark.requirement("B-46", "B-82")
def test_a_dry_run_shows_what_would_be_replaced_and_asks_nothing(
    shop: SampleShop, bundler: Bundler, checked: Checked, former: str
) -> None:
    dry = publish(bundler, FOLDER, "--replace", "--dry-run")
    value = checked("result-publish", dry)
    assert value["replaced"]["digest"] == former
    assert shop.tags["v1.1.0"] in dry.stderr
    inspected = inspect(bundler, f"{FOLDER}:v1.1.0")
    assert (inspected["digest"], inspected["replaced"]) == (former, [])


def test_a_version_that_is_not_there_is_just_published(shop: SampleShop, bundler: Bundler) -> None:
    value = publish(bundler, FOLDER, *REPLACE).value
    assert value["status"] == "published"
    assert "replaced" not in value


@pytest.mark.requirement("B-82", "B-87")
def test_the_record_of_a_compat_bundle_has_the_form_of_an_image(
    shop: SampleShop, bundler: Bundler, former: str, tmp_path: Path
) -> None:
    assert publish(bundler, FOLDER, *REPLACE, "--oci-profile", "compat").exit_code == 0
    [record] = inspect(bundler, f"{FOLDER}:v1.1.0")["replaced"]
    assert record["digest"] == former
    index = json.loads((tmp_path / "deploy/shop/index.json").read_text())
    manifests = [
        json.loads((tmp_path / "deploy/shop/blobs/sha256" / entry["digest"][7:]).read_text())
        for entry in index["manifests"]
    ]
    [manifest] = [manifest for manifest in manifests if "subject" in manifest]
    assert "artifactType" not in manifest
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"


@pytest.mark.requirement("B-82")
def test_the_record_is_copied_with_what_it_is_about(bundler: Bundler, former: str) -> None:
    assert publish(bundler, FOLDER, *REPLACE).exit_code == 0
    copied = bundler("copy", f"{FOLDER}:v1.1.0", "ocidir://elsewhere/shop", "--referrers")
    assert copied.exit_code == 0, copied.stderr
    [record] = inspect(bundler, "ocidir://elsewhere/shop:v1.1.0")["replaced"]
    assert record["digest"] == former


@pytest.mark.requirement("B-82")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_reason_and_agreement_are_asked_for(
    bundler: Bundler, former: str, tmp_path: Path, answer: str
) -> None:
    output = at_terminal(tmp_path, [REASON, answer])
    assert "Why is the version replaced?" in output
    assert "Replace it?" in output
    inspected = inspect(bundler, f"{FOLDER}:v1.1.0")
    reasons = [record["reason"] for record in inspected["replaced"]]
    if answer == "y":
        assert (inspected["digest"] != former, reasons) == (True, [REASON])
    else:
        assert "stays as it is" in output
        assert (inspected["digest"], reasons) == (former, [])


def at_terminal(folder: Path, answers: list[str]) -> str:
    """What a person sees who replaces the version and types these lines."""
    controller, terminal = pty.openpty()
    command = ["publish", "v1.1.0", "--repo", "shop", "--deploy-registry", FOLDER, "--replace"]
    with subprocess.Popen(
        [sys.executable, "-m", "bundler", *command],
        cwd=folder, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        os.write(controller, "".join(f"{answer}\n" for answer in answers).encode())
        output, _ = process.communicate(timeout=60)
        os.close(controller)
    return output


def test_records_are_checked_against_their_schema() -> None:
    assert DocumentSchemas().check("replacement", {"apiVersion": "bundler/v1"})
