"""`bundler rollback`: apply an earlier release again, by the digest that is recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

import typer

from bundler.cli import (
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
from bundler.cli.former import RecordedReleases, barriers_asked
from bundler.cli.installed import installed, state_namespace
from bundler.cli.results import migration_lines
from bundler.deploy import goal, policy
from bundler.deploy.flow import apply_to_target
from bundler.deploy.result import Runner, TargetResult
from bundler.errors import ConfirmationNeeded, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.connection import Destination
from bundler.model.revision import Revision


def rollback(
    environment: options.Environment,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="A version or digest that was there before."),
    ] = None,
    to_revision: Annotated[
        int | None, typer.Option("--to-revision", metavar="N", help="A revision, by its number.")
    ] = None,
    target: options.Target = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    cluster: options.Cluster = None,
    namespace: options.Namespace = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    past_migrations: options.PastMigrations = False,
    no_image_check: options.NoImageCheck = False,
    timeout: options.Timeout = None,
    stall_timeout: options.StallTimeout = None,
    patience: options.Patience = "",
    lock_timeout: options.LockTimeout = 0.0,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    events: options.EventsFile = None,
    webhooks: options.WebhooksFile = None,
    metrics: options.MetricsFile = None,
    sops: options.Sops = None,
    deploy_registry: Annotated[
        str | None,
        typer.Option(
            "--deploy-registry",
            envvar="BUNDLER_DEPLOY_REGISTRY",
            metavar="oci://…|ocidir://…",
            help="Where to pull it from; where it was pulled from then by default.",
        ),
    ] = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Go back to the release before the current one, or to the one that --to names.

    It is applied again by its digest, as a new revision. Where the last apply failed, the current
    release is restored. What a target never had cannot be gone back to.
    """
    if to is not None and to_revision is not None:
        raise UsageError("--to and --to-revision contradict each other", hint="name one")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfirmationNeeded(
            "there is no terminal to ask on",
            hint="--yes goes back without asking, --dry-run only shows",
        )
    reason = options.one_line(reason) if reason is not None else None
    limits = options.limits(timeout, stall_timeout, patience)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace, cluster)
    found = installed(flags, environment, target)
    revision = _one_goal(found, to, to_revision)
    bundle = preparing.recorded(revision, deploy_registry, plain_http)
    for line in migration_lines(cast("dict[str, Any]", bundle.release.value)):
        output.note(line)
    destinations = _destinations(bundle, found)
    kept_in = state_namespace(found, [each.namespace for each in destinations])

    order = several.order(bundle, destinations, 1, (), False)
    consent = several.Consent(
        lambda plan: deployments.note_plan(plan, revision.tag), yes or dry_run, "Go back"
    )
    if timeout is None and (seconds := policy.declared_timeout(bundle.release, environment)):
        limits = replace(limits, timeout=seconds)
    with (
        progress.shown() as on_progress,
        notifications.told(events, webhooks, metrics) as on_event,
        preparing.opened(
            bundle, destinations, replace(flags, state_namespace=kept_in), sops, lock_timeout
        ) as ready,
    ):
        runner = wiring_targets.runner(
            consent.again, on_progress, limits, reason,
            replace(
                policy.declared(bundle.release, environment),
                on_failure="halt",
                allow_downgrade=True,
                past_migrations=past_migrations,
            ),
            None if no_image_check else wiring_targets.image_check(plain_http),
        )  # fmt: skip
        runner = replace(
            runner,
            on_event=on_event,
            former=RecordedReleases(sops, plain_http=plain_http),
            on_barriers=barriers_asked(may_ask=not (yes or dry_run)),
        )
        ways = {destination.target: to for destination, to in ready.targets}

        def act(target: str, runner: Runner) -> TargetResult:
            return apply_to_target(
                ready.bundle, environment, target, ways[target], runner,
                dry_run=dry_run, state_namespace=kept_in, kind="rollback",
            )  # fmt: skip

        for destination in destinations:
            output.note(f"{destination.place}: back to {bundle.reference}")
        results = several.over(destinations, act, runner, consent, order, revision.tag)
    output.show(
        deployments.apply_value(bundle, environment, results),
        deployments.apply_lines(bundle, environment, results),
    )
    deployments.note_errors(environment, results)
    raise typer.Exit(deployments.exit_code(results))


def _one_goal(found: Sequence[Deployed], to: str | None, to_revision: int | None) -> Revision:
    """Where all of the targets go back to. Raises UsageError where they would part."""
    goals = {each.place: _goal(each, to, to_revision) for each in found}
    first = next(iter(goals.values()))
    if any(
        (each.digest, each.image_registry) != (first.digest, first.image_registry)
        for each in goals.values()
    ):
        raise UsageError(
            "the targets would go back to different releases: "
            + ", ".join(f"{place} to {each.tag}" for place, each in goals.items()),
            hint="--to names one release for all, --target one of them",
        )
    return first


def _goal(each: Deployed, to: str | None, to_revision: int | None) -> Revision:
    if to_revision is not None:
        return goal.numbered(each.state, to_revision, each.place)
    if to is not None:
        return goal.named(each.state, to, each.place)
    return goal.before(each.state, each.place)


def _destinations(bundle: VerifiedBundle, found: Sequence[Deployed]) -> list[Destination]:
    release = cast("dict[str, Any]", bundle.release.value)
    return [
        Destination(
            each.project,
            each.environment,
            each.target,
            release["environments"][each.environment]["targets"][each.target]["namespace"],
        )
        for each in found
    ]
