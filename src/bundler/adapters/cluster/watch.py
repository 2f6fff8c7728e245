"""Watches: one for each kind and namespace, resumed when it breaks, all fed into one queue."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from bundler.adapters.cluster.connection import (
    Answer,
    KubernetesConnection,
    WatchStream,
)
from bundler.adapters.cluster.discovery import Discovery, Resource
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.logs import last_lines
from bundler.adapters.cluster.objects import items, pages
from bundler.errors import BundlerError, PermissionRefused, Unreachable
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.ports import CAUSES, Observation

_TICK = 1.0
_WATCH_SECONDS = 300
_GIVE_UP_SECONDS = 60.0
"""How long a server may be away before that is an error."""
_SELECTORS = {("", "Event"): "type=Warning"}
"""Which of the causes are of interest, where not all are."""
_CALM_SECONDS = 2.0
"""Causes are looked at where nothing was seen to change for so long, or at the `latest`.

Most of what a rollout changes are pods and ReplicaSets; one that goes well needs no word of them.
"""
_LATEST_SECONDS, _MORE_SECONDS, _MOST_SECONDS = 6.0, 0.05, 20.0
_POLL_SECONDS = 2.0
_MAX_PAUSE = 10.0
_JOIN_SECONDS = 5.0
"""How long threads are waited for that are in the middle of a request; no harm is in them."""

_Found = queue.SimpleQueue[Observation | BundlerError | None]
"""None stands for a first list that is complete."""


class Gone(Exception):
    """A watch cannot go on from its resourceVersion."""


class _Later(Exception):
    """The server asks us to come back after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Subject(NamedTuple):
    """What one watch is about."""

    resource: Resource
    namespace: str
    wanted: frozenset[ObjectRef] = frozenset()
    """What is asked for by name; to be forbidden to see it is an error."""
    is_besides: bool = False
    """Whether all others are observed too."""
    field_selector: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        return {"fieldSelector": self.field_selector} if self.field_selector else {}


class KubernetesWatcher:
    """Observes objects of one cluster; implements `bundler.ports.ObjectWatcher`.

    `check` runs ahead of each observation; what it raises ends the watch.
    """

    def __init__(
        self,
        connection: KubernetesConnection,
        discovery: Discovery,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._discovery = discovery
        self._check = check

    def watch(self, refs: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        end = time.monotonic() + seconds
        found: _Found = queue.SimpleQueue()
        subjects, besides, unknown = self._subjects(refs)
        for ref in unknown:
            found.put(Observation(ref, None))
        first, later = (
            [_Watch(self._connection, each, found) for each in part] for part in (subjects, besides)
        )
        try:
            for watch in first:
                watch.start()
            for observation in _until(end, latest(len(refs)), found, first, later):
                self._check()
                yield observation
        finally:
            _end([*first, *later])

    def around(self, refs: Collection[ObjectRef]) -> Iterator[Observation]:
        _, besides, _ = self._subjects(refs)
        for subject in besides:
            path = subject.resource.path(subject.namespace)
            with suppress(BundlerError):
                for answer in pages(self._connection, path, subject.query):
                    for obj in items(answer, subject.resource) if answer.is_ok else ():
                        yield Observation(ObjectRef.of(obj), obj)

    def last_lines(
        self, pod: ObjectRef, container: str, count: int, *, previous: bool
    ) -> Sequence[str]:
        return last_lines(self._connection, pod, container, count, previous=previous)

    def _subjects(
        self, refs: Collection[ObjectRef]
    ) -> tuple[list[_Subject], list[_Subject], list[ObjectRef]]:
        """The watches that the objects need, those that tell why they are not ready, and the
        objects of kinds that are not served."""
        places: dict[tuple[Resource, str], set[ObjectRef]] = defaultdict(set)
        unknown = []
        for ref in refs:
            resource = self._discovery.find(ref.group, ref.kind)
            if resource is None:
                unknown.append(ref)
            else:
                places[resource, ref.namespace if resource.is_namespaced else ""].add(ref)
        besides = {
            (resource, namespace): _Subject(
                resource,
                namespace,
                is_besides=True,
                field_selector=_SELECTORS.get((group, kind), ""),
            )
            for namespace in sorted({ref.namespace for ref in refs if ref.namespace})
            for group, kind in CAUSES
            if (resource := self._discovery.find(group, kind))
        }
        subjects = []
        for (resource, namespace), wanted in places.items():
            is_besides = besides.pop((resource, namespace), None) is not None
            names = [ref.name for ref in wanted]
            is_single = len(names) == 1 and not is_besides
            selector = f"metadata.name={names[0]}" if is_single else ""
            subjects.append(_Subject(resource, namespace, frozenset(wanted), is_besides, selector))
        return subjects, list(besides.values()), unknown


def latest(count: int) -> float:
    """Seconds until what is around so many objects is looked at, whatever they say themselves.

    The pods and events of many cost the more, and many that roll out well take longer anyway.
    """
    return min(_LATEST_SECONDS + count * _MORE_SECONDS, _MOST_SECONDS)


def _until(
    end: float, patience: float, found: _Found, first: list[_Watch], later: list[_Watch]
) -> Iterator[Observation | None]:
    """What is found; `later` start when all else was seen once and the caller still goes on."""
    tick = time.monotonic() + _TICK
    to_list, listed_at, heard_at = len(first), math.inf, 0.0
    while (now := time.monotonic()) < end:
        if now - listed_at >= patience or now - max(listed_at, heard_at) >= _CALM_SECONDS:
            listed_at = math.inf
            for watch in later:
                watch.start()
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
        if observation is not None:
            heard_at = now
            yield observation
            continue
        to_list -= 1
        if to_list == 0:
            listed_at = now


def _end(watches: list[_Watch]) -> None:
    for watch in watches:
        watch.stop()
    give_up = time.monotonic() + _JOIN_SECONDS
    for watch in watches:
        if watch.ident is not None:  # an interruption may come before it was started
            watch.join(max(0.0, give_up - time.monotonic()))


class _Watch(threading.Thread):
    """Lists, then follows, one subject until it is stopped."""

    def __init__(self, connection: KubernetesConnection, subject: _Subject, found: _Found) -> None:
        super().__init__(name=f"watch {subject.resource.plural}", daemon=True)
        self._connection = connection
        self._subject = subject
        self._found = found
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        self._version: str | None = None
        """What was seen last, to go on from; None asks for a list."""
        self._seen: set[ObjectRef] = set()
        self._has_listed = False
        self._may_watch = True
        """Where a role allows to list and not to watch, lists are made again and again."""

    def stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.stop()

    def run(self) -> None:
        reached_at, pause = time.monotonic(), 0.0
        while not self._stopped.wait(pause):
            try:
                started = time.monotonic()
                self._step()
                reached_at = time.monotonic()
                if self._may_watch:
                    pause = 0.0 if reached_at - started > 1.0 else _longer(pause)
                else:
                    pause = _POLL_SECONDS
            except Gone:
                self._version, pause = None, _longer(pause)
            except _Later as later:
                pause = max(later.seconds, _longer(pause))
            except Unreachable as error:
                if time.monotonic() - reached_at > _GIVE_UP_SECONDS:
                    self._found.put(error)
                    return
                pause = max(1.0, _longer(pause))
            except BundlerError as error:
                if self._subject.wanted:  # what is besides may be forbidden
                    self._found.put(error)
                return

    def _step(self) -> None:
        """One list, if there is to be one, and one watch."""
        try:
            if self._version is None:
                self._list()
            if self._may_watch:
                self._follow()
            else:
                self._version = None
        except (KeyError, TypeError, AttributeError) as error:
            raise Unreachable(
                f"{self._connection.server} does not answer as a Kubernetes API server does",
                hint="look at the server's address and at proxies on the way",
            ) from error

    def _list(self) -> None:
        """Observe all as it is now, and what is gone since the last list."""
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
        for ref in (self._seen | subject.wanted) - listed:
            self._found.put(Observation(ref, None))
        self._seen, self._version = listed, version
        if not self._has_listed:
            self._has_listed = True
            if subject.wanted:
                self._found.put(None)

    def _follow(self) -> None:
        """Observe changes after the version seen last, until the stream ends."""
        subject = self._subject
        query = {
            **subject.query,
            "watch": "true",
            "resourceVersion": self._version or "",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        with self._connection.stream(subject.resource.path(subject.namespace), query) as stream:
            self._stream = stream
            if self._stopped.is_set():
                return
            if (refused := stream.refusal) is not None:
                if refused.status == 429:
                    raise _Later(stream.retry_after)
                if isinstance(error := self._refused(refused), PermissionRefused):
                    self._may_watch, self._version = False, None
                    return
                raise error
            for event in stream.events():
                obj = event.get("object") or {}
                if event.get("type") == "ERROR":
                    raise self._refused(Answer(int(obj.get("code") or 500), obj))
                self._version = str(obj["metadata"]["resourceVersion"])
                if event.get("type") != "BOOKMARK":
                    self._change(obj, is_gone=event.get("type") == "DELETED")

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
        return self._subject.is_besides or ref in self._subject.wanted

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


def _longer(pause: float) -> float:
    return min(max(0.2, 2 * pause), _MAX_PAUSE)
