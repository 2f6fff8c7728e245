"""What drift and status ask of targets: who holds the lock, and how each differs from its release.

Many targets are asked at once, and a release that several run is pulled once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from bundler.cli import preparing, wiring_targets
from bundler.cli.connections import Deployed
from bundler.deploy.drift import drift_from
from bundler.errors import BundlerError, NotFound, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.connection import Destination
from bundler.model.drift import Drift
from bundler.model.reference import InvalidReference, Repository
from bundler.parallel import threads
from bundler.ports import DeployTarget, Holder

PARALLEL = 8
_ELSEWHERE = "--deploy-registry names a place that has it"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Examined:
    """A target and what was found there, or the errors that kept it from being found."""

    target: Deployed
    holder: Holder | None = None
    lock_error: BundlerError | None = None
    drift: Drift | None = None
    drift_error: BundlerError | None = None


@dataclass(frozen=True)
class Examination:
    """What is looked at, and where releases and keys are found."""

    deploy_registry: str | None = None
    plain_http: bool = False
    sops: str | None = None
    with_drift: bool = True
    with_lock: bool = False

    def __post_init__(self) -> None:
        try:
            if self.deploy_registry:
                Repository.parse(self.deploy_registry)
        except InvalidReference as error:
            raise UsageError(str(error), hint="such as oci://registry.example.com/shop") from error

    def of(self, targets: Sequence[Deployed]) -> list[Examined]:
        """In their order."""
        with threads(PARALLEL) as pool:
            pulled: dict[Hashable, Future[VerifiedBundle]] = {}
            for each in targets:
                is_sought = self.with_drift and not _is_empty(each)
                if is_sought and _release_of(each) not in pulled:
                    pulled[_release_of(each)] = pool.submit(self._pull, each)
            running = [
                pool.submit(self._examine, each, pulled.get(_release_of(each))) for each in targets
            ]
            return [each.result() for each in running]

    def _pull(self, target: Deployed) -> VerifiedBundle:
        revision = target.state.current
        if revision is None:
            raise NotFound(
                f"{target.place}: no release is current", hint="no apply succeeded there yet"
            )
        try:
            return preparing.recorded(revision, self.deploy_registry, self.plain_http)
        except BundlerError as error:
            hint = error.hint if self.deploy_registry else _ELSEWHERE
            raise error.reworded(hint=hint) from error

    def _examine(self, target: Deployed, pulled: Future[VerifiedBundle] | None) -> Examined:
        bundle, error = _tried(pulled.result) if pulled else (None, None)
        nothing = Drift(compared=0) if self.with_drift and _is_empty(target) else None
        if bundle is None and not self.with_lock:
            return Examined(target, drift=nothing, drift_error=error)
        place = (target.project, target.environment, target.target, _namespace(target, bundle))
        way = (Destination(*place), target.way)
        try:
            with wiring_targets.open_targets([way], target.state.namespace, 0) as [to]:
                holder = _tried(to.locked_by) if self.with_lock else (None, None)
                drift = (
                    _tried(lambda: self._drift(target, bundle, to)) if bundle else (nothing, error)
                )
        except BundlerError as unreachable:
            holder, drift = (None, unreachable), (None, unreachable if self.with_drift else None)
        return Examined(target, *holder, *drift)

    def _drift(self, target: Deployed, bundle: VerifiedBundle, to: DeployTarget) -> Drift:
        decrypter = wiring_targets.decrypter(self.sops)
        place = (target.environment, target.target)
        return drift_from(bundle, *place, target.state, to, decrypter)


def _tried(find: Callable[[], Value]) -> tuple[Value | None, BundlerError | None]:
    try:
        return find(), None
    except BundlerError as error:
        return None, error


def _is_empty(target: Deployed) -> bool:
    """Whether nothing there is recorded as ours, as after an uninstall."""
    return target.state.current is None and not target.state.inventory.objects


def _release_of(target: Deployed) -> Hashable:
    """What tells a target's release, with its images mapped as they were then, from others."""
    revision = target.state.current
    if revision is None:
        return target.place
    return revision.reference, revision.digest, revision.image_registry, revision.environment


def _namespace(target: Deployed, bundle: VerifiedBundle | None) -> str:
    """Where the release's objects are; nobody knows without the release."""
    if bundle is None:
        return target.state.namespace or ""
    release = cast("dict[str, Any]", bundle.release.value)
    targets = release["environments"].get(target.environment, {}).get("targets", {})
    return str(targets.get(target.target, {}).get("namespace", target.state.namespace or ""))
