"""`bundler apply`: install a published release into an environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from bundler.cli import connections, deployments, options, output, wiring, wiring_targets
from bundler.cli.connections import ConnectionFlags
from bundler.cli.results import migration_lines
from bundler.deploy.decrypt import with_secrets
from bundler.deploy.flow import apply_to_target
from bundler.deploy.images import with_image_registry
from bundler.deploy.pull import pull
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.rollout import Limits
from bundler.deploy.verify import verify
from bundler.errors import ConfirmationNeeded, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.connection import Destination
from bundler.model.reference import InvalidReference
from bundler.model.relocation import ImageRegistry
from bundler.ports import DeployTarget


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
    image_registry: Annotated[
        str | None,
        typer.Option(
            "--image-registry",
            envvar="BUNDLER_IMAGE_REGISTRY",
            metavar="PLACE",
            help="Pull the release's images from where bundler copy put them.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, for the record; asked for with a file.")
    ] = None,
    sops: options.Sops = None,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Pull and verify a release, show the plan, ask, apply it in waves and wait until ready.

    Nothing but the deploy registry and the target is needed: no source, git or kustomize. With
    a FILE.tar that bundler save wrote, not even the registry.
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
    for line in migration_lines(cast("dict[str, Any]", bundle.release.value)):
        output.note(line)
    flags = ConnectionFlags(context, kubeconfig, directory, targets, state_namespace)
    if not dry_run:
        reason = _reason(reason, bundle, environment, yes)
    if image_registry:
        bundle = _mapped(bundle, image_registry, environment)

    def agreed(plan: Plan) -> bool:
        if dry_run:
            return True
        deployments.note_plan(plan, str(bundle.release.value["tag"]))
        return yes or plan.is_empty or typer.confirm("Apply?", err=True)

    runner = wiring_targets.runner(
        agreed, deployments.ProgressLines(), Limits(timeout=timeout), reason
    )
    with connections.connected(flags, destinations, lock_timeout) as opened:
        by_name = {each.target: to for each, to in zip(destinations, opened, strict=True)}
        bundle = with_secrets(bundle, environment, by_name, wiring_targets.decrypter(sops))
        results = _apply_all(
            bundle, list(zip(destinations, opened, strict=True)), runner, dry_run, state_namespace
        )
    output.show(
        deployments.apply_value(bundle, environment, results),
        deployments.apply_lines(bundle, environment, results),
    )
    deployments.note_errors(results)
    raise typer.Exit(deployments.exit_code(results))


def _apply_all(
    bundle: VerifiedBundle,
    targets: Sequence[tuple[Destination, DeployTarget]],
    runner: Runner,
    dry_run: bool,
    state_namespace: str | None,
) -> list[TargetResult]:
    """Apply to each target in order; the first error stops the rest."""
    results: list[TargetResult] = []
    for destination, to in targets:
        if any(result.error for result in results):
            results.append(TargetResult(destination.target, "skipped"))
            continue
        output.note(f"{destination.place}: {bundle.reference}")
        result = apply_to_target(
            bundle, destination.environment, destination.target, to, runner,
            dry_run=dry_run, state_namespace=state_namespace,
        )  # fmt: skip
        results.append(result)
    return results


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


def _mapped(bundle: VerifiedBundle, image_registry: str, environment: str) -> VerifiedBundle:
    """The bundle with its images pulled from elsewhere, after telling so."""
    mapped, unmapped = with_image_registry(bundle, _image_registry(image_registry), environment)
    for name, there in mapped.images.items():
        output.note(f"image {output.printable(name)} → {output.printable(there)}")
    for text in unmapped:
        output.note(f"image {output.printable(text)} is not pinned by the release: not mapped")
    return mapped


def _image_registry(text: str) -> ImageRegistry:
    try:
        return ImageRegistry.parse(text)
    except InvalidReference as error:
        raise UsageError(
            str(error), hint="where images were copied to, such as registry.prod/shop"
        ) from error


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
