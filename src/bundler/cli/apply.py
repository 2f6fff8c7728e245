"""`bundler apply`: install a published release into an environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from bundler.cli import bringing, options, output, plan_files, preparing, several
from bundler.cli.bringing import Manner
from bundler.cli.connections import ConnectionFlags
from bundler.cli.notifications import Listeners
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
    options.require_consent(
        yes or dry_run or plan is not None, "--yes applies without asking, --dry-run only shows"
    )
    reviewed = plan_files.read(plan) if plan else None
    is_agreed = yes or reviewed is not None
    limits = options.limits(timeout, stall_timeout, patience)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, state_namespace, cluster)
    bundle, destinations = preparing.chosen(
        reference, environment, target, deploy_registry, plain_http,
        is_agreed=reviewed is not None,
    )  # fmt: skip
    policy = preparing.policy(
        bundle, environment, take_over=take_over, recreate=recreate, no_prune=no_prune,
        max_deletions=max_deletions, delete=delete,
    )  # fmt: skip
    if not dry_run:
        reason = _reason(reason, bundle, environment, is_agreed)
    if image_registry:
        bundle = preparing.mapped(bundle, image_registry, environment)
    if reviewed:
        reviewed.check_bundle(bundle, environment, [each.target for each in destinations])
    tag = str(bundle.release.value["tag"])
    manner = Manner(
        flags,
        replace(
            policy,
            on_failure=on_failure or policy.on_failure,
            allow_downgrade=allow_downgrade,
            past_migrations=past_migrations,
        ),
        bringing.within(limits, timeout, bundle, environment),
        several.order(bundle, destinations, at_once, canary or (), keep_going),
        several.consent("Apply", tag, is_agreed=is_agreed, dry_run=dry_run),
        reviewed=reviewed,
        dry_run=dry_run,
        reason=reason,
        lock_timeout=lock_timeout,
        image_check=not no_image_check,
        listeners=Listeners(events, webhooks, metrics),
        sops=sops,
        plain_http=plain_http,
    )
    raise typer.Exit(bringing.bring(bundle, destinations, manner, tag))


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
