"""Reads, applies and deletes objects of any kind by the API server's own paths."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

from bundler.adapters.cluster.applying import KubernetesApplier
from bundler.adapters.cluster.connection import Answer, KubernetesConnection
from bundler.adapters.cluster.discovery import Discovery, Resource
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.pools import CONNECTIONS
from bundler.errors import NotReady, OwnershipRefused, Refused
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.objects import KubernetesObject, ObjectRef, owner_of, split_api_version
from bundler.model.scaling import AUTOSCALER, scaled_by
from bundler.parallel import threads

PAGE = 500
_FEW = 3
"""So many objects without namespace are read by name, as accounts may do that; more are listed."""
_SELECTED = {("", "Secret"): {"fieldSelector": "type!=helm.sh/release.v1"}}
"""(group, kind) → what leaves out of its lists what is large, many, and never ours."""
_DELETE_SECONDS = 60.0
_RACES = 20
"""Tries at deleting what must not have changed since its owner was read."""


class KubernetesObjects:
    """`before_write` runs ahead of every request that changes something."""

    def __init__(
        self,
        connection: KubernetesConnection,
        discovery: Discovery,
        *,
        namespace: str,
        before_write: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._discovery = discovery
        self._namespace = namespace
        self._before_write = before_write
        self._applier = KubernetesApplier(
            connection, discovery, place=self._namespace_of, before_write=before_write
        )

    # --- reading --------------------------------------------------------------------------------

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        places: dict[tuple[Resource, str], list[ObjectRef]] = defaultdict(list)
        for ref, api_version in wanted.items():
            resource = self._resource(ref, api_version)
            if resource is not None:
                places[resource, self._namespace_of(resource, ref)].append(ref)
        jobs: list[Callable[[], Mapping[ObjectRef, KubernetesObject]]] = []
        for (resource, namespace), refs in places.items():
            if len(refs) > (1 if namespace else _FEW):
                jobs.append(lambda r=resource, n=namespace, w=refs: self._listed(r, n, w))  # type: ignore[misc]
            else:
                jobs += [lambda r=resource, w=ref: self._got(r, w) for ref in refs]  # type: ignore[misc]
        with threads(CONNECTIONS) as pool:
            parts = list(pool.map(lambda job: job(), jobs))
        return {ref: obj for part in parts for ref, obj in part.items()}

    def _resource(self, ref: ObjectRef, api_version: str) -> Resource | None:
        """The version that is asked for; the preferred one where that is no longer served."""
        _, version = split_api_version(api_version)
        find = self._discovery.find
        return find(ref.group, ref.kind, version) or find(ref.group, ref.kind)

    def _namespace_of(self, resource: Resource, ref: ObjectRef) -> str:
        return (ref.namespace or self._namespace) if resource.is_namespaced else ""

    def _got(self, resource: Resource, ref: ObjectRef) -> Mapping[ObjectRef, KubernetesObject]:
        path = resource.path(self._namespace_of(resource, ref), ref.name)
        answer = self._connection.request("GET", path)
        if answer.status == 404:
            return {}
        if not answer.is_ok:
            raise refusal(answer, str(ref))
        return {ref: answer.document}

    def _listed(
        self, resource: Resource, namespace: str, wanted: list[ObjectRef]
    ) -> Mapping[ObjectRef, KubernetesObject]:
        by_name = {ref.name: ref for ref in wanted}
        found: dict[ObjectRef, KubernetesObject] = {}
        query = _SELECTED.get((resource.group, resource.kind))
        for answer in pages(self._connection, resource.path(namespace), query):
            if answer.status == 404:
                return found
            if answer.status == 403:  # a role may allow to read, but not to list
                return {
                    ref: obj for each in wanted for ref, obj in self._got(resource, each).items()
                }
            if not answer.is_ok:
                raise refusal(answer, f"{resource.kind} in {namespace or 'the cluster'}")
            for obj in items(answer, resource):
                ref = by_name.get(obj["metadata"]["name"])
                if ref is not None:
                    found[ref] = obj
            if len(found) == len(by_name):
                break
        return found

    def autoscalers(self, namespaces: Collection[str]) -> Mapping[ObjectRef, ObjectRef]:
        resource = self._discovery.find(*AUTOSCALER)
        found: dict[ObjectRef, ObjectRef] = {}
        if resource is None:
            return found
        for namespace in sorted(namespaces):
            for answer in pages(self._connection, resource.path(namespace)):
                if answer.status in (403, 404):
                    break
                if not answer.is_ok:
                    raise refusal(answer, f"{resource.kind} in {namespace}")
                for obj in items(answer, resource):
                    target = scaled_by(obj)
                    if target:
                        found[ObjectRef.of(obj)] = target
        return found

    # --- applying -------------------------------------------------------------------------------

    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        return self._applier.apply(obj, dry_run=dry_run, claim=claim)

    # --- deleting -------------------------------------------------------------------------------

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        if not uid:
            raise Refused(
                f"{ref}: not deleted, as its UID is not known and it may be somebody else's",
                hint="apply again to learn it, or delete the object by hand",
            )
        resource = self._discovery.find(ref.group, ref.kind)
        if resource is None:
            return
        path = resource.path(self._namespace_of(resource, ref), ref.name)
        for _ in range(_RACES):
            preconditions = self._still_owned(ref, path, uid, owner)
            if preconditions is None:
                return
            answer = self._delete(ref, path, preconditions)
            if answer.status != 409 or owner is None:
                break
        if answer.status == 404:
            return
        if answer.status == 409:
            raise _taken(ref)
        if not answer.is_ok:
            raise refusal(answer, f"{ref}: not deleted")
        self._wait_until_gone(ref, path, uid)

    def _still_owned(
        self, ref: ObjectRef, path: str, uid: str, owner: str | None
    ) -> Mapping[str, str] | None:
        """What has to be so when it is deleted; None where it is gone."""
        if owner is None:
            return {"uid": uid}
        answer = self._connection.request("GET", path)
        if answer.status == 404:
            return None
        if not answer.is_ok:
            raise refusal(answer, str(ref))
        metadata = answer.document["metadata"]
        if metadata["uid"] != uid:
            raise _taken(ref)
        if owner_of(answer.document) != owner:
            other = owner_of(answer.document) or "nobody"
            raise OwnershipRefused(f"{ref}: not deleted, as it belongs to {other} by now")
        return {"uid": uid, "resourceVersion": metadata["resourceVersion"]}

    def _delete(self, ref: ObjectRef, path: str, preconditions: Mapping[str, str]) -> Answer:
        # A Job counts as gone when its pods are: two runs of a migration must not overlap.
        is_job = (ref.group, ref.kind) == ("batch", "Job")
        return self._connection.request(
            "DELETE",
            path,
            body={
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": preconditions,
                "propagationPolicy": "Foreground" if is_job else "Background",
            },
            before=self._before_write,
        )

    def _wait_until_gone(self, ref: ObjectRef, path: str, uid: str) -> None:
        give_up = time.monotonic() + _DELETE_SECONDS
        delay = 0.02
        while True:
            answer = self._connection.request("GET", path)
            if answer.status == 404:
                return
            if not answer.is_ok:
                raise refusal(answer, str(ref))
            metadata = answer.document.get("metadata") or {}
            if metadata.get("uid") != uid:
                return
            if time.monotonic() > give_up:
                finalizers = ", ".join(metadata.get("finalizers") or ())
                raise NotReady(
                    f"{ref}: still there {_DELETE_SECONDS:.0f} s after it was deleted"
                    + (f", held by {finalizers}" if finalizers else ""),
                    hint="see what its finalizers wait for" if finalizers else None,
                )
            time.sleep(delay)
            delay = min(delay * 2, 1.0)


def pages(
    connection: KubernetesConnection, path: str, query: Mapping[str, str] | None = None
) -> Iterator[Answer]:
    """A list page by page; the last answer may be a refusal."""
    token = ""
    while True:
        more = {"continue": token} if token else {}
        answer = connection.request(
            "GET", path, query={**(query or {}), "limit": str(PAGE), **more}
        )
        if answer.status == 410 and token:  # the rest of the list is too old: all at once then
            answer = connection.request("GET", path, query=query)
        yield answer
        token = (answer.document.get("metadata") or {}).get("continue") or ""
        if not answer.is_ok or not token:
            return


def items(answer: Answer, resource: Resource) -> Iterator[KubernetesObject]:
    """The objects of a list, with the apiVersion and kind that the server leaves out."""
    for item in answer.document.get("items") or ():
        yield {"apiVersion": resource.api_version, "kind": resource.kind, **item}


def _taken(ref: ObjectRef) -> Refused:
    return Refused(
        f"{ref}: not deleted, as another object has taken its name",
        hint="it is not ours; look who made it",
    )
