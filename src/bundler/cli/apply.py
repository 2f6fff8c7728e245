"""`bundler apply`: install a published release into an environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from bundler.cli import (
    deployments,
    notifications,
    options,
    output,
    plan_files,
    preparing,
    progress,
    several,
    wiring_targets,
)
from bundler.cli.connections import ConnectionFlags
from bundler.cli.former import RecordedReleases, barriers_asked
from bundler.cli.preparing import Ready
from bundler.deploy import policy
from bundler.deploy.flow import apply_to_target
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.targets import Act
from bundler.errors import ConfirmationNeeded
from bundler.model.bundle import VerifiedBundle


def apply(
    reference: options.ReferenceArgument,
    environment: options.Environment,
    target: options.Target = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    cluster: options.Cluster = None,
    state_namespace: options.StateNamespace = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            help="Apply what bundler plan --out wrote, without asking, or refuse what is not so.",
        ),
    ] = None,
    on_failure: options.OnFailure = None,
    past_migrations: options.PastMigrations = False,
    timeout: options.Timeout = None,
    stall_timeout: options.StallTimeout = None,
    patience: options.Patience = "",
    lock_timeout: options.LockTimeout = 0.0,
    at_once: several.AtOnce = 1,
    canary: several.Canary = None,
    keep_going: several.KeepGoing = False,
    image_registry: options.ImageRegistry = None,
    no_image_check: options.NoImageCheck = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, for the record; asked for with a file.")
    ] = None,
    allow_downgrade: options.AllowDowngrade = None,
    events: options.EventsFile = None,
    webhooks: options.WebhooksFile = None,
    metrics: options.MetricsFile = None,
    take_over: options.TakeOver = None,
    recreate: options.Recreate = None,
    no_prune: options.NoPrune = False,
    max_deletions: options.MaxDeletions = None,
    delete: options.Delete = None,
    sops: options.Sops = None,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Pull and verify a release, show the plan, ask, apply it in waves and wait until ready.

    Nothing but the deploy registry and the target is needed: no source, git or kustomize. With
    a FILE.tar that bundler save wrote, not even the registry.
    """
    if not (yes or dry_run or plan or sys.stdin.isatty()):
        raise ConfirmationNeeded(
            "there is no terminal to ask on",
            hint="--yes applies without asking, --dry-run only shows",
        )
    reviewed = plan_files.read(plan) if plan else None
    is_agreed = yes or reviewed is not None
    limits = options.limits(timeout, stall_timeout, patience)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, state_namespace, cluster)
    bundle, destinations = preparing.chosen(
        reference, environment, target, deploy_registry, plain_http,
        is_agreed=reviewed is not None,
    )  # fmt: skip
    wishes = preparing.policy(
        bundle, environment, take_over=take_over, recreate=recreate, no_prune=no_prune,
        max_deletions=max_deletions, delete=delete,
    )  # fmt: skip
    if not dry_run:
        reason = _reason(reason, bundle, environment, is_agreed)
    if image_registry:
        bundle = preparing.mapped(bundle, image_registry, environment)
    if reviewed:
        reviewed.check_bundle(bundle, environment, [each.target for each in destinations])

    order = several.order(bundle, destinations, at_once, canary or (), keep_going)
    tag = str(bundle.release.value["tag"])
    consent = several.Consent(
        deployments.note_warnings if dry_run else (lambda plan: deployments.note_plan(plan, tag)),
        is_agreed or dry_run,
        "Apply",
    )
    if timeout is None and (seconds := policy.declared_timeout(bundle.release, environment)):
        limits = replace(limits, timeout=seconds)
    with (
        progress.shown() as on_progress,
        notifications.told(events, webhooks, metrics) as on_event,
        preparing.opened(bundle, destinations, flags, sops, lock_timeout, at_once) as ready,
    ):
        runner = wiring_targets.runner(
            consent.again, on_progress, limits, reason,
            replace(
                wishes,
                on_failure=on_failure or wishes.on_failure,
                allow_downgrade=allow_downgrade,
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
        if reviewed:
            reviewed.check_places(preparing.places(ready, state_namespace))
            if len(ready.targets) > 1:  # all of them, before the first is changed
                reviewed.check_targets(preparing.previews(ready, state_namespace, wishes))
            runner = replace(runner, check=reviewed.check)
        act = _flow(ready, environment, state_namespace, dry_run=dry_run)
        for destination in destinations:
            output.note(f"{destination.place}: {ready.bundle.reference}")
        results = several.over(destinations, act, runner, consent, order, tag)
    output.show(
        deployments.apply_value(bundle, environment, results),
        deployments.apply_lines(bundle, environment, results),
    )
    deployments.note_errors(environment, results)
    raise typer.Exit(deployments.exit_code(results))


def _flow(ready: Ready, environment: str, state_namespace: str | None, *, dry_run: bool) -> Act:
    ways = {destination.target: to for destination, to in ready.targets}

    def act(target: str, runner: Runner) -> TargetResult:
        return apply_to_target(
            ready.bundle, environment, target, ways[target], runner,
            dry_run=dry_run, state_namespace=state_namespace,
        )  # fmt: skip

    return act


def _reason(given: str | None, bundle: VerifiedBundle, environment: str, yes: bool) -> str | None:
    """Why it is applied; who applies from a file goes past the usual way and is asked."""
    if given is not None:
        return options.one_line(given)
    if bundle.reference.repository.scheme != "ocitar":
        return None
    release = cast("dict[str, Any]", bundle.release.value)
    is_protected = release["environments"][environment]["protected"]
    if sys.stdin.isatty() and (is_protected or not yes):
        return options.one_line(typer.prompt("Why is it applied from a file?", err=True))
    if is_protected:
        raise ConfirmationNeeded(
            f"{environment} is protected: why is it applied from a file?",
            hint="--reason TEXT says so; it is recorded",
        )
    return None
