"""Third-party images → digests, asked for where the project's lookup says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundler.errors import BundlerError, ImagesRefused, NotFound
from bundler.model.project import Project
from bundler.model.reference import Digest, ImageReference
from bundler.parallel import threads
from bundler.ports import ArtifactReader
from bundler.publish import image_checks

PARALLEL = 16


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
