"""Brings the targets of an environment to a release: what apply and rollback have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bundler.cli import deployments, notifications, output, preparing, progress, wiring_targets
from bundler.cli.connections import ConnectionFlags
from bundler.cli.former import RecordedReleases, barriers_asked
from bundler.cli.notifications import Listeners
from bundler.cli.preparing import Ready
from bundler.cli.several import Consent, over
from bundler.deploy.events import Event, OnEvent
from bundler.deploy.flow import apply_to_target
from bundler.deploy.limits import Limits
from bundler.deploy.policy import Policy, declared_timeout
from bundler.deploy.progress import OnProgress
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.reviewed import ReviewedPlan
from bundler.deploy.targets import Order
from bundler.model.bundle import VerifiedBundle
from bundler.model.connection import Destination
from bundler.model.reference import Repository
from bundler.model.revision import Kind


@dataclass(frozen=True)
class Manner:
    """How it is done, beyond what is brought where."""

    flags: ConnectionFlags
    policy: Policy
    limits: Limits
    order: Order
    consent: Consent
    kind: Kind = "apply"
    reviewed: ReviewedPlan | None = None
    dry_run: bool = False
    reason: str | None = None
    lock_timeout: float = 0.0
    image_check: bool = True
    listeners: Listeners = field(default_factory=Listeners)
    sops: str | None = None
    plain_http: bool = False
    unreached: Sequence[TargetResult] = ()
    """Targets that it is done without, and why."""


def bring(
    bundle: VerifiedBundle, destinations: Sequence[Destination], manner: Manner, tag: str
) -> int:
    """Carry it out in all targets and show what became of them; the exit code."""
    environment = destinations[0].environment
    back = "back to " if manner.kind == "rollback" else ""
    with (
        progress.shown() as on_progress,
        notifications.told(manner.listeners, dry_run=manner.dry_run) as on_event,
        preparing.opened(
            bundle, destinations, manner.flags, manner.sops, manner.lock_timeout,
            manner.order.at_once,
        ) as ready,
    ):  # fmt: skip
        runner = _runner(manner, bundle.reference.repository, on_progress, on_event)
        if manner.reviewed:
            _check_all(manner.reviewed, ready, manner)
        for destination in destinations:
            output.note(f"{destination.place}: {back}{ready.bundle.reference}")
        act = _Act(ready, environment, manner)
        results = over(destinations, act, runner, manner.consent, manner.order, tag)
        results += manner.unreached
    output.show(
        deployments.apply_value(bundle, environment, results),
        deployments.apply_lines(bundle, environment, results),
    )
    deployments.note_errors(environment, results)
    _note_halted(environment, results)
    return deployments.exit_code(results)


def within(
    limits: Limits, timeout: float | None, bundle: VerifiedBundle, environment: str
) -> Limits:
    """The limits, with the release's own timeout where no flag names one."""
    declared = declared_timeout(bundle.release, environment) if timeout is None else None
    return replace(limits, timeout=declared) if declared else limits


def _runner(
    manner: Manner, beside: Repository, on_progress: OnProgress, on_event: OnEvent
) -> Runner:
    may_ask = not (manner.consent.is_given or manner.dry_run)
    images = wiring_targets.image_check(manner.plain_http) if manner.image_check else None
    runner = wiring_targets.runner(
        manner.consent.again, on_progress, manner.limits, manner.reason, manner.policy, images
    )
    return replace(
        runner,
        on_event=_also_on_stderr(on_event) if manner.kind == "apply" else on_event,
        former=RecordedReleases(manner.sops, beside, plain_http=manner.plain_http),
        on_barriers=barriers_asked(may_ask=may_ask),
        check=manner.reviewed.check if manner.reviewed else None,
    )


def _check_all(reviewed: ReviewedPlan, ready: Ready, manner: Manner) -> None:
    """Where all connections lead, and what they show, before the first target is changed."""
    state_namespace = manner.flags.state_namespace
    reviewed.check_places(preparing.places(ready, state_namespace))
    if len(ready.targets) > 1:
        reviewed.check_targets(preparing.previews(ready, state_namespace, manner.policy))


class _Act:
    """The flow in one target of those that are ready."""

    def __init__(self, ready: Ready, environment: str, manner: Manner) -> None:
        self._bundle = ready.bundle
        self._ways = {destination.target: to for destination, to in ready.targets}
        self._environment = environment
        self._manner = manner

    def __call__(self, target: str, runner: Runner) -> TargetResult:
        return apply_to_target(
            self._bundle, self._environment, target, self._ways[target], runner,
            dry_run=self._manner.dry_run, state_namespace=self._manner.flags.state_namespace,
            kind=self._manner.kind,
        )  # fmt: skip


def _note_halted(environment: str, results: Sequence[TargetResult]) -> None:
    """What to do about a release that failed half-way and was left as it is."""
    for result in results:
        halted = result.status == "failed" and not result.rollback
        if halted and result.revision and result.revision > 1:
            only = f" --target {result.target}" if len(results) > 1 else ""
            back = f"bundler rollback --env {environment}{only}"
            output.note(f"{environment}/{result.target}: {back} restores the former release")


def _also_on_stderr(on_event: OnEvent) -> OnEvent:
    """Where it turns round is told between the lines of progress, too."""

    def tell(event: Event) -> None:
        if event.kind == "rollback":
            output.note(f"{event.environment}/{event.target}: going back to {event.release}")
        on_event(event)

    return tell
