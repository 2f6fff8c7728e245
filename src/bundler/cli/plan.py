"""`bundler plan`: what an apply would change, field by field; nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bundler.cli import deployments, identity, options, output, plan_files, preparing, previews
from bundler.cli.connections import ConnectionFlags
from bundler.cli.preparing import Ready
from bundler.deploy.preview import Preview
from bundler.deploy.reviewed import freeze
from bundler.errors import UsageError

CHANGES = 3
"""The exit code of --exit-code where a target would be changed."""
_LONGEST = 30 * 24 * 3600


def plan(
    reference: options.ReferenceArgument,
    environment: options.Environment,
    target: options.Target = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    cluster: options.Cluster = None,
    state_namespace: options.StateNamespace = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {CHANGES} if there are changes.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the plan for bundler apply --plan."),
    ] = None,
    good_for: Annotated[
        float,
        typer.Option(
            "--good-for",
            parser=options.duration_of,
            metavar="DURATION",
            help="How long what --out writes may be applied, as in 30m or 24h.",
            show_default="1h",
        ),
    ] = 3600.0,
    image_registry: options.ImageRegistry = None,
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
    """Show what bundler apply would change, field by field; the values of Secrets are not shown.

    The target is asked and nothing is written to it, not even a lock. With --out the plan is
    frozen: bundler apply --plan does exactly that, or refuses.
    """
    if not 0 < good_for <= _LONGEST:
        raise UsageError("--good-for is out of bounds", hint="more than 0s, at most 720h")
    flags = ConnectionFlags(context, kubeconfig, directory, targets, state_namespace, cluster)
    bundle, destinations = preparing.chosen(
        reference, environment, target, deploy_registry, plain_http, is_agreed=True
    )
    wishes = preparing.policy(
        bundle, environment, take_over=take_over, recreate=recreate, no_prune=no_prune,
        max_deletions=max_deletions, delete=delete,
    )  # fmt: skip
    if image_registry:
        bundle = preparing.mapped(bundle, image_registry, environment)
    with preparing.opened(bundle, destinations, flags, sops) as ready:
        found = preparing.previews(ready, state_namespace, wishes)
        is_whole = not any(each.error for each in found)
        saved = _saved(out, ready, environment, found, good_for) if out and is_whole else None
    tag = str(bundle.release.value["tag"])
    output.show(
        previews.plan_value(bundle, environment, found, saved),
        previews.plan_lines(tag, environment, found),
    )
    if saved:
        output.note(f"{saved['file']} may be applied until {saved['goodUntil']}")
    deployments.note_errors(environment, found)
    raise typer.Exit(deployments.most_serious(_codes(found, exit_code)))


def _codes(found: list[Preview], exit_code: bool) -> list[int]:
    return [
        each.error.exit_code if each.error else CHANGES * int(exit_code and each.has_changes)
        for each in found
    ]


def _saved(
    out: Path, ready: Ready, environment: str, found: list[Preview], good_for: float
) -> dict[str, Any]:
    """Write the plan; what the result says of it."""
    now = identity.now()
    frozen = freeze(
        ready.bundle,
        environment,
        preparing.identified(ready, found),
        made_at=now,
        good_until=plan_files.later(now, good_for),
    )
    plan_files.write(out, frozen)
    return {
        "file": str(out),
        "digest": str(frozen.own_digest),
        "madeAt": frozen.made_at,
        "goodUntil": frozen.good_until,
    }
