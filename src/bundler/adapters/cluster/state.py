"""What a target keeps of us in ConfigMaps: the inventory and the revisions (docs/target-state.md).

`bundler.<project>.<environment>.<target>` is the head. It holds the inventory; one of more than
1,000 objects lies in ConfigMaps `….inventory-<generation>-<n>`, written before the head that names
their generation and number, so that a reader sees the old inventory or the new one, never a mix.
Revisions are `….v<number>`. Labels tell all this, and find every project's state in a namespace.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bundler.adapters.cluster.connection import Answer, KubernetesConnection, path_of
from bundler.adapters.cluster.discovery import Resource
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.objects import items, pages
from bundler.errors import Locked, PermissionRefused, Refused, VerificationFailed
from bundler.manifests import read_json
from bundler.model.inventory import Inventory
from bundler.model.objects import (
    ENVIRONMENT,
    FIELD_MANAGER,
    MANAGED_BY,
    PART_OF,
    KubernetesObject,
)
from bundler.model.revision import Revision, TargetState

TARGET = "release-bundler/target"
STATE = "release-bundler/state"
WRITER = "release-bundler/writer"
_INVENTORY, _CHUNK, _REVISION = "inventory", "inventory-chunk", "revision"
_CHUNK_OBJECTS = 1000
"""An object takes 750 bytes at most; a ConfigMap may hold 1 MiB."""
_CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", is_namespaced=True)


class Place(NamedTuple):
    """Whose state it is."""

    project: str
    environment: str
    target: str

    @property
    def stem(self) -> str:
        return f"bundler.{self.project}.{self.environment}.{self.target}"

    @property
    def labels(self) -> Mapping[str, str]:
        return {
            MANAGED_BY: FIELD_MANAGER,
            PART_OF: self.project,
            ENVIRONMENT: self.environment,
            TARGET: self.target,
        }

    @classmethod
    def of(cls, config_map: KubernetesObject) -> Place:
        labels = config_map["metadata"].get("labels") or {}
        return cls(labels.get(PART_OF, ""), labels.get(ENVIRONMENT, ""), labels.get(TARGET, ""))


class KubernetesState:
    """The state of one place; `before_write` runs ahead of every request that changes it.

    `tell` takes remarks for whoever applies.
    """

    def __init__(
        self,
        connection: KubernetesConnection,
        place: Place,
        *,
        namespace: str,
        before_write: Callable[[], None],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tell = tell
        self._connection = connection
        self._place = place
        self._namespace = namespace
        self._before_write = before_write
        self._writer = secrets.token_hex(8)
        """Tells what we wrote from what another run has written in the same words."""
        self._read: dict[str, KubernetesObject] | None = None
        """The ConfigMaps as they were read or written last, by name."""

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> TargetState:
        found = _config_maps(self._connection, self._namespace, self._place.labels)
        if not found:
            self._look_elsewhere()
        self._read = {each["metadata"]["name"]: each for each in found}
        return _state(found)

    def _look_elsewhere(self) -> None:
        """Tell of a former apply to another namespace, whose objects this one will not delete."""
        try:
            elsewhere = _config_maps(self._connection, "", self._place.labels)
        except PermissionRefused:
            return
        for namespace in sorted({each["metadata"]["namespace"] for each in elsewhere}):
            self._tell(
                f"note: {self._place.environment}/{self._place.target} of {self._place.project} "
                f"was applied to namespace {namespace} before, and stays there; "
                f"--state-namespace {namespace} goes on from it and deletes what is stale"
            )

    def _known(self) -> dict[str, KubernetesObject]:
        if self._read is None:
            self.read()
        return self._read if self._read is not None else {}

    # --- writing --------------------------------------------------------------------------------

    def prepare(self) -> None:
        path = path_of("api", "v1", "namespaces", self._namespace)
        answer = self._connection.request("GET", path)
        if answer.is_ok and (answer.document.get("status") or {}).get("phase") == "Terminating":
            raise Refused(
                f"Namespace/{self._namespace}: it is being deleted, with all that is in it",
                hint="apply again when the namespace is gone",
            )
        # Whoever may work in a namespace need not be allowed to look at it.
        if answer.is_ok or answer.status == 403:
            return
        if answer.status != 404:
            raise refusal(answer, f"Namespace/{self._namespace}")
        answer = self._connection.request(
            "POST",
            path_of("api", "v1", "namespaces"),
            query={"fieldManager": FIELD_MANAGER},
            body={
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self._namespace},
            },
        )
        if answer.status == 403:
            raise PermissionRefused(
                f"Namespace/{self._namespace} does not exist, and we may not create it",
                hint="create it, or keep the state elsewhere with --state-namespace",
            )
        if not answer.is_ok and answer.status != 409:
            raise refusal(answer, f"Namespace/{self._namespace}")

    def write_inventory(self, inventory: Inventory) -> None:
        head = self._known().get(self._place.stem)
        generation = _generation(head) + 1 if head else 1
        entries = inventory.as_dicts()
        head_data = {"generation": str(generation)}
        if len(entries) <= _CHUNK_OBJECTS:
            head_data["inventory"] = _inventory_text(entries)
        else:
            starts = range(0, len(entries), _CHUNK_OBJECTS)
            for number, start in enumerate(starts, 1):
                text = _inventory_text(entries[start : start + _CHUNK_OBJECTS])
                self._write(self._chunk(generation, number), _CHUNK, {"inventory": text})
            head_data["chunks"] = str(len(starts))
        self._write(self._place.stem, _INVENTORY, head_data)
        self._drop_chunks(generation)

    def drop_inventory(self) -> None:
        self._delete(self._place.stem)
        self._drop_chunks(0)

    def _chunk(self, generation: int, number: int) -> str:
        return f"{self._place.stem}.inventory-{generation}-{number}"

    def _drop_chunks(self, generation: int) -> None:
        """Those of other generations, also what a killed writer left."""
        current = self._chunk(generation, 0)[:-1]
        for name, config_map in list(self._known().items()):
            if _kind_of(config_map) == _CHUNK and not name.startswith(current):
                self._delete(name)

    def write_revision(self, revision: Revision) -> None:
        document = json.dumps(revision.as_dict(), ensure_ascii=False)
        self._write(self._revision(revision.number), _REVISION, {"revision": document})

    def drop_revision(self, number: int) -> None:
        self._delete(self._revision(number))

    def _revision(self, number: int) -> str:
        return f"{self._place.stem}.v{number}"

    def _write(self, name: str, kind: str, content: Mapping[str, str]) -> None:
        """Create, or replace what we have read. Raises Locked where it is no longer that."""
        known = self._known().get(name)
        metadata = {
            "name": name,
            "namespace": self._namespace,
            "labels": {**self._place.labels, STATE: kind},
            "annotations": {WRITER: self._writer},
        }
        if known is not None:
            metadata["resourceVersion"] = known["metadata"]["resourceVersion"]
        answer = self._connection.request(
            "POST" if known is None else "PUT",
            _CONFIG_MAP.path(self._namespace, "" if known is None else name),
            query={"fieldManager": FIELD_MANAGER},
            body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content},
            before=self._before_write,
        )
        if answer.status == 409 or (answer.status == 404 and known is not None):
            answer = self._written(name, content)
        if not answer.is_ok:
            raise refusal(answer, f"ConfigMap/{self._namespace}/{name}")
        self._known()[name] = answer.document

    def _written(self, name: str, content: Mapping[str, str]) -> Answer:
        """What stands there now, if it is what we wrote: a request may have been sent twice."""
        answer = self._connection.request("GET", _CONFIG_MAP.path(self._namespace, name))
        if answer.status == 404 or (answer.is_ok and not self._is_ours(answer.document, content)):
            raise self._lost(name)
        return answer

    def _is_ours(self, config_map: KubernetesObject, content: Mapping[str, str]) -> bool:
        annotations = config_map["metadata"].get("annotations") or {}
        return annotations.get(WRITER) == self._writer and config_map.get("data") == content

    def _lost(self, name: str) -> Locked:
        return Locked(
            f"ConfigMap/{self._namespace}/{name} was written by somebody else meanwhile",
            hint="apply again when the other is done",
        )

    def _delete(self, name: str) -> None:
        """Delete what we have read. Raises Locked where it is no longer that."""
        known = self._known().get(name)
        if known is None:
            return
        version = known["metadata"]["resourceVersion"]
        answer = self._connection.request(
            "DELETE",
            _CONFIG_MAP.path(self._namespace, name),
            body={
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"resourceVersion": version},
            },
            before=self._before_write,
        )
        if answer.status == 409:
            raise self._lost(name)
        if not answer.is_ok and answer.status != 404:
            raise refusal(answer, f"ConfigMap/{self._namespace}/{name}")
        self._known().pop(name, None)


def find_states(
    connection: KubernetesConnection, namespace: str | None = None
) -> list[tuple[str, str, str, TargetState]]:
    """Every (project, environment, target, state) in a namespace, or in the whole cluster.

    Raises PermissionRefused, Unreachable.
    """
    found = _config_maps(connection, namespace or "", {MANAGED_BY: FIELD_MANAGER})
    places: dict[tuple[str, Place], list[KubernetesObject]] = defaultdict(list)
    for config_map in found:
        places[config_map["metadata"]["namespace"], Place.of(config_map)].append(config_map)
    ordered = sorted(places.items(), key=lambda each: (each[0][1], each[0][0]))
    return [
        (*place, replace(_state(config_maps), namespace=where))
        for (where, place), config_maps in ordered
    ]


def _config_maps(
    connection: KubernetesConnection, namespace: str, labels: Mapping[str, str]
) -> list[KubernetesObject]:
    """All pages are of one moment, so what they hold fits together."""
    selector = ",".join([*(f"{key}={value}" for key, value in labels.items()), STATE])
    found: dict[tuple[str, str], KubernetesObject] = {}
    for answer in pages(connection, _CONFIG_MAP.path(namespace), {"labelSelector": selector}):
        if answer.status == 403 and not namespace:
            raise PermissionRefused(
                "the releases of all namespaces cannot be listed", hint="name one with --namespace"
            )
        if not answer.is_ok:
            raise refusal(answer, f"the state in namespace {namespace}")
        for each in items(answer, _CONFIG_MAP):  # a list that begins anew has some twice
            found[each["metadata"]["namespace"], each["metadata"]["name"]] = each
    return list(found.values())


def _state(config_maps: Iterable[KubernetesObject]) -> TargetState:
    kinds: dict[str, list[KubernetesObject]] = defaultdict(list)
    for config_map in config_maps:
        kinds[_kind_of(config_map)].append(config_map)
    revisions = [_revision(config_map) for config_map in kinds[_REVISION]]
    head = next(iter(kinds[_INVENTORY]), None)
    return TargetState(
        _inventory(head, kinds[_CHUNK]) if head else Inventory(),
        tuple(sorted(revisions, key=lambda revision: revision.number)),
    )


def _inventory(head: KubernetesObject, chunks: Iterable[KubernetesObject]) -> Inventory:
    count = (head.get("data") or {}).get("chunks")
    parts = [head]
    if count is not None:
        by_name = {chunk["metadata"]["name"]: chunk for chunk in chunks}
        stem, generation = head["metadata"]["name"], _generation(head)
        names = [f"{stem}.inventory-{generation}-{n}" for n in range(1, int(count) + 1)]
        missing = [name for name in names if name not in by_name]
        if missing:
            raise _unreadable(head, f"ConfigMap {missing[0]} is missing")
        parts = [by_name[name] for name in names]
    try:
        entries = [
            entry for part in parts for entry in read_json(part["data"]["inventory"])["objects"]
        ]
        return Inventory.of_dicts(entries)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(head, "it is not an inventory") from error


def _revision(config_map: KubernetesObject) -> Revision:
    try:
        return Revision.of_dict(read_json(config_map["data"]["revision"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(config_map, "it is not a revision") from error


def _inventory_text(entries: Sequence[Mapping[str, str]]) -> str:
    document = {"apiVersion": "bundler/v1", "kind": "Inventory", "objects": entries}
    return json.dumps(document, ensure_ascii=False)


def _generation(head: KubernetesObject) -> int:
    text = str((head.get("data") or {}).get("generation", ""))
    return int(text) if text.isdecimal() else 0


def _kind_of(config_map: KubernetesObject) -> str:
    return str((config_map["metadata"].get("labels") or {}).get(STATE, ""))


def _unreadable(config_map: KubernetesObject, why: str) -> VerificationFailed:
    metadata = config_map["metadata"]
    return VerificationFailed(
        f"ConfigMap/{metadata['namespace']}/{metadata['name']}: {why}",
        hint="somebody has changed it; restore it from a backup",
    )
