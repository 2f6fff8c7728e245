"""Custom resources are checked by their CRDs, as an API server would check them."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.model.finding import Finding
from tests.fakes.shop import obj

SIZES = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["host"],
    "properties": {
        "host": {"type": "string", "pattern": "^[a-z.]+$", "maxLength": 20},
        "mode": {"type": "string", "enum": ["fast", "safe"]},
        "size": SIZES,
        "replicas": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "hosts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "none": {"type": "string", "nullable": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "half": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "job": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        "never": {"type": "object", "not": {"required": ["a"]}, "properties": {"a": SIZES}},
        "auth": {
            "type": "object",
            "properties": {"token": {"type": "string"}, "key": {"type": "string"}},
            "oneOf": [{"required": ["token"]}, {"required": ["key"]}],
        },
    },
}


def crd(spec: Any = SPEC, *, called: str = "zones.example.com", **version: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": spec}}
    served = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": called},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Zone", "plural": "zones"},
            "versions": [served],
        },
    }


def zone(**spec: Any) -> dict[str, Any]:
    return obj("example.com/v1", "Zone", "z", spec={"host": "a.b", **spec})


def found(*objects: dict[str, Any], supplied: tuple[dict[str, Any], ...] = ()) -> list[Finding]:
    schemas = KubernetesSchemas().with_crds(supplied)
    return [finding for _, finding in schemas.check("1.36", objects)]


def told(*objects: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(finding.pointer, finding.message) for finding in found(*objects)]


@pytest.mark.requirement("C-31")
def test_a_kind_without_namespace_is_known_by_a_crd_that_is_supplied() -> None:
    cluster = crd()
    cluster["spec"]["scope"] = "Cluster"
    placed = zone()
    placed["metadata"]["namespace"] = "shop"
    (finding,) = found(placed, supplied=(cluster,))
    assert (finding.rule, finding.pointer) == ("cluster-scoped", "/metadata/namespace")
    assert finding.hint == "add Zone to allow.clusterScoped of the environment"
    del placed["metadata"]["namespace"]
    assert found(placed, supplied=(cluster,)) == []
    placed["metadata"]["namespace"] = "shop"
    assert found(placed, supplied=(crd(),)) == []


# --- which CRD ----------------------------------------------------------------------------------


@pytest.mark.requirement("B-73")
def test_a_crd_holds_for_all_objects_of_its_bundle_whatever_comes_first() -> None:
    bad = zone(hots=1)
    assert told(bad, crd()) == told(crd(), bad) == [("/spec/hots", "unknown field 'hots'")]
    assert found(bad, crd())[0].hint == "did you mean hosts?"


@pytest.mark.requirement("B-73")
def test_a_supplied_crd_holds_too() -> None:
    assert [finding.rule for finding in found(zone(host=1), supplied=(crd(),))] == ["schema"]
    assert found(zone(), supplied=(crd(),)) == []
    assert [finding.rule for finding in found(zone())] == ["unvalidated"]


def test_the_bundles_own_crd_is_preferred_to_a_supplied_one() -> None:
    own = crd({"type": "object", "properties": {"host": {"type": "string"}}})
    assert found(own, zone(), supplied=(crd({"type": "object"}),)) == []


def test_one_crd_is_not_taken_for_anothers_kind() -> None:
    other = obj("example.com/v1", "Area", "a")
    assert [finding.rule for finding in found(crd(), other)] == ["unvalidated"]


@pytest.mark.parametrize("version", [{"name": "v2"}, {"served": False}])
def test_a_version_that_the_crd_does_not_serve_is_an_error(version: dict[str, Any]) -> None:
    definition = crd(**version)
    definition["spec"]["versions"].append(
        {**crd()["spec"]["versions"][0], "name": "v3", "storage": False}
    )
    (finding,) = found(definition, zone())
    assert (finding.rule, finding.message) == (
        "unknown-kind",
        "its CRD serves no example.com/v1 Zone",
    )
    assert finding.hint
    assert "example.com/v3" in finding.hint


def test_a_crd_does_not_replace_kubernetes_own_kinds() -> None:
    definition = crd({"x-kubernetes-preserve-unknown-fields": True}, called="configmaps.")
    definition["spec"] |= {"group": "", "names": {"kind": "ConfigMap", "plural": "configmaps"}}
    messages = [message for _, message in told(definition, obj("v1", "ConfigMap", "c", dat={}))]
    assert "unknown field 'dat'" in messages


# --- what a schema says -------------------------------------------------------------------------


FORBIDDEN: list[tuple[dict[str, Any], str, str]] = [
    ({"host": "A"}, "/spec/host", '"A" does not match "^[a-z.]+$"'),
    ({"host": "a" * 21}, "/spec/host", f'"{"a" * 21}" is longer than 20 characters'),
    ({"mode": "quick"}, "/spec/mode", '"quick" is none of fast, safe'),
    ({"size": []}, "/spec/size", "[] is not a number or a text"),
    ({"replicas": 0}, "/spec/replicas", "0 is less than or equal to the minimum of 0"),
    ({"replicas": "1"}, "/spec/replicas", '"1" is not of type integer'),
    ({"labels": {"a": 1}}, "/spec/labels/a", "1 is not of type string"),
    ({"hosts": ["a", "a"]}, "/spec/hosts", '["a","a"] has non-unique elements'),
    ({"half": {"known": {"b": 1}}}, "/spec/half/known/b", "unknown field 'b'"),
    ({"job": {"kind": "Job"}}, "/spec/job", "apiVersion is missing"),
    (
        {"job": {"kind": "Job", "apiVersion": "v1", "metadata": {"lables": {}}}},
        "/spec/job/metadata/lables",
        "unknown field 'lables'",
    ),
    ({"auth": {}}, "/spec/auth", "needs token or key"),
    ({"never": {"a": 1}}, "/spec/never", '{"required":["a"]} is not allowed for {"a":1}'),
]
ALLOWED: list[dict[str, Any]] = [
    {"size": 1},
    {"size": "25%"},
    {"size": None},
    {"mode": None},
    {"none": None},
    {"free": {"a": {"b": [1]}}},
    {"half": {"other": 1, "known": {"a": "x"}}},
    {"any": [1, "a", {}]},
    {"job": {"kind": "Job", "apiVersion": "batch/v1", "spec": {"x": 1}, "metadata": {}}},
    {"auth": {"token": "x"}},
    {"labels": {"a": "b"}, "hosts": ["a", "b"]},
    {"auth": None, "never": None},
    {"never": {}},
]


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize(
    ("spec", "pointer", "message"),
    FORBIDDEN,
)
def test_what_a_schema_forbids_is_told(spec: dict[str, Any], pointer: str, message: str) -> None:
    assert told(crd(), zone(**spec)) == [(pointer, message)]


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize(
    "spec",
    ALLOWED,
)
def test_what_a_schema_allows_is_no_finding(spec: dict[str, Any]) -> None:
    assert found(crd(), zone(**spec)) == []


def test_null_is_no_value_of_a_required_field() -> None:
    assert told(crd(), zone(host=None)) == [("/spec/host", "null is not of type string")]


@pytest.mark.requirement("B-73")
def test_metadata_is_checked_although_no_crd_says_so() -> None:
    bad = zone()
    bad["metadata"] |= {"labels": {"a": 1}, "annotation": {}}
    assert sorted(told(crd(), bad)) == [
        ("/metadata/annotation", "unknown field 'annotation'"),
        ("/metadata/labels/a", "1 is not of type string"),
    ]


def test_a_field_at_the_root_that_the_crd_does_not_name_is_unknown() -> None:
    assert told(crd(), {**zone(), "status": {}}) == [("/status", "unknown field 'status'")]


def test_a_schema_may_restrict_the_name() -> None:
    definition = crd()
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    name = {"name": {"type": "string", "maxLength": 0}}
    schema["properties"]["metadata"] = {"type": "object", "properties": name}
    assert [pointer for pointer, _ in told(definition, zone())] == ["/metadata/name"]


# --- what is wrong with a CRD itself ------------------------------------------------------------

PLACE = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
DEFECTS: list[tuple[Any, str, str]] = [
    ({"properties": {}}, "", "the type is missing"),
    ({"type": "text"}, "", "no type 'text'"),
    (
        {"type": "object", "properties": {"a": {}}},
        "/properties/a",
        "the type is missing",
    ),
    (
        {"type": "object", "properties": {"a/b": {"type": "array", "items": {}}}},
        "/properties/a~1b/items",
        "the type is missing",
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "additionalProperties": {"type": "string"},
        },
        "",
        "has both properties and additionalProperties",
    ),
    (
        {"type": "string", "pattern": "("},
        "/pattern",
        'is no usable schema: "(" is not a "regex"',
    ),
]


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize(
    ("spec", "pointer", "message"),
    DEFECTS,
)
def test_a_defect_of_a_crd_is_told_at_its_place(
    spec: dict[str, Any], pointer: str, message: str
) -> None:
    defects = [each for each in found(crd(spec)) if each.rule == "crd-schema"]
    assert [(each.pointer, each.message) for each in defects] == [(PLACE + pointer, message)]
    assert defects[0].severity == "error"


def test_the_crds_around_their_schemas_are_checked() -> None:
    definition = crd(called="zone.example.com", storage=False)
    told_name = "is not spec.names.plural and spec.group"
    assert told(definition) == [
        ("/metadata/name", f"zone.example.com {told_name}: zones.example.com"),
        ("/spec/versions", "0 versions are stored, and it must be one"),
    ]
    del definition["spec"]["versions"][0]["schema"]
    assert "a served version needs a schema" in [message for _, message in told(definition)]
    assert ("/spec/names", "kind is missing") in told(
        {**definition, "spec": {**definition["spec"], "names": {"plural": "zones"}}}
    )


def test_a_resource_of_an_unusable_crd_is_not_taken_for_a_valid_one() -> None:
    findings = found(crd({"type": "string", "pattern": "("}), zone())
    assert [finding.rule for finding in findings] == ["crd-schema", "schema"]


def test_a_bound_that_means_nothing_is_none() -> None:
    definition = crd({"type": "object", "properties": {"host": {"type": "string"}}})
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["host"]["minLength"] = -1
    assert found(definition, zone()) == []
