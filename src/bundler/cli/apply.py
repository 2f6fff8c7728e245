"""`bundler apply`: install a published release into an environment."""

from __future__ import annotations

import sys
from typing import Annotated, Any, cast

import typer

from bundler.cli import connections, deployments, options, output, wiring
from bundler.cli.connections import ConnectionFlags
from bundler.deploy.flow import apply_to_target
from bundler.deploy.pull import pull
from bundler.deploy.result import TargetResult
from bundler.deploy.rollout import Limits
from bundler.deploy.verify import verify
from bundler.errors import ConfirmationNeeded, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.connection import Destination


def apply(
    reference: options.ReferenceArgument,
    environment: Annotated[
        str, typer.Option("--env", envvar="BUNDLER_ENV", help="The environment.")
    ],
    target: Annotated[
        str | None, typer.Option("--target", help="Only this target of the environment.")
    ] = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    state_namespace: options.StateNamespace = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="BUNDLER_YES", help="Do not ask.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    timeout: options.Timeout = 600.0,
    lock_timeout: options.LockTimeout = 0.0,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Pull and verify a release, show the plan, ask, apply it in waves and wait until ready.

    Nothing but the deploy registry and the target is needed: no source, git or kustomize.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfirmationNeeded(
            "there is no terminal to ask on",
            hint="--yes applies without asking, --dry-run only shows",
        )
    found = wiring.artifact_reference(reference, deploy_registry)
    reader = wiring.artifact_registry(plain_http)
    bundle = verify(pull(reader, found, wiring.document_schemas()))
    destinations = _destinations(bundle, environment, target)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, state_namespace)

    def agreed(plan: Plan) -> bool:
        if dry_run:
            return True
        deployments.note_plan(plan, str(bundle.release.value["tag"]))
        return yes or plan.is_empty or typer.confirm("Apply?", err=True)

    runner = wiring.runner(agreed, deployments.ProgressLines(), Limits(timeout=timeout))
    results: list[TargetResult] = []
    with connections.connected(flags, destinations, lock_timeout) as opened:
        for destination, to in zip(destinations, opened, strict=True):
            if any(result.error for result in results):
                results.append(TargetResult(destination.target, "skipped"))
                continue
            output.note(f"{destination.place}: {bundle.reference}")
            result = apply_to_target(
                bundle, environment, destination.target, to, runner,
                dry_run=dry_run, state_namespace=state_namespace,
            )  # fmt: skip
            results.append(result)
    output.show(
        deployments.apply_value(bundle, environment, results),
        deployments.apply_lines(bundle, environment, results),
    )
    deployments.note_errors(results)
    raise typer.Exit(deployments.exit_code(results))


def _destinations(
    bundle: VerifiedBundle, environment: str, target: str | None
) -> list[Destination]:
    """The targets of an environment that are meant, in the bundle's order. Raises UsageError."""
    release = cast("dict[str, Any]", bundle.release.value)
    environments = release["environments"]
    if environment not in environments:
        raise UsageError(
            f"{release['tag']} has no environment {environment!r}",
            hint=f"it has {', '.join(environments)}",
        )
    targets = environments[environment]["targets"]
    if target is not None and target not in targets:
        raise UsageError(
            f"{environment} of {release['tag']} has no target {target!r}",
            hint=f"it has {', '.join(targets)}",
        )
    return [
        Destination(release["project"], environment, name, settings["namespace"])
        for name, settings in targets.items()
        if target in (None, name)
    ]
