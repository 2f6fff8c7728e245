"""Third-party images → digests, asked for where the project's lookup says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from bundler.errors import BundlerError, ImagesMissing, ImagesRefused, NotFound
from bundler.model.bundle import PinnedTarget
from bundler.model.finding import Finding
from bundler.model.project import Project
from bundler.model.reference import Digest, ImageReference
from bundler.parallel import threads
from bundler.ports import ArtifactReader
from bundler.publish import image_checks

PARALLEL = 16

ResolveExternal = Callable[[ImageReference], Digest]
"""A third-party image → its digest. Raises NotFound, Unreachable, CouldNotCheck."""


@dataclass(frozen=True)
class Externals:
    digests: Mapping[str, Digest] = field(default_factory=dict)
    """Reference as the project names it → digest."""
    failures: Mapping[str, BundlerError] = field(default_factory=dict)


def resolve_named(project: Project, images: ArtifactReader) -> Externals:
    """The third-party images that the project names in full; patterns mean what is rendered."""
    named = {text: ImageReference.parse(text) for text in project.named_externals()}
    wanted = {text: image for text, image in named.items() if not project.is_denied(image)}
    with threads(PARALLEL) as pool:
        asked = {
            text: pool.submit(resolve_external, image, project, images)
            for text, image in wanted.items()
        }
    failures = {text: future.exception() for text, future in asked.items()}
    for error in failures.values():
        if error is not None and not isinstance(error, BundlerError):
            raise error
    return Externals(
        {text: future.result() for text, future in asked.items() if failures[text] is None},
        {text: error for text, error in failures.items() if isinstance(error, BundlerError)},
    )


def resolve_external(image: ImageReference, project: Project, images: ArtifactReader) -> Digest:
    """The digest of a tag, or a digest that the registry really has.

    Raises NotFound, ImagesRefused (a required platform is missing), CouldNotCheck, Unreachable.
    """
    place = project.lookup.place(image.name)
    digest = images.resolve(place, image.digest or image.normalized.tag or "latest")
    if digest is None:
        raise NotFound(
            f"external image {image} is not in {place}",
            hint="correct the manifest, or say in images.lookup where to ask for it",
        )
    if project.external_platforms:
        found = image_checks.read(place, digest, images)
        findings = image_checks.check(found, images, project.external_platforms)
        if findings:
            raise ImagesRefused(f"external image {image} is refused", findings=findings)
    return digest


# --- those that rendered objects use ---------------------------------------------------------


def external_digests(
    uses: Iterable[tuple[PinnedTarget, Sequence[ImageReference]]],
    known: Mapping[str, Digest],
    resolve: ResolveExternal,
) -> Mapping[str, Digest]:
    """Reference as written → digest, for all that have one or need one."""
    digests: dict[str, Digest] = {}
    wanted: dict[str, tuple[PinnedTarget, ImageReference]] = {}
    for pinned, images in uses:
        for image in images:
            protected = pinned.environment.protected
            digest = known.get(str(image)) if protected else image.digest
            if digest is not None:
                digests[str(image)] = digest
            elif protected:  # a digest too: whoever wrote it may have been wrong
                wanted.setdefault(str(image), (pinned, image))
    digests |= _resolved(wanted, resolve)
    return dict(sorted(digests.items()))


def _resolved(
    wanted: Mapping[str, tuple[PinnedTarget, ImageReference]], resolve: ResolveExternal
) -> Mapping[str, Digest]:
    if not wanted:
        return {}
    with threads(PARALLEL) as pool:
        asked: dict[str, Future[Digest]] = {
            text: pool.submit(resolve, image) for text, (_, image) in wanted.items()
        }
    failures = {text: future.exception() for text, future in asked.items()}
    places = {text: pinned.place for text, (pinned, _) in wanted.items()}
    missing = [
        Finding("external-image-missing", error.message, hint=error.hint, environment=places[text])
        for text, error in failures.items()
        if isinstance(error, NotFound)
    ]
    refused = [
        replace(finding, environment=places[text])
        for text, error in failures.items()
        if isinstance(error, ImagesRefused)
        for finding in error.findings
    ]
    if refused:
        raise ImagesRefused("third-party images are refused", findings=[*refused, *missing])
    if missing:
        count = f"{len(missing)} third-party image{'s' if len(missing) > 1 else ''}"
        raise ImagesMissing(f"{count} not found", findings=missing)
    return {text: future.result() for text, future in asked.items()}
