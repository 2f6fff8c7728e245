"""`bundler rollback`: apply an earlier release again, by the digest that is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

import typer

from bundler.cli import bringing, options, output, preparing, several
from bundler.cli.bringing import Manner
from bundler.cli.connections import ConnectionFlags, Deployed
from bundler.cli.installed import installed, state_namespace
from bundler.cli.notifications import Listeners
from bundler.cli.results import migration_lines
from bundler.deploy import goal
from bundler.deploy.result import TargetResult
from bundler.errors import UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
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
    at_once: several.AtOnce = 1,
    canary: several.Canary = None,
    keep_going: several.KeepGoing = False,
    take_over: options.TakeOver = None,
    recreate: options.Recreate = None,
    no_prune: options.NoPrune = False,
    max_deletions: options.MaxDeletions = None,
    delete: options.Delete = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    events: options.EventsFile = None,
    webhooks: options.WebhooksFile = None,
    metrics: options.MetricsFile = None,
    sops: options.Sops = None,
    deploy_registry: options.RecordedRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Go back to the release before the current one, or to the one that --to names.

    It is applied again by its digest, as a new revision. Where the last apply failed, the current
    release is restored. What a target never had cannot be gone back to.
    """
    if to is not None and to_revision is not None:
        raise UsageError("--to and --to-revision contradict each other", hint="name one")
    options.require_consent(yes or dry_run, "--yes goes back without asking, --dry-run only shows")
    reason = options.one_line(reason) if reason is not None else None
    limits = options.limits(timeout, stall_timeout, patience)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace, cluster)
    found, unreached = installed(flags, environment, target, keep_going=keep_going)
    revision = _one_goal(found, to, to_revision)
    bundle = preparing.recorded(revision, deploy_registry, plain_http)
    for line in migration_lines(cast("dict[str, Any]", bundle.release.value)):
        output.note(line)
    _need_canaries(bundle, environment, unreached)
    destinations = _destinations(bundle, found)
    policy = preparing.policy(
        bundle, environment, take_over=take_over, recreate=recreate, no_prune=no_prune,
        max_deletions=max_deletions, delete=delete,
    )  # fmt: skip
    consent = several.consent("Go back", revision.tag, is_agreed=yes, dry_run=dry_run)
    manner = Manner(
        replace(flags, state_namespace=state_namespace(found, [d.namespace for d in destinations])),
        replace(policy, on_failure="halt", allow_downgrade=True, past_migrations=past_migrations),
        bringing.within(limits, timeout, bundle, environment),
        several.order(bundle, destinations, at_once, canary or (), keep_going),
        replace(consent, show=_shown(consent.show)),
        kind="rollback",
        dry_run=dry_run,
        reason=reason,
        lock_timeout=lock_timeout,
        image_check=not no_image_check,
        listeners=Listeners(events, webhooks, metrics),
        sops=sops,
        plain_http=plain_http,
        unreached=unreached,
    )
    raise typer.Exit(bringing.bring(bundle, destinations, manner, revision.tag))


def _shown(show: Callable[[Plan], None]) -> Callable[[Plan], None]:
    """Without the warning that it is a step back."""

    def show_plan(plan: Plan) -> None:
        told = tuple(each for each in plan.warnings if each.rule != "downgrade")
        show(replace(plan, warnings=told))

    return show_plan


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


def _need_canaries(
    bundle: VerifiedBundle, environment: str, unreached: Sequence[TargetResult]
) -> None:
    """Raises the error of a canary that cannot be reached: the others do not begin then."""
    canaries = several.declared_canaries(bundle, environment)
    for each in unreached:
        if each.error and each.target in canaries:
            raise each.error.reworded(
                f"{environment}/{each.target}: {each.error.message}",
                hint="it is a canary, which comes first: --target names one of the others",
            )


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
