"""`bundler uninstall`: delete what was installed; nothing is pulled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from bundler.cli import (
    connections,
    deployments,
    notifications,
    options,
    output,
    preparing,
    progress,
    several,
    wiring_targets,
)
from bundler.cli.connections import ConnectionFlags, Deployed
from bundler.cli.installed import installed
from bundler.cli.notifications import Listeners
from bundler.deploy.flow import uninstall_from_target
from bundler.deploy.limits import Limits
from bundler.deploy.policy import Policy
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.targets import Order
from bundler.model.changeset import Plan
from bundler.model.connection import Destination


def uninstall(
    environment: options.Environment,
    target: options.Target = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    cluster: options.Cluster = None,
    namespace: options.Namespace = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    delete: options.Delete = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the inventory and the history as well.")
    ] = False,
    lock_timeout: options.LockTimeout = 0.0,
    at_once: several.AtOnce = 1,
    keep_going: several.KeepGoing = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    events: options.EventsFile = None,
    webhooks: options.WebhooksFile = None,
    metrics: options.MetricsFile = None,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Delete everything that is recorded as ours in an environment's targets, last things first.

    What holds data or others' objects is left: namespaces, CRDs, volumes and volume claims; so is
    what an annotation keeps. The history stays and says so. Neither the registry nor the release
    is needed.
    """
    options.require_consent(yes or dry_run, "--yes deletes without asking, --dry-run only shows")
    reason = options.one_line(reason) if reason is not None else None
    policy = Policy(delete=preparing.named("--delete", delete))
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace, cluster)
    found, unreached = installed(flags, environment, target, keep_going=keep_going)

    consent = several.Consent(
        deployments.note_warnings if dry_run else deployments.note_removal,
        yes or dry_run,
        "Delete",
    )

    def typed(plans: Sequence[Plan]) -> bool:
        asks = not (yes or dry_run or all(plan.is_empty for plan in plans))
        given = replace(consent, is_given=True)(plans)  # shows them
        if not asks:
            return given
        return str(typer.prompt(f"Type {environment} to delete this", err=True)) == environment

    listeners = Listeners(events, webhooks, metrics)
    with (
        progress.shown() as on_progress,
        notifications.told(listeners, dry_run=dry_run) as on_event,
    ):
        runner = wiring_targets.runner(consent.again, on_progress, Limits(), reason, policy)
        runner = replace(runner, on_event=on_event)
        order = Order(at_once, keep_going=keep_going)
        results = _uninstall_all(
            found, flags, runner, typed, order, lock_timeout, dry_run=dry_run, purge=purge
        )
    results += unreached
    output.show(
        _value(found, environment, results), list(_lines(found, environment, results, purge))
    )
    deployments.note_errors(environment, results)
    raise typer.Exit(deployments.exit_code(results))


def _uninstall_all(
    found: Sequence[Deployed],
    flags: ConnectionFlags,
    runner: Runner,
    consent: Callable[[Sequence[Plan]], bool],
    order: Order,
    lock_timeout: float,
    *,
    dry_run: bool,
    purge: bool,
) -> list[TargetResult]:
    destinations = [
        Destination(each.project, each.environment, each.target, each.state.namespace or "")
        for each in found
    ]
    flags = replace(flags, state_namespace=None)  # each where it was found
    with connections.connected(flags, destinations, lock_timeout, order.at_once) as opened:
        known = {each.target: (each.state, to) for each, to in zip(found, opened, strict=True)}

        def act(target: str, runner: Runner) -> TargetResult:
            state, to = known[target]
            return uninstall_from_target(
                state, to, runner, namespace=state.namespace or "", dry_run=dry_run, purge=purge
            )

        return several.over(destinations, act, runner, consent, order, deployments.UNINSTALL)


def _value(
    found: Sequence[Deployed], environment: str, results: Sequence[TargetResult]
) -> dict[str, Any]:
    return {
        "project": found[0].project,
        "environment": environment,
        "targets": deployments.target_values(results),
    }


def _lines(
    found: Sequence[Deployed], environment: str, results: Sequence[TargetResult], purge: bool
) -> Iterator[str]:
    namespaces = {each.target: each.state.namespace for each in found}
    for result in results:
        place = f"{environment}/{result.target}"
        if result.status == "planned":
            yield from deployments.plan_lines(place, deployments.UNINSTALL, result.changes)
            continue
        yield deployments.result_line(deployments.UNINSTALL, environment, result)
        yield from deployments.failure_lines(environment, result)
        left = [str(c.ref) for c in result.changes.changes if c.action == "skipped"]
        if left:
            yield f"{place}: left: {', '.join(left)}"
        if namespaces.get(result.target) and result.status in ("succeeded", "unchanged"):
            yield f"{place}: Namespace/{namespaces[result.target]} itself is left"
        if purge and result.status in ("succeeded", "unchanged"):
            yield f"{place}: its inventory and history are removed"
