"""Watches: one for each kind and namespace, resumed when it breaks, all fed into one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from bundler.adapters.cluster.connection import (
    Answer,
    KubernetesConnection,
    WatchStream,
)
from bundler.adapters.cluster.discovery import Discovery, Resource
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.objects import items, pages
from bundler.errors import BundlerError, Unreachable
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.ports import Observation

_TICK = 1.0
_WATCH_SECONDS = 300
_GIVE_UP_SECONDS = 60.0
"""How long a server may be away before that is an error."""
_BESIDES = (("", "Pod", ""), ("apps", "ReplicaSet", ""), ("", "Event", "type=Warning"))
"""What tells why a workload is not ready."""

_Found = queue.SimpleQueue[Observation | BundlerError]


class Gone(Exception):
    """A watch cannot go on from its resourceVersion."""


class _Subject(NamedTuple):
    """What one watch is about."""

    resource: Resource
    namespace: str
    wanted: frozenset[ObjectRef] | None
    """Only these are observed; None for all."""
    field_selector: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        return {"fieldSelector": self.field_selector} if self.field_selector else {}


class KubernetesWatcher:
    """Observes objects of one cluster."""

    def __init__(self, connection: KubernetesConnection, discovery: Discovery) -> None:
        self._connection = connection
        self._discovery = discovery

    def watch(self, refs: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        end = time.monotonic() + seconds
        found: _Found = queue.SimpleQueue()
        subjects, unknown = self._subjects(refs)
        for ref in unknown:
            found.put(Observation(ref, None))
        watches = [_Watch(self._connection, subject, found) for subject in subjects]
        try:
            for watch in watches:
                watch.start()
            yield from _until(end, found)
        finally:
            for watch in watches:
                watch.stop()
            for watch in watches:
                if watch.ident is not None:  # an interruption may come before it was started
                    watch.join()

    def _subjects(self, refs: Collection[ObjectRef]) -> tuple[list[_Subject], list[ObjectRef]]:
        """The watches that the objects need, and the objects of kinds that are not served."""
        places: dict[tuple[Resource, str], set[ObjectRef]] = defaultdict(set)
        unknown = []
        for ref in refs:
            resource = self._discovery.find(ref.group, ref.kind)
            if resource is None:
                unknown.append(ref)
            else:
                places[resource, ref.namespace if resource.is_namespaced else ""].add(ref)
        subjects = {}
        for (resource, namespace), wanted in places.items():
            names = [ref.name for ref in wanted]
            selector = f"metadata.name={names[0]}" if len(names) == 1 else ""
            subjects[resource, namespace] = _Subject(
                resource, namespace, frozenset(wanted), selector
            )
        for namespace in {ref.namespace for ref in refs if ref.namespace}:
            for group, kind, selector in _BESIDES:
                if resource := self._discovery.find(group, kind):
                    subjects[resource, namespace] = _Subject(resource, namespace, None, selector)
        return list(subjects.values()), unknown


def _until(end: float, found: _Found) -> Iterator[Observation | None]:
    tick = time.monotonic() + _TICK
    while (now := time.monotonic()) < end:
        if now >= tick:
            tick = now + _TICK
            yield None
            continue
        try:
            observation = found.get(timeout=max(0.0, min(tick, end) - now))
        except queue.Empty:
            continue
        if isinstance(observation, BundlerError):
            raise observation
        yield observation


class _Watch(threading.Thread):
    """Lists, then follows, one subject until it is stopped."""

    def __init__(self, connection: KubernetesConnection, subject: _Subject, found: _Found) -> None:
        super().__init__(name=f"watch {subject.resource.plural}", daemon=True)
        self._connection = connection
        self._subject = subject
        self._found = found
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        self._seen: set[ObjectRef] = set()

    def stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.stop()

    def run(self) -> None:
        version: str | None = None
        reached_at, pause = time.monotonic(), 0.0
        while not self._stopped.wait(pause):
            try:
                if version is None:
                    version = self._list()
                started = time.monotonic()
                version = self._follow(version)
                reached_at = time.monotonic()
                pause = 0.0 if reached_at - started > 1.0 else 0.5
            except Gone:
                version, pause = None, 0.2
            except Unreachable as error:
                if time.monotonic() - reached_at > _GIVE_UP_SECONDS:
                    self._found.put(error)
                    return
                pause = 1.0
            except BundlerError as error:
                if self._subject.wanted is not None:  # what is besides may be forbidden
                    self._found.put(error)
                return

    def _list(self) -> str:
        """Observe all as it is now, and what is gone since the last list; the version of that."""
        subject = self._subject
        version = ""
        listed: set[ObjectRef] = set()
        path = subject.resource.path(subject.namespace)
        for answer in pages(self._connection, path, subject.query):
            if not answer.is_ok:
                raise self._refused(answer)
            version = str((answer.document.get("metadata") or {}).get("resourceVersion") or "")
            for obj in items(answer, subject.resource):
                listed.add(self._ref(obj))
                self._observe(obj)
        for ref in (self._seen | (subject.wanted or frozenset())) - listed:
            self._found.put(Observation(ref, None))
        self._seen = listed
        return version

    def _follow(self, version: str) -> str:
        """Observe changes after a version until the stream ends; the version to go on from."""
        subject = self._subject
        query = {
            **subject.query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        with self._connection.stream(subject.resource.path(subject.namespace), query) as stream:
            self._stream = stream
            if self._stopped.is_set():
                return version
            if (refusal_answer := stream.refusal) is not None:
                raise self._refused(refusal_answer)
            for event in stream.events():
                obj = event.get("object") or {}
                if event.get("type") == "ERROR":
                    raise self._refused(Answer(int(obj.get("code") or 500), obj))
                version = str(obj["metadata"]["resourceVersion"])
                if event.get("type") != "BOOKMARK":
                    self._change(obj, is_gone=event.get("type") == "DELETED")
        return version

    def _change(self, obj: Mapping[str, Any], *, is_gone: bool) -> None:
        ref = self._ref(obj)
        if is_gone:
            self._seen.discard(ref)
            if self._is_wanted(ref):
                self._found.put(Observation(ref, None))
        else:
            self._seen.add(ref)
            self._observe(obj)

    def _observe(self, obj: KubernetesObject) -> None:
        ref = self._ref(obj)
        if self._is_wanted(ref):
            self._found.put(Observation(ref, obj))

    def _is_wanted(self, ref: ObjectRef) -> bool:
        return self._subject.wanted is None or ref in self._subject.wanted

    def _ref(self, obj: KubernetesObject) -> ObjectRef:
        metadata = obj["metadata"]
        resource = self._subject.resource
        return ObjectRef(
            resource.group, resource.kind, metadata.get("namespace") or "", metadata["name"]
        )

    def _refused(self, answer: Answer) -> Exception:
        if answer.status == 410:
            return Gone()
        subject = self._subject
        where = f" in namespace {subject.namespace}" if subject.namespace else ""
        return refusal(answer, f"watching {subject.resource.kind}{where}")
