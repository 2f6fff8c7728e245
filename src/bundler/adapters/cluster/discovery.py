"""Which kinds a cluster serves, and under which paths."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.adapters.cluster.connection import Answer, KubernetesConnection, path_of
from bundler.adapters.cluster.errors import refusal
from bundler.parallel import threads

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_ACCEPT = f"{_AGGREGATED},{_AGGREGATED.replace('v=v2', 'v=v2beta1')},application/json"
_MIN_AGE = 1.0
"""Seconds between two refreshes, so that a hundred unknown objects do not ask a hundred times."""


@dataclass(frozen=True)
class Resource:
    """A kind in one version of its group."""

    group: str
    version: str
    kind: str
    plural: str
    is_namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of an object, or of all; a namespace counts for namespaced kinds only."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.is_namespaced and namespace:
            parts += ["namespaces", namespace]
        return path_of(*parts, self.plural, *([name] if name else ()))


class Discovery:
    """The served kinds, asked for once and again when a kind is unknown."""

    def __init__(self, connection: KubernetesConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._served: Mapping[tuple[str, str], Mapping[str, Resource]] = {}
        self._read_at: float | None = None

    def find(self, group: str, kind: str, version: str = "") -> Resource | None:
        """A kind in this version, or in the server's preferred one; None where it is not served.

        Raises Unreachable, PermissionRefused.
        """
        versions = self._versions(group, kind)
        if version:
            return versions.get(version)
        return next(iter(versions.values()), None)

    def versions(self, group: str, kind: str) -> tuple[str, ...]:
        """The served versions of a kind, the preferred one first."""
        return tuple(self._versions(group, kind))

    def _versions(self, group: str, kind: str) -> Mapping[str, Resource]:
        with self._lock:
            is_old = self._read_at is None or time.monotonic() - self._read_at > _MIN_AGE
            if (group, kind) not in self._served and is_old:
                self._served = _by_kind(_read(self._connection))
                self._read_at = time.monotonic()
            return self._served.get((group, kind), {})


def _by_kind(
    resources: Iterable[Resource],
) -> Mapping[tuple[str, str], Mapping[str, Resource]]:
    served: dict[tuple[str, str], dict[str, Resource]] = {}
    for resource in resources:
        # A kind may stand under two names; the first is the object, others are views of it.
        served.setdefault((resource.group, resource.kind), {}).setdefault(
            resource.version, resource
        )
    return served


def _read(connection: KubernetesConnection) -> list[Resource]:
    with threads(2) as pool:
        answers = list(pool.map(lambda path: _get(connection, path), ("/api", "/apis")))
    for answer in answers:
        if not answer.is_ok:
            raise refusal(answer, f"{connection.server}: its kinds cannot be listed")
    if all(answer.document.get("kind") == "APIGroupDiscoveryList" for answer in answers):
        return [resource for answer in answers for resource in _aggregated(answer.document)]
    return list(_legacy(connection, answers[0].document, answers[1].document))


def _get(connection: KubernetesConnection, path: str, accept: str = _ACCEPT) -> Answer:
    return connection.request("GET", path, accept=accept)


def _aggregated(document: Mapping[str, Any]) -> Iterator[Resource]:
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            for resource in version.get("resources") or ():
                kind = (resource.get("responseKind") or {}).get("kind")
                if kind and "get" in resource.get("verbs", ()):
                    is_namespaced = resource.get("scope") == "Namespaced"
                    yield Resource(
                        name, version["version"], kind, resource["resource"], is_namespaced
                    )


def _legacy(
    connection: KubernetesConnection, core: Mapping[str, Any], groups: Mapping[str, Any]
) -> Iterator[Resource]:
    """One request for each group and version: servers before 1.26, and proxies in front."""
    wanted = [("", version) for version in core.get("versions") or ()]
    for group in groups.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("version")
        versions = [version["version"] for version in group.get("versions") or ()]
        wanted += [(group["name"], v) for v in sorted(versions, key=lambda v: v != preferred)]

    def listed(pair: tuple[str, str]) -> Answer:
        group, version = pair
        path = path_of("apis", group, version) if group else path_of("api", version)
        return _get(connection, path, "application/json")

    with threads(8) as pool:
        answers = list(pool.map(listed, wanted))
    for (group, version), answer in zip(wanted, answers, strict=True):
        # A group whose own server is down is as if it were not there.
        for resource in (answer.document.get("resources") or ()) if answer.is_ok else ():
            if "/" not in resource["name"] and "get" in resource.get("verbs", ()):
                yield Resource(
                    group, version, resource["kind"], resource["name"], bool(resource["namespaced"])
                )
