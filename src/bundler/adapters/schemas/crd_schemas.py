"""Schemas of custom resources: a CRD's structural schema → JSON Schema, read as API servers do.

Fields that the schema does not name are errors (a server drops them), unless it says that they are
preserved. `null` stands for an absent field. What a schema has in CEL (`x-kubernetes-validations`)
and by keys of lists is left to the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from bundler.adapters.schemas.definitions import REFERENCE, Kind
from bundler.model.finding import json_pointer
from bundler.model.objects import KubernetesObject, mapping

MAX_NODES = 100_000
"""The largest CRDs in use have a tenth of it."""
MAX_DEPTH = 60
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
INT_OR_STRING = {
    "IntOrString": {"type": ["integer", "string"]},
    "Optional.IntOrString": {"type": ["integer", "string", "null"]},
}
_TYPES = frozenset({"array", "boolean", "integer", "number", "object", "string"})
_AS_THEY_ARE = (
    "enum", "maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties",
    "multipleOf", "pattern", "required",
)  # fmt: skip
_AT_LEAST = ("minItems", "minLength", "minProperties")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_IMPLICIT = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
_INT_OR_STRING = "x-kubernetes-int-or-string"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"


class Defect(NamedTuple):
    """What is wrong with a CRD itself."""

    pointer: str
    message: str


@dataclass(frozen=True, eq=False)
class CustomVersion:
    """A served version of a custom resource; equal to itself alone, so that it can be a key."""

    kind: Kind
    schema: Mapping[str, Any]
    """JSON Schema; it refers to OBJECT_META and INT_OR_STRING among its definitions."""
    pointer: str
    """Where its schema stands in the CRD."""


class CustomResource(NamedTuple):
    """What a CRD defines."""

    group: str
    kind: str
    versions: tuple[CustomVersion, ...]
    defects: tuple[Defect, ...]
    is_cluster_scoped: bool = False


def is_crd(obj: KubernetesObject) -> bool:
    return (
        obj.get("kind") == "CustomResourceDefinition"
        and obj.get("apiVersion") == "apiextensions.k8s.io/v1"
    )


def custom_resource(crd: KubernetesObject) -> CustomResource:
    """What a CRD defines, as far as it makes sense, and what does not."""
    metadata = mapping(crd.get("metadata"))
    text = json.dumps([metadata.get("name"), crd.get("spec")])
    return _custom_resource(_Given(text, metadata.get("name"), crd.get("spec")))


@dataclass(frozen=True)
class _Given:
    """The name and spec of a CRD, compared by their text."""

    text: str
    name: Any = field(compare=False)
    spec: Any = field(compare=False)


@lru_cache(maxsize=256)
def _custom_resource(given: _Given) -> CustomResource:
    """By text: the environments of a bundle mostly have the same CRDs."""
    spec = mapping(given.spec)
    names = mapping(spec.get("names"))
    group, kind = str(spec.get("group")), str(names.get("kind"))
    defects = list(_own_defects(given.name, spec, names))
    versions = []
    for number, version in enumerate(_mappings(spec.get("versions"))):
        if version.get("served") is not True:
            continue
        pointer = json_pointer("spec", "versions", number, "schema", "openAPIV3Schema")
        conversion = _Conversion()
        own_schema = mapping(version.get("schema")).get("openAPIV3Schema")
        try:
            schema = conversion.root(own_schema, pointer)
        except _TooLarge as error:
            defects.append(Defect(pointer, str(error)))
            continue
        defects += conversion.defects
        own = Kind(group, str(version.get("name")), kind)
        versions.append(CustomVersion(own, schema, pointer))
    is_cluster_scoped = spec.get("scope") == "Cluster"
    return CustomResource(group, kind, tuple(versions), tuple(defects), is_cluster_scoped)


def _own_defects(name: Any, spec: Mapping[str, Any], names: Mapping[str, Any]) -> Iterator[Defect]:
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if spec.get("group") and names.get("plural") and name != wanted:
        yield Defect("/metadata/name", f"{name} is not spec.names.plural and spec.group: {wanted}")
    versions = _mappings(spec.get("versions"))
    stored = sum(version.get("storage") is True for version in versions)
    if versions and stored != 1:
        yield Defect("/spec/versions", f"{stored} versions are stored, and it must be one")
    if versions and not any(version.get("served") is True for version in versions):
        yield Defect("/spec/versions", "no version is served")


class _TooLarge(ValueError):
    pass


class _Conversion:
    """One schema of a CRD; what is wrong with it is collected."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []
        self._nodes = 0

    def root(self, given: Any, pointer: str) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            self._wrong(pointer, "a served version needs a schema")
            return {}
        if given.get("type") != "object":
            self._wrong(pointer, "the type at the root must be object")
        return self._resource(self._structural(given, pointer, 0), given, pointer)

    def _resource(
        self, schema: dict[str, Any], given: Mapping[str, Any], pointer: str
    ) -> dict[str, Any]:
        """With what every object has: apiVersion, kind and metadata."""
        own = mapping(mapping(given.get("properties")).get("metadata"))
        metadata: dict[str, Any] = {"$ref": REFERENCE + OBJECT_META}
        if own:
            where = pointer + json_pointer("properties", "metadata")
            metadata = {"allOf": [metadata, self._alternative(own, where, 1)]}
        properties = {**schema.get("properties", {}), **_IMPLICIT, "metadata": metadata}
        required = {*_texts(schema.get("required")), "apiVersion", "kind"}
        return {**schema, "properties": properties, "required": sorted(required)}

    def _structural(
        self, given: Any, pointer: str, depth: int, *, optional: bool = False
    ) -> dict[str, Any]:
        """A node of the schema proper: it has a type, and closes its objects."""
        schema = self._demands(given, pointer, depth)
        if not isinstance(given, Mapping):
            return schema
        is_nullable = given.get("nullable") is True or optional
        if optional and not given.get("nullable"):
            schema = _unless_null(schema)
        if given.get(_INT_OR_STRING) is True:
            name = "Optional.IntOrString" if is_nullable else "IntOrString"
            return {**schema, "$ref": REFERENCE + name}
        schema |= self._type(given, pointer, is_nullable)
        if is_nullable and isinstance(schema.get("enum"), list):
            schema["enum"] = [*schema["enum"], None]
        if "items" in given:
            schema["items"] = self._structural(given["items"], f"{pointer}/items", depth + 1)
        if given.get("x-kubernetes-list-type") == "set":
            schema["uniqueItems"] = True
        if given.get("type") == "object" or "properties" in given:
            schema |= self._fields(given, pointer, depth)
        is_embedded = given.get(_EMBEDDED) is True
        return self._resource(schema, given, pointer) if is_embedded else schema

    def _type(self, given: Mapping[str, Any], pointer: str, is_nullable: bool) -> dict[str, Any]:
        kind = given.get("type")
        if kind is None and given.get(_PRESERVE) is True:
            return {}
        if not _is_type(kind):
            self._wrong(pointer, "the type is missing" if kind is None else f"no type {kind!r}")
            return {}
        return {"type": [kind, "null"] if is_nullable else kind}

    def _fields(self, given: Mapping[str, Any], pointer: str, depth: int) -> dict[str, Any]:
        """The fields of an object, and what becomes of others."""
        rest = given.get("additionalProperties")
        fields = given.get("properties", {})
        if not isinstance(fields, Mapping):
            self._wrong(f"{pointer}/properties", "is no mapping")
            return {}
        if fields and rest not in (None, False):
            self._wrong(pointer, "has both properties and additionalProperties")
        required = _texts(given.get("required"))
        found: dict[str, Any] = {
            "properties": {
                name: self._structural(
                    field,
                    pointer + json_pointer("properties", name),
                    depth + 1,
                    optional=name not in required or "default" in mapping(field),
                )
                for name, field in fields.items()
            }
        }
        if isinstance(rest, Mapping):
            where = f"{pointer}/additionalProperties"
            found["additionalProperties"] = self._structural(rest, where, depth + 1, optional=True)
        elif rest is not True and given.get(_PRESERVE) is not True:
            found["additionalProperties"] = False
        return found

    def _demands(self, given: Any, pointer: str, depth: int) -> dict[str, Any]:
        """What a schema demands of a value itself, alternatives among it."""
        self._count(depth)
        if not isinstance(given, Mapping):
            self._wrong(pointer, "is no schema")
            return {}
        if "$ref" in given:
            self._wrong(f"{pointer}/$ref", "a CRD's schema may not refer to another")
        schema = {key: given[key] for key in _AS_THEY_ARE if key in given} | _bounds(given)
        for key in _AT_LEAST:
            if isinstance(given.get(key), int) and given[key] < 0:  # as servers take it: no bound
                del schema[key]
        for junctor in _JUNCTORS:
            if given.get(junctor) and not _says_int_or_string(given, junctor):
                schema[junctor] = [
                    self._alternative(each, f"{pointer}/{junctor}/{number}", depth + 1)
                    for number, each in enumerate(_list(given[junctor]))
                ]
        if "not" in given:
            schema["not"] = self._alternative(given["not"], f"{pointer}/not", depth + 1)
        return schema

    def _alternative(self, given: Any, pointer: str, depth: int) -> dict[str, Any]:
        """A schema within allOf and the like: fields that it does not name are no matter of it."""
        schema = self._demands(given, pointer, depth)
        if not isinstance(given, Mapping):
            return schema
        if _is_type(given.get("type")):
            schema["type"] = given["type"]
        if isinstance(given.get("properties"), Mapping):
            schema["properties"] = {
                name: self._alternative(
                    field, pointer + json_pointer("properties", name), depth + 1
                )
                for name, field in given["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if isinstance(given.get(key), Mapping):
                schema[key] = self._alternative(given[key], f"{pointer}/{key}", depth + 1)
        return schema

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooLarge(f"the schema has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise _TooLarge(f"the schema is nested more than {MAX_DEPTH} deep")

    def _wrong(self, pointer: str, message: str) -> None:
        self.defects.append(Defect(pointer, message))


def _unless_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A server drops such a null before it looks at the alternatives."""
    alternatives = {key: schema[key] for key in (*_JUNCTORS, "not") if key in schema}
    if not alternatives:
        return schema
    rest = {key: value for key, value in schema.items() if key not in alternatives}
    return {**rest, "if": {"type": "null"}, "else": alternatives}


def _says_int_or_string(given: Mapping[str, Any], junctor: str) -> bool:
    """Whether alternatives only repeat what `x-kubernetes-int-or-string` says."""
    return given.get(_INT_OR_STRING) is True and given[junctor] in (
        [{"type": "integer"}, {"type": "string"}],
        [{"anyOf": [{"type": "integer"}, {"type": "string"}]}],
    )


def _bounds(given: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 says whether a bound itself is excluded; JSON Schema has a keyword for it."""
    found: dict[str, Any] = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if bound in given:
            found[exclusive if given.get(exclusive) is True else bound] = given[bound]
    return found


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and value in _TYPES


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]


def _texts(value: Any) -> Sequence[str]:
    return [each for each in _list(value) if isinstance(each, str)]
