"""A verified release, its targets, the ways that lead there, and what may be done to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from bundler.cli import connections, output, wiring, wiring_targets
from bundler.cli.connections import ConnectionFlags
from bundler.cli.results import migration_lines
from bundler.deploy.decrypt import with_secrets
from bundler.deploy.guards import moving_reference, refuse_errors
from bundler.deploy.images import with_image_registry
from bundler.deploy.policy import KEPT_KINDS, Policy, declared
from bundler.deploy.preview import Preview, preview
from bundler.deploy.pull import PulledBundle, pull
from bundler.deploy.reviewed import Place, Previewed
from bundler.deploy.verify import verify
from bundler.errors import NotFound, Unreachable, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.connection import Destination
from bundler.model.reference import ArtifactReference, Digest, InvalidReference, Repository
from bundler.model.relocation import ImageRegistry
from bundler.model.revision import Revision
from bundler.ports import DeployTarget


@dataclass(frozen=True)
class Ready:
    """A release with its Secrets, and its targets with the connections that are open to them."""

    bundle: VerifiedBundle
    targets: Sequence[tuple[Destination, DeployTarget]]


def chosen(
    reference: str,
    environment: str,
    target: str | None,
    deploy_registry: str | None,
    plain_http: bool,
    *,
    is_agreed: bool = False,
) -> tuple[VerifiedBundle, list[Destination]]:
    """A release, pulled and verified, and the targets that are meant; its migrations are told.

    Raises Refused for a moving tag and a protected environment, unless somebody looks, or has
    agreed to the digest (`is_agreed`).
    """
    found = wiring.artifact_reference(reference, deploy_registry)
    reader = wiring.artifact_registry(plain_http)
    bundle = verify(pull(reader, found, wiring.document_schemas()))
    destinations = _destinations(bundle, environment, target)
    if moving := moving_reference(found, bundle, environment):
        if not is_agreed:
            refuse_errors([moving])
        output.note(output.printable(moving.message))
    for line in migration_lines(cast("dict[str, Any]", bundle.release.value)):
        output.note(line)
    return bundle, destinations


def recorded(revision: Revision, deploy_registry: str | None, plain_http: bool) -> VerifiedBundle:
    """The release of a revision, pulled by its digest and verified, with its images where they
    were pulled from then. Raises what pulling and verifying raise.

    It is asked for where it was pulled from, or in the deploy registry that is named.
    """
    bundle = verify(pull_recorded(revision, deploy_registry, plain_http))
    if revision.image_registry is None:
        return bundle
    registry = ImageRegistry.parse(revision.image_registry)
    return with_image_registry(bundle, registry, revision.environment).bundle


def pull_recorded(
    revision: Revision, deploy_registry: str | None, plain_http: bool
) -> PulledBundle:
    """As `recorded`, every byte compared with its digest and none understood."""
    place = ArtifactReference.parse(revision.reference).repository
    if deploy_registry:
        place = Repository.parse(deploy_registry)
    reference = ArtifactReference(place, digest=Digest.parse(revision.digest))
    reader = wiring.artifact_registry(plain_http)
    try:
        return pull(reader, reference, wiring.document_schemas())
    except (NotFound, Unreachable) as error:
        hint = error.hint or "--deploy-registry names another place that has it"
        raise error.reworded(hint=hint) from error


@contextmanager
def opened(
    bundle: VerifiedBundle,
    destinations: Sequence[Destination],
    flags: ConnectionFlags,
    sops: str | None,
    lock_timeout: float = 0.0,
    at_once: int = 1,
) -> Iterator[Ready]:
    """Connected to all targets, everything decrypted that they take in clear."""
    with connections.connected(flags, destinations, lock_timeout, at_once) as targets:
        pairs = list(zip(destinations, targets, strict=True))
        by_name: Mapping[str, DeployTarget] = {each.target: to for each, to in pairs}
        environment = destinations[0].environment
        clear = with_secrets(bundle, environment, by_name, wiring_targets.decrypter(sops))
        yield Ready(clear, pairs)


def policy(
    bundle: VerifiedBundle,
    environment: str,
    *,
    take_over: Sequence[str] | None,
    recreate: Sequence[str] | None,
    no_prune: bool,
    max_deletions: int | None,
    delete: Sequence[str] | None,
) -> Policy:
    """What the release says of the environment, with the runner's flags. Raises UsageError."""
    return replace(
        declared(bundle.release, environment),
        take_over=frozenset(take_over or ()),
        recreate=named("--recreate", recreate, frozenset(kind for _, kind in KEPT_KINDS)),
        prune=not no_prune,
        max_deletions=max_deletions,
        delete=named("--delete", delete),
    )


def named(
    option: str, names: Sequence[str] | None, refused: Collection[str] = ()
) -> frozenset[str]:
    """Objects that an option names. Raises UsageError for what names none."""
    for name in names or ():
        kind, *rest = name.split("/")
        if not kind or not 1 <= len(rest) <= 2 or not all(rest):
            raise UsageError(
                f"{option} {name}: no object",
                hint="such as Deployment/web, or Deployment/shop/web",
            )
        if kind in refused:
            raise UsageError(
                f"{option} {name}: a {kind} is never made anew, as all that it holds would go",
                hint="give the new one another name",
            )
    return frozenset(names or ())


def previews(ready: Ready, state_namespace: str | None, policy: Policy) -> list[Preview]:
    """What would be done in each target."""
    return [
        preview(
            ready.bundle, destination.environment, destination.target, to, state_namespace, policy
        )
        for destination, to in ready.targets
    ]


def identified(ready: Ready, found: Sequence[Preview]) -> list[Previewed]:
    """With which cluster or folder each is of. Raises PermissionRefused, Unreachable."""
    return [
        Previewed(each, to.identity()) for each, (_, to) in zip(found, ready.targets, strict=True)
    ]


def places(ready: Ready, state_namespace: str | None) -> list[Place]:
    """Where the connections lead. Raises PermissionRefused, Unreachable."""
    return [
        Place(each.target, to.identity(), state_namespace or each.namespace)
        for each, to in ready.targets
    ]


def mapped(bundle: VerifiedBundle, image_registry: str, environment: str) -> VerifiedBundle:
    """The bundle with its images pulled from elsewhere, after telling so."""
    changed, unmapped = with_image_registry(bundle, _image_registry(image_registry), environment)
    for name, there in changed.images.items():
        output.note(f"image {output.printable(name)} → {output.printable(there)}")
    for text in unmapped:
        output.note(f"image {output.printable(text)} is not pinned by the release: not mapped")
    return changed


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
