"""What a cluster's refusals mean to a release; sources: the API conventions on `Status`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from bundler.adapters.cluster.connection import OBJECT_IS_BAD, Answer
from bundler.errors import (
    BundlerError,
    FieldConflict,
    NotFound,
    PermissionRefused,
    Refused,
    Unreachable,
)

_MAX_TEXT = 1000
_MAX_CAUSE = 200
_RBAC = re.compile(
    r'[Uu]ser .*(cannot \S+ (resource|path) "|is attempting to grant RBAC)', re.DOTALL
)
_CONFLICT = re.compile(r'conflict with "([^"]*)"')
_QUOTA = "exceeded quota"
_WEBHOOK = re.compile(r'(?:admission webhook|calling webhook) "([^"]+)"')
_TYPED_FIELD = re.compile(r"\): (\.[^\s:]+): (?:field not declared|expected)")
_FIELD_PATH = re.compile(r"[.\w\[\]\"/=:,-]*")


def refusal(answer: Answer, what: str, *, is_secret: bool = False) -> BundlerError:
    """The error for an answer that is no success.

    `what` is what the message starts with. The server quotes wrong values, so of what it says of
    a Secret only the names of fields are told.
    """
    if answer.status == 409:
        return _conflict(answer, what)
    if answer.status == 403:
        return _forbidden(answer, what, is_secret)
    told = _told(answer, is_secret)
    if answer.status == 404:
        return NotFound(f"{what}: {told}")
    is_object_bad = "webhook" in told or OBJECT_IS_BAD.search(text_of(answer))
    if answer.status == 429 or (answer.status >= 500 and not is_object_bad):
        return Unreachable(f"{what}: {told}", hint="the cluster has a problem; try again")
    return Refused(f"{what}: {told}")


def text_of(answer: Answer) -> str:
    """The server's own words, bounded."""
    message = " ".join(str(answer.document.get("message") or "").split())
    return message[:_MAX_TEXT] or f"the cluster answers {answer.status}"


def is_field_conflict(answer: Answer) -> bool:
    return answer.status == 409 and has_cause(answer, "FieldManagerConflict")


def conflicts_in(answer: Answer) -> Mapping[str, tuple[str, ...]]:
    """Of a field conflict: who manages fields that we want otherwise → these fields."""
    fields: dict[str, set[str]] = defaultdict(set)
    for cause in _causes(answer):
        if cause.get("reason") == "FieldManagerConflict":
            match = _CONFLICT.search(str(cause.get("message")))
            fields[match[1] if match else "somebody"].add(str(cause.get("field", "")))
    return {name: tuple(sorted(fields[name])) for name in sorted(fields)}


def fields_in(answer: Answer) -> tuple[str, ...]:
    """The fields that a refusal is about."""
    return tuple(sorted({str(cause["field"]) for cause in _causes(answer) if cause.get("field")}))


def would_do_anew(answer: Answer, as_new: Answer) -> bool:
    """Whether an object that may not be changed so would be accepted as a new one.

    `as_new` is the answer to its creation, beside the one that stands there: what is in its way
    then (its name, a port, a quota) is so no more when that is gone.
    """
    if as_new.status == 409:
        return as_new.document.get("reason") == "AlreadyExists"
    if answer.status != 422 or not fields_in(answer):
        return False
    if as_new.status == 422:
        return not set(fields_in(answer)) & set(fields_in(as_new))
    return as_new.status == 403 and _QUOTA in text_of(as_new)


def has_cause(answer: Answer, reason: str) -> bool:
    return any(cause.get("reason") == reason for cause in _causes(answer))


def is_kind_missing(answer: Answer) -> bool:
    """Whether a 404 means the kind and not the object or its namespace."""
    return answer.status == 404 and not (answer.document.get("details") or {}).get("name")


def _causes(answer: Answer) -> Iterator[Mapping[str, Any]]:
    details = answer.document.get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    yield from (cause for cause in causes or () if isinstance(cause, Mapping))


def _told(answer: Answer, is_secret: bool) -> str:
    if not is_secret:
        wrong = [_cause(cause) for cause in _causes(answer) if cause.get("field")]
        return "; ".join(wrong) if answer.status == 422 and wrong else text_of(answer)
    webhook = _WEBHOOK.search(text_of(answer))
    if webhook:
        return f"admission webhook {webhook[1]} says no"
    fields = {str(cause["field"]) for cause in _causes(answer) if cause.get("field")}
    fields.update(_TYPED_FIELD.findall(text_of(answer)))
    named = ", ".join(field for field in sorted(fields) if _FIELD_PATH.fullmatch(field))
    if named:
        return f"the cluster does not accept {named}"
    return f"the cluster answers {answer.status} {answer.document.get('reason') or ''}".rstrip()


def _cause(cause: Mapping[str, Any]) -> str:
    """One wrong field; of a long value that the server quotes, only what is wrong with it."""
    # A difference follows some messages, line by line.
    message = " ".join(str(cause.get("message") or "").partition("\n@@")[0].split())
    if len(message) > _MAX_CAUSE:
        message = message.rpartition(": ")[2][:_MAX_CAUSE]
    return f"{cause['field']}: {message}"


def _conflict(answer: Answer, what: str) -> BundlerError:
    managers = conflicts_in(answer)
    if not managers:
        return Refused(
            f"{what}: it is changed or deleted by somebody else at this moment",
            hint="apply again when it is gone or at rest",
        )
    told = "; ".join(f"{name} manages {', '.join(fields)}" for name, fields in managers.items())
    return FieldConflict(
        f"{what}: {told}",
        managers=managers,
        hint="leave these fields out of the manifests, or take them over: docs/apply.md, Conflicts",
    )


def _forbidden(answer: Answer, what: str, is_secret: bool) -> BundlerError:
    text = text_of(answer)
    if has_cause(answer, "NamespaceTerminating"):
        return Refused(
            f"{what}: its namespace is being deleted",
            hint="apply again when the namespace is gone",
        )
    # Quotas, Pod Security and webhooks answer 403 as well; only RBAC speaks of users.
    if _RBAC.search(text):
        return PermissionRefused(
            f"{what}: {text}", hint="bundler role writes a role that is enough: docs/permissions.md"
        )
    if _QUOTA in text:
        return Refused(f"{what}: {text}", hint="free some of the quota, or have it raised")
    return Refused(f"{what}: {_told(answer, is_secret)}")
