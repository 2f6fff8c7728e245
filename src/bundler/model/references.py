"""What an object refers to by name: ConfigMaps, Secrets, and what else its pods need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bundler.model.field_path import with_item, with_key
from bundler.model.layers import names
from bundler.model.objects import KubernetesObject, pod_spec

_BY_KEY = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
_WHOLE = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
_VOLUMES = {"configMap": "ConfigMap", "secret": "Secret"}
_SCHEMAS = ("CustomResourceDefinition",)
"""Kinds that talk of such fields without having them."""


class Reference(NamedTuple):
    kind: str
    """ConfigMap or Secret."""
    name: str
    keys: frozenset[str] | None
    """None is all of them."""
    path: str


def references(obj: KubernetesObject) -> Iterator[Reference]:
    """What an object takes from ConfigMaps and Secrets, pods' and custom resources' alike."""
    kind = obj.get("kind")
    if kind in _SCHEMAS:
        return
    if kind == "ServiceAccount":
        yield from _named("Secret", obj.get("secrets"), "secrets")
    yield from _in(obj, "")


def _in(value: Any, path: str) -> Iterator[Reference]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = with_key(path, str(key))
            yield from _of_key(str(key), inner, here)
            yield from _in(inner, here)
    elif isinstance(value, list):
        steps = names(value) or map(str, range(len(value)))
        for step, item in zip(steps, value, strict=True):
            yield from _in(item, with_item(path, step))


def _of_key(key: str, value: Any, path: str) -> Iterator[Reference]:
    if key in ("imagePullSecrets", "pullSecrets"):
        yield from _named("Secret", value, path)
    elif key == "tls" and isinstance(value, list):
        for index, item in enumerate(value):
            name = item.get("secretName") if isinstance(item, Mapping) else None
            if isinstance(name, str):
                yield Reference("Secret", name, None, f"{with_item(path, str(index))}.secretName")
    elif isinstance(value, Mapping):
        name = value.get("name")
        if key in _BY_KEY and isinstance(name, str):
            yield Reference(_BY_KEY[key], name, frozenset({str(value.get("key"))}), path)
        elif key in _WHOLE and isinstance(name, str):
            yield Reference(_WHOLE[key], name, None, path)
        elif key in _VOLUMES:
            name = value.get("secretName", name)
            if isinstance(name, str):
                yield Reference(_VOLUMES[key], name, _keys(value.get("items")), path)


def _named(kind: str, items: Any, path: str) -> Iterator[Reference]:
    for index, item in enumerate(items if isinstance(items, list) else ()):
        name = item.get("name") if isinstance(item, Mapping) else None
        if isinstance(name, str):
            yield Reference(kind, name, None, with_item(path, str(index)))


def _keys(items: Any) -> frozenset[str] | None:
    """The keys that a volume has files of; None is all."""
    if not isinstance(items, list):
        return None
    return frozenset(str(item.get("key")) for item in items if isinstance(item, Mapping))


def claims_of(workload: KubernetesObject) -> Iterator[str]:
    """The names of the PersistentVolumeClaims that a workload's pods mount."""
    found = pod_spec(workload)
    for volume in (found[1].get("volumes") or ()) if found else ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if name:
            yield str(name)
