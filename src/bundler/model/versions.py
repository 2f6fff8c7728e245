"""Deployments whose former versions stay ready: to go back is to switch their Services.

The manifest of such a Deployment says `release-bundler/keep-versions: "2"`. Publishing makes an
object of each content of its pods, named after both; applying switches Services when the new one
is ready, and leaves so many of the former ones running.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bundler.model.objects import KubernetesObject, ObjectRef, mapping

KEEP_VERSIONS = "release-bundler/keep-versions"
"""Annotation: how many versions stay ready beside the one that serves."""
VERSION_OF = "release-bundler/version-of"
"""Annotation: the name that all versions have in the manifest."""
VERSION = "release-bundler/version"
"""Label of pods, and in selectors: the version; made from the pods' template."""


def asked_to_keep(obj: KubernetesObject) -> str | None:
    """What the annotation says, be it right or wrong."""
    said = _annotations(obj).get(KEEP_VERSIONS)
    return None if said is None else str(said)


def versions_to_keep(obj: KubernetesObject) -> int:
    """How many former versions of a Deployment stay; 0 where none are asked for, rightly."""
    said = asked_to_keep(obj) or ""
    ref = ObjectRef.of(obj)
    is_right = (ref.group, ref.kind) == ("apps", "Deployment") and re.fullmatch("[1-9]", said)
    return int(said) if is_right else 0


def family_of(obj: KubernetesObject) -> tuple[str, str] | None:
    """Namespace and common name of a version of a Deployment; None for all else."""
    ref = ObjectRef.of(obj)
    name = _annotations(obj).get(VERSION_OF)
    return (ref.namespace, str(name)) if ref.kind == "Deployment" and name else None


def as_written(obj: KubernetesObject) -> KubernetesObject:
    """The object under the name that its manifest has."""
    family = family_of(obj)
    return {**obj, "metadata": {**obj["metadata"], "name": family[1]}} if family else obj


def selected_version(obj: KubernetesObject) -> str | None:
    """The version that a Service or a PodDisruptionBudget is about; None where it is about all."""
    selecting = ObjectRef.of(obj).kind in ("Service", "PodDisruptionBudget")
    return version_of(obj) if selecting else None


def version_of(obj: KubernetesObject) -> str | None:
    """The version in the selector of an object, which is a Deployment's own."""
    selector = mapping(mapping(obj.get("spec")).get("selector"))
    labels = selector if obj.get("kind") == "Service" else mapping(selector.get("matchLabels"))
    version = labels.get(VERSION)
    return str(version) if version else None


def _annotations(obj: KubernetesObject) -> Mapping[str, Any]:
    return mapping(mapping(obj.get("metadata")).get("annotations"))
