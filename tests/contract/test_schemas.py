"""Our own schemas, that ship with the package."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
import yaml

from bundler.adapters.schemas.document_schemas import DocumentSchemas, load_schema, schema_folder
from bundler.errors import NotReady
from bundler.model.connection import Identity
from bundler.model.differences import ABSENT, FieldChange
from bundler.model.finding import Finding
from bundler.model.frozen_plan import FrozenPlan, PlannedObject, PlannedTarget
from bundler.model.inventory import Inventory
from bundler.model.objects import ObjectRef
from bundler.model.revision import Revision

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "schemas").glob("*.json"))
DIGEST = "sha256:" + "0" * 64
COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a schema was looked for on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def shop() -> Any:
    return yaml.safe_load((ROOT / "fixtures/shop/bundler.yaml").read_text())


def check(schema: str, document: object) -> list[tuple[str | None, str, str | None]]:
    findings = DocumentSchemas().check(schema, document)
    return [(finding.pointer, finding.message, finding.hint) for finding in findings]


# --- our own documents --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_schema_of_its_own_name(name: str) -> None:
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"https://release-bundler.dev/schemas/{name}/v1"
    assert (schema_folder() / f"{name}.json").is_file()


@pytest.mark.requirement("B-70")
def test_the_sample_shops_project_file_is_valid() -> None:
    assert check("project", shop()) == []


@pytest.mark.requirement("B-71")
def test_all_violations_of_a_project_file_are_told_with_their_places() -> None:
    document = shop()
    del document["name"]
    document["enviroments"] = {}
    document["kind"] = "project"
    document["images"]["lookup"] = "https://example.com"
    document["services"]["cart"] = {"path": "../cart"}
    document["services"]["Cart"] = {"paths": ["services/cart"]}
    document["services"]["mailer"]["path"] = "twice"
    document["libraries"]["ui"]["paths"] = []
    document["environments"]["dev"]["kubernetes"] = 1.3
    document["environments"]["dev"]["protected"] = "no"
    found = check("project", document)
    assert found == [
        ("", "name is missing", None),
        ("/enviroments", "unknown key 'enviroments'", "did you mean environments?"),
        ("/environments/dev/kubernetes", "1.3 is not a text", "put it in quotes"),
        ("/environments/dev/protected", '"no" is not true or false', None),
        (
            "/images/lookup",
            '"https://example.com" is not a place such as oci://HOST/NAME or ocidir://FOLDER',
            None,
        ),
        ("/kind", '"project" is not "Project"', "did you mean Project?"),
        ("/libraries/ui/paths", "is empty", None),
        (
            "/services/Cart",
            "the key is not a name (lower-case letters, digits and '-', at most 63)",
            None,
        ),
        ("/services/cart/path", '"../cart" is not a path inside the repository', None),
        (
            "/services/mailer",
            "the mapping is not a service with one of paths, path, submodule and repository",
            None,
        ),
    ]


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../../b", "..", "a\\b", "a\nb", ""])
def test_a_path_that_leaves_the_repository_is_refused(path: str) -> None:
    document = shop()
    document["services"]["cart"]["paths"] = [path]
    assert [pointer for pointer, _, _ in check("project", document)] == ["/services/cart/paths/0"]


@pytest.mark.parametrize("path", [".", "go.mod", "services/..cart", "a.b/c..d", ".github"])
def test_a_path_in_the_repository_is_accepted(path: str) -> None:
    document = shop()
    document["services"]["cart"]["paths"] = [path]
    assert check("project", document) == []


@pytest.mark.parametrize("name", ["Cart", "cart_1", "-cart", "cart\n", "a" * 64, ""])
def test_a_name_that_is_no_label_is_refused(name: str) -> None:
    document = shop()
    document["name"] = name
    assert [pointer for pointer, _, _ in check("project", document)] == ["/name"]


@pytest.mark.parametrize("key", ["after", "approvals", "layers", "hooks"])
def test_a_key_whose_behaviour_does_not_exist_yet_is_unknown(key: str) -> None:
    document = shop()
    document["environments"]["stage"][key] = "x"
    ((pointer, message, _),) = check("project", document)
    assert (pointer, message) == (f"/environments/stage/{key}", f"unknown key {key!r}")


@pytest.mark.parametrize("step", [[], {"cart": 1}, 7, [["cart"]]])
def test_a_value_that_is_none_of_the_choices_is_told(step: object) -> None:
    document = shop()
    document["environments"]["stage"]["order"] = ["cart", step]
    ((pointer, message, _),) = check("project", document)
    assert pointer == "/environments/stage/order/1"
    assert "is not the name of a service, or a list of such names" in message


def test_a_large_wrong_value_is_not_repeated_whole() -> None:
    document = shop()
    document["name"] = "x" * 5000
    ((_, message, _),) = check("project", document)
    assert len(message) < 200


def release() -> dict[str, Any]:
    image = {"image": "r.example.com/cart", "tag": COMMIT, "digest": DIGEST, "commit": COMMIT}
    target = {"namespace": "shop", "files": {"stage/default/30-workloads.yaml": DIGEST}}
    return {
        "apiVersion": "bundler/v1",
        "kind": "Release",
        "requires": [],
        "project": "shop",
        "tag": "v1.0.0",
        "version": "v1.0.0",
        "commit": COMMIT,
        "commitTime": "2026-01-02T03:04:05Z",
        "services": {"cart": {**image, "resolvedVia": "first-parent"}},
        "external": {"redis:7": {"digest": DIGEST}},
        "libraries": {"money": {"commit": COMMIT}},
        "environments": {
            "stage": {"protected": True, "kubernetes": "1.36", "targets": {"default": target}}
        },
        "content": {"tar": DIGEST},
        "renderers": {"kustomize": "v5.8.2"},
    }


@pytest.mark.requirement("B-70")
def test_readers_of_a_release_document_accept_unknown_keys() -> None:
    document = release() | {"later": {"than": "now"}}
    document["services"]["cart"]["platforms"] = ["linux/amd64"]
    assert check("release", document) == []


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("commit",), "HEAD"),
        (("services", "cart", "digest"), "sha256:0"),
        (("content", "tar"), "sha512:" + "0" * 64),
        (("environments", "stage", "targets", "default", "files"), {"../x": DIGEST}),
        (("kind",), "Project"),
    ],
)
def test_a_wrong_release_document_is_told(pointer: tuple[str, ...], value: object) -> None:
    document = release()
    inner: Any = document
    for key in pointer[:-1]:
        inner = inner[key]
    inner[pointer[-1]] = value
    ((found, _, _),) = check("release", document)
    assert str(found).startswith("/" + "/".join(pointer))


def test_a_result_refers_to_the_release_document_without_a_network() -> None:
    place = {"reference": "oci://r.example.com/shop:v1", "digest": DIGEST}
    result: dict[str, Any] = {**place, "release": release(), "replaced": None}
    assert check("result-inspect", result) == []
    result["release"] = {}
    assert ("/release", "commit is missing", None) in check("result-inspect", result)


def test_a_failure_with_its_findings_is_a_result() -> None:
    finding = Finding("schema", "wrong", file="a.yaml", pointer="/a", environment="stage/default")
    error = NotReady("cart is not ready", hint="look at it", findings=[finding])
    value: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "findings": [each.as_dict() for each in error.findings],
    }
    assert check("result-error", {"error": value}) == []
    value["hint"] = 3
    assert check("result-error", {"error": value}) == [
        ("/error/hint", "3 is not a text or null", None)
    ]


def frozen_plan() -> FrozenPlan:
    cart, sums = ObjectRef("apps", "Deployment", "shop", "cart"), ObjectRef("", "Sum", "", "sums")
    fields = (FieldChange("spec.replicas", 1, 2), FieldChange("spec.paused", ABSENT, True))
    objects = (
        PlannedObject(cart, "configured", False, "its fields differ", "1", "5", DIGEST, fields),
        PlannedObject(sums, "created"),
    )
    times = ("2026-01-02T03:04:05Z", "2026-01-02T04:04:05Z")
    places = (Identity("cluster", "0c0e"), Identity("directory", "/stage"))
    targets = tuple(PlannedTarget(each.kind, each, "shop", None, objects) for each in places)
    return FrozenPlan("v1.0.0", DIGEST, "stage", None, *times, targets)


@pytest.mark.requirement("B-109")
def test_a_plan_is_valid_and_reads_back() -> None:
    plan = frozen_plan()
    document = json.loads(json.dumps(plan.as_dict()))
    assert check("plan", document) == []
    assert FrozenPlan.from_dict(document) == plan


@pytest.mark.parametrize("key", ["digest", "goodUntil"])
def test_a_plan_that_was_edited_is_not_read(key: str) -> None:
    with pytest.raises(ValueError, match="as it was written"):
        FrozenPlan.from_dict(frozen_plan().as_dict() | {key: "2027"})


def test_a_revision_is_valid_and_reads_back() -> None:
    revision = Revision(
        1, "shop", "stage", "default", "v1.0.0", "v1.0.0", COMMIT, "2026-01-02T03:04:05Z", DIGEST,
        "oci://r.example.com/shop:v1.0.0", "pending", changes={"created": 3},
    )  # fmt: skip
    assert check("revision", revision.as_dict()) == []
    assert Revision.of_dict(revision.as_dict()) == revision
    place = {"project": "shop", "environment": "stage", "target": "default"}
    history = {**place, "revisions": [revision.as_dict()]}
    assert check("result-history", {"targets": [history]}) == []
    status = {**place, "current": None, "latest": revision.as_dict()}
    assert check("result-status", {"targets": [status]}) == []


def test_an_inventory_is_valid_and_reads_back() -> None:
    job, config = ObjectRef("batch", "Job", "shop", "j"), ObjectRef("", "ConfigMap", "shop", "c")
    inventory = Inventory({job: "1", config: ""}, {job: DIGEST})
    objects = inventory.as_dicts()
    document = {"apiVersion": "bundler/v1", "kind": "Inventory", "objects": objects}
    assert check("inventory", document) == []
    assert Inventory.of_dicts(objects) == inventory
