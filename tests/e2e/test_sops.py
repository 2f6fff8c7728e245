"""Secrets that SOPS encrypted, from the commit to the cluster, with the real programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bundler
from tests.e2e.encrypted_shop import AgeKey, EncryptedShop, deployment, secret
from tests.e2e.live_objects import APPS, CORE, Namespace, Untouched
from tests.e2e.machine import Machine
from tests.faults.canaries import Canaries
from tools.build import binary_path

pytest_plugins = ["tests.e2e.cluster"]

SECRETS = "release-bundler/secrets"
WORKLOADS = {
    "all.yaml": deployment("all", uses="db"),
    "user.yaml": deployment("user", uses="db", key="user"),
    "none.yaml": deployment("none"),
}
"""What uses the whole Secret, one key of it, and nothing."""


@pytest.fixture
def key(tmp_path: Path) -> AgeKey:
    return AgeKey(tmp_path / "keys")


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def shop(tmp_path: Path, namespace: str) -> EncryptedShop:
    return EncryptedShop(tmp_path / "work", {"default": namespace})


@pytest.fixture
def runner(machine: Machine, key: AgeKey) -> Machine:
    """A machine that has sops and the key."""
    return machine.with_variables(
        BUNDLER_SOPS=str(binary_path("sops")), SOPS_AGE_KEY_FILE=str(key.file)
    )


def published(bundler: Bundler, shop: EncryptedShop, tag: str) -> str:
    result = bundler("publish", tag, "--repo", shop.repository)
    assert result.exit_code == 0, result.stderr + result.stdout
    return shop.reference(tag)


def refused(bundler: Bundler, shop: EncryptedShop, tag: str) -> dict[str, Any]:
    """Rule → its finding, of a release that is refused."""
    result = bundler("validate", tag, "--repo", shop.repository, "-o", "json")
    assert result.exit_code == 4, result.stderr + result.stdout
    return {each["rule"]: each for each in result.findings if each["severity"] == "error"}


def value_of(place: Namespace, name: str, key: str) -> str:
    return base64.b64decode(place.get(CORE, "secrets", name)["data"][key]).decode()


def digests(place: Namespace) -> dict[str, str | None]:
    """Workload → what its pods are annotated with."""
    return {
        each["metadata"]["name"]: (
            each["spec"]["template"]["metadata"].get("annotations") or {}
        ).get(SECRETS)
        for each in place.listed(APPS, "deployments")
    }


def pods(place: Namespace) -> dict[str, set[str]]:
    """Workload → the UIDs of its pods that are not going away."""
    found: dict[str, set[str]] = {}
    for pod in place.listed(CORE, "pods"):
        if not pod["metadata"].get("deletionTimestamp"):
            app = pod["metadata"]["labels"]["app"]
            found.setdefault(app, set()).add(pod["metadata"]["uid"])
    return found


@pytest.mark.requirement("B-76", "C-23", "C-24")
def test_an_encrypted_secret_is_applied_rotated_and_rolled_back(
    shop: EncryptedShop,
    bundler: Bundler,
    key: AgeKey,
    runner: Machine,
    place: Namespace,
    canaries: Canaries,
    tmp_path: Path,
) -> None:
    first, second = canaries.secret("first"), canaries.secret("second")
    committed = key.encrypted(secret("db", user="shop", password=first))
    rotated = key.with_value(committed, "password", second)
    shop.tag("v1.1.0", {"db.enc.yaml": committed, **WORKLOADS})
    shop.tag("v1.2.0", {"db.enc.yaml": rotated, **WORKLOADS})
    shop.tag("v1.2.1", {"db.enc.yaml": rotated, **WORKLOADS}, buildMetadata=[])
    with canaries.watched_arguments() as shown:
        references = {tag: published(bundler, shop, tag) for tag in ("v1.1.0", "v1.2.0", "v1.2.1")}
        assert bundler("pull", references["v1.1.0"], "-d", tmp_path / "pulled").exit_code == 0
        file = tmp_path / f"pulled/stage/default/10-configuration.sops/{place.name}.db.yaml"
        assert file.read_text() == committed

        runner.apply(references["v1.1.0"])
        live = place.get(CORE, "secrets", "db")
        assert value_of(place, "db", "password") == first
        assert live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "bundler"
        owner = live["metadata"]["annotations"]["release-bundler/owner"]
        assert owner == "shop/stage/default"
        assert "sops" not in live
        before, running = digests(place), pods(place)
        assert before["none"] is None
        assert before["all"] and before["user"]

        said = runner("apply", references["v1.2.0"], "--env", "stage", "--dry-run").stdout
        assert f"configured Secret/{place.name}/db" in said
        runner.apply(references["v1.2.0"])
        assert value_of(place, "db", "password") == second
        after, replaced = digests(place), pods(place)
        assert (after["user"], after["none"]) == (before["user"], before["none"])
        assert after["all"] != before["all"]
        assert (replaced["user"], replaced["none"]) == (running["user"], running["none"])
        assert not replaced["all"] & running["all"]

        again = runner.apply(references["v1.2.1"])["targets"][0]
        assert again["changes"]["configured"] == 0
        assert pods(place) == replaced

        runner.apply(references["v1.1.0"], "--allow-downgrade")
        assert value_of(place, "db", "password") == first
        assert digests(place) == before
    assert not shown
    state = place.listed(CORE, "configmaps")
    assert not canaries.found_in(json.dumps(state).encode())
    assert not canaries.found_in_files([tmp_path], but=[key.file.parent])


@pytest.mark.requirement("C-51")
def test_without_a_key_nothing_is_touched_and_every_secret_is_named(
    shop: EncryptedShop,
    bundler: Bundler,
    key: AgeKey,
    runner: Machine,
    untouched: Untouched,
    place: Namespace,
    tmp_path: Path,
) -> None:
    other = AgeKey(tmp_path / "other")
    texts = {
        f"{name}.enc.yaml": key.encrypted(secret(name, user="shop")) for name in ("db", "mail")
    }
    shop.tag("v1.1.0", texts)
    reference = published(bundler, shop, "v1.1.0")
    without = runner.with_variables(SOPS_AGE_KEY_FILE=str(other.file))
    for more in ((), ("--dry-run",)):
        error = without.refused(reference, *more, exit_code=2)
        assert (error["code"], "key needed" in error["message"]) == ("key-needed", True)
        assert {each["object"] for each in error["findings"]} == {
            f"Secret/{place.name}/db",
            f"Secret/{place.name}/mail",
        }
        assert all(key.recipient in each["message"] for each in error["findings"])
    error = runner.with_variables(BUNDLER_SOPS="no-such-sops").refused(reference, exit_code=2)
    assert error["code"] == "tool-missing"
    assert untouched()
    runner.apply(reference)
    assert value_of(place, "mail", "user") == "shop"
    assert runner.look("drift", "-n", place.name)["status"] == "clean"
    place.patch(CORE, "secrets", "mail", data={"user": "b3RoZXI="})
    [mail] = runner.look("drift", "-n", place.name)["objects"]
    assert [each["path"] for each in mail["fields"]] == ["data.user"]
    found = without.look("drift", "-n", place.name)
    assert (found["status"], found["compared"], len(found["notCompared"])) == ("clean", 1, 2)
    assert "key needed" in found["notCompared"][0]["reason"]


@pytest.mark.requirement("C-24")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("type: Opaque", "type: other"), "verification-failed"),
        (("password:", '"no key":'), "refused"),
    ],
    ids=["a hand in the file", "the cluster"],
)
def test_what_fails_tells_no_value(
    shop: EncryptedShop,
    bundler: Bundler,
    key: AgeKey,
    runner: Machine,
    canaries: Canaries,
    untouched: Untouched,
    tmp_path: Path,
    change: tuple[str, str],
    code: str,
) -> None:
    text = secret("db", user="shop", password=canaries.secret("value"))
    text = (
        key.encrypted(text).replace(*change)
        if "type" in change[0]
        else key.encrypted(text.replace(*change))
    )
    shop.tag("v1.1.0", {"db.enc.yaml": text, **WORKLOADS})
    reference = published(bundler, shop, "v1.1.0")
    with canaries.watched_arguments() as shown:
        result = runner.started(reference).end()
        error = runner.refused(reference, exit_code=4)
    assert (error["code"], result.exit_code) == (code, 4)
    assert "db" in error["message"]
    for said in (result.stdout, result.stderr, json.dumps(error)):
        assert not canaries.found_in(said.encode())
    assert not shown
    assert not canaries.found_in_files([tmp_path], but=[key.file.parent])
    assert untouched()


def test_a_release_with_secrets_is_published_once_and_goes_everywhere(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey, runner: Machine, tmp_path: Path
) -> None:
    shop.tag("v1.1.0", {"db.enc.yaml": key.encrypted(secret("db", user="shop"))})
    reference = published(bundler, shop, "v1.1.0")
    assert "unchanged" in bundler("publish", "v1.1.0", "--repo", shop.repository).stdout
    inspected = bundler("inspect", reference, "-o", "json").value
    assert inspected["release"]["requires"] == ["sops"]
    elsewhere = f"ocidir://{tmp_path / 'elsewhere'}"
    assert bundler("copy", reference, elsewhere).exit_code == 0
    assert bundler("save", f"{elsewhere}:v1.1.0", "shop.tar").exit_code == 0
    runner.apply(str(tmp_path / "shop.tar"), "--reason", "a test")


def test_a_folder_gets_the_committed_bytes(tmp_path: Path, bundler: Bundler, key: AgeKey) -> None:
    shop = EncryptedShop(tmp_path / "work", {"eu": "shop-eu", "us": "shop-us"})
    committed = key.encrypted(secret("db", user="shop"))
    rotated = key.with_value(committed, "user", "other")
    shop.tag("v1.1.0", {"db.enc.yaml": committed})
    shop.tag("v1.2.0", {"db.enc.yaml": rotated})
    shop.tag("v1.3.0", {})
    folder = tmp_path / "folder"
    machine = Machine(tmp_path / "empty", ("--directory", str(folder)))
    files = [folder / f"shop-{name}/secret/db.yaml" for name in ("eu", "us")]
    for tag, text in (("v1.1.0", committed), ("v1.2.0", rotated), ("v1.1.0", committed)):
        reference = published(bundler, shop, tag)
        applied = machine.apply(reference, "--allow-downgrade")["targets"]
        assert {each["status"] for each in applied} == {"succeeded"}
        assert [file.read_text() for file in files] == [text, text]
        assert [each["status"] for each in machine.apply(reference)["targets"]] == ["unchanged"] * 2
    machine.apply(published(bundler, shop, "v1.3.0"))
    assert not any(file.exists() for file in files)


def test_what_a_transformer_changes_is_refused(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey
) -> None:
    text = key.encrypted(secret("db", user="shop"))
    labels = [{"pairs": {"team": "shop"}}]
    shop.tag("v1.1.0", {"db.enc.yaml": text}, labels=labels)
    found = refused(bundler, shop, "v1.1.0")
    assert found.keys() == {"sops-changed"}
    assert found["sops-changed"]["file"] == "overlays/stage/db.enc.yaml"
    assert found["sops-changed"]["pointer"] == "/metadata/labels/team"


def test_where_the_mac_covers_encrypted_values_only_others_may_change(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey, runner: Machine, place: Namespace
) -> None:
    text = key.encrypted_alone(secret("db", user="shop", password="very secret", also="x"))
    assert "mac_only_encrypted: true" in text
    shop.tag("v1.1.0", {"db.enc.yaml": text}, labels=[{"pairs": {"team": "shop"}}])
    runner.apply(published(bundler, shop, "v1.1.0"))
    assert value_of(place, "db", "password") == "very secret"
    assert place.get(CORE, "secrets", "db")["metadata"]["labels"]["team"] == "shop"


def test_a_chart_has_encrypted_secrets_too(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey, runner: Machine, place: Namespace
) -> None:
    text = key.encrypted(secret("db", user="shop"))
    shop.tag_chart("v1.1.0", {"db.yaml": text})
    helm = {"BUNDLER_HELM": str(binary_path("helm"))}
    assert bundler("publish", "v1.1.0", "--repo", shop.repository, **helm).exit_code == 0
    runner.apply(shop.reference("v1.1.0"))
    assert value_of(place, "db", "user") == "shop"


def test_several_documents_in_a_file_are_refused(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey
) -> None:
    text = key.encrypted(secret("db", user="shop") + "---\n" + secret("mail", user="shop"))
    shop.tag("v1.1.0", {"both.enc.yaml": text})
    assert refused(bundler, shop, "v1.1.0").keys() == {"sops-source"}


@pytest.mark.parametrize(
    "generator",
    [
        {"name": "db", "files": ["db.txt"]},
        {"name": "mail", "behavior": "merge", "literals": ["a=1"]},
    ],
    ids=["makes", "merges"],
)
def test_a_generator_that_takes_encrypted_text_is_refused(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey, generator: dict[str, Any]
) -> None:
    files = {
        "db.txt": key.encrypted("password: very secret\n", "--encrypted-regex", ".*"),
        "mail.enc.yaml": key.encrypted(secret("mail", user="shop")),
    }
    shop.tag("v1.1.0", files, secretGenerator=[generator])
    assert "sops-generated" in refused(bundler, shop, "v1.1.0")


@pytest.mark.requirement("B-76")
def test_values_that_stay_in_clear_are_refused(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey
) -> None:
    clear = secret("db", user="shop", password="hunter2")
    shop.tag("v1.1.0", {"db.enc.yaml": key.encrypted(clear, "--encrypted-regex", "^user$")})
    found = refused(bundler, shop, "v1.1.0")
    assert found.keys() == {"plain-secret"}
    assert found["plain-secret"]["pointer"] == "/stringData/password"
    assert "hunter2" not in json.dumps(found)


def test_what_has_to_be_read_must_be_readable(
    shop: EncryptedShop, bundler: Bundler, key: AgeKey
) -> None:
    clear = secret("db", port="1").replace('"1"', "5432")
    shop.tag("v1.1.0", {"db.enc.yaml": key.encrypted(clear)})
    found = refused(bundler, shop, "v1.1.0")
    assert "encrypted as int" in found["schema"]["message"]
    config = secret("db", user="shop").replace("kind: Secret", "kind: ConfigMap")
    config = config.replace("type: Opaque\n", "").replace("stringData", "data")
    shop.tag("v1.2.0", {"db.enc.yaml": key.encrypted(config)})
    assert refused(bundler, shop, "v1.2.0").keys() == {"sops-kind"}
