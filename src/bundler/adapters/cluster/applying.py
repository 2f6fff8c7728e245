"""Server-side apply: never forced, but where a claim names all managers that lose by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from bundler.adapters.cluster.connection import Answer, KubernetesConnection
from bundler.adapters.cluster.discovery import Discovery, Resource
from bundler.adapters.cluster.errors import (
    conflicts_in,
    fields_in,
    is_field_conflict,
    is_kind_missing,
    refusal,
    would_do_anew,
)
from bundler.adapters.cluster.ownership import entries_of, reassigned, without_leftovers
from bundler.errors import BundlerError, ImmutableField, NotFound, OwnershipRefused, Refused
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.objects import (
    FIELD_MANAGER,
    KubernetesObject,
    ObjectRef,
    owner_of,
    split_api_version,
)
from bundler.model.sops import is_secret

_APPLY_PATCH = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_NEW_KIND_SECONDS = 10.0
"""A kind is served a moment after its CustomResourceDefinition says so."""
_RACES = 4
_PRECISE_RACES = 20
"""Tries at writing what must not have changed since it was read."""
_BY_US = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_DRY = {"dryRun": "All"}
_KEPT_BY_SERVER = ("managedFields", "resourceVersion")


class KubernetesApplier:
    """`place` says where an object is, `before_write` runs ahead of every change."""

    def __init__(
        self,
        connection: KubernetesConnection,
        discovery: Discovery,
        *,
        place: Callable[[Resource, ObjectRef], str],
        before_write: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._discovery = discovery
        self._place = place
        self._before_write = before_write

    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        ref = ObjectRef.of(obj)
        if not dry_run and (claim.adopts or claim.leaves_replicas):
            self._reassign(ref, obj, claim)
        answer = self._sent(ref, obj, dry_run)
        if is_field_conflict(answer) and claim.take_over:
            answer = self._taking_over(ref, obj, dry_run, claim)
        if not answer.is_ok:
            raise self._refusal(answer, ref, obj)
        if dry_run and claim.adopts:
            return self._adopted(ref, obj, answer.document, claim)
        return answer.document

    def _sent(self, ref: ObjectRef, obj: KubernetesObject, dry_run: bool) -> Answer:
        give_up = time.monotonic() + (0.0 if dry_run else _NEW_KIND_SECONDS)
        while True:
            resource = self._discovery.find(ref.group, ref.kind, _version(obj))
            if resource and ref.namespace and not resource.is_namespaced:
                # The bundle could not know it, so its environment's `allow` never saw it either.
                raise Refused(
                    f"{ref}: {ref.kind} is a kind without namespace here",
                    hint="list it under the environment's allow.clusterScoped and publish again",
                )
            answer = self._patch(resource, ref, obj, dry_run) if resource else None
            if answer is not None and (answer.is_ok or not is_kind_missing(answer)):
                return answer
            if time.monotonic() > give_up:
                raise self._unknown_kind(ref, obj)
            time.sleep(0.5)

    def _patch(
        self, resource: Resource, ref: ObjectRef, obj: KubernetesObject, dry_run: bool
    ) -> Answer:
        for _ in range(_RACES):
            answer = self._request(resource, ref, obj, dry_run)
            # A controller wrote the object between the server's reading and writing it.
            if not _is_race(answer):
                break
        return answer

    def _request(
        self,
        resource: Resource,
        ref: ObjectRef,
        body: Any,
        dry_run: bool,
        *,
        content_type: str = _APPLY_PATCH,
        force: bool = False,
    ) -> Answer:
        path = resource.path(self._place(resource, ref), ref.name)
        forced = {"force": "true"} if force else {}
        return self._connection.request(
            "PATCH",
            path,
            query={**_BY_US, **forced, **(_DRY if dry_run else {})},
            body=body,
            content_type=content_type,
            before=None if dry_run else self._before_write,
        )

    def _unknown_kind(self, ref: ObjectRef, obj: KubernetesObject) -> NotFound:
        served = ", ".join(self._discovery.versions(ref.group, ref.kind))
        return NotFound(
            f"{ref}: the cluster does not serve {ref.kind} of {obj.get('apiVersion')}",
            hint=f"it serves {served}" if served else "is its CustomResourceDefinition installed?",
        )

    # --- fields of others -----------------------------------------------------------------------

    def _taking_over(
        self, ref: ObjectRef, obj: KubernetesObject, dry_run: bool, claim: Claim
    ) -> Answer:
        """Force the object as it was when only managers of the claim stood against us.

        Read, ask without force, then force that very version: whoever writes in between makes the
        version another one, and all is asked again.
        """
        resource = self._resource(ref, obj)
        for _ in range(_PRECISE_RACES):
            live = self._read(resource, ref)
            answer = self._patch(resource, ref, obj, dry_run)
            if not is_field_conflict(answer) or not conflicts_in(answer).keys() <= claim.take_over:
                return answer
            version = live["metadata"]["resourceVersion"] if live else ""
            versioned = {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}
            answer = self._request(resource, ref, versioned, dry_run, force=True)
            if not _is_race(answer):
                return answer
        return answer

    def _reassign(self, ref: ObjectRef, obj: KubernetesObject, claim: Claim) -> None:
        """Say anew who manages which fields, of the object as it is."""
        resource = self._resource(ref, obj)
        for _ in range(_PRECISE_RACES):
            live = self._read(resource, ref)
            if live is None:
                return
            other = owner_of(live)
            if claim.adopts and other not in (None, owner_of(obj)):
                raise OwnershipRefused(f"{ref}: belongs to {other} by now", hint="rename it")
            entries = reassigned(live, str(obj["apiVersion"]), claim)
            if entries == entries_of(live):
                return
            values = {
                "managedFields": entries,
                "resourceVersion": live["metadata"]["resourceVersion"],
            }
            patch = [
                {"op": "replace", "path": f"/metadata/{key}", "value": value}
                for key, value in values.items()
            ]
            answer = self._request(resource, ref, patch, dry_run=False, content_type=_JSON_PATCH)
            if answer.is_ok:
                return
            if not _is_race(answer):
                break
        raise refusal(answer, str(ref), is_secret=is_secret(obj))

    def _adopted(
        self, ref: ObjectRef, obj: KubernetesObject, outcome: KubernetesObject, claim: Claim
    ) -> KubernetesObject:
        """What would result, by the server's word: it also fills in defaults for what goes."""
        wanted = without_leftovers(outcome, claim.take_over)
        if wanted == outcome:
            return outcome
        own = {
            key: value for key, value in wanted["metadata"].items() if key not in _KEPT_BY_SERVER
        }
        patch = [
            {"op": "replace", "path": f"/{key}", "value": own if key == "metadata" else value}
            for key, value in wanted.items()
            if key not in ("apiVersion", "kind", "status")
        ] + [{"op": "remove", "path": f"/{key}"} for key in outcome.keys() - wanted.keys()]
        answer = self._request(
            self._resource(ref, obj), ref, patch, dry_run=True, content_type=_JSON_PATCH
        )
        if not answer.is_ok:
            raise self._refusal(answer, ref, obj)
        entries = {"managedFields": entries_of(outcome)}
        return {**answer.document, "metadata": {**answer.document["metadata"], **entries}}

    def _resource(self, ref: ObjectRef, obj: KubernetesObject) -> Resource:
        resource = self._discovery.find(ref.group, ref.kind, _version(obj))
        if resource is None:
            raise self._unknown_kind(ref, obj)
        return resource

    def _read(self, resource: Resource, ref: ObjectRef) -> KubernetesObject | None:
        answer = self._connection.request(
            "GET", resource.path(self._place(resource, ref), ref.name)
        )
        if answer.status == 404:
            return None
        if not answer.is_ok:
            raise refusal(answer, str(ref))
        return answer.document

    # --- refusals -------------------------------------------------------------------------------

    def _refusal(self, answer: Answer, ref: ObjectRef, obj: KubernetesObject) -> BundlerError:
        """What a refusal means: `ImmutableField` where only the change is refused.

        No wording says so for certain; that the server would take the same object as a new one
        does.
        """
        error = refusal(answer, str(ref), is_secret=is_secret(obj))
        if type(error) is not Refused or answer.status not in (400, 403, 422):
            return error
        resource = self._resource(ref, obj)
        as_new = self._connection.request(
            "POST",
            resource.path(self._place(resource, ref)),
            query={**_BY_US, **_DRY},
            body=obj,
        )
        if not would_do_anew(answer, as_new):
            return error
        return ImmutableField(
            error.message,
            fields=fields_in(answer),
            hint="delete the object first, or give the new one another name",
        )


def _is_race(answer: Answer) -> bool:
    is_conflict = answer.status == 409 and answer.document.get("reason") == "Conflict"
    return is_conflict and not is_field_conflict(answer)


def _version(obj: Mapping[str, Any]) -> str:
    return split_api_version(str(obj.get("apiVersion", "")))[1]
