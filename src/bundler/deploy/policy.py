"""How an apply is to be done, beyond what is applied: the environment's wishes and the runner's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from bundler.model.bundle import ReleaseDocument
from bundler.model.objects import ObjectRef

NAMESPACE = ("", "Namespace")
DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
KEPT_KINDS = frozenset(
    {NAMESPACE, DEFINITION, ("", "PersistentVolume"), ("", "PersistentVolumeClaim")}
)
"""(group, kind) of what is not deleted unless it is named, and never made anew: others' objects or
people's data go with it."""

OnFailure = Literal["halt", "rollback"]
ChangedJobs = Literal["recreate", "refuse"]


@dataclass(frozen=True)
class Policy:
    on_failure: OnFailure = "halt"
    """What becomes of a target where a release does not get ready: it is left as it is, or the
    former release is restored."""
    changed_jobs: ChangedJobs = "recreate"
    """What is done with a Job whose template is another: it cannot be changed in place."""
    recreate: frozenset[str] = frozenset()
    """`Kind/name` of further objects that may be deleted and made anew where they have to."""
    take_over: frozenset[str] = frozenset()
    """Field managers whose fields we may take from them; every other conflict is refused."""
    prune: bool = True
    """Whether what is stale is deleted."""
    max_deletions: int | None = None
    """More deletions than these are refused; None is no limit."""
    delete: frozenset[str] = frozenset()
    """`Kind/name` of stale objects that are deleted although their kind never is."""
    allow_downgrade: bool | None = None
    """Whether a release may be applied that is older than the current one. None: where nothing is
    protected, unless the newer one was applied while this one was on its way."""
    past_migrations: bool = False
    """Whether to go back behind a migration that is not reversible."""


def is_named(ref: ObjectRef, names: Collection[str]) -> bool:
    """Whether an object is among those that are named `Kind/name` or `Kind/namespace/name`."""
    return f"{ref.kind}/{ref.name}" in names or str(ref) in names


def declared(release: ReleaseDocument, environment: str) -> Policy:
    """What the release says of an environment; the runner's own flags go first."""
    settings = _settings(release, environment)
    return Policy(
        on_failure=settings.get("onFailure", Policy.on_failure),
        changed_jobs=settings.get("jobs", Policy.changed_jobs),
    )


def declared_timeout(release: ReleaseDocument, environment: str) -> float | None:
    """Seconds until everything has to be ready; None where the release does not say."""
    timeout = _settings(release, environment).get("timeout")
    return None if timeout is None else float(timeout)


def _settings(release: ReleaseDocument, environment: str) -> Mapping[str, Any]:
    value = cast("Mapping[str, Any]", release.value)
    return cast("Mapping[str, Any]", value["environments"][environment].get("apply") or {})
